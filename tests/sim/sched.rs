//! One storage call at a time, of whichever process the seed chooses: the interleaving of several processes, replayed.
//!
//! A process is a thread of ours (and the threads that the code under test makes). Each of its storage calls waits here
//! until it is chosen; between its calls it runs alone. What is chosen, and what becomes of the call, depends on the
//! seed and on nothing else, so a run that went wrong goes wrong again.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use levault::storage::ObjectKind;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is carried out.
    Go,
    /// It fails and has no effect.
    Fails,
    /// It has its effect, and its reply is lost.
    ReplyLost,
    /// The process dies: from here on none of its calls has an effect.
    Dies,
    /// The same, and this call has its effect.
    DiesAfter,
}

/// A call that waits, in an order that does not depend on which thread came first.
pub type Call = (String, ObjectKind);

#[derive(Default)]
struct Process {
    waiting: Vec<(u64, Call)>,
    granted: Option<(u64, Verdict)>,
    /// Calls that came so far.
    arrived: u64,
    /// Calls that were carried out.
    done: u64,
    ended: bool,
    dead: bool,
    /// Something was made to fail.
    pub hurt: bool,
}

#[derive(Default)]
pub struct Sched {
    processes: Mutex<Vec<Process>>,
    changed: Condvar,
}

impl Sched {
    fn lock(&self) -> MutexGuard<'_, Vec<Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new process's number.
    pub fn enter(&self) -> usize {
        let mut processes = self.lock();
        processes.push(Process::default());
        processes.len() - 1
    }

    /// Waits to be chosen.
    pub fn arrive(&self, process: usize, call: Call) -> Verdict {
        let mut all = self.lock();
        if all[process].dead {
            return Verdict::Dies;
        }
        all[process].arrived += 1;
        let ticket = all[process].arrived;
        all[process].waiting.push((ticket, call));
        self.changed.notify_all();
        loop {
            let own = &mut all[process];
            if own.dead && own.granted.is_none_or(|(granted, _)| granted != ticket) {
                own.waiting.retain(|(waiting, _)| *waiting != ticket);
                return Verdict::Dies;
            }
            if let Some((_, verdict)) = own.granted.take_if(|(granted, _)| *granted == ticket) {
                return verdict;
            }
            all = self.changed.wait(all).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The call was carried out.
    pub fn done(&self, process: usize) {
        self.lock()[process].done += 1;
        self.changed.notify_all();
    }

    /// The process has ended.
    pub fn end(&self, process: usize) {
        self.lock()[process].ended = true;
        self.changed.notify_all();
    }

    pub fn has_ended(&self, process: usize) -> bool {
        self.lock()[process].ended
    }

    /// True if something was made to fail in it.
    pub fn was_hurt(&self, process: usize) -> bool {
        self.lock()[process].hurt
    }

    /// Waits until the process stands at a call, or has ended.
    pub fn settle(&self, process: usize) {
        let all = self.lock();
        let moves = |all: &mut Vec<Process>| !all[process].ended && all[process].waiting.is_empty();
        let mut all = self
            .changed
            .wait_while(all, moves)
            .unwrap_or_else(PoisonError::into_inner);
        // The last packs are stored side by side: both calls are to be there before one is chosen.
        let is_pack = |(_, call): &(u64, Call)| call.1 == ObjectKind::Pack && call.0.starts_with("put");
        if all[process].waiting.iter().any(is_pack) {
            let count = all[process].waiting.len();
            let alone = |all: &mut Vec<Process>| all[process].waiting.len() == count;
            let soon = Duration::from_millis(4);
            let waited = self.changed.wait_timeout_while(all, soon, alone);
            all = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(all);
    }

    /// The call that is carried out next.
    pub fn next_call(&self, process: usize) -> Option<Call> {
        let all = self.lock();
        let calls = all[process].waiting.iter().map(|(_, call)| call.clone());
        calls.min()
    }

    /// Carries out the process's first waiting call, and waits until it stands at the next.
    pub fn step(&self, process: usize, verdict: impl FnOnce(&Call) -> Verdict) {
        let mut all = self.lock();
        let own = &mut all[process];
        own.waiting.sort_by(|a, b| a.1.cmp(&b.1).then(a.0.cmp(&b.0)));
        let Some((ticket, call)) = own.waiting.first().cloned() else {
            return;
        };
        own.waiting.remove(0);
        let verdict = verdict(&call);
        own.hurt |= verdict != Verdict::Go;
        own.dead |= matches!(verdict, Verdict::Dies | Verdict::DiesAfter);
        own.granted = Some((ticket, verdict));
        let done = own.done;
        self.changed.notify_all();
        let pending = |all: &mut Vec<Process>| all[process].done == done && !all[process].ended;
        drop(
            self.changed
                .wait_while(all, pending)
                .unwrap_or_else(PoisonError::into_inner),
        );
        self.settle(process);
    }
}
