//! Answers that arrive line by line.

use reqwest::Response;

use crate::cli::outcome::root_cause;

/// Reads the lines of an answer as they arrive. A server may send empty lines to keep the connection open; they are skipped.
pub(in crate::cli) struct Lines {
    answer: Response,
    /// The longest line that is accepted, in bytes.
    max_length: usize,
    buffer: Vec<u8>,
}

impl Lines {
    pub(in crate::cli) fn new(answer: Response, max_length: usize) -> Self {
        Self { answer, max_length, buffer: Vec::new() }
    }

    /// Returns the next line; `None` at the end of the answer. The error says why the answer cannot be read on.
    pub(in crate::cli) async fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let line = line.trim_ascii();
                if line.is_empty() {
                    continue;
                }
                return Ok(Some(line.to_vec()));
            }
            if self.buffer.len() > self.max_length {
                return Err("a line of the answer is too long".to_owned());
            }
            match self.answer.chunk().await.map_err(|error| root_cause(&error))? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}
