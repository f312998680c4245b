//! The script in a conversation: which step comes next, and what the model does for it.

use crate::tools;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The most pieces that `slow` sends.
const PIECES: usize = 10_000;
/// The longest single pause.
const PAUSE: Duration = Duration::from_secs(600);

/// A request, reduced to what the script needs.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    /// What was said and done, in order.
    pub(crate) items: Vec<Item>,
    /// The tools offered: name → JSON schema of the input.
    pub(crate) tools: Map<String, Value>,
}

/// One entry of a conversation.
#[derive(Debug)]
pub(crate) enum Item {
    /// What a person said.
    User(String),
    /// What the model said, or an interrupt: no earlier text belongs to a later turn.
    Assistant,
    /// A tool call of the model.
    Call,
    /// What the tool returned.
    Result(String),
}

/// What the model does.
#[derive(Debug, PartialEq)]
pub(crate) enum Reply {
    /// Answers an HTTP error; `times` is how often at most, and the step's own key to count by.
    Error { code: u16, times: Option<(u32, String)>, headers: String },
    /// Thinks, speaks in beats.
    Text { thinking: Option<String>, beats: Vec<Beat> },
    /// Calls tools, all in one message.
    Calls(Vec<ToolCall>),
}

/// A call of a tool.
#[derive(Debug, PartialEq)]
pub(crate) struct ToolCall {
    pub(crate) name: String,
    pub(crate) input: Value,
}

/// A piece of an answer in time.
#[derive(Debug, PartialEq)]
pub(crate) enum Beat {
    /// Some text.
    Say(String),
    /// Silence.
    Pause(Duration),
    /// Silence until a test releases the cue.
    Cue(String),
    /// The connection is cut.
    Cut,
}

/// How a host begins that was away when the model asked; what it granted is called again.
const RESUMED: &str = "You had asked";

/// What clients wrap around their own words in a user message.
const WRAPPERS: &[&str] = &[
    "system-reminder",
    "system_reminder",
    "environment_context",
    "user_instructions",
    "session_context",
    "current_datetime",
];

struct Step<'a> {
    word: &'a str,
    rest: &'a str,
}

impl Step<'_> {
    /// How many tool results it brings; the next step waits for them.
    fn results(&self) -> usize {
        match self.word {
            "both" => self.rest.split(";;").count(),
            _ => 1,
        }
    }
}

impl Reply {
    /// Says this text in one piece.
    pub(crate) fn say(text: impl Into<String>) -> Self {
        Self::beats(vec![Beat::Say(text.into())])
    }

    fn beats(beats: Vec<Beat>) -> Self {
        Self::Text { thinking: None, beats }
    }

    /// One line for the record.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Error { code, .. } => format!("error {code}"),
            Self::Calls(calls) => {
                let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
                format!("call {}", names.join(", "))
            }
            Self::Text { beats, .. } => {
                let special = beats.iter().find_map(|beat| match beat {
                    Beat::Cue(name) => Some(format!("cue {name}")),
                    Beat::Cut => Some("drop".to_owned()),
                    Beat::Say(_) | Beat::Pause(_) => None,
                });
                special.unwrap_or_else(|| format!("text {:?}", head(&spoken(beats), 60)))
            }
        }
    }
}

/// All text of some beats.
pub(crate) fn spoken(beats: &[Beat]) -> String {
    let said = beats.iter().filter_map(|beat| match beat {
        Beat::Say(text) => Some(text.as_str()),
        _ => None,
    });
    said.collect()
}

/// The first `count` characters.
pub(crate) fn head(text: &str, count: usize) -> &str {
    text.char_indices().nth(count).map_or(text, |(end, _)| &text[..end])
}

