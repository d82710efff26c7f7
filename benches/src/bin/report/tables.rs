//! Tables of Markdown.

use std::fmt::Write;

use kitfox_benches::spread::Spread;

use crate::plot::short;

/// What stands where nothing was measured.
pub(crate) const NOTHING: &str = "-";

/// A table with a name for each row.
pub(crate) struct Table {
    text: String,
}

impl Table {
    pub(crate) fn new<T: AsRef<str>>(corner: &str, columns: impl IntoIterator<Item = T>) -> Self {
        let (mut head, mut rule) = (format!("| {corner} |"), "|---|".to_owned());
        for column in columns {
            head += &format!(" {} |", column.as_ref());
            rule += "---:|";
        }
        Self { text: format!("{head}\n{rule}\n") }
    }

    pub(crate) fn row(&mut self, name: &str, cells: impl IntoIterator<Item = Option<String>>) {
        self.text += &format!("| {name} |");
        for cell in cells {
            // Writing to a string does not fail.
            let _ = write!(self.text, " {} |", cell.as_deref().unwrap_or(NOTHING));
        }
        self.text.push('\n');
    }

    pub(crate) fn finish(self) -> String {
        self.text + "\n"
    }
}

/// The middle of several rounds.
pub(crate) fn middle(spread: Spread) -> String {
    short(spread.median)
}

/// The middle of several ratios, and how far they lie apart.
pub(crate) fn ratio(spread: Spread) -> String {
    let Spread { median, low, high } = spread;
    format!("{} ({} to {})", times(median), times(low), times(high))
}

fn times(ratio: f64) -> String {
    match ratio {
        ratio if ratio >= 10.0 => format!("{ratio:.0}"),
        ratio if ratio >= 0.1 => format!("{ratio:.2}"),
        ratio => format!("{ratio:.3}"),
    }
}
