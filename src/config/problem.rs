//! What is wrong with a configuration, and where.
//!
//! Collects: a mistake never hides the next one.

use std::fmt;
use std::sync::Arc;

/// One mistake, or one warning: where it is, what it is, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    place: Place,
    message: String,
}

impl Problem {
    /// The file, or the environment variable.
    pub fn file(&self) -> &str {
        &self.place.file
    }

    /// From 1; `None` for an environment variable and for what is missing as a whole.
    pub fn line(&self) -> Option<u32> {
        self.place.line
    }

    /// From 1.
    pub fn column(&self) -> Option<u32> {
        self.place.column
    }

    /// `config.yml:12:3`, or the variable.
    pub fn place(&self) -> impl fmt::Display {
        &self.place
    }

    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Every mistake of a configuration, by line, and the warnings that it drew besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Problems {
    /// At least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

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

/// Where something is written. Displayed as `config.yml:12:3`, or as a variable's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: Arc<str>,
    pub(super) line: Option<u32>,
    pub(super) column: Option<u32>,
}

impl Place {
    /// A file as a whole, or an environment variable.
    pub(super) fn whole(file: &str) -> Self {
        Self { file: Arc::from(file), line: None, column: None }
    }

    /// `line 12`, for a message that already stands in the same file.
    pub(super) fn short(&self) -> String {
        self.line.map_or_else(|| self.file.to_string(), |line| format!("line {line}"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))?;
        self.column.map_or(Ok(()), |column| write!(f, ":{column}"))
    }
}

/// Where mistakes and warnings are gathered while a configuration is read.
#[derive(Debug, Default)]
pub(super) struct Report {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Report {
    pub(super) fn error(&mut self, place: &Place, message: impl Into<String>) {
        self.problems.push(Problem { place: place.clone(), message: message.into() });
    }

    pub(super) fn warn(&mut self, place: &Place, message: impl Into<String>) {
        self.warnings.push(Problem { place: place.clone(), message: message.into() });
    }

    pub(super) fn is_right(&self) -> bool {
        self.problems.is_empty()
    }

    /// `value` with the warnings, unless there was a mistake.
    pub(super) fn conclude<T>(self, value: Option<T>) -> Result<(T, Vec<Problem>), Problems> {
        let (problems, warnings) = (in_order(self.problems), in_order(self.warnings));
        match value {
            Some(value) if problems.is_empty() => Ok((value, warnings)),
            _ => Err(Problems { problems, warnings }),
        }
    }
}

/// By line, what has none last; an alias that repeats a mistake repeats no message.
fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by(|a, b| {
        let key = |p: &Problem| (p.place.line.unwrap_or(u32::MAX), p.place.column.unwrap_or(u32::MAX));
        key(a).cmp(&key(b)).then_with(|| a.place.file.cmp(&b.place.file))
    });
    problems.dedup();
    problems
}
