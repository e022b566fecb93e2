//! What commands print: data to standard output, everything else to standard error.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write as _};

use serde::Serialize;

use super::Ended;
use super::settings::Trouble;

/// Standard output. Who reads it may have had enough (`| head -1`): that ends the command, and is no failure.
pub(super) struct Output(BufWriter<Stdout>);

impl Output {
    pub(super) fn new() -> Self {
        Self(BufWriter::new(io::stdout()))
    }

    pub(super) fn line(&mut self, line: impl std::fmt::Display) -> Result<(), Ended> {
        writeln!(self.0, "{line}").map_err(ended)
    }

    /// Text that ends its lines itself.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Ended> {
        self.0.write_all(text.as_bytes()).map_err(ended)
    }

    /// Nothing is held back any more. To be called at the end, or what was not written would be lost without a word.
    pub(super) fn flush(&mut self) -> Result<(), Ended> {
        self.0.flush().map_err(ended)
    }
}

fn ended(error: io::Error) -> Ended {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ended::Unread,
        _ => Trouble(format!("standard output cannot be written: {error}")).into(),
    }
}

/// One line on standard output, whoever reads it.
pub(super) fn say(line: impl std::fmt::Display) -> Result<(), Ended> {
    let mut output = Output::new();
    output.line(line)?;
    output.flush()
}

/// One line for people on standard error. That nobody reads it must not end anything.
pub(super) fn remark(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes a value as one line of JSON.
pub(super) fn line_of_json(value: &impl Serialize) -> Result<String, Trouble> {
    serde_json::to_string(value).map_err(Trouble::new)
}

/// A text from elsewhere on one line, without what could steer a terminal.
pub(super) fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Aligned columns. Rows are held for a page only, so widths may grow from page to page.
pub(super) struct Table {
    /// Their heads, shown on a terminal only: what a pipe gets is data.
    heads: &'static [&'static str],
    widths: Vec<usize>,
    rows: Vec<Vec<String>>,
    began: bool,
}

impl Table {
    /// A head that begins with `>` is that of a column of numbers, without the `>`.
    pub(super) fn new(heads: &'static [&'static str]) -> Self {
        Self { heads, widths: vec![0; heads.len()], rows: Vec::new(), began: false }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| plain(cell)).collect());
    }

    /// Prints the rows that are held.
    pub(super) fn print(&mut self, output: &mut Output) -> Result<(), Ended> {
        if !self.began && !self.rows.is_empty() && io::stdout().is_terminal() {
            self.rows.insert(0, self.heads.iter().map(|head| head.trim_start_matches('>').to_owned()).collect());
        }
        self.began |= !self.rows.is_empty();
        for row in &self.rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in std::mem::take(&mut self.rows) {
            output.line(self.render(&row))?;
        }
        output.flush()
    }

    fn render(&self, row: &[String]) -> String {
        let cells = self.heads.iter().zip(&self.widths).zip(row).map(|((head, width), cell)| {
            if head.starts_with('>') { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["NAME", ">TAGS", "KIND"]);
        table.widths = vec![6, 4, 0];
        let cells = |texts: [&str; 3]| texts.map(str::to_owned).to_vec();
        assert_eq!(table.render(&cells(["a", "7", "x"])), "a          7  x");
        assert_eq!(table.render(&cells(["longer-than", "10", ""])), "longer-than    10");
        table.row(["a\u{1b}[2J".to_owned(), String::new(), String::new()]);
        assert_eq!(table.rows[0][0], "a [2J");
    }
}
