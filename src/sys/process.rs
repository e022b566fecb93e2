//! Runs other programs.
#![expect(clippy::disallowed_methods, reason = "this is the seam: the one place that starts programs")]

use std::io;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// The limits on a program's run.
#[derive(Clone, Copy, Debug)]
pub struct ProgramLimits {
    pub time: Duration,
    /// The most bytes of output; more is an error.
    pub output: u64,
}

/// The result of a program that has ended.
#[derive(Clone)]
pub struct Finished {
    /// The program exited with status 0.
    pub success: bool,
    /// The bytes that it wrote to its standard output.
    pub output: Vec<u8>,
}

/// Runs a program with one argument and a text on its standard input. Its standard error is discarded. The program and
/// the processes that it started are killed when it takes too long, or when this future is dropped.
pub async fn run(program: &str, argument: &str, input: &str, limits: ProgramLimits) -> io::Result<Finished> {
    let mut command = Command::new(program);
    command.arg(argument).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut running = Running::start(&mut command)?;
    match tokio::time::timeout(limits.time, running.finish(input, limits.output)).await {
        Ok(finished) => finished,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("it did not end within {}", humantime::format_duration(limits.time)),
        )),
    }
}

/// A running program. Dropping it kills the program's process group.
struct Running {
    child: Child,
    /// `None` once the program has ended by itself, since the system may reuse the number for another group.
    group: Option<Pid>,
}

impl Running {
    fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Self { child, group })
    }

    async fn finish(&mut self, input: &str, most: u64) -> io::Result<Finished> {
        let (mut stdin, stdout) = (self.child.stdin.take(), self.child.stdout.take());
        let write = async {
            if let Some(stdin) = &mut stdin {
                // A program that does not read its input may still answer.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            drop(stdin.take());
        };
        let read = async {
            let mut output = Vec::new();
            if let Some(stdout) = stdout {
                stdout.take(most + 1).read_to_end(&mut output).await?;
            }
            Ok::<_, io::Error>(output)
        };
        let ((), output) = tokio::join!(write, read);
        let output = output?;
        if output.len() as u64 > most {
            return Err(io::Error::other(format!("it wrote more than {most} bytes")));
        }
        let status = self.child.wait().await?;
        self.group = None;
        Ok(Finished { success: status.success(), output })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // An error means that the program has just ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const LIMITS: ProgramLimits = ProgramLimits { time: Duration::from_secs(20), output: 100 };

    fn script(directory: &tempfile::TempDir, text: &str) -> String {
        let path = directory.path().join("script");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Runs the program, and tries again while another test that forked at this moment still has it open for writing.
    async fn run_script(program: &str, limits: ProgramLimits) -> io::Result<Finished> {
        loop {
            match run(program, "get", "ghcr.io", limits).await {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => tokio::task::yield_now().await,
                result => return result,
            }
        }
    }

    #[tokio::test]
    async fn program_output_and_exit_status_are_returned() {
        let directory = tempfile::tempdir().unwrap();
        let echo = script(&directory, "echo \"$1 $(cat)\"");
        let finished = run_script(&echo, LIMITS).await.unwrap();
        assert_eq!((finished.success, finished.output.as_slice()), (true, &b"get ghcr.io\n"[..]));
        let failing = script(&directory, "echo no; exit 3");
        let finished = run_script(&failing, LIMITS).await.unwrap();
        assert_eq!((finished.success, finished.output.as_slice()), (false, &b"no\n"[..]));
        assert_eq!(run_script("/nowhere/at-all", LIMITS).await.err().unwrap().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn program_over_its_limits_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let flood = script(&directory, "while :; do echo y; done");
        assert!(run_script(&flood, LIMITS).await.is_err());

        let pid = directory.path().join("pid");
        let sleeper = script(&directory, &format!("sleep 1000 & echo $! > {}; wait", pid.display()));
        let little = ProgramLimits { time: Duration::from_millis(500), ..LIMITS };
        assert_eq!(run_script(&sleeper, little).await.err().unwrap().kind(), io::ErrorKind::TimedOut);
        let sleep = std::fs::read_to_string(&pid).unwrap().trim().to_owned();
        let state = || std::fs::read_to_string(format!("/proc/{sleep}/stat")).unwrap_or_default();
        let gone =
            || state().rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with('Z') || rest.is_empty());
        for _ in 0..500 {
            if gone() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} is still running", state());
    }
}
