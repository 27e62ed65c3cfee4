//! Runs the commands before and after captures and files.
//!
//! Commands around the captures and the files: to freeze an application's writes, and to let them go on.

use std::os::unix::process::CommandExt;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::child;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::OperationReport;

/// How often a running hook is looked at.
const HOOK_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// How long an application stands still between the two commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HookEnd {
    /// Until the files are read: databases and files are of one moment. Records are read after it.
    #[default]
    Read,
    /// Until the last database is captured.
    Captured,
}

/// Commands for `sh -c`.
#[derive(Clone, Debug)]
pub struct BackupHooks {
    /// Before the first capture. If it fails, nothing is captured.
    pub before: Option<String>,
    /// Behind that, also when something failed, or the first command did. If it fails, the backup is incomplete, for the
    /// application may still stand still.
    pub after: Option<String>,
    /// Behind what.
    pub until: HookEnd,
    /// Longest that each may take; then it and what it started are killed.
    pub time_max: Duration,
}

impl Default for BackupHooks {
    fn default() -> Self {
        Self {
            before: None,
            after: None,
            until: HookEnd::default(),
            time_max: Duration::from_secs(60),
        }
    }
}

impl BackupHooks {
    /// Runs `capture` between the two.
    pub(super) fn run_around<T>(
        &self,
        report: &OperationReport,
        capture: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let captured = self
            .run(self.before.as_deref(), "--pre-hook")
            .and_then(|()| capture());
        if let Err(error) = self.run(self.after.as_deref(), "--post-hook") {
            report.problem(error.to_string());
        }
        captured
    }

    fn run(&self, command: Option<&str>, which: &str) -> Result<()> {
        let Some(command) = command else {
            return Ok(());
        };
        let ended = self
            .wait(command)
            .context(|| format!("run {which} {command:?}"))?;
        if ended.success() {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Io, format!("{which} {command:?}: {ended}")))
        }
    }

    fn wait(&self, command: &str) -> Result<ExitStatus> {
        // A group of its own, so that what the shell started can be killed with it. Its output goes where ours
        // must not mix with it: standard error.
        let mut child = child::command("sh")
            .args(["-c", command])
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .process_group(0)
            .spawn()
            .context(|| "start sh")?;
        let begin = Instant::now();
        while begin.elapsed() < self.time_max {
            if let Some(ended) = child.try_wait().context(|| "wait")? {
                return Ok(ended);
            }
            std::thread::sleep(HOOK_POLL_INTERVAL);
        }
        kill(&mut child);
        let limit = format!("killed after {} s", self.time_max.as_secs_f64());
        Err(Error::new(ErrorKind::Limit, limit))
    }
}

fn kill(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    {
        // It may have ended just now.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks(before: &str, after: &str) -> BackupHooks {
        BackupHooks {
            before: Some(before.into()),
            after: Some(after.into()),
            until: HookEnd::default(),
            time_max: Duration::from_secs(20),
        }
    }

    #[test]
    fn they_run_in_order_around_the_capture() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("order");
        let append = |word: &str| format!("printf {word} >> '{}'", file.display());
        let report = OperationReport::default();
        hooks(&append("a"), &append("c"))
            .run_around(&report, || std::fs::write(&file, "ab").context(|| "write"))
            .unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "abc");
        assert!(report.problems().is_empty());
    }

    #[test]
    fn a_first_command_that_fails_stops_the_capture_and_not_the_second_command() {
        let directory = tempfile::tempdir().unwrap();
        let thawed = directory.path().join("thawed");
        let report = OperationReport::default();
        let error = hooks("exit 7", &format!("touch '{}'", thawed.display()))
            .run_around(&report, || -> Result<()> { panic!("not captured") })
            .unwrap_err();
        assert!(error.to_string().contains("exit status: 7"), "{error}");
        assert!(thawed.exists());
    }

    #[test]
    fn a_second_command_that_fails_is_a_problem() {
        let report = OperationReport::default();
        hooks("true", "exit 3").run_around(&report, || Ok(())).unwrap();
        assert_eq!(report.problems().len(), 1);
    }

    #[test]
    fn what_takes_too_long_is_killed_with_what_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let late = directory.path().join("late");
        let mut hooks = hooks(&format!("(sleep 1; touch '{}') & wait", late.display()), "true");
        hooks.time_max = Duration::from_millis(50);
        let error = hooks
            .run_around(&OperationReport::default(), || Ok(()))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        std::thread::sleep(Duration::from_millis(1300));
        assert!(!late.exists());
    }
}
