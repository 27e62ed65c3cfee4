//! Encodes and decodes the first 120 bytes of every object.
//!
//! The first 120 bytes of every object (FORMAT.md section 3).

use super::class::{KeyScheme, ObjectClass};
use super::gate::{self, FORMAT_VERSION};
use crate::codec::Reader;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{DomainId, EpochId};

/// What every object begins with.
pub const MAGIC: [u8; 8] = *b"levault\x1a";

/// Says what an object is and which key opens it; authenticated with every part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// What it is.
    pub class: ObjectClass,
    /// Where its key comes from.
    pub scheme: KeyScheme,
    /// Which epoch's key; zero where the scheme has none.
    pub epoch: EpochId,
    /// Whose names and secrets it uses.
    pub domain: DomainId,
    /// Bytes of the clear part, which follows the header.
    pub clear_len: u32,
    /// The sender's ephemeral public key; zero where the scheme has none.
    pub ephemeral: [u8; 32],
    /// Makes the object's key its own.
    pub salt: [u8; 32],
    /// Tells the right key from a wrong one before anything is opened.
    pub commitment: [u8; 32],
}

impl Header {
    /// Bytes of the encoded form.
    pub const LEN: usize = 120;

    /// The one encoding.
    pub fn encode(&self) -> [u8; Header::LEN] {
        let mut out = [0; Header::LEN];
        out[..8].copy_from_slice(&MAGIC);
        out[8] = self.class as u8;
        out[9] = FORMAT_VERSION;
        out[10] = self.scheme as u8;
        out[12..16].copy_from_slice(&self.epoch.0.to_le_bytes());
        out[16..20].copy_from_slice(&self.domain.0.to_le_bytes());
        out[20..24].copy_from_slice(&self.clear_len.to_le_bytes());
        out[24..56].copy_from_slice(&self.ephemeral);
        out[56..88].copy_from_slice(&self.salt);
        out[88..].copy_from_slice(&self.commitment);
        out
    }

    /// Reads it from the beginning of an object. [`ErrorKind::Torn`] if there is less than a header,
    /// [`ErrorKind::TooNew`] for versions, classes, schemes and flags of the future.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() < Header::LEN {
            let message = format!("{} bytes, and a header has {}", bytes.len(), Header::LEN);
            return Err(Error::new(ErrorKind::Torn, message));
        }
        let mut reader = Reader::new(bytes);
        if reader.array()? != MAGIC {
            return Err(Error::corrupt("does not begin as a levault object does"));
        }
        let class = reader.u8()?;
        gate::gate_version("format", reader.u8()?, FORMAT_VERSION)?;
        let class = ObjectClass::try_from(class)?;
        let scheme = KeyScheme::try_from(reader.u8()?)?;
        refuse_flags(reader.u8()?)?;
        let header = Header {
            class,
            scheme,
            epoch: EpochId(reader.u32()?),
            domain: DomainId(reader.u32()?),
            clear_len: reader.u32()?,
            ephemeral: reader.array()?,
            salt: reader.array()?,
            commitment: reader.array()?,
        };
        header.check_scheme()?;
        Ok(header)
    }

    /// Zeroes stand where the scheme has no use for a field: one encoding, and no room for notes.
    fn check_scheme(&self) -> Result<()> {
        use KeyScheme::{Clear, Domain, Epoch, Exchange, Recipients};
        let epoch_free = matches!(self.scheme, Epoch | Exchange | Recipients) || self.epoch.0 == 0;
        let ephemeral_free = matches!(self.scheme, Exchange | Recipients) || self.ephemeral == [0; 32];
        let domain_free = matches!(self.scheme, Epoch | Exchange | Domain | Clear) || self.domain.0 == 0;
        let clear_free = self.scheme != Clear || (self.salt, self.commitment) == ([0; 32], [0; 32]);
        if epoch_free && ephemeral_free && domain_free && clear_free {
            Ok(())
        } else {
            Err(Error::corrupt("header has bytes where its key scheme has none"))
        }
    }

    /// Fails unless the object is of `class`.
    pub fn expect_class(&self, class: ObjectClass) -> Result<()> {
        if self.class == class {
            Ok(())
        } else {
            Err(Error::corrupt(format!(
                "is a {}, not a {}",
                self.class.word(),
                class.word()
            )))
        }
    }
}

fn refuse_flags(flags: u8) -> Result<()> {
    match flags {
        0 => Ok(()),
        _ => {
            let message = format!(
                "object flags {flags:#x} are not known; {}",
                gate::upgrade_advice()
            );
            Err(Error::new(ErrorKind::TooNew, message))
        }
    }
}
