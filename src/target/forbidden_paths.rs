//! Lists paths that a restore must not write to or remove.
//!
//! Paths that a restore must not write into or remove: the repository in use, its cache, the password's file.
//!
//! They are known by filesystem and number, with all directories above them, so that no spelling, symbolic link or bind
//! mount hides one. What is looked up once stays true as long as a restore itself does not rename these directories,
//! which it refuses to do.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::tree::FileIdentity;
use crate::error::{Error, ErrorKind, Result};

/// What may not be done to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathProtection {
    /// It is neither removed nor written over, and nothing is written into it.
    Untouched,
    /// It is not removed.
    NotRemoved,
}

#[derive(Clone, Debug)]
struct ForbiddenPath {
    label: String,
    path: PathBuf,
    protection: PathProtection,
    identity: FileIdentity,
    /// The directories above it, nearest first.
    above: Vec<FileIdentity>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct ForbiddenPaths(Vec<ForbiddenPath>);

impl ForbiddenPaths {
    /// Adds what stands at `path`; a path where nothing stands needs no protection.
    pub fn add(&mut self, label: &str, path: &Path, protection: PathProtection) {
        let Ok(real) = fs::canonicalize(path) else {
            return;
        };
        let Ok(identity) = identity_of(&real) else {
            return;
        };
        let above = real.ancestors().skip(1);
        self.0.push(ForbiddenPath {
            label: label.to_owned(),
            path: real.clone(),
            protection,
            identity,
            above: above.filter_map(|path| identity_of(path).ok()).collect(),
        });
    }

    /// Refuses a target that is one of them or lies in one.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`].
    pub fn refuse_target(&self, target: &Path) -> Result<()> {
        let standing = nearest_existing_path(target);
        for path in standing.ancestors() {
            let Ok(identity) = identity_of(path) else {
                continue;
            };
            if let Some(one) = self.find_untouchable(identity) {
                return Err(refusal(target, "is or lies in", one));
            }
        }
        Ok(())
    }

    /// Refuses a directory that is to lose what a snapshot does not have, if it is or holds one of them.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`].
    pub fn refuse_to_empty(&self, target: &Path) -> Result<()> {
        self.refuse_target(target)?;
        let held = identity_of(target).ok().and_then(|identity| {
            let is_above = |one: &&ForbiddenPath| {
                one.above.contains(&identity) && one.protection == PathProtection::Untouched
            };
            self.0.iter().find(is_above)
        });
        match held {
            Some(one) => Err(refusal(target, "holds", one)),
            None => Ok(()),
        }
    }

    /// Why something with this identity must not be written over or entered.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`].
    pub fn refuse_to_touch(&self, identity: FileIdentity, shown: &str) -> Result<()> {
        match self.find_untouchable(identity) {
            Some(one) => Err(refusal(Path::new(shown), "is", one)),
            None => Ok(()),
        }
    }

    /// Why something with this identity must not be searched for what may be removed: it is one of them.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`].
    pub fn refuse_to_search(&self, identity: FileIdentity, shown: &str) -> Result<()> {
        match self.0.iter().find(|one| one.identity == identity) {
            Some(one) => Err(refusal(Path::new(shown), "is", one)),
            None => Ok(()),
        }
    }

    /// Why something with this identity must not be removed: it is or holds one of them.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`].
    pub fn refuse_to_remove(&self, identity: FileIdentity, shown: &str) -> Result<()> {
        let is_or_holds = |one: &&ForbiddenPath| one.identity == identity || one.above.contains(&identity);
        match self.0.iter().find(is_or_holds) {
            Some(one) => Err(refusal(Path::new(shown), "is or holds", one)),
            None => Ok(()),
        }
    }

