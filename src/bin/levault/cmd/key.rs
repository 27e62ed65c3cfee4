//! `key`: the slots that open the repository.

use levault::error::Result;
use serde_json::json;

use super::Run;
use crate::advice::Ending;
use crate::output::{print_line, time, time_exact};

/// Lists the slots: never a secret among them.
pub fn list(run: &Run) -> Result<Ending> {
    let repo = run.open()?;
    let slots = repo.slots()?;
    if run.output.json {
        let rows: Vec<_> = slots
            .iter()
            .map(|slot| json!({"id": slot.id.to_hex(), "current": slot.current, "created": time_exact(slot.created),
                "memory_kib": slot.memory_kib, "iterations": slot.iterations, "parallelism": slot.parallelism}))
            .collect();
        print_line(&serde_json::Value::from(rows).to_string())?;
    }
    run.output.say("  ID        Created               Argon2id")?;
    for slot in &slots {
        let mark = if slot.current { '*' } else { ' ' };
        run.output.say(format!(
            "{mark} {}  {}  {} MiB, {} passes, {} lanes",
            slot.id.short(),
            time(slot.created),
            slot.memory_kib / 1024,
            slot.iterations,
            slot.parallelism
        ))?;
    }
    Ok(Ending::Done)
}
