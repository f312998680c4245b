//! Links of a terminal (OSC 8). A link leads to exactly what it shows, because others may have written the text.

use super::terminal::clean_line;
use crate::config::Environment;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::path::Path;

/// What stands in a path as it is.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What ends a sentence, not an address.
const CLOSING: [char; 9] = ['.', ',', ';', ':', '!', '?', ')', ']', '}'];

/// Whether the terminal of these variables shows links. Where that is not known it may show their bytes, so it gets none.
pub(super) fn are_shown(environment: &Environment) -> bool {
    let get = |name: &str| environment.get(name).unwrap_or_default();
    match get("FORCE_HYPERLINK") {
        "" => {}
        forced => return forced != "0",
    }
    if environment.get("NO_COLOR").is_some() {
        return false;
    }
    let programs = ["iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper", "Tabby", "rio"];
    let terminals = ["kitty", "alacritty", "foot", "wezterm", "ghostty", "contour"];
    programs.contains(&get("TERM_PROGRAM"))
        || terminals.iter().any(|name| get("TERM").contains(name))
        || get("VTE_VERSION").parse::<u32>().is_ok_and(|version| version >= 5000)
        || ["WT_SESSION", "KONSOLE_VERSION", "DOMTERM"].iter().any(|name| !get(name).is_empty())
}

/// A clean line in which each http address is a link to itself.
pub(super) fn link_addresses(line: &str, on: bool) -> String {
    let (mut out, mut rest) = (String::new(), line);
    while let Some(at) = ["https://", "http://"].iter().filter_map(|begin| rest.find(begin)).min() {
        let (before, found) = rest.split_at(at);
        let is_address =
            |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '`' | '<' | '>');
        let end = found.find(|c| !is_address(c)).unwrap_or(found.len());
        let address = found[..end].trim_end_matches(CLOSING);
        out.push_str(before);
        out.push_str(&link(address, address, on));
        rest = &found[address.len()..];
    }
    out + rest
}

/// The path of a file, as a link to it.
pub(super) fn link_file(path: &Path, on: bool) -> String {
    let shown = clean_line(&path.display().to_string());
    let Ok(whole) = std::path::absolute(path) else { return shown };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = utf8_percent_encode(host.trim(), PATH);
    let path = utf8_percent_encode(&whole.to_string_lossy(), PATH).to_string();
    link(&shown, &format!("file://{host}{path}"), on)
}

/// Both are clean.
fn link(text: &str, address: &str, on: bool) -> String {
    match on && !address.is_empty() {
        true => format!("\u{1b}]8;;{address}\u{1b}\\{text}\u{1b}]8;;\u{1b}\\"),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(text: &str) -> String {
        text.replace("\u{1b}]8;;", "⟦").replace("\u{1b}\\", "⟧")
    }

    #[test]
    fn an_address_is_a_link_to_what_it_shows_and_the_rest_stays() {
        let line = "see https://example.com/a?b=c, or (http://x/y). <https://z>";
        let linked = "see ⟦https://example.com/a?b=c⟧https://example.com/a?b=c⟦⟧, or \
                      (⟦http://x/y⟧http://x/y⟦⟧). <⟦https://z⟧https://z⟦⟧>";
        assert_eq!(readable(&link_addresses(line, true)), linked);
        assert_eq!(link_addresses(line, false), line);
        assert_eq!(link_addresses("none: https", true), "none: https");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_stands_in_the_address_of_a_file() {
        let linked = link_file(Path::new("/tmp/a\u{1b}\\b c"), true);
        let linked = readable(&linked);
        assert!(linked.starts_with("⟦file://") && !linked.contains('\u{1b}'), "{linked}");
        assert!(linked.contains("/tmp/a%1B%5Cb%20c⟧"), "{linked}");
    }

    #[test]
    fn a_terminal_that_says_nothing_of_itself_gets_no_links() {
        let shown = |variables: &[(&str, &str)]| {
            let variables =
                variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            are_shown(&Environment { variables: variables.collect(), unreadable: Vec::new() })
        };
        assert!(!shown(&[("TERM", "xterm-256color")]));
        assert!(shown(&[("TERM", "xterm-kitty")]) && shown(&[("VTE_VERSION", "7600")]));
        assert!(!shown(&[("TERM", "xterm-kitty"), ("NO_COLOR", "1")]));
        assert!(shown(&[("FORCE_HYPERLINK", "1")]));
        assert!(!shown(&[("WT_SESSION", "x"), ("FORCE_HYPERLINK", "0")]));
    }
}
