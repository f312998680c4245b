//! A table of plain text: aligned, readable without colour, cut to the terminal from its last column.

use super::terminal::{clean_line, cut, padded, width};

/// A column narrower than this says nothing and is left out.
const NARROWEST: usize = 8;
const GAP: usize = 2;

/// A table with a head. `most` is the width of the terminal; without it nothing is cut.
pub(super) fn table(head: &[&str], rows: &[Vec<String>], most: Option<usize>) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| clean_line(cell)).collect()).collect();
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let mut widths: Vec<usize> = head.iter().map(|cell| width(cell)).collect();
    for row in &rows {
        for (most, cell) in widths.iter_mut().zip(row) {
            *most = width(cell).max(*most);
        }
    }
    if let Some(most) = most {
        fit(&mut widths, most);
    }
    let mut out = String::new();
    for row in std::iter::once(&head).chain(&rows) {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &wide)| padded(&cut(cell, wide), wide)).collect();
        out.push_str(cells.join(&" ".repeat(GAP)).trim_end());
        out.push('\n');
    }
    out
}

/// Narrows the last column, and leaves it out where that is not enough; the first one stays.
fn fit(widths: &mut Vec<usize>, most: usize) {
    while widths.len() > 1 {
        let total = widths.iter().sum::<usize>() + GAP * (widths.len() - 1);
        let excess = total.saturating_sub(most);
        let Some(last) = widths.last_mut() else {
            return;
        };
        if *last >= excess && (excess == 0 || *last - excess >= NARROWEST) {
            *last -= excess;
            return;
        }
        widths.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(most: Option<usize>) -> String {
        let row = |cells: [&str; 3]| cells.map(ToOwned::to_owned).to_vec();
        let rows = [
            row(["0198-first", "completed", "say something about this"]),
            row(["0198-second", "input-required", "日本\u{1b}[31m red\nand a second line"]),
        ];
        table(&["TASK", "STATE", "MESSAGE"], &rows, most)
    }

    #[test]
    fn columns_are_aligned_and_cells_are_clean() {
        insta::assert_snapshot!(sample(None), @r"
TASK         STATE           MESSAGE
0198-first   completed       say something about this
0198-second  input-required  日本 red and a second line
");
    }

    #[test]
    fn the_last_column_is_cut_to_the_terminal() {
        insta::assert_snapshot!(sample(Some(40)), @r"
TASK         STATE           MESSAGE
0198-first   completed       say someth…
0198-second  input-required  日本 red a…
");
    }

    #[test]
    fn a_column_without_room_is_left_out() {
        insta::assert_snapshot!(sample(Some(30)), @r"
TASK         STATE
0198-first   completed
0198-second  input-required
");
    }
}
