//! A table of plain text: aligned, readable without colour. Its widest column is cut to the terminal; where that is not
//! enough, each row is a record of lines.

use super::terminal::{clean_line, cut, padded, width};

/// A column that is cut to less than this says nothing.
const NARROWEST: usize = 8;
const GAP: usize = 2;

/// A table as `align` makes it, without the columns that are empty in each row.
pub(super) fn table(head: &[&str], rows: &[Vec<String>], most: Option<usize>) -> String {
    let cell = |row: &Vec<String>, at: usize| row.get(at).cloned().unwrap_or_default();
    let has_text = |at: &usize| rows.iter().any(|row| !cell(row, *at).is_empty());
    let columns: Vec<usize> = (0..head.len()).filter(has_text).collect();
    let head: Vec<&str> = columns.iter().map(|&at| head[at]).collect();
    let keep = |row: &Vec<String>| columns.iter().map(|&at| cell(row, at)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(keep).collect();
    align(&head, &rows, most)
}

/// A table with a head. `most` is the width of the terminal; without it nothing is cut.
pub(super) fn align(head: &[&str], rows: &[Vec<String>], most: Option<usize>) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| clean_line(cell)).collect()).collect();
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let mut widths: Vec<usize> = head.iter().map(|cell| width(cell)).collect();
    for row in &rows {
        for (most, cell) in widths.iter_mut().zip(row) {
            *most = width(cell).max(*most);
        }
    }
    if let Some(most) = most
        && !fit(&mut widths, most)
    {
        return records(&head, &rows, most);
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

/// Narrows the widest column; whether that is enough.
fn fit(widths: &mut [usize], most: usize) -> bool {
    let total = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
    let excess = total.saturating_sub(most);
    match widths.iter_mut().max() {
        Some(widest) if *widest >= excess + NARROWEST => {
            *widest -= excess;
            true
        }
        _ => excess == 0,
    }
}

/// Each row as lines of a name and a cell, an empty line between two rows.
fn records(head: &[String], rows: &[Vec<String>], most: usize) -> String {
    let wide = head.iter().map(|name| width(name)).max().unwrap_or(0);
    let room = most.saturating_sub(wide + GAP).max(NARROWEST);
    let record = |row: &Vec<String>| {
        let cells = head.iter().zip(row);
        let line = |(name, cell): (&String, &String)| {
            format!("{}{}{}\n", padded(name, wide), " ".repeat(GAP), cut(cell, room))
        };
        cells.map(line).collect::<String>()
    };
    rows.iter().map(record).collect::<Vec<_>>().join("\n")
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
    fn the_widest_column_is_cut_to_the_terminal() {
        insta::assert_snapshot!(sample(Some(40)), @r"
TASK         STATE           MESSAGE
0198-first   completed       say someth…
0198-second  input-required  日本 red a…
");
    }

    #[test]
    fn a_column_without_text_is_left_out() {
        let rows = [vec!["a".to_owned(), String::new(), "c".to_owned()]];
        assert_eq!(table(&["ONE", "TWO", "THREE"], &rows, None), "ONE  THREE\na    c\n");
    }

    #[test]
    fn a_table_without_room_becomes_records() {
        insta::assert_snapshot!(sample(Some(30)), @r"
TASK     0198-first
STATE    completed
MESSAGE  say something about …

TASK     0198-second
STATE    input-required
MESSAGE  日本 red and a secon…
");
    }
}
