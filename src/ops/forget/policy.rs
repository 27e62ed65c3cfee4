//! Parses retention policies.
//!
//! What a policy asks to keep: numbers, spans, tags, names. Words in, values out; what it keeps of given snapshots is
//! [`plan`](super::plan())'s to say.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::{Span, Zoned};

use crate::engine::tag_list::TagList;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectId;

/// What to keep; a snapshot that fits one of these is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// The newest.
    pub last: KeepCount,
    /// The newest of each slot, for so many slots that have any.
    pub slots: BTreeMap<CalendarPeriod, KeepCount>,
    /// All that are newer than this before the latest.
    pub within: KeepDuration,
    /// The newest of each slot, of those that are newer than this before the latest.
    pub slots_within: BTreeMap<CalendarPeriod, KeepDuration>,
    /// Those that have all tags of one of these.
    pub tags: Vec<TagList>,
    /// These.
    pub ids: Vec<ObjectId>,
}

/// The slots a calendar divides time into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CalendarPeriod {
    /// Whole hours.
    Hourly,
    /// Days.
    Daily,
    /// Weeks from Monday on, as ISO 8601 counts them.
    Weekly,
    /// Months.
    Monthly,
    /// Three months from January, April, July and October on.
    QuarterYearly,
    /// Years.
    Yearly,
}

/// How many to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepCount {
    /// So many.
    Of(u32),
    /// All there are: `unlimited`, `-1`.
    All,
}

/// A length of time as the calendar has it: months and days are not all of one length. `2y5m7d3h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepDuration {
    /// Years.
    pub years: u16,
    /// Months.
    pub months: u16,
    /// Days.
    pub days: u16,
    /// Hours, which are all of one length.
    pub hours: u16,
}

impl RetentionPolicy {
    /// True if it keeps nothing whatever there is.
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
            && self.slots.values().all(|number| number.is_none())
            && self.within.is_none()
            && self.slots_within.values().all(|reach| reach.is_none())
            && self.tags.is_empty()
            && self.ids.is_empty()
    }
}

impl fmt::Display for RetentionPolicy {
    /// As its flags say it: what is written into the forgetting.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        if !self.last.is_none() {
            words.push(format!("keep-last {}", self.last));
        }
        for (rhythm, number) in self.slots.iter().filter(|(_, number)| !number.is_none()) {
            words.push(format!("keep-{rhythm} {number}"));
        }
        if !self.within.is_none() {
            words.push(format!("keep-within {}", self.within));
        }
        for (rhythm, reach) in self.slots_within.iter().filter(|(_, reach)| !reach.is_none()) {
            words.push(format!("keep-within-{rhythm} {reach}"));
        }
        words.extend(self.tags.iter().map(|tags| format!("keep-tag {tags}")));
        words.extend(self.ids.iter().map(|id| format!("keep-id {}", id.short())));
        f.write_str(&words.join(", "))
    }
}

impl CalendarPeriod {
    /// The slot that a time is in; as later times have it or a greater one, equal slots are neighbours.
    pub fn slot(self, at: &Zoned) -> String {
        let (year, month) = (at.year(), at.month());
        match self {
            Self::Hourly => format!("{}T{:02}", at.date(), at.hour()),
            Self::Daily => at.date().to_string(),
            Self::Weekly => {
                let week = at.date().iso_week_date();
                format!("{}-W{:02}", week.year(), week.week())
            }
            Self::Monthly => format!("{year:04}-{month:02}"),
            Self::QuarterYearly => format!("{year:04}-Q{}", (month - 1) / 3 + 1),
            Self::Yearly => format!("{year:04}"),
        }
    }
}

impl fmt::Display for CalendarPeriod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::QuarterYearly => "quarter-yearly",
            Self::Yearly => "yearly",
        })
    }
}

impl Default for KeepCount {
    fn default() -> Self {
        Self::Of(0)
    }
}

impl KeepCount {
    /// True for none at all.
    pub fn is_none(self) -> bool {
        self == Self::Of(0)
    }

    /// As a count.
    pub fn count(self) -> usize {
        match self {
            Self::Of(count) => count as usize,
            Self::All => usize::MAX,
        }
    }
}

impl FromStr for KeepCount {
    type Err = Error;

    /// A count, `unlimited` or `-1`; anything else is [`ErrorKind::Usage`].
    fn from_str(words: &str) -> Result<Self> {
        match words {
            "unlimited" | "-1" => Ok(Self::All),
            words => words.parse().map(Self::Of).map_err(|_| {
                let message = format!("number {words}: want 0, 1, 2, ..., or `unlimited`");
                Error::new(ErrorKind::Usage, message)
            }),
        }
    }
}

impl fmt::Display for KeepCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(count) => count.fmt(f),
            Self::All => f.write_str("unlimited"),
        }
    }
}

impl KeepDuration {
    /// True for no time at all.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// The time that lies so far before; `None` before all time.
    pub fn subtract_duration(self, at: &Zoned) -> Option<Zoned> {
        let span = Span::new()
            .try_years(self.years)
            .and_then(|span| span.try_months(self.months))
            .and_then(|span| span.try_days(self.days))
            .and_then(|span| span.try_hours(self.hours));
        at.checked_sub(span.ok()?).ok()
    }
}

impl FromStr for KeepDuration {
    type Err = Error;

    /// Counts, each with its unit: `1y6m`, `7d`, `36h`; anything else is [`ErrorKind::Usage`].
    fn from_str(words: &str) -> Result<Self> {
        let wrong = || {
            let message = format!("duration {words}: want counts of y, m, d and h, like 7d or 1y6m");
            Error::new(ErrorKind::Usage, message)
        };
        let mut reach = Self::default();
        for part in words.split_inclusive(|letter: char| !letter.is_ascii_digit()) {
            let digits = part.trim_end_matches(|letter: char| !letter.is_ascii_digit());
            let field = match &part[digits.len()..] {
                "y" => &mut reach.years,
                "m" => &mut reach.months,
                "d" => &mut reach.days,
                "h" => &mut reach.hours,
                _ => return Err(wrong()),
            };
            let count: u16 = digits.parse().map_err(|_| wrong())?;
            *field = field.checked_add(count).ok_or_else(wrong)?;
        }
        if words.is_empty() { Err(wrong()) } else { Ok(reach) }
    }
}

impl fmt::Display for KeepDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.years, 'y'),
            (self.months, 'm'),
            (self.days, 'd'),
            (self.hours, 'h'),
        ];
        let mut parts = parts.iter().filter(|(count, _)| *count > 0);
        parts.try_for_each(|(count, unit)| write!(f, "{count}{unit}"))
    }
}
