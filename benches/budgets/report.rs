//! The table that is printed, and the file that is written.

use kitfox_benches::figures::{Budget, Cost, Figures, Row, Verdict};

/// Prints all paths beside their figures and budgets. Returns how many of them fail a check; none does on another
/// compiler than the recorded one.
pub(crate) fn print(figures: &Figures, counted: &[(String, Cost)], rustc: &str, all_paths: bool) -> usize {
    let same_compiler = figures.rustc == rustc;
    println!("{rustc}, one message:");
    println!(
        "{:<34} {:>12} {:>9} {:>11}  {:<18} {:<18}",
        "path", "instructions", "committed", "allocations", "budget", "moonshot"
    );
    let mut failures = 0;
    for (path, cost) in counted {
        let row = figures.row(path);
        let committed = row.and_then(|row| row.cost);
        let budget = goal(row.and_then(|row| row.budget.as_ref()), *cost, counted);
        let moonshot = goal(row.and_then(|row| row.moonshot.as_ref()), *cost, counted);
        let verdict = Verdict::of(*cost, committed);
        failures += usize::from(verdict.is_failure());
        println!(
            "{path:<34} {:>12} {:>9} {:>11}  {budget:<18} {moonshot:<18} {}",
            cost.instructions,
            committed.map_or_else(|| "-".into(), |cost| cost.instructions.to_string()),
            cost.allocations(),
            words(verdict),
        );
    }
    if all_paths {
        for row in figures.rows.iter().filter(|row| counted.iter().all(|(path, _)| *path != row.path)) {
            println!("{:<34} stands in the file and is measured no more", row.path);
            failures += 1;
        }
    }
    if !same_compiler {
        println!("the figures were taken with {}: differences are reported only", figures.rustc);
        return 0;
    }
    println!("{failures} paths worse than their committed figures");
    failures
}

/// The file with the figures of this run. Budgets stay, and so do the rows of paths that did not run.
pub(crate) fn bless(figures: Figures, counted: &[(String, Cost)], rustc: &str, all_paths: bool) -> Figures {
    let mut rows: Vec<Row> = counted
        .iter()
        .map(|(path, cost)| {
            let (budget, moonshot) =
                figures.row(path).map(|row| (row.budget.clone(), row.moonshot.clone())).unwrap_or_default();
            Row { path: path.clone(), cost: Some(*cost), budget, moonshot }
        })
        .collect();
    if !all_paths {
        let blessed = rows;
        rows = figures.rows;
        for row in blessed {
            match rows.iter_mut().find(|old| old.path == row.path) {
                Some(old) => *old = row,
                None => rows.push(row),
            }
        }
    }
    Figures { rustc: rustc.into(), rows }
}

fn goal(budget: Option<&Budget>, cost: Cost, counted: &[(String, Cost)]) -> String {
    let Some(budget) = budget else { return String::new() };
    let measured =
        |path: &str| counted.iter().find(|(name, _)| name == path).map(|(_, cost)| cost.instructions);
    match budget.limit(measured) {
        Some(limit) if cost.instructions <= limit => format!("{limit} met"),
        Some(limit) => format!("{limit} NOT MET"),
        None => String::new(),
    }
}

fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Same => "",
        Verdict::Better => "better: --bless",
        Verdict::Slower => "SLOWER",
        Verdict::AllocatesMore => "ALLOCATES MORE",
        Verdict::New => "new: --bless",
    }
}