    fn find_untouchable(&self, identity: FileIdentity) -> Option<&ForbiddenPath> {
        let mut untouched = self
            .0
            .iter()
            .filter(|one| one.protection == PathProtection::Untouched);
        untouched.find(|one| one.identity == identity)
    }
}

fn refusal(target: &Path, relation: &str, one: &ForbiddenPath) -> Error {
    let (target, path) = (target.display(), one.path.display());
    Error::new(
        ErrorKind::Usage,
        format!(
            "{target} {relation} {} ({path}), which stays untouched",
            one.label
        ),
    )
}

fn identity_of(path: &Path) -> std::io::Result<FileIdentity> {
    fs::metadata(path).map(|facts| FileIdentity {
        device: facts.dev(),
        inode: facts.ino(),
    })
}

/// The target, or the nearest directory above it that is there, as a real path.
fn nearest_existing_path(target: &Path) -> PathBuf {
    let absolute = std::path::absolute(target).unwrap_or_else(|_| target.to_owned());
    let mut ancestors = absolute.ancestors();
    ancestors
        .find_map(|path| fs::canonicalize(path).ok())
        .unwrap_or(absolute)
}

/// True for a directory at which a filesystem is mounted, and for the root of this process (a chroot's is no mount's).
pub fn is_mount_point(path: &Path) -> bool {
    let Ok(real) = fs::canonicalize(path) else {
        return false;
    };
    if real.parent().is_none() {
        return true;
    }
    let mount_root = rustix::fs::StatxAttributes::MOUNT_ROOT;
    let statx = rustix::fs::statx(
        rustix::fs::CWD,
        &real,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        rustix::fs::StatxFlags::empty(),
    );
    match statx {
        Ok(facts) if facts.stx_attributes_mask.contains(mount_root) => {
            facts.stx_attributes.contains(mount_root)
        }
        // An old kernel, or none that tells.
        _ => {
            let device = |path: &Path| identity_of(path).ok().map(|identity| identity.device);
            real.parent().is_none_or(|parent| device(parent) != device(&real))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory `data` with a repository in it, and what protects that.
    fn scene() -> (tempfile::TempDir, ForbiddenPaths) {
        let dir = tempfile::tempdir().unwrap();
        for name in ["data/repo/packs/7f", "data/other", "elsewhere"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("data/password"), "x").unwrap();
        fs::write(dir.path().join("data/program"), "x").unwrap();
        let mut forbidden = ForbiddenPaths::default();
        forbidden.add(
            "the repository",
            &dir.path().join("data/repo"),
            PathProtection::Untouched,
        );
        forbidden.add(
            "the password's file",
            &dir.path().join("data/password"),
            PathProtection::Untouched,
        );
        forbidden.add(
            "the program",
            &dir.path().join("data/program"),
            PathProtection::NotRemoved,
        );
        forbidden.add(
            "the cache",
            &dir.path().join("no/cache"),
            PathProtection::Untouched,
        );
        (dir, forbidden)
    }

    #[test]
    fn a_target_in_the_repository_is_refused_however_it_is_spelled() {
        let (dir, forbidden) = scene();
        symlink("data", dir.path().join("link")).unwrap();
        symlink("../data/repo/packs", dir.path().join("elsewhere/packs")).unwrap();
        for target in [
            "data/repo",
            "data/repo/.",
            "data/repo/packs/7f",
            "data/repo/new/below",
            "data/other/../repo/x",
            "link/repo",
            "link/./repo/packs",
            "elsewhere/packs",
            "elsewhere/packs/new",
            "data/password",
        ] {
            let refused = forbidden.refuse_target(&dir.path().join(target));
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Usage, "{target}");
        }
        for target in [
            "data",
            "data/other",
            "data/new",
            "elsewhere",
            "data/repo2",
            "data/program",
        ] {
            forbidden.refuse_target(&dir.path().join(target)).unwrap();
        }
    }

    #[test]
    fn a_target_that_holds_the_repository_is_not_emptied() {
        let (dir, forbidden) = scene();
        symlink("data", dir.path().join("link")).unwrap();
        for target in ["data", "link", "link/.", "data/other/..", ".", "/"] {
            let refused = forbidden.refuse_to_empty(&dir.path().join(target));
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Usage, "{target}");
        }
        for target in ["data/other", "elsewhere", "new"] {
            forbidden.refuse_to_empty(&dir.path().join(target)).unwrap();
        }
    }

    #[test]
    fn single_things_are_known_by_their_number() {
        let (dir, forbidden) = scene();
        let identity = |name: &str| identity_of(&dir.path().join(name)).unwrap();
        for (name, touch, remove) in [
            ("data", true, false),
            ("data/repo", false, false),
            ("data/password", false, false),
            ("data/program", true, false),
            ("data/other", true, true),
        ] {
            assert_eq!(
                forbidden.refuse_to_touch(identity(name), name).is_ok(),
                touch,
                "{name}"
            );
            assert_eq!(
                forbidden.refuse_to_remove(identity(name), name).is_ok(),
                remove,
                "{name}"
            );
        }
        let other_name = dir.path().join("elsewhere/hard");
        fs::hard_link(dir.path().join("data/password"), &other_name).unwrap();
        assert!(
            forbidden
                .refuse_to_remove(identity("elsewhere/hard"), "hard")
                .is_err()
        );
    }

    #[test]
    fn the_root_is_a_mount_point_and_a_new_directory_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(is_mount_point(Path::new("/")) && is_mount_point(Path::new("/proc")));
        assert!(!is_mount_point(dir.path()) && !is_mount_point(&dir.path().join("absent")));
    }
}
