//! The share of a pack that its parity can restore.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// A share of a pack, in hundredths of a percent: 1 to [`ParityShare::WHOLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParityShare(u16);

impl ParityShare {
    /// All of it.
    pub const WHOLE: ParityShare = ParityShare(10_000);

    /// What is taken where nobody says: 5 %.
    pub const DEFAULT: ParityShare = ParityShare(500);

    /// So many hundredths of a percent; [`ErrorKind::Limit`] for none, or for more than all.
    pub fn from_ten_thousandths(count: u16) -> Result<Self> {
        if (1..=Self::WHOLE.0).contains(&count) {
            Ok(Self(count))
        } else {
            Err(Error::new(
                ErrorKind::Limit,
                format!("a share of {count} ten-thousandths: 1 to 10,000 can be kept"),
            ))
        }
    }

    /// In hundredths of a percent.
    pub fn ten_thousandths(self) -> u16 {
        self.0
    }

    /// The share of `len` bytes, rounded up.
    pub fn of(self, len: u64) -> u64 {
        let product = u128::from(len) * u128::from(self.0);
        u64::try_from(product.div_ceil(u128::from(Self::WHOLE.0))).unwrap_or(len)
    }
}

impl FromStr for ParityShare {
    type Err = String;

    /// `5%`, `0.25%`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: want a percentage from 0.01% to 100%");
        let digits = text.strip_suffix('%').ok_or_else(wrong)?;
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(part) || part.len() > 2 || whole.len() > 3 {
            return Err(wrong());
        }
        let number = |word: &str| word.parse::<u16>().map_err(|_| wrong());
        let part = number(part)? * if part.len() == 1 { 10 } else { 1 };
        let count = number(whole)?
            .checked_mul(100)
            .and_then(|count| count.checked_add(part));
        Self::from_ten_thousandths(count.ok_or_else(wrong)?).map_err(|_| wrong())
    }
}

impl fmt::Display for ParityShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % 100 {
            0 => write!(f, "{}%", self.0 / 100),
            part => write!(f, "{}.{part:02}%", self.0 / 100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percentages_and_come_back_as_they_were_said() {
        for (text, count) in [
            ("5%", 500),
            ("100%", 10_000),
            ("0.01%", 1),
            ("2.50%", 250),
            ("2.05%", 205),
        ] {
            let share: ParityShare = text.parse().unwrap();
            assert_eq!(share.ten_thousandths(), count);
            assert_eq!(share.to_string(), text);
        }
        assert_eq!(
            "2.5%".parse(),
            ParityShare::from_ten_thousandths(250).map_err(|_| String::new())
        );
        for wrong in [
            "", "%", "5", "0%", "101%", "100.01%", "1.234%", "-1%", ".5%", "5.%", "1e2%", "999%",
        ] {
            assert!(wrong.parse::<ParityShare>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_share_of_bytes_is_rounded_up() {
        assert_eq!(ParityShare::DEFAULT.of(1), 1);
        assert_eq!(ParityShare::DEFAULT.of(100), 5);
        assert_eq!(ParityShare::DEFAULT.of(101), 6);
        assert_eq!(ParityShare::WHOLE.of(u64::MAX), u64::MAX);
    }
}
