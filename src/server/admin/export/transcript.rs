//! A task's events as a transcript: lines of JSON, Markdown, or one page of HTML without scripts.
//!
//! # How it works
//!
//! A text comes in pieces, and a secret may lie across two of them. So an update is held back while its text ends with the
//! beginning of a secret: what continues it is joined to it first.

use super::super::events::{time_of, word_of};
use crate::config::MASK;
use crate::store::{Event, Kind};
use pilothouse_a2a::id::TaskId;
use pilothouse_a2a::time::Timestamp;
use serde_json::{Value, json};

/// The style of a page.
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
    color:#1a1a1a;background:#fff}section{border-top:1px solid #ccc;padding:.5rem 0}h2{font-size:1rem;margin:.3rem 0}\
    h2 small{font-weight:400;color:#555}pre{white-space:pre-wrap;overflow-wrap:anywhere;font:inherit;margin:.3rem 0}\
    pre.data{font:13px/1.4 monospace;background:#f4f4f4;padding:.5rem}\
    @media(prefers-color-scheme:dark){body{color:#eee;background:#161616}section{border-color:#444}\
    h2 small{color:#aaa}pre.data{background:#222}}";

/// The form of a transcript.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExportForm {
    /// An event a line.
    Jsonl,
    /// For people and their editors.
    Markdown,
    /// For browsers.
    Html,
}

impl ExportForm {
    /// The form of this name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "jsonl" => Self::Jsonl,
            "markdown" | "md" => Self::Markdown,
            "html" => Self::Html,
            _ => return None,
        })
    }

    /// How the names of its files end.
    pub(super) fn ending(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Markdown => "md",
            Self::Html => "html",
        }
    }

    /// Its media type.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Jsonl => "application/jsonl",
            Self::Markdown => "text/markdown; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
        }
    }
}

/// A transcript as it is written.
pub(super) struct Transcript {
    form: ExportForm,
    /// What is masked, the longest first.
    secrets: Vec<String>,
    held: Option<HeldEvent>,
    /// The artifact whose text is being written.
    open: Option<Value>,
    out: String,
}

/// An event, with those that were joined to it.
struct HeldEvent {
    seq: u64,
    last: u64,
    kind: Kind,
    time: Option<Timestamp>,
    value: Value,
}

impl Transcript {
    /// An empty one of this task.
    pub(super) fn new(form: ExportForm, mut secrets: Vec<String>, task: &TaskId) -> Self {
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let title = escape(&format!("Task {task}"));
        let out = match form {
            ExportForm::Jsonl => String::new(),
            ExportForm::Markdown => format!("# Task {task}\n"),
            ExportForm::Html => format!(
                "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"Content-Security-Policy\" \
                 content=\"default-src 'none'; style-src 'unsafe-inline'\"><meta name=\"viewport\" \
                 content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>\n"
            ),
        };
        Self { form, secrets, held: None, open: None, out }
    }

    /// Adds the next event.
    pub(super) fn add(&mut self, event: &Event) {
        let Ok(value) = serde_json::from_slice::<Value>(&event.body) else { return };
        let value = if event.kind == Kind::Message { json!({"message": value}) } else { value };
        let entry = HeldEvent {
            seq: event.seq,
            last: event.seq,
            kind: event.kind,
            time: time_of(event),
            value,
        };
        let Some(mut held) = self.held.take() else {
            self.held = Some(entry);
            return;
        };
        if let (Some(text), Some(more)) =
            (text_of(&held.value), continues(&held.value, &entry.value))
            && self.may_be_cut(text)
        {
            let text = format!("{text}{more}");
            held.value["artifactUpdate"]["artifact"]["parts"][0]["text"] = text.into();
            if let Some(is_last) = entry.value["artifactUpdate"].get("lastChunk") {
                held.value["artifactUpdate"]["lastChunk"] = is_last.clone();
            }
            held.last = entry.last;
            self.held = Some(held);
            return;
        }
        self.write(held);
        self.held = Some(entry);
    }

