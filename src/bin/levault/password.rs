//! Where the password comes from: environment, file, descriptor, command, prompt; never an argument.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use levault::error::{Act, Error, Kind, Result};
use levault::keys::Password;

use crate::args::Global;

/// Longest password read, bytes: the first line of a file that somebody named by mistake may be long.
const PASSWORD_BYTES_MAX: u64 = 64 << 10;

/// Whether the password is known already or is being chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Unlock,
    Choose,
}

/// The one password these settings name; more than one source is a usage error.
pub fn read(global: &Global, purpose: Purpose) -> Result<Password> {
    let direct = env("LEVAULT_PASSWORD")?;
    let descriptor = env("LEVAULT_PASSWORD_FD")?;
    let named = [
        global.insecure_no_password,
        global.password_file.is_some(),
        global.password_command.is_some(),
        direct.is_some(),
        descriptor.is_some(),
    ];
    if named.iter().filter(|named| **named).count() > 1 {
        return Err(usage("several password sources are named; keep one"));
    }
    if global.insecure_no_password {
        return Ok(Password::new(Vec::new()));
    }
    let bytes = match (
        &global.password_file,
        &global.password_command,
        direct,
        descriptor,
    ) {
        (Some(path), ..) => from_file(path)?,
        (_, Some(command), ..) => from_command(command)?,
        (_, _, Some(text), _) => text.into_bytes(),
        (_, _, _, Some(number)) => from_descriptor(&number)?,
        _ => prompt(purpose)?,
    };
    match bytes.is_empty() {
        true => Err(usage(
            "the password is empty (--insecure-no-password if that is meant)",
        )),
        false => Ok(Password::new(bytes)),
    }
}

fn env(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(text)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(usage(format!("{name} is not UTF-8"))),
    }
}

fn from_file(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).act(|| format!("read password file {}", path.display()))?;
    first_line(file)
}

fn from_command(command: &str) -> Result<Vec<u8>> {
    let output = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .act(|| "run the password command")?;
    match output.status.success() {
        true => first_line(&output.stdout[..]),
        false => Err(Error::new(
            Kind::Usage,
            format!("the password command ended with {}", output.status),
        )),
    }
}

fn from_descriptor(number: &str) -> Result<Vec<u8>> {
    let number: u32 = number
        .parse()
        .ok()
        .ok_or_else(|| usage("LEVAULT_PASSWORD_FD is not a descriptor number"))?;
    let file = File::open(format!("/dev/fd/{number}")).act(|| format!("open descriptor {number}"))?;
    first_line(file)
}

fn first_line(reader: impl Read) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    BufReader::new(reader.take(PASSWORD_BYTES_MAX))
        .read_until(b'\n', &mut line)
        .act(|| "read the password")?;
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        line.pop();
    }
    Ok(line)
}

fn prompt(purpose: Purpose) -> Result<Vec<u8>> {
    if !std::io::stdin().is_terminal() {
        return Err(usage(
            "no password: set LEVAULT_PASSWORD, --password-file or --password-command",
        ));
    }
    let first = rpassword::prompt_password("password: ").act(|| "read the password")?;
    if purpose == Purpose::Choose {
        let again = rpassword::prompt_password("once more: ").act(|| "read the password")?;
        if again != first {
            return Err(usage("the two passwords differ"));
        }
    }
    Ok(first.into_bytes())
}

fn usage(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, message)
}
