//! Reads a byte stream from standard input or a command.
//!
//! Bytes that come once: from standard input, or from a command.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::child;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::report::OperationReport;

/// How often a stream that is silent looks whether somebody wants to stop.
const STREAM_POLL_INTERVAL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// A stream, read to its end, and only then known to be whole.
#[derive(Debug)]
pub struct InputStream {
    from: File,
    command: Option<RunningCommand>,
}

/// A command and what it starts; killed when nobody waits for it any more.
#[derive(Debug)]
struct RunningCommand {
    child: Child,
    text: String,
    has_ended: bool,
}

impl InputStream {
    /// Standard input. Nobody can tell whether its writer came to the end of what it had to say.
    pub fn stdin() -> Result<Self> {
        let copy = std::io::stdin().as_fd().try_clone_to_owned();
        Ok(Self {
            from: File::from(copy.context(|| "open standard input")?),
            command: None,
        })
    }

    /// The standard output of a command, started now. It gets nothing to read, and writes its errors where we do.
    pub fn of_command<S: AsRef<OsStr>>(words: &[S]) -> Result<Self> {
        let Some((program, arguments)) = words.split_first() else {
            return Err(Error::new(ErrorKind::Usage, "no command"));
        };
        let words: Vec<_> = words.iter().map(|word| word.as_ref().to_string_lossy()).collect();
        let text = words.join(" ");
        // A group of its own, so that what it started can be killed with it.
        let started = child::command(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn();
        let mut child = started.context(|| format!("run {text}"))?;
        let output = child.stdout.take();
        let command = RunningCommand {
            child,
            text,
            has_ended: false,
        };
        let output = output.ok_or_else(|| Error::new(ErrorKind::Io, "the command has no output"))?;
        Ok(Self {
            from: File::from(OwnedFd::from(output)),
            command: Some(command),
        })
    }

    /// Fills the buffer as far as the stream goes; how much of it.
    pub fn read(&mut self, buffer: &mut [u8], report: &OperationReport) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            self.wait(report)?;
            match self.from.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(got) => filled += got,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                    ) => {}
                Err(error) => return Err(error).context(|| "read the stream"),
            }
        }
        Ok(filled)
    }

    /// Until there is something, or the end.
    fn wait(&self, report: &OperationReport) -> Result<()> {
        loop {
            report.go_on()?;
            let mut polled = [PollFd::new(&self.from, PollFlags::IN)];
            match poll(&mut polled, Some(&STREAM_POLL_INTERVAL)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(std::io::Error::from(error)).context(|| "wait for the stream"),
            }
        }
    }

    /// After the end: an error if what was read is not what it was to be.
    pub fn finish(self, report: &OperationReport) -> Result<()> {
        match self.command {
            Some(command) => command.finish(report),
            None => Ok(()),
        }
    }
}

impl RunningCommand {
    fn finish(mut self, report: &OperationReport) -> Result<()> {
        let act = || format!("wait for {}", self.text);
        let ended = loop {
            report.go_on()?;
            if let Some(ended) = self.child.try_wait().context(act)? {
                break ended;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        self.has_ended = true;
        if ended.success() {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Io,
                format!("{}: {ended}; what it wrote is not saved", self.text),
            ))
        }
    }
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<InputStream> {
        InputStream::of_command(&["sh", "-c", script])
    }

    fn all(stream: &mut InputStream, report: &OperationReport) -> Result<Vec<u8>> {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 7]);
        loop {
            let got = stream.read(&mut buffer, report)?;
            bytes.extend_from_slice(&buffer[..got]);
            if got < buffer.len() {
                return Ok(bytes);
            }
        }
    }

    #[test]
    fn a_command_is_read_to_its_end_in_whole_buffers() {
        let report = OperationReport::default();
        let mut stream = shell("printf abcd; sleep 0.1; printf efghij; cat").unwrap();
        assert_eq!(all(&mut stream, &report).unwrap(), b"abcdefghij");
        stream.finish(&report).unwrap();
    }

    #[test]
    fn a_command_that_fails_is_an_error_with_its_status() {
        let report = OperationReport::default();
        for (script, status) in [("echo x; exit 7", "exit status: 7"), ("kill -9 $$", "signal: 9")] {
            let mut stream = shell(script).unwrap();
            all(&mut stream, &report).unwrap();
            let error = stream.finish(&report).unwrap_err();
            assert!(error.to_string().contains(status), "{error}");
        }
        let missing = InputStream::of_command(&["no-such-program"]).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert_eq!(
            InputStream::of_command::<&str>(&[]).unwrap_err().kind(),
            ErrorKind::Usage
        );
    }

    #[test]
    fn who_stops_does_not_wait_for_a_silent_command() {
        let directory = tempfile::tempdir().unwrap();
        let late = directory.path().join("late");
        let script = format!("printf x; (sleep 1; touch '{}') & wait", late.display());
        let mut stream = shell(&script).unwrap();
        let report = OperationReport::default();
        let error = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(150));
                report.stop();
            });
            all(&mut stream, &report).unwrap_err()
        });
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        drop(stream);
        std::thread::sleep(std::time::Duration::from_millis(1300));
        assert!(!late.exists(), "it is killed with what it started");
    }
}
