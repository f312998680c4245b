//! The table: one row for each figure, with its target and whether it was reached.

use crate::stats::show;
use std::fmt;

/// Rows in the order in which they were measured, and the machine's load before each section.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<[String; 4]>,
    loads: Vec<String>,
}

impl Table {
    /// A figure that must not exceed its target.
    pub(crate) fn at_most(
        &mut self,
        figure: &str,
        target: f64,
        value: f64,
        unit: &str,
        note: &str,
    ) {
        self.judge(
            figure,
            &format!("at most {}", plain(target, unit)),
            value,
            unit,
            note,
            value <= target,
            value / target,
        );
    }

    /// A figure that must reach its target.
    pub(crate) fn at_least(
        &mut self,
        figure: &str,
        target: f64,
        value: f64,
        unit: &str,
        note: &str,
    ) {
        self.judge(
            figure,
            &format!("at least {}", plain(target, unit)),
            value,
            unit,
            note,
            value >= target,
            value / target,
        );
    }

    /// A fact that holds or does not.
    pub(crate) fn holds(&mut self, figure: &str, target: &str, holds: bool, measured: &str) {
        let mark = if holds { "✓" } else { "✗" };
        self.push([figure, target, measured, mark]);
    }

    /// A figure without a target.
    pub(crate) fn tell(&mut self, figure: &str, measured: &str) {
        self.push([figure, "", measured, ""]);
    }

    /// Something that was not measured, and why.
    pub(crate) fn not_run(&mut self, figure: &str, why: &str) {
        self.push([figure, "", &format!("not run: {}", why.replace(['|', '\n'], " ")), "✗"]);
    }

    /// The load before a section, and how much of the cores others used in it.
    pub(crate) fn load(&mut self, section: &str, load: &str, others: f64) {
        self.loads.push(format!("{section} {load} ({others:.0} %)"));
    }

    #[expect(clippy::too_many_arguments, reason = "the two judgements above are its only callers")]
    fn judge(
        &mut self,
        figure: &str,
        target: &str,
        value: f64,
        unit: &str,
        note: &str,
        reached: bool,
        part: f64,
    ) {
        let mark = if reached { "✓" } else { "✗" };
        let measured = match note {
            "" => show(value, unit),
            note => format!("{} ({note})", show(value, unit)),
        };
        // A growth may be negative; then no part of the target was used.
        self.push([figure, target, &measured, &format!("{mark} {:.2}", part.max(0.0))]);
    }

    fn push(&mut self, row: [&str; 4]) {
        eprintln!("  {}: {} {}", row[0], row[2], row[3]);
        self.rows.push(row.map(str::to_owned));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "| figure | target | measured | reached (part of the target) |\n|---|---|---|---|"
        )?;
        for [figure, target, measured, mark] in &self.rows {
            writeln!(out, "| {figure} | {target} | {measured} | {mark} |")?;
        }
        writeln!(
            out,
            "\nLoad of the machine (1 min) before each section, and what others than this run used of its cores meanwhile: {}.",
            self.loads.join(", ")
        )
    }
}

/// A target as it was set, without digits that nobody wrote.
fn plain(value: f64, unit: &str) -> String {
    if value >= 1000.0 { show(value, unit) } else { format!("{value} {unit}") }
}
