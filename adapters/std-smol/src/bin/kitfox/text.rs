//! Text for people: units, colours, tables.

use std::env;
use std::io::{self, IsTerminal};

/// Whether standard output takes colours: a terminal, and nobody asked for none.
fn colours() -> bool {
    let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && !refused && !dumb
}

/// Puts text in a colour, where that can be seen.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    colours: bool,
}

impl Style {
    pub(crate) fn detect() -> Self {
        Self { colours: colours() }
    }

    /// No colours.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { colours: false }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }
}

/// 1234567 as "1,234,567".
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// 1536 as "1.5 KiB".
pub(crate) fn bytes(number: u64) -> String {
    let mut value = number as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" { format!("{number} B") } else { format!("{value:.1} {unit}") }
}

/// 1234567.0 as "1.23 M".
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        r if r >= 1e6 => format!("{:.2} M", r / 1e6),
        r if r >= 1e3 => format!("{:.0} k", r / 1e3),
        r => format!("{r:.0} "),
    }
}

/// The front of a long peer id, with the address in front of it: "127.0.0.1:4711/ba7816bf".
pub(crate) fn peer(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    match rest.rsplit_once('/') {
        Some((addr, id)) if id.len() > 8 => format!("{addr}/{}", id.get(..8).unwrap_or(id)),
        _ => rest.to_owned(),
    }
}

/// Columns as wide as their widest cell: the first `left` ones flush left, the others right.
pub(crate) fn table(style: Style, left: usize, head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|cell| cell.chars().count())).max().unwrap_or(0)
    };
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::from(" ");
        for (column, cell) in cells.enumerate() {
            let width = width(column);
            line += &if column < left { format!(" {cell:<width$} ") } else { format!(" {cell:>width$} ") };
        }
        line.truncate(line.trim_end().len());
        line
    };
    let mut text = style.dim(&line(&mut head.iter().copied()));
    for row in rows {
        text.push('\n');
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1023, 1536, 5 << 20].map(bytes), ["0 B", "1023 B", "1.5 KiB", "5.0 MiB"]);
        assert_eq!([5.0, 12_345.0, 2_345_678.0].map(rate), ["5 ", "12 k", "2.35 M"]);
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["bcd".to_owned(), "1,000".to_owned()]];
        let text = table(Style::plain(), 1, &["name", "n"], &rows);
        assert_eq!(text, "  name      n\n  a         1\n  bcd   1,000");
    }
}
