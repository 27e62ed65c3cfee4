//! Reads passwords from environment, file, descriptor, command or prompt.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use levault::error::{Error, ErrorKind, Result, ResultExt};
use levault::keys::Password;

use crate::args::{GlobalArgs, SourceArgs};

/// Descriptors that passwords are to be read from, by the numbers that they had.
static TAKEN: OnceLock<BTreeMap<u32, File>> = OnceLock::new();

/// Takes over the descriptors that variables name, so that no command that is started inherits one. To be called before
/// anything is opened: the numbers are those of whoever started us.
pub fn take_descriptors() {
    let variables = ["LEVAULT_PASSWORD_FD", "LEVAULT_FROM_PASSWORD_FD"];
    let numbers = variables
        .iter()
        .filter_map(|name| std::env::var(name).ok()?.parse().ok());
    let mut taken = BTreeMap::new();
    // Standard input, output and errors are nobody's secret alone: what is started gets others.
    for number in numbers.filter(|number| *number > 2) {
        // One that cannot be opened is an error when the password is needed.
        if let Ok(file) = File::open(format!("/dev/fd/{number}")) {
            taken.insert(number, file);
            let _ = i32::try_from(number).map(nix::unistd::close);
        }
    }
    let _ = TAKEN.set(taken);
}

/// Longest password read, bytes: the first line of a file that somebody named by mistake may be long.
const PASSWORD_BYTES_MAX: u64 = 64 << 10;

/// Whether the password is known already or is being chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PasswordPurpose {
    Unlock,
    Choose,
    /// Beside one that is known.
    ChooseNew,
    /// That of the repository to copy from.
    UnlockSource,
}

/// The password of the repository to copy from: its own flags and variables, and no others.
pub fn read_source(args: &SourceArgs) -> Result<Password> {
    let nothing = args.from_insecure_no_password.then_some(PasswordSource::Nothing);
    let file = args.from_password_file.clone().map(PasswordSource::File);
    let command = args.from_password_command.clone().map(PasswordSource::Command);
    let flags = [nothing, file, command].into_iter().flatten().collect();
    let named = match single_source(flags)? {
        Some(flag) => Some(flag),
        None => single_source(environment("LEVAULT_FROM_PASSWORD")?)?,
    };
    taken_descriptors(named, PasswordPurpose::UnlockSource)
}

/// A password that is being chosen beside the one that unlocks: `--new-password-file`, LEVAULT_NEW_PASSWORD, its _FILE or
/// _COMMAND, or a prompt.
pub fn read_new(file: Option<&Path>) -> Result<Password> {
    let named = match file {
        Some(path) => Some(PasswordSource::File(path.to_owned())),
        None => single_source(
            [
                env("LEVAULT_NEW_PASSWORD")?.map(PasswordSource::Text),
                env("LEVAULT_NEW_PASSWORD_FILE")?.map(|path| PasswordSource::File(path.into())),
                env("LEVAULT_NEW_PASSWORD_COMMAND")?.map(PasswordSource::Command),
            ]
            .into_iter()
            .flatten()
            .collect(),
        )?,
    };
    taken_descriptors(named, PasswordPurpose::ChooseNew)
}

/// One way to a password.
enum PasswordSource {
    Nothing,
    File(PathBuf),
    Command(String),
    Text(String),
    Descriptor(String),
}

/// The one password these settings name: flags win over the environment; two on one side are a usage error.
pub fn read(global: &GlobalArgs, purpose: PasswordPurpose) -> Result<Password> {
    taken_descriptors(named_source(global)?, purpose)
}

fn taken_descriptors(named: Option<PasswordSource>, purpose: PasswordPurpose) -> Result<Password> {
    let bytes = match named {
        Some(PasswordSource::Nothing) => return Ok(Password::new(Vec::new())),
        Some(PasswordSource::File(path)) => from_file(&path)?,
        Some(PasswordSource::Command(command)) => from_command(&command)?,
        Some(PasswordSource::Text(text)) => text.into_bytes(),
        Some(PasswordSource::Descriptor(number)) => from_descriptor(&number)?,
        None => prompt(purpose)?,
    };
    if bytes.is_empty() {
        Err(usage(
            "the password is empty (--insecure-no-password if that is meant)",
        ))
    } else {
        Ok(Password::new(bytes))
    }
}