/// A user text without what the client itself wrapped around it.
pub(crate) fn plain(text: &str) -> String {
    if let Some(report) = report(text) {
        return report;
    }
    let mut plain = text.to_owned();
    for wrapper in WRAPPERS {
        let (open, close) = (format!("<{wrapper}>"), format!("</{wrapper}>"));
        while let Some((before, inside)) = plain.split_once(&open) {
            let after = inside.split_once(&close).map_or("", |(_, after)| after);
            plain = format!("{before}{after}");
        }
    }
    plain.trim().to_owned()
}

/// What a client reports of work in the background, as a step.
fn report(text: &str) -> Option<String> {
    let inside = |tag: &str| {
        let (_, after) = text.split_once(&format!("<{tag}>"))?;
        after.split_once(&format!("</{tag}>")).map(|(inside, _)| inside.trim())
    };
    inside("task-notification")?;
    let report = inside("result").or_else(|| inside("summary"))?;
    let is_script = !steps(report).is_empty();
    Some(if is_script { report.to_owned() } else { format!("say reported: {report}") })
}

impl Conversation {
    /// Where the turn's own user text stands: the last one with a step, but never before
    /// something that the assistant did.
    fn turn(&self) -> Option<usize> {
        let mut last = None;
        for (at, item) in self.items.iter().enumerate().rev() {
            match item {
                Item::User(text) if !steps(text).is_empty() => return Some(at),
                Item::User(_) => last = last.or(Some(at)),
                Item::Assistant | Item::Call if last.is_some() => break,
                Item::Assistant | Item::Call | Item::Result(_) => {}
            }
        }
        last
    }

    /// The turn's own user text, plain; empty where there is none.
    pub(crate) fn user(&self) -> &str {
        match self.turn().map(|at| &self.items[at]) {
            Some(Item::User(text)) => text,
            _ => "",
        }
    }

    /// What the model does next.
    pub(crate) fn reply(&self) -> Reply {
        let text = self.user();
        let steps = steps(text);
        if let Some(at) = text.find(RESUMED) {
            return self.resume(&text[..at], &text[at..]);
        }
        if steps.is_empty() {
            return Reply::say(format!("ok: {}", head(text, 60)));
        }
        let results = self.results();
        let mut before = 0;
        let next = steps.iter().find(|step| {
            let plays = before >= results.len();
            before += step.results();
            plays
        });
        match next {
            Some(step) => self.play(step, &format!("{text}#{}", results.len())),
            None => done(&results),
        }
    }

    /// What the tools of this turn have returned.
    fn results(&self) -> Vec<&String> {
        let from = self.turn().unwrap_or(0);
        let results = self.items[from..].iter().filter_map(|item| match item {
            Item::Result(text) => Some(text),
            _ => None,
        });
        results.collect()
    }

    /// After an interruption: the call that is granted now, the others of its message, and the steps
    /// that were still to come; what is not granted is repeated in words.
    fn resume(&self, recap: &str, told: &str) -> Reply {
        let results = self.results();
        let Some(granted) = granted(told) else {
            return Reply::say(format!("heard: {}", head(told, 2000)));
        };
        let mut plan = vec![Reply::Calls(vec![granted])];
        let before = self.items[..self.turn().unwrap_or(0)].iter().rev();
        let said = before.filter_map(|item| match item {
            Item::User(text) => Some(text.as_str()),
            _ => None,
        });
        let mut scripts = [recap].into_iter().chain(said);
        let script = scripts.find(|text| !steps(text).is_empty());
        let steps = script.map_or_else(Vec::new, steps);
        let replies = steps.iter().map(|step| self.play(step, step.rest));
        let mut replies = replies.skip_while(|reply| match (&plan[0], reply) {
            (Reply::Calls(granted), Reply::Calls(calls)) => !calls.contains(&granted[0]),
            _ => true,
        });
        if let (Some(Reply::Calls(calls)), Reply::Calls(granted)) = (replies.next(), &plan[0]) {
            let others = calls.into_iter().filter(|call| *call != granted[0]);
            let others: Vec<_> = others.map(|call| Reply::Calls(vec![call])).collect();
            let rest: Vec<_> = replies.collect();
            plan.extend(others.into_iter().chain(rest));
        }
        match plan.into_iter().nth(results.len()) {
            Some(reply) => reply,
            None => done(&results),
        }
    }

