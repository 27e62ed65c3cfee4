//! Collects the paths that no command may overwrite or remove.

use std::path::{Path, PathBuf};

use levault::error::{Error, ErrorKind, Result};
use levault::ops::restore::{DeleteReach, ExtraEntries, PlannedAction, PlannedEntry, Restore};
use levault::ops::restore::{ForbiddenPaths, PathProtection};
use levault::repo::{CacheLocation, Repo, StoredSnapshot};

use crate::command_context::CommandContext;
use crate::password;

/// Removals that need no second thought; of more, these are shown.
const HANDFUL: usize = 10;

/// Entries of one directory that are counted.
const ENTRIES_MAX: u64 = 100_000;

impl CommandContext<'_> {
    /// The paths that this run needs, or that no restore is meant to remove.
    pub fn forbidden_paths(&self) -> ForbiddenPaths {
        let mut forbidden = ForbiddenPaths::default();
        let mut add = |label: &str, path: Option<PathBuf>, protection| {
            if let Some(path) = path {
                forbidden.add(label, &path, protection);
            }
        };
        let variable = |name: &str| password::env(name).ok().flatten().map(PathBuf::from);
        let global = self.global;
        add(
            "the repository",
            self.repository().ok(),
            PathProtection::Untouched,
        );
        if let Ok(CacheLocation::Directory(directory)) = self.cache() {
            add("the cache", Some(directory), PathProtection::Untouched);
        }
        let files = [
            global.password_file.clone(),
            variable("LEVAULT_PASSWORD_FILE"),
            global.repository_file.clone(),
            variable("LEVAULT_REPOSITORY_FILE"),
            global.credential.clone(),
            variable("LEVAULT_CREDENTIAL"),
        ];
        for file in files {
            add(
                "a file that this run is set up by",
                file,
                PathProtection::Untouched,
            );
        }
        add(
            "this program",
            std::env::current_exe().ok(),
            PathProtection::NotRemoved,
        );
        add(
            "the current directory",
            std::env::current_dir().ok(),
            PathProtection::NotRemoved,
        );
        for home in home_directories() {
            add("a home directory", Some(home), PathProtection::NotRemoved);
        }
        forbidden
    }

    /// Refuses a path to write to that lies in what stays untouched.
    pub fn refuse_forbidden(&self, target: &Path) -> Result<()> {
        self.forbidden_paths().refuse_target(target)
    }
}

/// Home directories: this user's, and those of every person in /etc/passwd.
fn home_directories() -> Vec<PathBuf> {
    let own = std::env::var_os("HOME").map(PathBuf::from);
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let all = own.into_iter().chain(home_directories_of_users(&users));
    all.filter(|home| home.is_absolute()).collect()
}

/// The home directories of root and of people's accounts (user ids 1000 to 59999: Debian policy, section 9.2).
fn home_directories_of_users(passwd: &str) -> impl Iterator<Item = PathBuf> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(2);
        let user: u32 = fields.next()?.parse().ok()?;
        let is_person = user == 0 || (1_000..60_000).contains(&user);
        let home = fields.nth(2)?;
        is_person.then(|| PathBuf::from(home))
    })
}

/// How far `--delete` may go.
pub fn delete_reach(is_anywhere: bool) -> DeleteReach {
    if is_anywhere {
        DeleteReach::Anywhere
    } else {
        DeleteReach::Ordinary {
            homes: home_directories(),
        }
    }
}

/// What a restore with `--delete` would remove and keep.
#[derive(Default)]
struct RemovalSummary {
    first: Vec<String>,
    removed: u64,
    stays: u64,
}

impl RemovalSummary {
    fn add(&mut self, planned: PlannedEntry) {
        match planned.action {
            PlannedAction::Remove => {
                self.removed += entries(Path::new(&planned.target), ENTRIES_MAX);
                if self.first.len() < HANDFUL {
                    self.first.push(planned.target);
                }
            }
            PlannedAction::Restore => {}
            PlannedAction::Compare | PlannedAction::Refresh | PlannedAction::Leave => self.stays += 1,
        }
    }
}

/// A thing and all that is in it, as far as the bound.
fn entries(path: &Path, most: u64) -> u64 {
    let is_directory = std::fs::symlink_metadata(path).is_ok_and(|facts| facts.is_dir());
    let inner = is_directory.then(|| std::fs::read_dir(path).ok()).flatten();
    let mut count = 1;
    for entry in inner.into_iter().flatten().flatten() {
        if count >= most {
            break;
        }
        count += entries(&entry.path(), most - count);
    }
    count
}

/// Lists what goes beyond a handful before anything is removed, and refuses to remove more than stays: the target is then
/// hardly the directory that was meant.
pub fn announce_removal(
    run: &CommandContext,
    repo: &Repo,
    stored: &StoredSnapshot,
    restore: &Restore,
) -> Result<()> {
    if restore.extra_entries != ExtraEntries::Delete {
        return Ok(());
    }
    let mut removal = RemovalSummary::default();
    let quiet = levault::report::OperationReport::default();
    restore.plan(repo, stored, &quiet, &mut |planned| removal.add(planned))?;
    if removal.removed <= HANDFUL as u64 {
        return Ok(());
    }
    let list = removal.first.join("\n  ");
    let listed = format!(
        "{} things in {} are not in the snapshot and would be removed, {} are and stay; the first:\n  {list}\n(--dry-run \
         -v shows all)",
        removal.removed,
        restore.target.display(),
        removal.stays
    );
    let is_allowed = restore.delete_reach == DeleteReach::Anywhere;
    if removal.removed > removal.stays && !is_allowed {
        Err(Error::new(
            ErrorKind::Usage,
            format!("{listed}\nnothing was removed; --unsafe-allow-delete does it"),
        ))
    } else {
        run.output.print(listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_those_of_root_and_of_people() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbin:x:2:2:bin:/bin:/usr/sbin/nologin\n\
                      anna:x:1000:1000:Anna,,,:/home/anna:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\nbroken";
        let homes: Vec<_> = home_directories_of_users(passwd).collect();
        assert_eq!(homes, [PathBuf::from("/root"), PathBuf::from("/home/anna")]);
    }
}
