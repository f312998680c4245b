//! Lines that cannot pretend: foreign text behind a bar, with what is invisible spelled out.

use crate::client::terminal::width;

/// Lines of what is asked that are shown.
pub(super) const LINES: usize = 200;
/// Characters of it that are shown.
pub(super) const CHARACTERS: usize = 24_000;
/// Text whose invisible characters can be seen; line feeds stay.
pub(in crate::client::tasks) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => out.push('\n'),
            '\t' => out.push_str("    "),
            '\r' => out.push_str("\\r"),
            other if is_hidden(other) => out.push_str(&format!("\\u{{{:x}}}", u32::from(other))),
            other => out.push(other),
        }
    }
    out
}

/// Controls a terminal, takes no room, or turns the direction of what follows.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{115f}'
                | '\u{1160}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Lines behind a bar, wrapped at `columns`, bounded; what is left out is counted.
pub(in crate::client::tasks) fn barred(lines: &[String], columns: Option<usize>) -> String {
    let room = columns.map(|columns| columns.saturating_sub(2).max(8));
    let (mut out, mut rows, mut characters) = (String::new(), 0, 0);
    let shown = lines.iter().map(|line| visible(line));
    let all: Vec<String> = shown
        .flat_map(|text| text.split('\n').map(ToOwned::to_owned).collect::<Vec<_>>())
        .collect();
    for (at, line) in all.iter().enumerate() {
        for row in wrapped(line, room) {
            let size = row.chars().count();
            if rows == LINES || characters + size > CHARACTERS {
                let left = all.len() - at;
                out.push_str(&format!(
                    "… {left} more lines are not shown; read all of it before you decide (--json)\n"
                ));
                return out;
            }
            (rows, characters) = (rows + 1, characters + size);
            out.push_str(format!("│ {row}").trim_end());
            out.push('\n');
        }
    }
    out
}

/// One line in rows that fit.
fn wrapped(line: &str, room: Option<usize>) -> Vec<String> {
    // Also where nothing is wrapped, one row must not pass the bound on all of them.
    let room = room.unwrap_or(CHARACTERS / 2);
    let mut rows = vec![String::new()];
    let mut taken = 0;
    for character in line.chars() {
        let wide = width(character.encode_utf8(&mut [0; 4]));
        if taken + wide > room {
            rows.push(String::new());
            taken = 0;
        }
        taken += wide;
        rows.last_mut().expect("there is a first row").push(character);
    }
    rows
}
