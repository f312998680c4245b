//! What is larger than an event or a line may be is cut, and says how much is missing.

use serde::Serialize;
use serde_json::Value;

/// The text, or its beginning and how many bytes are left out.
pub fn shorten_text(text: String, limit: usize) -> String {
    if text.len() <= limit {
        return text;
    }
    let kept = text.floor_char_boundary(limit);
    format!("{} … ({} more bytes are left out)", &text[..kept], text.len() - kept)
}

/// The value, with its long texts cut until its JSON fits.
pub fn shorten_value(mut value: Value, limit: usize) -> Value {
    let mut longest = limit / 4;
    while measure(&value) > limit {
        if longest < 16 {
            // Many small pieces make a large whole: nothing of it is more telling than the rest.
            return Value::String(shorten_text(value.to_string(), limit / 8));
        }
        cut_texts(&mut value, longest);
        longest /= 4;
    }
    value
}

/// Bytes of something as JSON.
pub fn measure(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).expect("counting does not fail");
    count.0
}

fn cut_texts(value: &mut Value, longest: usize) {
    match value {
        Value::String(string) => *string = shorten_text(std::mem::take(string), longest),
        Value::Array(items) => items.iter_mut().for_each(|item| cut_texts(item, longest)),
        Value::Object(members) => members.values_mut().for_each(|item| cut_texts(item, longest)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_long_text_inside_is_cut_and_the_rest_stays() {
        let cut = shorten_value(
            json!({"name": "Write", "input": {"path": "a", "content": "é".repeat(50_000)}}),
            10_000,
        );
        assert!(measure(&cut) <= 10_000);
        assert_eq!(cut["input"]["path"], "a");
        assert!(cut["input"]["content"].as_str().unwrap().ends_with("more bytes are left out)"));
    }

    #[test]
    fn a_large_whole_of_small_pieces_becomes_the_beginning_of_its_text() {
        let cut = shorten_value(json!(vec![1; 100_000]), 10_000);
        assert!(measure(&cut) <= 10_000);
        assert!(cut.is_string());
    }
}
