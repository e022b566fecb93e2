//! Lines on standard output and standard error.

use std::fmt::Display;
use std::io::{self, BufWriter, Stdout, Write as _};

use serde::Serialize;

use crate::cli::outcome::{CommandError, ErrorMessage};

/// Buffered standard output. A closed pipe ends the command with [`CommandError::OutputClosed`].
pub(in crate::cli) struct Output(BufWriter<Stdout>);

impl Output {
    pub(in crate::cli) fn new() -> Self {
        Self(BufWriter::new(io::stdout()))
    }

    /// Writes one line.
    pub(in crate::cli) fn line(&mut self, line: impl Display) -> Result<(), CommandError> {
        writeln!(self.0, "{line}").map_err(write_error)
    }

    /// Writes a text that contains its own line ends.
    pub(in crate::cli) fn text(&mut self, text: &str) -> Result<(), CommandError> {
        self.0.write_all(text.as_bytes()).map_err(write_error)
    }

    /// Writes everything that is still buffered. Each command calls this at its end, since dropping the buffer ignores errors.
    pub(in crate::cli) fn flush(&mut self) -> Result<(), CommandError> {
        self.0.flush().map_err(write_error)
    }
}

fn write_error(error: io::Error) -> CommandError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => CommandError::OutputClosed,
        _ => ErrorMessage(format!("cannot write to standard output: {error}")).into(),
    }
}

/// Prints one line on standard output.
pub(in crate::cli) fn say(line: impl Display) -> Result<(), CommandError> {
    let mut output = Output::new();
    output.line(line)?;
    output.flush()
}

/// Prints one line on standard error. Errors are ignored: a closed standard error must not end a command.
pub(in crate::cli) fn remark(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Returns a value as one line of JSON.
pub(in crate::cli) fn json_line(value: &impl Serialize) -> Result<String, ErrorMessage> {
    serde_json::to_string(value).map_err(ErrorMessage::new)
}

/// Replaces control characters with spaces, so that a text from a server stays on one line and cannot control the terminal.
pub(in crate::cli) fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}
