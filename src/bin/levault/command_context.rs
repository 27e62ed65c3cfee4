//! Opens the repository that arguments and environment name, and prints a command's warnings.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use levault::error::{Error, ErrorKind, Result, ResultExt};
use levault::keys::SealedCredential;
use levault::repo::{
    CacheLocation, Compression, Repo, RepoSettings, SnapshotCatalog, StoredSnapshot, WriteOnlyRepo,
};
use levault::report::OperationReport;
use levault::storage::LocalStorage;

use crate::args::{CompressionArg, GlobalArgs, SourceArgs};
use crate::exit_status::ExitStatus;
use crate::output::OutputSettings;
use crate::password::{self, PasswordPurpose};

/// Longest credential that is read, bytes.
const CREDENTIAL_BYTES_MAX: u64 = 64 << 10;

/// One run of the tool.
pub struct CommandContext<'a> {
    pub global: &'a GlobalArgs,
    pub output: OutputSettings,
    pub report: &'a Arc<OperationReport>,
}

impl CommandContext<'_> {
    /// The repository the settings name, unlocked.
    pub fn open(&self) -> Result<Repo> {
        if self.credential()?.is_some() {
            return Err(Error::new(
                ErrorKind::Denied,
                "a write-only host's credential can back up and nothing else; this takes the repository's password \
                 (without --credential or LEVAULT_CREDENTIAL)",
            ));
        }
        let storage = LocalStorage::open(&self.repository()?)?;
        let password = password::read(self.global, PasswordPurpose::Unlock)?;
        Repo::open(Arc::new(storage), &password, self.settings()?)
    }

    /// The repository as a write-only host has it, if a credential is named.
    pub fn open_as_host(&self) -> Result<Option<WriteOnlyRepo>> {
        let Some(path) = self.credential()? else {
            return Ok(None);
        };
        let file = File::open(&path).context(|| format!("open the credential {}", path.display()))?;
        let mut bytes = Vec::new();
        file.take(CREDENTIAL_BYTES_MAX)
            .read_to_end(&mut bytes)
            .context(|| format!("read the credential {}", path.display()))?;
        let sealed =
            SealedCredential::decode(&bytes).context(|| format!("read the credential {}", path.display()))?;
        let credential = sealed.unlock(&password::read(self.global, PasswordPurpose::Unlock)?)?;
        let storage = LocalStorage::open(&self.repository()?)?;
        WriteOnlyRepo::open(Arc::new(storage), credential, self.settings()?).map(Some)
    }

    fn credential(&self) -> Result<Option<PathBuf>> {
        match &self.global.credential {
            Some(path) => Ok(Some(path.clone())),
            None => Ok(password::env("LEVAULT_CREDENTIAL")?.map(PathBuf::from)),
        }
    }

    /// The directory the repository lives in: flags win over the environment.
    pub fn repository(&self) -> Result<PathBuf> {
        let flags = (self.global.repo.clone(), self.global.repository_file.clone());
        let named = is_named(flags, "LEVAULT_REPOSITORY")?;
        repository_path(named, "no repository named: use -r/--repo or LEVAULT_REPOSITORY")
    }

    /// The same of the repository that is copied from.
    pub fn source_repository(&self, args: &SourceArgs) -> Result<PathBuf> {
        let flags = (args.from_repo.clone(), args.from_repository_file.clone());
        let named = is_named(flags, "LEVAULT_FROM_REPOSITORY")?;
        repository_path(
            named,
            "no repository to copy from: use --from-repo or LEVAULT_FROM_REPOSITORY",
        )
    }

    /// How the repository is to be used.
    pub fn settings(&self) -> Result<RepoSettings> {
        Ok(RepoSettings {
            cache: self.cache()?,
            compression: compression(self.global.compression),
            pack_bytes: self.global.pack_size.map(|mib| (mib as usize) << 20),
            verify_packs: !self.global.no_extra_verify,
            accept_rollback: self.global.accept_rollback,
        })
    }

    /// Where the local cache lives.
    pub fn cache(&self) -> Result<CacheLocation> {
        match (self.global.no_cache, &self.global.cache_dir) {
            (true, _) => Ok(CacheLocation::None),
            (false, Some(dir)) => Ok(CacheLocation::Directory(dir.clone())),
            (false, None) => Ok(default_cache().map_or(CacheLocation::None, CacheLocation::Directory)),
        }
    }
}

