//! Collects the findings of a check, one for each object.
//!
//! What a check finds: one finding an object, however many keys hang on it.

use std::collections::BTreeMap;

/// Affected things named in one finding; the rest is counted.
const AFFECTS_MAX: usize = 20;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckFinding {
    /// The object, as the storage calls it.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// Snapshots, databases and key ranges that hang on it.
    pub affects: Vec<String>,
    /// What to do.
    pub helps: String,
}

/// Findings by object, in a stable order.
#[derive(Default)]
pub struct CheckFindings {
    by_object: BTreeMap<(String, String), FindingDetail>,
}

#[derive(Default)]
struct FindingDetail {
    affects: Vec<String>,
    more: u64,
    helps: String,
}

impl CheckFindings {
    /// Notes that something is wrong; the same thing again changes nothing.
    pub fn add(&mut self, object: impl Into<String>, what: impl Into<String>, helps: &str) {
        let found = self.by_object.entry((object.into(), what.into())).or_default();
        found.helps = helps.into();
    }

    /// Notes that something is wrong and what hangs on it.
    pub fn add_affecting(
        &mut self,
        object: impl Into<String>,
        what: impl Into<String>,
        affects: String,
        helps: &str,
    ) {
        let found = self.by_object.entry((object.into(), what.into())).or_default();
        found.helps = helps.into();
        match found.affects.len() < AFFECTS_MAX {
            true if found.affects.contains(&affects) => {}
            true => found.affects.push(affects),
            false => found.more += 1,
        }
    }

    /// The objects something is wrong with, each once.
    pub fn objects(&self) -> impl Iterator<Item = &str> {
        let mut last = None;
        let objects = self.by_object.keys().map(|(object, _)| object.as_str());
        objects.filter(move |object| last.replace(*object) != Some(*object))
    }

    /// What helps with all that is wrong with an object, better known now.
    pub fn advise(&mut self, object: &str, helps: &str) {
        let found = self.by_object.iter_mut();
        let of_object = found.filter(|((of, _), _)| of == object);
        of_object.for_each(|(_, found)| found.helps = helps.into());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_object.len()
    }

    /// All of them.
    pub fn finish(self) -> Vec<CheckFinding> {
        let finding = |((object, what), mut found): ((String, String), FindingDetail)| {
            if found.more > 0 {
                found.affects.push(format!("and {} more", found.more));
            }
            CheckFinding {
                object,
                what,
                affects: found.affects,
                helps: found.helps,
            }
        };
        self.by_object.into_iter().map(finding).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_is_one_finding_however_much_hangs_on_it() {
        let mut findings = CheckFindings::default();
        for i in 0..100 {
            findings.add_affecting("packs/x", "bad", format!("key {i}"), "help");
            findings.add_affecting("packs/x", "bad", "key 0".into(), "help");
        }
        let all = findings.finish();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].affects.len(), AFFECTS_MAX + 1);
    }
}