    /// Adds what was held back, and the end.
    pub(super) fn end(&mut self) {
        if let Some(held) = self.held.take() {
            self.write(held);
        }
        self.close();
        if self.form == ExportForm::Html {
            self.out.push_str("</body></html>\n");
        }
    }

    /// What was written since the last time.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out).into_bytes()
    }

    /// Whether a text ends with the beginning of a secret.
    fn may_be_cut(&self, text: &str) -> bool {
        self.secrets.iter().any(|secret| {
            let mut ends = secret.char_indices().skip(1).map(|(at, _)| &secret[..at]);
            ends.any(|beginning| text.ends_with(beginning))
        })
    }

    fn masked(&self, text: &str) -> String {
        let secrets = self.secrets.iter().filter(|secret| !secret.is_empty());
        secrets.fold(text.to_owned(), |text, secret| match text.contains(&**secret) {
            true => text.replace(&**secret, MASK),
            false => text,
        })
    }

    fn mask(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.masked(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.mask(item)),
            Value::Object(members) => {
                for (name, mut item) in std::mem::take(members) {
                    self.mask(&mut item);
                    members.insert(self.masked(&name), item);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn write(&mut self, mut entry: HeldEvent) {
        self.mask(&mut entry.value);
        if self.form == ExportForm::Jsonl {
            let mut line = json!({"seq": entry.seq, "kind": word_of(entry.kind)});
            if entry.last > entry.seq {
                line["last"] = json!(entry.last);
            }
            line["event"] = entry.value;
            self.out.push_str(&line.to_string());
            self.out.push('\n');
            return;
        }
        let time = entry.time.map(|time| json!(time).as_str().unwrap_or_default().to_owned());
        let (time, value) = (time.unwrap_or_default(), &entry.value);
        if let Some(update) = value.get("artifactUpdate") {
            let artifact = &update["artifact"];
            let is_more =
                update["append"] == true && self.open.as_ref() == artifact.get("artifactId");
            if !is_more {
                let name = artifact["name"].as_str().unwrap_or("artifact").to_owned();
                self.begin(&name, &time);
                self.open = artifact.get("artifactId").cloned();
            }
            self.add_parts(&artifact["parts"]);
            return;
        }
        if let Some(task) = value.get("task") {
            for message in task["history"].as_array().into_iter().flatten() {
                self.add_message(message, &time);
            }
        }
        if let Some(message) = value.get("message") {
            self.add_message(message, &time);
        }
        if let Some(update) = value.get("statusUpdate") {
            let state = update["status"]["state"].as_str().unwrap_or_default();
            let state = state.trim_start_matches("TASK_STATE_").to_lowercase().replace('_', " ");
            self.begin(&state, &time);
            self.add_parts(&update["status"]["message"]["parts"]);
        }
    }

    fn add_message(&mut self, message: &Value, time: &str) {
        let who = if message["role"] == "ROLE_USER" { "caller" } else { "agent" };
        self.begin(who, time);
        self.add_parts(&message["parts"]);
    }

    /// Begins a section.
    fn begin(&mut self, title: &str, time: &str) {
        self.close();
        match self.form {
            ExportForm::Jsonl => {}
            ExportForm::Markdown => {
                let title = title.replace(['\n', '\r'], " ");
                self.out.push_str(format!("\n## {title} {time}").trim_end());
                self.out.push_str("\n\n");
            }
            ExportForm::Html => {
                let (title, time) = (escape(title), escape(time));
                self.out.push_str(&format!(
                    "<section><h2>{title} <small>{time}</small></h2><pre dir=\"auto\">"
                ));
            }
        }
        self.open = Some(Value::Null);
    }

    fn close(&mut self) {
        if self.open.take().is_some() {
            self.out.push_str(match self.form {
                ExportForm::Jsonl => "",
                ExportForm::Markdown => "\n",
                ExportForm::Html => "</pre></section>\n",
            });
        }
    }

    fn add_parts(&mut self, parts: &Value) {
        for part in parts.as_array().into_iter().flatten() {
            if let Some(text) = part["text"].as_str() {
                match self.form {
                    ExportForm::Html => self.out.push_str(&escape(text)),
                    ExportForm::Markdown | ExportForm::Jsonl => self.out.push_str(text),
                }
            } else if let Some(data) = part.get("data") {
                self.add_data(&serde_json::to_string_pretty(data).unwrap_or_default());
            } else if let Some(url) = part["url"].as_str() {
                self.add_data(url);
            } else if let Some(raw) = part["raw"].as_str() {
                let name = part["filename"].as_str().unwrap_or("file");
                self.add_data(&format!("{name} ({} bytes in base64)", raw.len()));
            }
        }
    }

    /// Adds what is not prose.
    fn add_data(&mut self, text: &str) {
        match self.form {
            ExportForm::Html => {
                let text = escape(text);
                self.out.push_str(&format!(
                    "</pre><pre class=\"data\" dir=\"auto\">{text}</pre><pre dir=\"auto\">"
                ));
            }
            ExportForm::Markdown | ExportForm::Jsonl => {
                // A fence is longer than any run of backticks in what it holds.
                let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
                let fence = "`".repeat(longest.max(2) + 1);
                self.out.push_str(&format!("\n{fence}\n{text}\n{fence}\n"));
            }
        }
    }
}

/// The one text of an update of an artifact.
fn text_of(value: &Value) -> Option<&str> {
    match value["artifactUpdate"]["artifact"]["parts"].as_array()?.as_slice() {
        [part] => part["text"].as_str(),
        _ => None,
    }
}

/// The text by which an update continues that of another one.
fn continues<'a>(one: &Value, next: &'a Value) -> Option<&'a str> {
    let (one, update) = (&one["artifactUpdate"], &next["artifactUpdate"]);
    let is_same = one["artifact"]["artifactId"] == update["artifact"]["artifactId"];
    (is_same && update["append"] == true).then(|| text_of(next)).flatten()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(seq: u64, text: &str, append: bool) -> Event {
        let artifact =
            json!({"artifactId": "t-answer", "name": "answer", "parts": [{"text": text}]});
        let body = json!({"artifactUpdate": {"artifact": artifact, "append": append}});
        Event { seq, kind: Kind::Artifact, body: body.to_string().into() }
    }

    fn transcript(form: ExportForm, pieces: &[&str]) -> String {
        let mut transcript =
            Transcript::new(form, vec!["a-secret-key".to_owned()], &TaskId::new("t"));
        for (at, text) in pieces.iter().enumerate() {
            transcript.add(&piece(at as u64 + 1, text, at > 0));
        }
        transcript.end();
        String::from_utf8(transcript.take()).unwrap()
    }

    #[test]
    fn a_secret_is_masked_in_every_form_however_it_is_cut_into_pieces() {
        for form in [ExportForm::Jsonl, ExportForm::Markdown, ExportForm::Html] {
            for pieces in [
                &["the a-secret-key it"][..],
                &["the a-sec", "ret-key it"],
                &["the a", "-se", "cret", "-key", " it"],
            ] {
                let text = transcript(form, pieces);
                assert!(text.contains(MASK) && !text.contains("secret"), "{text}");
                assert!(!text.contains("ret-key"), "{text}");
            }
        }
    }

    #[test]
    fn what_an_agent_says_is_text_of_a_page_and_never_a_part_of_it() {
        let page =
            transcript(ExportForm::Html, &["<script>alert(1)</script>", "</pre><img src=x>"]);
        assert!(page.contains("&lt;script&gt;"), "{page}");
        assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
    }

    #[test]
    fn pieces_of_an_answer_are_one_section_and_each_is_a_line_of_json() {
        let markdown = transcript(ExportForm::Markdown, &["one ", "two"]);
        assert_eq!(markdown, "# Task t\n\n## answer\n\none two\n");
        assert_eq!(transcript(ExportForm::Jsonl, &["one ", "two"]).lines().count(), 2);
    }

    #[test]
    fn data_is_fenced_by_more_backticks_than_it_holds() {
        let mut transcript = Transcript::new(ExportForm::Markdown, Vec::new(), &TaskId::new("t"));
        transcript.add_data("```` x");
        let text = String::from_utf8(transcript.take()).unwrap();
        assert!(text.contains("\n`````\n```` x\n`````\n"), "{text}");
    }
}
