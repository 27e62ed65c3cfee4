//! Checks versions and features before an object is read or written.
//!
//! The one gate for versions and features (FORMAT.md section 2): what a program must understand before it reads,
//! writes or deletes. A refusal names what to install.

use crate::codec::Reader;
use crate::error::{Error, ErrorKind, Result};

/// The format version this program writes, and the highest it reads.
pub const FORMAT_VERSION: u8 = 1;

/// This program's version, as messages name it.
pub const PROGRAM_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a caller is about to do. Each includes the ones before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Access {
    /// List, restore, check.
    Read,
    /// Add objects.
    Write,
    /// Remove objects: needs to understand everything that may refer to them.
    Delete,
}

/// Three sets of feature bits, and the program that knows them all.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Features {
    /// To be understood by whoever reads.
    pub read: u64,
    /// To be understood, besides, by whoever writes.
    pub write: u64,
    /// To be understood, besides, by whoever deletes.
    pub delete: u64,
    /// The earliest levault that understands them all: major, minor, patch.
    pub program: [u16; 3],
}

/// What this program understands. No bit is given out yet.
const KNOWN: Features = Features {
    read: 0,
    write: 0,
    delete: 0,
    program: [0; 3],
};

impl Features {
    /// Bytes of the encoded form.
    pub const LEN: usize = 30;

    /// What a new repository asks of its readers.
    pub fn of_new_repository() -> Self {
        Features {
            program: [0, 1, 0],
            ..Features::default()
        }
    }

    /// Refuses what this program does not understand, for the given access.
    pub fn version_gate(&self, access: Access) -> Result<()> {
        let unknown = [
            (Access::Read, "read", self.read & !KNOWN.read),
            (Access::Write, "write", self.write & !KNOWN.write),
            (Access::Delete, "delete", self.delete & !KNOWN.delete),
        ];
        match unknown
            .iter()
            .find(|(needed, _, bits)| *needed <= access && *bits != 0)
        {
            None => Ok(()),
            Some((_, word, bits)) => Err(self.refusal_error(word, *bits)),
        }
    }

    /// Both together: the config's and the keyring's.
    #[must_use]
    pub fn union(&self, other: &Features) -> Features {
        Features {
            read: self.read | other.read,
            write: self.write | other.write,
            delete: self.delete | other.delete,
            program: self.program.max(other.program),
        }
    }

    /// Appends 30 bytes: three u64 of flags, three u16 of version.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for bits in [self.read, self.write, self.delete] {
            out.extend_from_slice(&bits.to_le_bytes());
        }
        for number in self.program {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// Reads what [`Self::encode`] wrote. Gates nothing.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Features {
            read: reader.u64()?,
            write: reader.u64()?,
            delete: reader.u64()?,
            program: [reader.u16()?, reader.u16()?, reader.u16()?],
        })
    }

    fn refusal_error(&self, word: &str, bits: u64) -> Error {
        let [major, minor, patch] = self.program;
        Error::new(
            ErrorKind::TooNew,
            format!(
                "to {word} this repository a program must know feature bits {bits:#x}: install levault \
                 {major}.{minor}.{patch} or later (this is {PROGRAM_VERSION})"
            ),
        )
    }
}

/// What to do about a version or number from the future, where nothing names the program that wrote it.
pub fn upgrade_advice() -> String {
    format!(
        "install a levault newer than {PROGRAM_VERSION}, which reads format version {FORMAT_VERSION} and no later"
    )
}

/// Refuses a version of `what` that this program does not read.
pub fn gate_version(what: &str, version: u8, known_max: u8) -> Result<()> {
    match version {
        0 => Err(Error::corrupt(format!("{what} version 0 never was"))),
        _ if version <= known_max => Ok(()),
        _ => {
            let message = format!("{what} version {version} is not known; {}", upgrade_advice());
            Err(Error::new(ErrorKind::TooNew, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_bit_refuses_its_access_and_those_above_and_names_the_program() {
        let deleting = Features {
            delete: 4,
            program: [0, 9, 2],
            ..Features::default()
        };
        deleting.version_gate(Access::Read).unwrap();
        deleting.version_gate(Access::Write).unwrap();
        let error = deleting.version_gate(Access::Delete).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooNew);
        assert!(
            error.to_string().contains("install levault 0.9.2 or later"),
            "{error}"
        );
        let reading = Features {
            read: 1 << 63,
            ..Features::default()
        };
        for access in [Access::Read, Access::Write, Access::Delete] {
            assert_eq!(
                reading.version_gate(access).unwrap_err().kind(),
                ErrorKind::TooNew
            );
        }
        assert!(deleting.union(&reading).version_gate(Access::Read).is_err());
    }

    #[test]
    fn a_version_from_the_future_names_what_to_install() {
        gate_version("object", 1, 1).unwrap();
        assert_eq!(
            gate_version("object", 0, 1).unwrap_err().kind(),
            ErrorKind::Corrupt
        );
        let error = gate_version("object", 2, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooNew);
        assert!(
            error.to_string().contains("install a levault newer than"),
            "{error}"
        );
    }

    #[test]
    fn the_documented_features_refuse_deletion() {
        let document = include_str!("../../docs/format/02-gate.md");
        let bytes = crate::document::example(document, "features");
        let mut reader = Reader::new(&bytes);
        let features = Features::decode(&mut reader).unwrap();
        reader.finish().unwrap();
        let mut again = Vec::new();
        features.encode(&mut again);
        assert_eq!((again.len(), &again), (Features::LEN, &bytes));
        let refusal = features.version_gate(Access::Delete).unwrap_err().to_string();
        assert!(
            document.replace('\n', " ").contains(&refusal),
            "not in the document: {refusal}"
        );
    }
}
