//! The committed figures, the budgets, and the rule by which new figures are held against both.
//!
//! The file is a table with one path a row; `-` stands for nothing:
//!
//! ```text
//! rustc 1.95.0 (59807616e 2026-04-14)
//! path                     instructions  allocations  budget                      moonshot
//! receive/heap/module/128           388            0  400                         280
//! receive/heap/mixed/128            410            0  receive/heap/module/128+10% -
//! ```

use core::fmt;
use core::str::FromStr;

/// More than so many percent over the committed figure is a failure...
pub const TOLERANCE_PERCENT: u64 = 8;
/// ...if it is also more than so many instructions, which is what the shortest paths move by.
pub const TOLERANCE_INSTRUCTIONS: u64 = 4;

/// What one message costs on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Instructions, rounded.
    pub instructions: u64,
    /// Hundredths of allocations.
    pub centi_allocations: u64,
}

impl Cost {
    /// The cost of one of `messages` (at least one).
    pub fn of_each(messages: u64, instructions: u64, allocations: u64) -> Self {
        let each = |total: u64| (total + messages / 2) / messages;
        // Any allocation at all must show.
        Self { instructions: each(instructions), centi_allocations: (100 * allocations).div_ceil(messages) }
    }

    /// The allocations as a number, without needless digits.
    pub fn allocations(&self) -> String {
        match (self.centi_allocations / 100, self.centi_allocations % 100) {
            (whole, 0) => format!("{whole}"),
            (whole, part) => format!("{whole}.{part:02}"),
        }
    }
}

/// A goal for the instructions of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Budget {
    /// So many instructions.
    Instructions(u64),
    /// So many percent more than another path.
    Over {
        /// The other path.
        path: String,
        /// Percent.
        percent: u64,
    },
}

impl Budget {
    /// The instructions that are allowed, if they can be told: `measured` gives those of another path.
    pub fn limit(&self, measured: impl Fn(&str) -> Option<u64>) -> Option<u64> {
        match self {
            Self::Instructions(instructions) => Some(*instructions),
            Self::Over { path, percent } => Some(measured(path)? * (100 + percent) / 100),
        }
    }
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("not a budget: {text}");
        if let Some((path, percent)) = text.strip_suffix('%').and_then(|text| text.rsplit_once('+')) {
            return Ok(Self::Over { path: path.into(), percent: percent.parse().map_err(|_| error())? });
        }
        text.parse().map(Self::Instructions).map_err(|_| error())
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instructions(instructions) => write!(f, "{instructions}"),
            Self::Over { path, percent } => write!(f, "{path}+{percent}%"),
        }
    }
}

/// One row of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The name of the path.
    pub path: String,
    /// What a message cost when the file was written; `None` in a row that only sets budgets.
    pub cost: Option<Cost>,
    /// The goal that should be met.
    pub budget: Option<Budget>,
    /// The goal beyond it.
    pub moonshot: Option<Budget>,
}

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// The compiler whose code was measured, as it names itself.
    pub rustc: String,
    /// One row a path.
    pub rows: Vec<Row>,
}

impl Figures {
    /// The row of a path.
    pub fn row(&self, path: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.path == path)
    }
}

impl FromStr for Figures {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut figures = Self::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if line.starts_with("rustc ") {
                figures.rustc = line.into();
            } else if !line.starts_with("path ") {
                figures.rows.push(line.parse().map_err(|error| format!("{error} in: {line}"))?);
            }
        }
        Ok(figures)
    }
}

impl FromStr for Row {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let &[path, instructions, allocations, budget, moonshot] = columns.as_slice() else {
            return Err(format!("{} columns instead of 5", columns.len()));
        };
        let cost = match unless_dash(instructions) {
            Some(instructions) => Some(Cost {
                instructions: instructions.parse().map_err(|_| format!("not a number: {instructions}"))?,
                centi_allocations: parse_centi(allocations)?,
            }),
            None => None,
        };
        Ok(Self {
            path: path.into(),
            cost,
            budget: unless_dash(budget).map(str::parse).transpose()?,
            moonshot: unless_dash(moonshot).map(str::parse).transpose()?,
        })
    }
}

fn unless_dash(text: &str) -> Option<&str> {
    (text != "-").then_some(text)
}