    fn play(&self, step: &Step<'_>, key: &str) -> Reply {
        let rest = step.rest;
        let mut words = rest.split_whitespace();
        match step.word {
            "say" => {
                let middle = head(rest, rest.chars().count() / 2).len();
                let (a, b) = rest.split_at(middle);
                let halves = [a, b].into_iter().filter(|half| !half.is_empty());
                Reply::beats(halves.map(|half| Beat::Say(half.to_owned())).collect())
            }
            "think" => Reply::Text {
                thinking: Some(rest.to_owned()),
                beats: vec![Beat::Say("thought".to_owned())],
            },
            "slow" => {
                let count = number(words.next(), 1).min(PIECES);
                let pause = Duration::from_millis(number(words.next(), 200)).min(PAUSE);
                let pieces = (1..=count).flat_map(|i| {
                    let pause = (i > 1).then_some(Beat::Pause(pause));
                    pause.into_iter().chain([Beat::Say(format!("c{i} "))])
                });
                Reply::beats(pieces.collect())
            }
            "hang" => {
                let time = Duration::try_from_secs_f64(number(words.next(), 0.0));
                let time = time.unwrap_or(PAUSE).min(PAUSE);
                Reply::beats(vec![Beat::Pause(time), Beat::Say("after hang".to_owned())])
            }
            "cue" => Reply::beats(vec![
                Beat::Say("waiting ".to_owned()),
                Beat::Cue(rest.to_owned()),
                Beat::Say("released".to_owned()),
            ]),
            "history" => self.history(),
            "error" => {
                let code = number(words.next(), 500);
                let times = words.next().map(|word| number(Some(word), 1));
                let times = times.map(|times| (times, key.to_owned()));
                Reply::Error { code, times, headers: String::new() }
            }
            "refuse" => {
                let code = number(words.next(), 429);
                let headers = words.filter_map(|word| word.split_once('='));
                let headers = headers.map(|(name, value)| format!("{name}: {value}\r\n"));
                Reply::Error { code, times: None, headers: headers.collect() }
            }
            "drop" => Reply::beats(vec![Beat::Say("partial ".to_owned()), Beat::Cut]),
            word => self
                .call(word, rest)
                .unwrap_or_else(|| Reply::say(format!("no tool for {word}: {rest}"))),
        }
    }

    fn history(&self) -> Reply {
        let users = self.items.iter().filter_map(|item| match item {
            Item::User(text) => Some(text),
            _ => None,
        });
        let users: Vec<&String> = users.collect();
        let first = users.first().map_or("", |text| head(text, 80));
        let (turns, items) = (users.len(), self.items.len());
        Reply::say(format!("turns={turns} first={first:?} items={items}"))
    }

    /// The tool call of a step; none where the client offers no such tool.
    fn call(&self, word: &str, rest: &str) -> Option<Reply> {
        let (first, more) = rest.split_once(' ').unwrap_or((rest, ""));
        let (name, input) = match word {
            "both" => {
                let calls = rest.split(";;").map(|step| {
                    let steps = steps(step.trim());
                    let step = steps.first()?;
                    match self.call(step.word, step.rest)? {
                        Reply::Calls(calls) => Some(calls),
                        _ => None,
                    }
                });
                let calls: Option<Vec<_>> = calls.collect();
                return calls.map(|calls| Reply::Calls(calls.into_iter().flatten().collect()));
            }
            "bash" => ("Bash", json!({"command": rest, "description": "run a command"})),
            "write" => {
                let text = if more.is_empty() { "written\n" } else { more };
                ("Write", json!({"file_path": first, "content": text}))
            }
            "read" => ("Read", json!({"file_path": first})),
            "ask" => ("AskUserQuestion", question(rest)),
            "tool" | "rawtool" => {
                let more = if more.trim().is_empty() { "{}" } else { more };
                match serde_json::from_str(more) {
                    Ok(input) if word == "rawtool" => {
                        let name = first.to_owned();
                        return Some(Reply::Calls(vec![ToolCall { name, input }]));
                    }
                    Ok(input) => (first, input),
                    Err(error) => return Some(Reply::say(format!("no JSON for {first}: {error}"))),
                }
            }
            _ => return None,
        };
        let name = tools::named(&self.tools, word).unwrap_or(name);
        let schema = self.tools.get(name)?;
        let input = match word {
            "bash" | "write" | "read" => tools::fitted(schema, input),
            _ => input,
        };
        let name = name.to_owned();
        Some(Reply::Calls(vec![ToolCall { name, input }]))
    }
}

