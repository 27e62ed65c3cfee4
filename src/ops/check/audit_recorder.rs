//! Records what a check read, and with which result.
//!
//! What was read is written down, so that the next check knows what is stale, and what was wrong is not forgotten.
//!
//! Nothing rests on it: a store that takes no audit makes a notice, and the next check reads the same again.

use crate::annotations::{Audit, AuditMethod, AuditResult, AuditedObject, LatestAudits};
use crate::clock::UnixNanos;
use crate::envelope::ObjectClass;
use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectId;
use crate::limits::AUDIT_OBJECTS_MAX;
use crate::repo::UnreadAnnotation;
use crate::storage::{ObjectKind, ObjectName};

use super::check_annotations::CheckNotice;
use super::findings::CheckFindings;

/// So long may a check read until it writes down what it read: who dies loses no more.
const STORE_EVERY: i64 = 15 * 60 * 1_000_000_000;

/// Audits that still say something, until the next is one for all of them: a prune then drops those before.
const AUDITS_MAX: usize = 16;

/// Stores an audit.
pub type StoreAudit<'s> = &'s (dyn Fn(&Audit) -> Result<ObjectId> + Sync);

/// What was known, and what is read now.
pub struct AuditRecorder<'s> {
    store: StoreAudit<'s>,
    how: AuditMethod,
    audits: LatestAudits,
    new: Vec<AuditedObject>,
    stored_at: UnixNanos,
    refused: Option<Error>,
}

impl<'s> AuditRecorder<'s> {
    /// Begins with what is known.
    pub fn new(audits: LatestAudits, how: AuditMethod, now: UnixNanos, store: StoreAudit<'s>) -> Self {
        Self {
            store,
            how,
            audits,
            new: Vec::new(),
            stored_at: now,
            refused: None,
        }
    }

    /// Notes that the pack was read. Stored later. Behind all that was said of it before, whatever our clock shows: of
    /// what was wrong and is right again the newer word must be the one that counts.
    pub fn record(&mut self, pack: ObjectId, found: AuditResult, began: UnixNanos) {
        let before = self.audits.last(self.how, &pack);
        let when = before.map_or(began, |last| began.max(UnixNanos(last.when.0.saturating_add(1))));
        let audited = AuditedObject {
            class: ObjectClass::Pack,
            id: pack,
            found,
            when,
        };
        self.audits.note(self.how, &audited);
        self.new.push(audited);
    }

    /// Stores what was noted if that is long ago.
    pub fn store_periodically(&mut self, now: UnixNanos) {
        if now.0.saturating_sub(self.stored_at.0) >= STORE_EVERY {
            self.stored_at = now;
            self.store();
        }
    }

    /// Stores the rest. What is known then, whether it could be stored or not.
    pub fn finish(mut self, notices: &mut Vec<CheckNotice>) -> LatestAudits {
        self.store();
        if let Some(error) = self.refused.filter(|_| !self.new.is_empty()) {
            notices.push(CheckNotice {
                object: ObjectKind::Audit.folder().into(),
                what: format!("what was read could not be recorded: {error}"),
                since: None,
                helps: advice(&error).into(),
            });
        }
        self.audits
    }

    fn store(&mut self) {
        self.new.sort_by_key(|audited| audited.id);
        let is_new_alone = self.new.is_empty() || self.audits.counting_audits(self.how) < AUDITS_MAX;
        let objects = if is_new_alone {
            self.new.clone()
        } else {
            self.audits.merged(self.how)
        };
        for objects in objects.chunks(AUDIT_OBJECTS_MAX) {
            let audit = Audit {
                how: self.how,
                objects: objects.to_vec(),
            };
            match (self.store)(&audit) {
                Ok(id) => self.audits.add(id, &audit),
                Err(error) => {
                    self.refused = Some(error);
                    return;
                }
            }
        }
        self.new.clear();
    }
}

fn advice(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Full => "free some space; until then each check begins where this one did",
        _ => "let the storage be written to; until then each check begins where this one did",
    }
}

/// Audits that say nothing to us: damaged ones are findings like any damage, though they cost nobody anything.
pub fn report_unread(
    unread: &[UnreadAnnotation],
    findings: &mut CheckFindings,
    notices: &mut Vec<CheckNotice>,
) {
    for audit in unread {
        let object = ObjectName::new(ObjectKind::Audit, audit.id).path();
        match audit.kind {
            ErrorKind::TooNew | ErrorKind::Limit => notices.push(CheckNotice {
                object,
                what: audit.what.clone(),
                since: None,
                helps: "nothing, if all clocks are right; what it says does not count".into(),
            }),
            _ => findings.add(
                object,
                audit.what.clone(),
                "delete it: what it said is read again, and nothing else rests on it",
            ),
        }
    }
}
