//! Mistakes and warnings, each with its location.
//!
//! A report collects them, so that one mistake never hides the next.

use std::fmt;
use std::sync::Arc;

/// A mistake or a warning: its location, its message, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    location: Location,
    message: String,
}

impl Problem {
    /// Returns the name of the file or of the environment variable.
    pub fn file(&self) -> &str {
        &self.location.file
    }

    /// Returns the line, counted from 1. Returns `None` for an environment variable and for a file as a whole.
    pub fn line(&self) -> Option<u32> {
        self.location.line
    }

    /// Returns the column, counted from 1.
    pub fn column(&self) -> Option<u32> {
        self.location.column
    }

    /// Returns the location as text: `config.yml:12:3`, or the name of the variable.
    pub fn location(&self) -> impl fmt::Display {
        &self.location
    }

    /// Returns the message without the location.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location, self.message)
    }
}

/// Holds every mistake in a configuration and every warning about it, sorted by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Problems {
    /// Returns the mistakes, at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns the warnings.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The location of a value. It is displayed as `config.yml:12:3`, or as the name of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Location {
    pub(in crate::config) file: Arc<str>,
    pub(in crate::config) line: Option<u32>,
    pub(in crate::config) column: Option<u32>,
}

impl Location {
    /// Returns the location of a file as a whole, or of an environment variable.
    pub(in crate::config) fn whole(file: &str) -> Self {
        Self { file: Arc::from(file), line: None, column: None }
    }

    /// Returns `line 12`, for a message that is itself in the same file.
    pub(in crate::config) fn short(&self) -> String {
        self.line.map_or_else(|| self.file.to_string(), |line| format!("line {line}"))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))?;
        self.column.map_or(Ok(()), |column| write!(f, ":{column}"))
    }
}

/// Collects mistakes and warnings while a configuration is read.
#[derive(Debug, Default)]
pub(in crate::config) struct Report {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Report {
    /// Adds a mistake.
    pub(in crate::config) fn error(&mut self, location: &Location, message: impl Into<String>) {
        self.problems.push(Problem { location: location.clone(), message: message.into() });
    }

    /// Adds a warning.
    pub(in crate::config) fn warn(&mut self, location: &Location, message: impl Into<String>) {
        self.warnings.push(Problem { location: location.clone(), message: message.into() });
    }

    /// Returns true while no mistake was added.
    pub(in crate::config) fn is_valid(&self) -> bool {
        self.problems.is_empty()
    }

    /// Returns `value` with the warnings, or every mistake.
    pub(in crate::config) fn conclude<T>(self, value: Option<T>) -> Result<(T, Vec<Problem>), Problems> {
        let (problems, warnings) = (sorted(self.problems), sorted(self.warnings));
        match value {
            Some(value) if problems.is_empty() => Ok((value, warnings)),
            _ => Err(Problems { problems, warnings }),
        }
    }
}

/// Sorts by line; problems without a line come last. Removes duplicates, since an alias repeats the mistakes of its anchor.
fn sorted(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by(|a, b| {
        let key = |p: &Problem| (p.location.line.unwrap_or(u32::MAX), p.location.column.unwrap_or(u32::MAX));
        key(a).cmp(&key(b)).then_with(|| a.location.file.cmp(&b.location.file))
    });
    problems.dedup();
    problems
}