/// Reads a number with at most two decimals as hundredths.
fn parse_centi(text: &str) -> Result<u64, String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "00"));
    match (whole.parse::<u64>(), part.parse::<u64>(), part.len()) {
        (Ok(whole), Ok(part), 2) => Ok(100 * whole + part),
        _ => Err(format!("not a number of allocations: {text}")),
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        writeln!(f, "{}", self.rustc)?;
        writeln!(
            f,
            "{:<34} {:>12} {:>11}  {:<28} moonshot",
            "path", "instructions", "allocations", "budget"
        )?;
        for row in &self.rows {
            let instructions = dash(row.cost.map(|cost| cost.instructions.to_string()));
            let allocations = dash(row.cost.map(|cost| cost.allocations()));
            let budget = dash(row.budget.as_ref().map(Budget::to_string));
            let moonshot = dash(row.moonshot.as_ref().map(Budget::to_string));
            writeln!(f, "{:<34} {instructions:>12} {allocations:>11}  {budget:<28} {moonshot}", row.path)?;
        }
        Ok(())
    }
}

/// How a measured cost stands against the committed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Within the tolerance.
    Same,
    /// Fewer instructions or allocations, beyond the tolerance: the file should be written anew.
    Better,
    /// Too many instructions.
    Slower,
    /// More allocations.
    AllocatesMore,
    /// The file has no figure for this path.
    New,
}

impl Verdict {
    /// Holds a cost against the committed one.
    pub fn of(measured: Cost, committed: Option<Cost>) -> Self {
        let Some(committed) = committed else { return Self::New };
        let beyond = |more: u64, less: u64| {
            100 * more > (100 + TOLERANCE_PERCENT) * less && more > less + TOLERANCE_INSTRUCTIONS
        };
        if measured.centi_allocations > committed.centi_allocations {
            Self::AllocatesMore
        } else if beyond(measured.instructions, committed.instructions) {
            Self::Slower
        } else if measured.centi_allocations < committed.centi_allocations
            || beyond(committed.instructions, measured.instructions)
        {
            Self::Better
        } else {
            Self::Same
        }
    }

    /// Whether a check fails because of it.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Slower | Self::AllocatesMore | Self::New)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# a comment\nrustc 1.95.0 (59807616e 2026-04-14)\npath instructions ...\n\n\
        receive/128 388 0 400 280\nreceive/mixed 410 0.06 receive/128+10% -\nnew/path - - 5 -\n";

    fn cost(instructions: u64, centi_allocations: u64) -> Cost {
        Cost { instructions, centi_allocations }
    }

    #[test]
    fn a_file_that_is_written_is_read_again() {
        let figures: Figures = FILE.parse().unwrap();
        assert_eq!(figures.rustc, "rustc 1.95.0 (59807616e 2026-04-14)");
        assert_eq!(figures.row("receive/mixed").unwrap().cost, Some(cost(410, 6)));
        assert_eq!(figures.row("new/path").unwrap().cost, None);
        assert_eq!(figures.to_string().parse::<Figures>().unwrap(), figures);
    }

    #[test]
    fn broken_rows_are_refused() {
        for row in ["a 1 0 2", "a x 0 - -", "a 1 0.5 - -", "a 1 0 x+y% -", "a 1 0 ten -"] {
            assert!(row.parse::<Row>().is_err(), "{row}");
        }
    }

    #[test]
    fn a_single_allocation_among_many_messages_shows() {
        assert_eq!(Cost::of_each(1000, 388_400, 1), cost(388, 1));
        assert_eq!(Cost::of_each(128, 128 * 7 + 64, 128 * 3), cost(8, 300));
        assert_eq!(cost(1, 300).allocations(), "3");
        assert_eq!(cost(1, 6).allocations(), "0.06");
    }

    #[test]
    fn more_than_the_tolerance_fails_and_the_tolerance_itself_does_not() {
        assert_eq!(Verdict::of(cost(432, 0), Some(cost(400, 0))), Verdict::Same);
        assert_eq!(Verdict::of(cost(433, 0), Some(cost(400, 0))), Verdict::Slower);
        assert_eq!(Verdict::of(cost(14, 0), Some(cost(10, 0))), Verdict::Same);
        assert_eq!(Verdict::of(cost(15, 0), Some(cost(10, 0))), Verdict::Slower);
        assert_eq!(Verdict::of(cost(300, 0), Some(cost(400, 0))), Verdict::Better);
    }

    #[test]
    fn one_more_allocation_fails_whatever_else_is_better() {
        assert_eq!(Verdict::of(cost(100, 1), Some(cost(400, 0))), Verdict::AllocatesMore);
        assert_eq!(Verdict::of(cost(400, 0), Some(cost(400, 100))), Verdict::Better);
    }

    #[test]
    fn a_path_without_a_committed_figure_fails_a_check() {
        assert!(Verdict::of(cost(1, 0), None).is_failure());
    }

    #[test]
    fn a_relative_budget_follows_the_other_path() {
        let budget: Budget = "receive/128+10%".parse().unwrap();
        assert_eq!(budget.limit(|path| (path == "receive/128").then_some(300)), Some(330));
        assert_eq!(budget.limit(|_| None), None);
        assert_eq!(Budget::Instructions(7).limit(|_| None), Some(7));
    }
}
