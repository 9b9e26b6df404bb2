//! Text tables for a terminal.
//!
//! Invariant: columns line up whatever the cells hold, colours or not: widths count characters, and a cell's
//! colour is applied after it was padded. Without a terminal (or with `NO_COLOR`) there are no colours at all.
#![forbid(unsafe_code)]

use std::io::IsTerminal;

/// How a cell stands out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Not at all.
    #[default]
    Plain,
    /// Good news.
    Good,
    /// Bad news.
    Bad,
    /// Less important.
    Faint,
}

/// A cell: text and tone.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell with a tone.
    #[must_use]
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// Whether colours go to standard output.
#[must_use]
pub fn colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Draws a table; the first `left` columns are aligned to the left, the others to the right.
#[must_use]
pub fn draw(head: &[&str], left: usize, rows: &[Vec<Cell>], colours: bool) -> String {
    let head: Vec<Cell> = head.iter().map(|text| Cell::from(*text)).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&head).chain(rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &[Cell]| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                let fill = " ".repeat(width - cell.text.chars().count());
                let padded = if column < left { cell.text.clone() + &fill } else { fill + &cell.text };
                if colours { paint(&padded, cell.tone) } else { padded }
            })
            .collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
    let mut text = line(&head);
    text += &(rule.join("  ") + "\n");
    for row in rows {
        text += &line(row);
    }
    text
}

fn paint(text: &str, tone: Tone) -> String {
    let code = match tone {
        Tone::Plain => return text.to_owned(),
        Tone::Good => 32,
        Tone::Bad => 31,
        Tone::Faint => 2,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_left_and_figures_right() {
        let rows = vec![vec!["a".into(), "7".into()], vec!["long name".into(), "1234".into()]];
        let text = draw(&["name", "n"], 1, &rows, false);
        assert_eq!(text, "name          n\n─────────  ────\na             7\nlong name  1234\n");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let rows = vec![vec![Cell::new("→x", Tone::Good), "1".into()]];
        let plain = draw(&["n", "v"], 1, &rows, false);
        let painted = draw(&["n", "v"], 1, &rows, true);
        assert_eq!(painted.replace("\x1b[32m", "").replace("\x1b[0m", ""), plain);
    }

    #[test]
    fn a_short_row_is_no_error() {
        assert!(draw(&["a", "b"], 2, &[vec!["x".into()]], false).contains('x'));
    }
}