/// A place, and a file that names one.
type NamedFileArg = (Option<String>, Option<PathBuf>);

fn is_named(flags: NamedFileArg, variable: &str) -> Result<NamedFileArg> {
    match flags {
        (None, None) => {
            let file = password::env(&format!("{variable}_FILE"))?.map(PathBuf::from);
            Ok((password::env(variable)?, file))
        }
        flags => Ok(flags),
    }
}

fn repository_path(named: NamedFileArg, none: &str) -> Result<PathBuf> {
    match named {
        (Some(_), Some(_)) => Err(usage(
            "the repository is named twice, directly and by a file; keep one",
        )),
        (Some(place), None) => is_local(&place),
        (None, Some(file)) => is_local(&first_line(&file)?),
        (None, None) => Err(usage(none)),
    }
}

/// Who runs this as root in the environment of another user has that user's home. There the user could put a link in the
/// cache's place, and have root write and remove where it leads.
fn default_cache() -> Option<PathBuf> {
    let given = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let xdg = given("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let (whose, base) = match (xdg, given("HOME").filter(|path| path.is_absolute())) {
        (Some(base), _) => (base.clone(), base),
        (None, Some(home)) => (home.clone(), home.join(".cache")),
        (None, None) => return None,
    };
    let is_root = rustix::process::geteuid().is_root();
    let owner = std::fs::metadata(whose).map(|facts| facts.uid());
    match owner {
        Ok(owner) if is_root && owner != 0 => Some(PathBuf::from("/var/cache/levault")),
        _ => Some(base.join("levault")),
    }
}

fn is_local(place: &str) -> Result<PathBuf> {
    match place.strip_prefix("local:") {
        Some("") => Err(usage("the repository is named `local:`, without a path")),
        Some(path) => Ok(PathBuf::from(path)),
        None => crate::address::path(place.as_ref()).map_err(|why| usage(format!("the repository {why}"))),
    }
}

fn first_line(file: &PathBuf) -> Result<String> {
    let text =
        std::fs::read_to_string(file).context(|| format!("read repository file {}", file.display()))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

fn compression(arg: CompressionArg) -> Compression {
    match arg {
        CompressionArg::Off => Compression::Off,
        CompressionArg::Fastest => Compression::Fastest,
        CompressionArg::Auto => Compression::Auto,
        CompressionArg::Better => Compression::Better,
        CompressionArg::Max => Compression::Max,
    }
}

impl CommandContext<'_> {
    /// Warns of snapshots whose time cannot be right, wherever their order matters.
    pub fn warn_of_clocks(&self, catalog: &SnapshotCatalog) {
        if let Some(warning) = catalog.clock_warning() {
            self.output.warn(&warning);
        }
    }

    /// The snapshot that `words` name. Which one is the latest rests on clocks.
    pub fn select(&self, repo: &Repo, words: &str) -> Result<StoredSnapshot> {
        if words.starts_with("latest") {
            self.warn_of_clocks(&repo.catalog()?);
        }
        repo.select(words)
    }

    /// Warns of snapshots that cannot be read, and of what could not be read of those that were forgotten.
    pub fn warn_of_unread(&self, catalog: &SnapshotCatalog) {
        let unreadable = catalog.unreadable.iter();
        unreadable.for_each(|unread| self.output.warn(&unread.what));
        let quarantined = catalog.quarantined.iter();
        quarantined.for_each(|unread| self.output.warn(&format!("{}; it is set aside", unread.what)));
        for unread in &catalog.unread_forget_records {
            let what = &unread.what;
            self.output
                .warn(&format!("{what}; the snapshots it may have forgotten are shown"));
        }
    }

    /// Warns of what is missing from the answer, if something is.
    pub fn print_problems(&self) -> ExitStatus {
        let problems = self.report.problems();
        problems.iter().for_each(|problem| self.output.warn(problem));
        if problems.is_empty() {
            ExitStatus::Done
        } else {
            ExitStatus::Incomplete
        }
    }

    /// Warns of what the user should know although the answer is complete without it.
    pub fn print_notices(&self) {
        let notices = self.report.notices();
        notices.iter().for_each(|notice| self.output.warn(notice));
    }
}

/// A request that makes no sense.
pub fn usage(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, message)
}
