//! Lists in pages: which page is asked for, and the page as JSON.

use pilothouse_a2a::error::Error;
use serde_json::{Value, json};

/// Entries of a page where the caller does not say how many, and at most.
const SIZE: usize = 50;
const LARGEST: usize = 100;

/// Which page of a list is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PageQuery<'a> {
    /// Entries at most.
    pub(super) size: usize,
    /// The token of the page before; none for the first page.
    pub(super) token: Option<&'a str>,
}

impl<'a> PageQuery<'a> {
    /// Reads `pageSize` and `pageToken`.
    pub(super) fn read(query: &'a str) -> Result<Self, Error> {
        let mut page = Self { size: SIZE, token: None };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "pageSize" | "page_size" => {
                    let given = value.parse().ok().filter(|given| (1..=LARGEST).contains(given));
                    page.size =
                        given.ok_or_else(|| Error::invalid("pageSize", "must be 1 to 100"))?;
                }
                "pageToken" | "page_token" if !value.is_empty() => page.token = Some(value),
                _ => {}
            }
        }
        Ok(page)
    }
}

/// The error of a token that no page gave.
pub(super) fn no_token() -> Error {
    Error::invalid("pageToken", "must be the `nextPageToken` of the page before")
}

/// A page as it is answered. Each entry comes with the token of the page that begins after it; `has_more` says that
/// further ones follow the last. The page ends where it would grow beyond `most` bytes; its token leads to the rest.
pub(super) fn render_page(
    name: &str,
    entries: impl Iterator<Item = (Value, String)>,
    has_more: bool,
    (size, total, most): (usize, u64, usize),
) -> String {
    let (mut text, mut last, mut is_cut) = (String::new(), None, has_more);
    for (entry, token) in entries {
        let entry = entry.to_string();
        if last.is_some() {
            if text.len() + entry.len() > most {
                is_cut = true;
                break;
            }
            text.push(',');
        }
        text.push_str(&entry);
        last = Some(token);
    }
    let next = json!(last.filter(|_| is_cut).unwrap_or_default());
    format!(r#"{{"{name}":[{text}],"nextPageToken":{next},"pageSize":{size},"totalSize":{total}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_fifty_entries_unless_it_is_said_and_a_hundred_at_most() {
        let read = |query| PageQuery::read(query).map(|page| (page.size, page.token));
        assert_eq!(read("").unwrap(), (50, None));
        assert_eq!(read("pageToken=&x=y").unwrap(), (50, None));
        assert_eq!(read("pageSize=100&pageToken=a.b").unwrap(), (100, Some("a.b")));
        for wrong in ["pageSize=0", "pageSize=101", "pageSize=x"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_page_ends_before_it_is_too_large_and_its_token_leads_to_the_rest() {
        let entries = || [1, 2, 3].map(|n| (json!(n), format!("after-{n}"))).into_iter();
        let page = |has_more, most| {
            let text = render_page("all", entries(), has_more, (3, 9, most));
            let page: Value = serde_json::from_str(&text).unwrap();
            (page["all"].as_array().unwrap().len(), page["nextPageToken"].clone())
        };
        assert_eq!(page(false, 100), (3, json!("")));
        assert_eq!(page(true, 100), (3, json!("after-3")));
        assert_eq!(page(false, 1), (1, json!("after-1")));
        // One entry is shown though it is too large, or nobody would get further.
        assert_eq!(page(false, 0), (1, json!("after-1")));
    }
}