fn done(results: &[&String]) -> Reply {
    let last = results.last().map_or("", |text| head(text, 2000));
    Reply::say(format!("done: {last}"))
}

/// The call that a resumed conversation is told to make again.
fn granted(text: &str) -> Option<ToolCall> {
    let (_, rest) = text.split_once("permission to use ")?;
    let (name, rest) = rest.split_once(" with the input ")?;
    let (input, rest) = rest.rsplit_once(", and were interrupted.")?;
    rest.contains("make that same call again")
        .then(|| serde_json::from_str(input).ok())?
        .map(|input| ToolCall { name: name.to_owned(), input })
}

fn question(rest: &str) -> Value {
    let mut words = rest.split('|').map(str::trim);
    let question = words.next().unwrap_or_default();
    let mut options: Vec<&str> = words.collect();
    if options.is_empty() {
        options = vec!["yes", "no"];
    }
    let options = options.iter().map(|label| json!({"label": label, "description": label}));
    json!({"questions": [{
        "question": question, "header": "Choice", "multiSelect": false,
        "options": options.collect::<Vec<_>>(),
    }]})
}

/// The steps of a user text.
fn steps(text: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    for line in text.lines().map(str::trim) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (word, rest) = match (word, rest.trim()) {
            ("bash:", rest) => ("bash", rest),
            ("both:", rest) => ("both", rest),
            (word @ ("history" | "drop"), "") => (word, ""),
            ("history" | "drop" | "bash" | "both", _) => continue,
            (word, rest) => (word, rest),
        };
        let known = matches!(
            word,
            "say"
                | "think"
                | "slow"
                | "hang"
                | "cue"
                | "write"
                | "read"
                | "ask"
                | "tool"
                | "rawtool"
                | "refuse"
                | "error"
        );
        if (known && !rest.is_empty()) || matches!(word, "bash" | "both" | "history" | "drop") {
            steps.push(Step { word, rest });
        }
    }
    steps
}

