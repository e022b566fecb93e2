//! Tables with aligned columns.

use std::io::{self, IsTerminal as _};

use unicode_width::UnicodeWidthStr as _;

use super::stream::{Output, plain};
use crate::cli::outcome::CommandError;

/// A table that is printed page by page. Columns can become wider from one page to the next.
pub(in crate::cli) struct Table {
    /// The headings. They are printed on a terminal only: a pipe gets data without a heading.
    heads: &'static [&'static str],
    /// The width of each column, in terminal cells.
    widths: Vec<usize>,
    /// The rows that were added since the last page.
    rows: Vec<Vec<String>>,
    has_begun: bool,
}

impl Table {
    /// Creates an empty table. A heading that begins with `>` stands for a right-aligned column and is printed without the `>`.
    pub(in crate::cli) fn new(heads: &'static [&'static str]) -> Self {
        Self { heads, widths: vec![0; heads.len()], rows: Vec::new(), has_begun: false }
    }

    /// Adds a row to the current page.
    pub(in crate::cli) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| plain(cell)).collect());
    }

    /// Prints the current page and begins a new one.
    pub(in crate::cli) fn print(&mut self, output: &mut Output) -> Result<(), CommandError> {
        if !self.has_begun && !self.rows.is_empty() && io::stdout().is_terminal() {
            self.rows.insert(0, self.heads.iter().map(|head| head.trim_start_matches('>').to_owned()).collect());
        }
        self.has_begun |= !self.rows.is_empty();
        for row in &self.rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        for row in std::mem::take(&mut self.rows) {
            output.line(self.render(&row))?;
        }
        output.flush()
    }

    fn render(&self, row: &[String]) -> String {
        let cells = self.heads.iter().zip(&self.widths).zip(row).map(|((head, width), cell)| {
            // `format!` counts characters. A wide character takes two cells of a terminal, a combining one none.
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            if head.starts_with('>') { format!("{padding}{cell}") } else { format!("{cell}{padding}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(texts: [&str; 3]) -> Vec<String> {
        texts.map(str::to_owned).to_vec()
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["NAME", ">TAGS", "KIND"]);
        table.widths = vec![6, 4, 0];
        assert_eq!(table.render(&cells(["a", "7", "x"])), "a          7  x");
        assert_eq!(table.render(&cells(["longer-than", "10", ""])), "longer-than    10");
        table.row(["a\u{1b}[2J".to_owned(), String::new(), String::new()]);
        assert_eq!(table.rows[0][0], "a [2J");
    }

    #[test]
    fn columns_are_as_wide_as_a_terminal_shows_them() {
        let mut table = Table::new(&["NAME", ">TAGS", "KIND"]);
        table.widths = vec![6, 4, 0];
        assert_eq!(table.render(&cells(["图像", "7", "x"])), "图像       7  x", "two cells for each character");
        assert_eq!(table.render(&cells(["e\u{301}", "7", "x"])), "e\u{301}          7  x", "an accent takes no cell");
    }
}
