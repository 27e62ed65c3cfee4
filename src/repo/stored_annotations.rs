//! Stores and lists sealed annotations.
//!
//! Facts as sealed objects: the owner's word, under names of their own. What they say is for [`crate::annotations`] to tell.

use crate::crypto::OsEntropy;
use crate::envelope::ObjectClass;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::id::ObjectId;
use crate::storage::{ListedObject, ObjectKind, ObjectName};

use super::create_repository::get_content_named;
use super::{OWN_DOMAIN, Repo};

/// A fact that is there and says nothing to this program.
#[derive(Clone, Debug)]
pub struct UnreadAnnotation {
    /// Its name.
    pub id: ObjectId,
    /// [`ErrorKind::TooNew`] where it is whole, and for a later levault to understand; else it is damaged or not ours.
    pub kind: ErrorKind,
    /// Why it could not be read.
    pub what: String,
}

impl UnreadAnnotation {
    /// The error that it is to a deleter.
    pub fn error(&self) -> Error {
        Error::new(self.kind, self.what.clone())
    }
}

impl Repo {
    /// Seals and stores a fact; it is durable when its name comes back.
    pub(super) fn put_annotation(
        &self,
        class: ObjectClass,
        kind: ObjectKind,
        plain: &[u8],
    ) -> Result<ObjectId> {
        self.put_annotation_with_clear_part(class, kind, &[], plain)
    }

    /// The same with a clear part, which whoever has no key can read.
    pub(super) fn put_annotation_with_clear_part(
        &self,
        class: ObjectClass,
        kind: ObjectKind,
        clear: &[u8],
        plain: &[u8],
    ) -> Result<ObjectId> {
        self.check_writable()?;
        let bytes = self
            .keyring()?
            .seal_object(class, OWN_DOMAIN, clear, plain, &mut OsEntropy)?;
        let name = ObjectName::of_content(kind, &bytes);
        self.storage()
            .put_new(name, &bytes)
            .context(|| format!("store {}", name.path()))?;
        Ok(name.id)
    }

    /// One fact's plain bytes, opened and held to its name.
    pub(super) fn read_annotation(&self, class: ObjectClass, name: ObjectName) -> Result<Vec<u8>> {
        let bytes = get_content_named(&**self.storage(), name)?;
        let opened = self.keyring()?.open_object(class, &name.id, &bytes)?;
        if opened.clear.is_empty() {
            Ok(opened.plain)
        } else {
            Err(Error::corrupt(format!("a {} with a clear part", class.word())).context(name.path()))
        }
    }

    /// All facts of a kind. One that cannot be read is told of and left out; one that cannot be fetched is an error.
    pub(super) fn read_annotations<T>(
        &self,
        kind: ObjectKind,
        read: impl Fn(&ListedObject) -> Result<T>,
    ) -> Result<(Vec<T>, Vec<UnreadAnnotation>)> {
        let (mut all, mut unread) = (Vec::new(), Vec::new());
        let listed = self.storage().list(kind);
        for listed in listed.context(|| format!("list {}", kind.folder()))? {
            match read(&listed) {
                Ok(fact) => all.push(fact),
                Err(error) if is_unreadable(&error) => unread.push(UnreadAnnotation {
                    id: listed.name.id,
                    kind: error.kind(),
                    what: error.to_string(),
                }),
                Err(error) => return Err(error),
            }
        }
        Ok((all, unread))
    }
}

/// True if no retry helps. Anybody who can write to the storage can put an object there that is sealed under no key
/// of ours, or too large: it must not keep readers from their data.
pub(super) fn is_unreadable(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Corrupt | ErrorKind::Torn | ErrorKind::TooNew | ErrorKind::WrongKey | ErrorKind::Limit
    )
}