fn number<T: std::str::FromStr>(word: Option<&str>, default: T) -> T {
    word.and_then(|word| word.parse().ok()).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(items: Vec<Item>) -> Reply {
        let tools = ["Bash", "Write", "AskUserQuestion"];
        let tools = tools.iter().map(|name| ((*name).to_owned(), json!({})));
        let tools = tools.collect();
        Conversation { items, tools }.reply()
    }

    fn user(text: &str) -> Item {
        Item::User(text.to_owned())
    }

    fn text(reply: &Reply) -> String {
        match reply {
            Reply::Text { beats, .. } => spoken(beats),
            other => panic!("no text: {other:?}"),
        }
    }

    fn bash(command: &str) -> ToolCall {
        ToolCall {
            name: "Bash".into(),
            input: json!({"command": command, "description": "run a command"}),
        }
    }

    #[test]
    fn both_calls_stand_in_one_message_and_the_next_step_waits_for_both() {
        let script = "both: bash: ls ;; bash: pwd\nsay bye";
        let first = reply(vec![user(script)]);
        assert_eq!(first, Reply::Calls(vec![bash("ls"), bash("pwd")]));
        let results = || [Item::Call, Item::Call, Item::Result("x".into())].into_iter();
        let both = [user(script)].into_iter().chain(results());
        let both = both.chain([Item::Result("y".into())]).collect();
        assert_eq!(text(&reply(both)), "bye");
    }

    const GRANTED: &str = "You had asked for the permission to use Bash with the input \
        {\"command\":\"ls\",\"description\":\"run a command\"}, and were interrupted. \
        It is granted now: make that same call again and go on.";

    #[test]
    fn a_call_that_is_granted_late_is_made_again_then_the_others_and_the_steps_that_follow() {
        let script = "bash: id\nboth: bash: ls ;; bash: pwd\nsay bye";
        let played = |results: usize| {
            let before = [user(script), Item::Call, Item::Call, user(GRANTED)];
            let results = (0..results).flat_map(|_| [Item::Call, Item::Result("x".into())]);
            reply(before.into_iter().chain(results).collect())
        };
        let recap = user(&format!("{script}\n\n{GRANTED}"));
        assert_eq!(reply(vec![recap]), Reply::Calls(vec![bash("ls")]));
        assert_eq!(played(0), Reply::Calls(vec![bash("ls")]));
        assert_eq!(played(1), Reply::Calls(vec![bash("pwd")]));
        assert_eq!(text(&played(2)), "bye");
    }

    #[test]
    fn what_is_told_late_but_not_granted_is_repeated() {
        let told = "You had asked: Which?\nThe answer is: red\nGo on with it.";
        let items = vec![user("ask Which?"), Item::Call, user(told)];
        assert_eq!(text(&reply(items)), format!("heard: {told}"));
    }

    #[test]
    fn a_message_without_a_step_is_echoed() {
        assert_eq!(text(&reply(vec![user("how are you?")])), "ok: how are you?");
    }

    #[test]
    fn a_step_is_played_after_as_many_tool_results() {
        let script = "please\nbash: ls -l\nsay bye";
        let first = reply(vec![user(script)]);
        assert_eq!(first, Reply::Calls(vec![bash("ls -l")]));
        let results = vec![user(script), Item::Call, Item::Result("x".into())];
        assert_eq!(text(&reply(results)), "bye");
    }

    #[test]
    fn used_up_steps_end_with_the_last_result() {
        let items = vec![user("bash: ls"), Item::Call, Item::Result("a b".into())];
        assert_eq!(text(&reply(items)), "done: a b");
    }

    #[test]
    fn an_earlier_turn_is_not_played_again() {
        let items = vec![user("say one"), Item::Assistant, user("thanks")];
        assert_eq!(text(&reply(items)), "ok: thanks");
    }

    #[test]
    fn reminders_of_the_client_are_not_part_of_the_text() {
        let wrapped = "<system-reminder>say no</system-reminder>\nsay yes";
        assert_eq!(plain(wrapped), "say yes");
    }

    #[test]
    fn a_report_from_the_background_is_repeated_or_played() {
        let notice = |result: &str| {
            plain(&format!(
                "<system-reminder>\n<task-notification>\n<result>{result}</result>\n</task-notification>\n</system-reminder>"
            ))
        };
        let items = |result| vec![user("say one"), Item::Assistant, user(&notice(result))];
        assert_eq!(text(&reply(items("all is well"))), "reported: all is well");
        assert_eq!(reply(items("bash: ls")), Reply::Calls(vec![bash("ls")]));
    }

    #[test]
    fn a_tool_that_is_not_offered_is_said() {
        assert_eq!(text(&reply(vec![user("read /a")])), "no tool for read: /a");
    }

    #[test]
    fn a_limited_error_carries_its_key() {
        let expected = Reply::Error {
            code: 529,
            times: Some((2, "error 529 2#0".into())),
            headers: String::new(),
        };
        assert_eq!(reply(vec![user("error 529 2")]), expected);
    }
}
