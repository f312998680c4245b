//! The Markdown printer: what is shown, and that the size of the pieces makes no difference.

use super::Printer;

const SAMPLE: &str = "\
# Title with `code`

A *first* paragraph, **bold** and ~~gone~~, with a [link](https://example.com) and
<https://example.org>, long enough to be wrapped somewhere.
Text right above a list:
- one
- two with `x = 1`
  continued
  1. nested
  2. again

     with a paragraph
- [x] done

3. three
4. four
10. five

```rust
fn main() {
    // # not a heading

}
```
> quoted words
> - with a list
after the quote

| name | size |
|------|-----:|
| a | 1 |
| long name | 100 |

Setext
======
---
    indented code
<b>html</b> &amp; &#27;[31mnot red

~~~
never closed
  ## still code";

fn printed(text: &str, size: usize) -> String {
    let mut printer = Printer::new(60);
    let characters: Vec<char> = text.chars().collect();
    let mut out = String::new();
    for piece in characters.chunks(size) {
        out.push_str(&printer.push(&piece.iter().collect::<String>()));
    }
    out.push_str(&printer.finish());
    out
}

/// Styles as short marks that can be read in a snapshot.
fn readable(text: &str) -> String {
    text.replace("\u{1b}[0m", "⟧").replace("\u{1b}[", "⟦")
}

#[test]
fn a_whole_document_looks_like_this() {
    insta::assert_snapshot!(readable(&printed(SAMPLE, usize::MAX)), @r"
⟦1mTitle with ⟧⟦36mcode⟧

A ⟦3mfirst⟧ paragraph, ⟦1mbold⟧ and ⟦9mgone⟧, with a ⟦4mlink⟧
⟦2m(https://example.com)⟧ and
⟦4mhttps://example.org⟧, long enough to be wrapped somewhere.
Text right above a list:
• one
• two with ⟦36mx = 1⟧
  continued
  1. nested
  2. again

     with a paragraph
• ☑ done

3. three
4. four
10. five

  ⟦36mfn main() {⟧
  ⟦36m    // # not a heading⟧

  ⟦36m}⟧
⟦2m│ ⟧quoted words
⟦2m│ ⟧• with a list
after the quote

⟦1mname       size⟧
a          1
long name  100

Setext
======
⟦2m────────────────────────────────────────⟧
    indented code
⟦2m<b>⟧html⟦2m</b>⟧ & [31mnot red

  ⟦36mnever closed⟧
  ⟦36m  ## still code⟧
");
}

#[test]
fn the_size_of_the_pieces_makes_no_difference() {
    let whole = printed(SAMPLE, usize::MAX);
    for size in 1..120 {
        assert_eq!(printed(SAMPLE, size), whole, "in pieces of {size}");
    }
}

#[test]
fn a_line_is_shown_once_it_is_whole() {
    let mut printer = Printer::new(60);
    assert_eq!(printer.push("one "), "");
    assert_eq!(printer.push("**two"), "");
    assert_eq!(printer.tail(), "one **two");
    assert_eq!(readable(&printer.push("**\nthree")), "one ⟦1mtwo⟧\n");
    assert_eq!(readable(&printer.push("\n```\ncode\nmo")), "three\n  ⟦36mcode⟧\n");
    assert_eq!(readable(&printer.push("re\n```\n")), "  ⟦36mmore⟧\n");
}

#[test]
fn a_table_is_shown_once_it_is_whole_and_rows_that_are_none_as_they_are() {
    let mut printer = Printer::new(60);
    assert_eq!(printer.push("| a | b |\n|---|---|\n| `x` | 1 \\| 2 |\n"), "");
    assert_eq!(readable(&printer.push("\n")), "⟦1ma  b⟧\nx  1 | 2\n");
    assert_eq!(printed("| no table\n", 3), "| no table\n");
}

#[test]
fn a_definition_of_a_link_is_shown_as_it_is() {
    assert_eq!(printed("[a]: https://example.com\n", 4), "[a]: https://example.com\n");
}

#[test]
fn a_character_reference_makes_no_control_character() {
    assert!(!printed("a &#27;[2J &#x9b;2J b\n", 5).contains(['\u{1b}', '\u{9b}']));
}