fn named_source(global: &GlobalArgs) -> Result<Option<PasswordSource>> {
    match single_source(flags(global))? {
        Some(flag) => Ok(Some(flag)),
        None => single_source(environment("LEVAULT_PASSWORD")?),
    }
}

fn flags(global: &GlobalArgs) -> Vec<PasswordSource> {
    let nothing = global.insecure_no_password.then_some(PasswordSource::Nothing);
    let file = global.password_file.clone().map(PasswordSource::File);
    let command = global.password_command.clone().map(PasswordSource::Command);
    [nothing, file, command].into_iter().flatten().collect()
}

fn environment(variable: &str) -> Result<Vec<PasswordSource>> {
    let named = [
        env(variable)?.map(PasswordSource::Text),
        env(&format!("{variable}_FILE"))?.map(|path| PasswordSource::File(path.into())),
        env(&format!("{variable}_COMMAND"))?.map(PasswordSource::Command),
        env(&format!("{variable}_FD"))?.map(PasswordSource::Descriptor),
    ];
    Ok(named.into_iter().flatten().collect())
}

fn single_source(mut named: Vec<PasswordSource>) -> Result<Option<PasswordSource>> {
    match named.len() {
        0 | 1 => Ok(named.pop()),
        _ => Err(usage("several password sources are named; keep one")),
    }
}

/// A variable of the environment; absent is not the same as not text.
pub fn env(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(text)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(usage(format!("{name} is not UTF-8"))),
    }
}

fn from_file(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).context(|| format!("read password file {}", path.display()))?;
    first_line(file)
}

fn from_command(command: &str) -> Result<Vec<u8>> {
    // It gets no other password and no credential: only what is not ours to keep.
    let output = levault::ops::child_command("sh")
        .args(["-c", command])
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .context(|| "run the password command")?;
    if output.status.success() {
        first_line(&output.stdout[..])
    } else {
        Err(Error::new(
            ErrorKind::Usage,
            format!("the password command ended with {}", output.status),
        ))
    }
}

fn from_descriptor(number: &str) -> Result<Vec<u8>> {
    let number: u32 = number
        .parse()
        .ok()
        .ok_or_else(|| usage("LEVAULT_PASSWORD_FD is not a descriptor number"))?;
    let taken = TAKEN.get().and_then(|taken| taken.get(&number));
    let held = taken.map_or(number, |file| file.as_raw_fd().unsigned_abs());
    let file = File::open(format!("/dev/fd/{held}")).context(|| format!("open descriptor {number}"))?;
    first_line(file)
}

fn first_line(reader: impl Read) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(reader.take(PASSWORD_BYTES_MAX))
        .read_until(b'\n', &mut line)
        .context(|| "read the password")?;
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        line.pop();
    }
    Ok(line)
}

fn prompt(purpose: PasswordPurpose) -> Result<Vec<u8>> {
    if !std::io::stdin().is_terminal() {
        return Err(usage(match purpose {
            PasswordPurpose::ChooseNew => "no new password: set LEVAULT_NEW_PASSWORD or --new-password-file",
            PasswordPurpose::UnlockSource => {
                "no password of the repository to copy from: set LEVAULT_FROM_PASSWORD, --from-password-file or \
                 --from-password-command"
            }
            _ => "no password: set LEVAULT_PASSWORD, --password-file or --password-command",
        }));
    }
    let text = match purpose {
        PasswordPurpose::ChooseNew => "new password: ",
        PasswordPurpose::UnlockSource => "password of the repository to copy from: ",
        _ => "password: ",
    };
    let first = rpassword::prompt_password(text).context(|| "read the password")?;
    if matches!(purpose, PasswordPurpose::Choose | PasswordPurpose::ChooseNew) {
        let again = rpassword::prompt_password("once more: ").context(|| "read the password")?;
        if again != first {
            return Err(usage("the two passwords differ"));
        }
    }
    Ok(first.into_bytes())
}

fn usage(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, message)
}
