//! The grammar of a script: statements, their words and arguments.

use crate::usage;
use std::io;
use std::str::FromStr;

/// One statement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Statement<'a> {
    /// Its word, without a colon.
    pub(crate) word: String,
    /// What follows the word, trimmed.
    pub(crate) rest: String,
    /// The rest of the message after the statement, as it is.
    pub(crate) tail: &'a str,
}

/// The statements of a message that are not empty, in order.
#[derive(Debug)]
pub(crate) struct Statements<'a>(&'a str);

impl<'a> Statements<'a> {
    /// Those of this message.
    pub(crate) fn of(message: &'a str) -> Self {
        Self(message)
    }
}

impl<'a> Iterator for Statements<'a> {
    type Item = Statement<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            let end = end(self.0);
            let (own, tail) = self.0.split_at(end.unwrap_or(self.0.len()));
            self.0 = tail.get(1..).unwrap_or_default();
            let own = own.replace("\\;", ";");
            let (word, rest) = split(own.trim());
            if !word.is_empty() {
                return Some(Statement {
                    word: word.strip_suffix(':').unwrap_or(word).to_owned(),
                    rest: rest.to_owned(),
                    tail: self.0,
                });
            }
        }
        None
    }
}

impl Statement<'_> {
    /// The statement as it was written.
    pub(crate) fn whole(&self) -> String {
        format!("{} {}", self.word, self.rest).trim().to_owned()
    }

    /// The first argument and what follows it; the first may not be empty.
    pub(crate) fn first(&self) -> io::Result<(&str, &str)> {
        match split(&self.rest) {
            ("", _) => Err(self.misses("an argument")),
            found => Ok(found),
        }
    }

    /// The numbers at the beginning of the arguments.
    pub(crate) fn number<T: FromStr>(&self, at: usize) -> io::Result<T> {
        let word = self.rest.split_whitespace().nth(at);
        let number = word.and_then(|word| word.parse().ok());
        number.ok_or_else(|| self.misses("a number"))
    }

    /// The error of a statement that lacks something.
    pub(crate) fn misses(&self, what: &str) -> io::Error {
        usage(&format!("the script says `{}`, it lacks {what}", self.whole()))
    }
}

/// Where a statement ends: at a newline, or at a semicolon without a backslash before it.
fn end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (0..bytes.len()).find(|&at| match bytes[at] {
        b'\n' => true,
        b';' => at == 0 || bytes[at - 1] != b'\\',
        _ => false,
    })
}

/// The first word and the rest.
pub(crate) fn split(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(message: &str) -> Vec<(String, String)> {
        let statements = Statements::of(message);
        statements.map(|found| (found.word, found.rest)).collect()
    }

    fn pair(word: &str, rest: &str) -> (String, String) {
        (word.to_owned(), rest.to_owned())
    }

    #[test]
    fn semicolons_and_newlines_separate_statements() {
        let expected = vec![pair("say", "a b"), pair("cue", "go"), pair("hang", "")];
        assert_eq!(words("say a b; cue go\n\n;hang"), expected);
    }

    #[test]
    fn a_semicolon_with_a_backslash_is_one() {
        assert_eq!(words(r"say a\;b; hang")[0], pair("say", "a;b"));
    }

    #[test]
    fn a_colon_may_follow_the_word() {
        assert_eq!(words("say: a: b"), vec![pair("say", "a: b")]);
    }

    #[test]
    fn the_tail_is_what_follows_as_it_is() {
        let first = Statements::of("echo; a\\;b ; c").next();
        assert_eq!(first.unwrap().tail, " a\\;b ; c");
    }

    #[test]
    fn a_missing_number_names_the_statement() {
        let statement = Statements::of("repeat x").next().unwrap();
        let error = statement.number::<u64>(0).unwrap_err();
        let expected = "the script says `repeat x`, it lacks a number";
        assert_eq!(error.to_string(), expected);
    }
}
