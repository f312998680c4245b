//! The MCP servers of one Claude Code process: the first prompt waits for them, and what is wrong with them is told.
//!
//! # How it works
//!
//! The CLI connects its servers beside its work, and a server that is late is missing in the first turn without a
//! word. So the prompt is held back while the CLI is asked (`mcp_status`) until no server is `pending`, for as long as
//! the operator allows. A later change of a server comes with no line of its own either: `init` has the states at the
//! beginning of each turn, and the CLI is asked again where a tool failed or a server is still pending.

use super::wire::{ControlResponse, McpServer, ServerStates, Text};
use super::{Claude, Phase, write};
use crate::event::Problem;
use crate::{Event, LONGEST_ID, Outcome, Step, Timer};
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;

/// Between two questions after servers that are pending.
const POLL: Duration = Duration::from_millis(100);

/// Servers that are remembered.
const REMEMBERED: usize = 256;

/// Bytes of a server's error that are told.
const DETAIL: usize = 1024;

/// What is known of the servers of a process.
#[derive(Debug, Default)]
pub(super) struct Servers {
    known: BTreeMap<String, KnownServer>,
    /// Whether the servers were waited for in this process.
    settled: bool,
    /// Whether the CLI has answered a question, so that it is up.
    answered: bool,
    /// The number of the last question, and whether its answer is awaited.
    asked: u64,
    awaited: bool,
    /// The prompt that waits for the servers.
    held: Option<Step>,
    /// How long it has waited.
    waited: Duration,
    /// The servers whose being awaited was told.
    told: BTreeSet<String>,
    /// The servers of which something was told in this turn, with what was told.
    reported: BTreeMap<String, (String, Option<String>)>,
}

/// One server as the CLI sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KnownServer {
    state: String,
    detail: Option<String>,
}

impl KnownServer {
    /// Whether it works, or was switched off on purpose.
    fn is_fine(&self) -> bool {
        matches!(self.state.as_str(), "connected" | "disabled")
    }

    fn words(&self, name: &str) -> String {
        let words = match self.state.as_str() {
            "connected" => "is connected".to_owned(),
            "pending" => "is not connected yet".to_owned(),
            "needs-auth" => "needs a sign-in, which only its own configuration can give".to_owned(),
            "failed" => "could not be connected".to_owned(),
            state => format!("is {state}"),
        };
        let detail = self.detail.as_ref().map(|detail| format!(": {detail}"));
        format!("the MCP server `{name}` {words}{}", detail.unwrap_or_default())
    }
}

impl Servers {
    fn pending(&self) -> impl Iterator<Item = &String> {
        self.known.iter().filter(|(_, server)| server.state == "pending").map(|(name, _)| name)
    }

    fn learn(&mut self, servers: Vec<McpServer<'_>>) {
        let told = mem::take(&mut self.known);
        let is_short =
            |server: &McpServer<'_>| server.name.len().max(server.status.len()) <= LONGEST_ID;
        for server in servers.into_iter().filter(is_short).take(REMEMBERED) {
            let (name, state) = (server.name.into_owned(), server.status.into_owned());
            let cut = |detail: Text<'_>| detail[..detail.floor_char_boundary(DETAIL)].to_owned();
            let before = || told.get(&name).filter(|known| known.state == state)?.detail.clone();
            // `init` does not say why.
            let detail = server.error.map(cut).or_else(before);
            self.known.insert(name, KnownServer { state, detail });
        }
    }

    /// What is wrong with the servers and was not told in this turn, and what is right again.
    fn report(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (name, server) in &self.known {
            let now = (server.state.clone(), server.detail.clone());
            let before = self.reported.get(name);
            if (server.is_fine() && before.is_none_or(|(state, _)| *state == now.0))
                || before == Some(&now)
            {
                continue;
            }
            if before.is_none() && self.reported.len() >= REMEMBERED {
                continue;
            }
            self.reported.insert(name.clone(), now);
            steps.push(Step::Say(Event::Problem(Problem {
                kind: "mcp-server",
                subject: name.clone(),
                state: server.state.clone(),
                detail: server.detail.clone(),
                text: server.words(name),
                is_solved: server.is_fine(),
            })));
        }
        steps
    }
}

impl Claude {
    /// Gives the prompt to the CLI, at once or when its servers are there.
    pub(super) fn send_prompt(&mut self, prompt: Step) -> Vec<Step> {
        self.servers.reported.clear();
        let waits = !self.servers.settled || !self.options.required_servers.is_empty();
        if self.options.server_wait.is_zero() || !waits {
            return vec![prompt];
        }
        self.servers.held = Some(prompt);
        self.servers.waited = Duration::ZERO;
        self.servers.told.clear();
        vec![self.ask_servers(), Step::Wake(Timer::Servers, POLL)]
    }

    /// Whether the prompt is still held back; then the turn has not begun for the CLI.
    pub(super) fn take_back_prompt(&mut self) -> bool {
        self.servers.held.take().is_some()
    }

    fn ask_servers(&mut self) -> Step {
        self.servers.asked += 1;
        self.servers.awaited = true;
        write(&json!({
            "type": "control_request",
            "request_id": format!("mcp-{}", self.servers.asked),
            "request": { "subtype": "mcp_status" },
        }))
    }

    /// Time has passed while the prompt is held back.
    pub(super) fn wait_for_servers(&mut self) -> Vec<Step> {
        if self.servers.held.is_none() {
            return Vec::new();
        }
        if self.pending.is_empty() {
            // A server may ask a person before it is connected.
            self.servers.waited += POLL;
        }
        if self.turn.interrupted || self.servers.waited >= self.options.server_wait {
            return self.release_prompt();
        }
        let ask = (!self.servers.awaited).then(|| self.ask_servers());
        ask.into_iter().chain([Step::Wake(Timer::Servers, POLL)]).collect()
    }

    /// An answer to one of our questions; nothing where it is another one.
    pub(super) fn hear_servers(&mut self, response: &ControlResponse<'_>) -> Vec<Step> {
        let is_awaited = self.servers.awaited;
        if !is_awaited || *response.request_id != *format!("mcp-{}", self.servers.asked) {
            return Vec::new();
        }
        self.servers.awaited = false;
        // A version that cannot tell has none that could be waited for.
        let told = response.response.map(RawValue::get).unwrap_or_default();
        let told = serde_json::from_str::<ServerStates<'_>>(told).ok();
        self.servers.learn(told.and_then(|told| told.mcp_servers).unwrap_or_default());
        let first = !mem::replace(&mut self.servers.answered, true);
        let ready = first.then_some(Step::Ready);
        ready.into_iter().chain(self.follow_servers()).collect()
    }

    /// What is to be done with what is known of the servers now.
    fn follow_servers(&mut self) -> Vec<Step> {
        if self.servers.held.is_none() {
            return if self.phase == Phase::Open { self.servers.report() } else { Vec::new() };
        }
        if self.servers.pending().next().is_none() {
            return self.release_prompt();
        }
        let pending: BTreeSet<String> = self.servers.pending().cloned().collect();
        if pending == self.servers.told {
            return Vec::new();
        }
        let names: Vec<String> = pending.iter().map(|name| format!("`{name}`")).collect();
        let text = format!("waiting for MCP servers: {}", names.join(", "));
        let data = json!({ "kind": "mcp-wait", "servers": pending });
        self.servers.told = pending;
        vec![Step::Say(Event::Status { text, data: Some(data) })]
    }

    /// The servers are not waited for any longer.
    fn release_prompt(&mut self) -> Vec<Step> {
        if self.turn.interrupted {
            // One that acts without a prompt serves no further turn.
            let closes = self.turn.acted.then_some(Step::CloseInput);
            return closes.into_iter().chain(self.end(Outcome::Canceled)).collect();
        }
        self.servers.settled = true;
        let mut steps = self.servers.report();
        match (self.servers.held.take(), self.missing_server()) {
            (Some(_), Some(failed)) => steps.extend(self.end(failed)),
            (prompt, _) => steps.extend(prompt),
        }
        steps
    }

    /// Why the turn cannot begin: a server that it needs is not there.
    fn missing_server(&self) -> Option<Outcome> {
        let required = self.options.required_servers.iter();
        let known = |name: &String| self.servers.known.get(name);
        let missing =
            required.filter(|name| known(name).is_none_or(|server| server.state != "connected"));
        let words: Vec<String> = missing
            .map(|name| match known(name) {
                Some(server) => server.words(name),
                None => format!("the MCP server `{name}` is not configured"),
            })
            .collect();
        (!words.is_empty()).then(|| Outcome::Failed {
            message: format!("{}; this agent works with it only", words.join("; ")),
            hint: Some(
                "the operator must correct the server in the agent's MCP configuration, or take it off the agent's \
                 `mcp.required`; a server that is slow gets more time by `timeouts.mcp`"
                    .to_owned(),
            ),
        })
    }

    /// The servers at the beginning of a turn.
    pub(super) fn hear_init(&mut self, servers: Option<&RawValue>) -> Vec<Step> {
        let servers = servers.filter(|_| !self.options.server_wait.is_zero());
        let servers = servers.and_then(|told| serde_json::from_str(told.get()).ok());
        let Some(servers) = servers else {
            return Vec::new();
        };
        self.servers.learn(servers);
        let unexplained =
            |server: &KnownServer| server.state == "failed" && server.detail.is_none();
        if self.servers.known.values().any(unexplained) && !self.servers.awaited {
            return vec![self.ask_servers()];
        }
        self.servers.report()
    }

    /// A tool has come back: what failed may have failed with its server, and who was late may be there now.
    pub(super) fn check_servers(&mut self, failed: bool) -> Option<Step> {
        let is_due = failed || self.servers.pending().next().is_some();
        (is_due && !self.servers.awaited && !self.servers.known.is_empty())
            .then(|| self.ask_servers())
    }
}

#[cfg(test)]
mod tests {
    use super::super::ClaudeOptions;
    use super::*;
    use crate::{Answer, Driver, Exit, Turn};
    use serde_json::Value;

    fn driver(required: &[&str]) -> Claude {
        Claude::new(ClaudeOptions {
            server_wait: Duration::from_secs(1),
            required_servers: required.iter().map(|&name| name.to_owned()).collect(),
            ..ClaudeOptions::default()
        })
    }

    fn turn() -> Turn {
        Turn { text: "x".to_owned(), ..Turn::default() }
    }

    /// The answer to the question of this number.
    fn states(number: u64, servers: Value) -> String {
        let response = json!({ "mcpServers": servers });
        let response = json!({ "subtype": "success", "request_id": format!("mcp-{number}"), "response": response });
        json!({ "type": "control_response", "response": response }).to_string()
    }

    /// What the driver writes: the subtype of a request, or `prompt`.
    fn written(steps: &[Step]) -> Vec<String> {
        let lines = steps.iter().filter_map(|step| match step {
            Step::Write(bytes) => Some(serde_json::from_slice::<Value>(bytes).unwrap()),
            _ => None,
        });
        lines
            .map(|line| line["request"]["subtype"].as_str().unwrap_or("prompt").to_owned())
            .collect()
    }

    fn problems(steps: &[Step]) -> Vec<&str> {
        let told = steps.iter().filter_map(|step| match step {
            Step::Say(Event::Problem(problem)) => Some(problem.text.as_str()),
            _ => None,
        });
        told.collect()
    }

    fn end(steps: &[Step]) -> Option<&Outcome> {
        steps.iter().find_map(|step| match step {
            Step::End(outcome) => Some(outcome),
            _ => None,
        })
    }

    #[test]
    fn the_prompt_waits_until_no_server_is_pending() {
        let mut driver = driver(&[]);
        assert_eq!(written(&driver.begin(&turn())), ["mcp_status"]);
        let late = json!([{ "name": "a", "status": "pending" }, { "name": "b", "status": "failed", "error": "why" }]);
        let steps = driver.line(states(1, late).as_bytes());
        assert!(
            matches!(&steps[..], [Step::Ready, Step::Say(Event::Status { text, .. })] if text.ends_with("`a`"))
        );
        assert_eq!(written(&driver.woke(Timer::Servers)), ["mcp_status"]);
        let there = json!([{ "name": "a", "status": "connected" }, { "name": "b", "status": "failed", "error": "why" }]);
        let steps = driver.line(states(2, there).as_bytes());
        assert_eq!(written(&steps), ["prompt"]);
        assert_eq!(problems(&steps), ["the MCP server `b` could not be connected: why"]);
        assert_eq!(driver.woke(Timer::Servers), []);
    }

    #[test]
    fn the_prompt_is_given_when_the_time_is_over_also_to_a_cli_that_does_not_answer() {
        let mut driver = driver(&[]);
        driver.begin(&turn());
        let steps: Vec<Step> = (0..10).flat_map(|_| driver.woke(Timer::Servers)).collect();
        assert_eq!(written(&steps), ["prompt"]);
    }

    #[test]
    fn a_cli_that_does_not_know_the_question_gets_the_prompt_at_once() {
        let mut driver = driver(&[]);
        driver.begin(&turn());
        let error = r#"{"type":"control_response","response":{"subtype":"error","request_id":"mcp-1","error":"unsupported"}}"#;
        assert_eq!(written(&driver.line(error.as_bytes())), ["prompt"]);
    }

    #[test]
    fn only_the_first_turn_waits_but_for_servers_that_are_required() {
        for (required, second) in [(vec![], "prompt"), (vec!["a"], "mcp_status")] {
            let mut driver = driver(&required);
            driver.begin(&turn());
            driver.line(states(1, json!([{ "name": "a", "status": "connected" }])).as_bytes());
            driver.line(br#"{"type":"result","is_error":false,"result":"y"}"#);
            assert_eq!(written(&driver.begin(&turn())), [second]);
        }
    }

    #[test]
    fn a_turn_whose_prompt_was_held_back_is_canceled_without_a_word_to_the_cli() {
        let mut driver = driver(&[]);
        driver.begin(&turn());
        assert_eq!(driver.interrupt(), [Step::End(Outcome::Canceled)]);
        assert_eq!(driver.woke(Timer::Servers), []);
        assert_eq!(driver.line(states(1, json!([])).as_bytes()), [Step::Ready]);
    }

    #[test]
    fn a_cli_that_ends_while_its_servers_are_waited_for_fails_the_turn() {
        let mut driver = driver(&[]);
        driver.begin(&turn());
        let steps = driver.exit(&Exit { code: Some(1), ..Exit::default() });
        assert!(matches!(end(&steps), Some(Outcome::Failed { .. })));
        assert_eq!(driver.woke(Timer::Servers), []);
    }

    #[test]
    fn a_required_server_fails_each_turn_in_which_it_is_not_connected() {
        let mut driver = driver(&["a"]);
        driver.begin(&turn());
        let steps =
            driver.line(states(1, json!([{ "name": "a", "status": "needs-auth" }])).as_bytes());
        let Some(Outcome::Failed { message, .. }) = end(&steps) else { panic!("{steps:?}") };
        assert!(message.contains("`a` needs a sign-in"), "{message}");
        driver.begin(&turn());
        let steps =
            driver.line(states(2, json!([{ "name": "a", "status": "connected" }])).as_bytes());
        assert_eq!((written(&steps), end(&steps)), (vec!["prompt".to_owned()], None));
    }

    #[test]
    fn a_server_that_fails_later_is_asked_about_and_told_once_and_so_is_its_return() {
        let mut driver = driver(&[]);
        driver.begin(&turn());
        driver.line(states(1, json!([{ "name": "a", "status": "connected" }])).as_bytes());
        let result = r#"{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"u","content":"x","is_error":true}]}}"#;
        assert_eq!(written(&driver.line(result.as_bytes())), ["mcp_status"]);
        let failed = json!([{ "name": "a", "status": "failed", "error": "closed" }]);
        let steps = driver.line(states(2, failed.clone()).as_bytes());
        assert_eq!(problems(&steps), ["the MCP server `a` could not be connected: closed"]);
        driver.line(result.as_bytes());
        assert_eq!(driver.line(states(3, failed).as_bytes()), []);
        driver.line(result.as_bytes());
        let back =
            driver.line(states(4, json!([{ "name": "a", "status": "connected" }])).as_bytes());
        assert_eq!(problems(&back), ["the MCP server `a` is connected"]);
    }

    #[test]
    fn a_server_that_has_failed_by_the_next_turn_is_told_with_the_reason() {
        let mut driver = driver(&[]);
        driver.begin(&turn());
        driver.line(states(1, json!([{ "name": "a", "status": "connected" }])).as_bytes());
        driver.line(br#"{"type":"result","is_error":false,"result":"y"}"#);
        driver.begin(&turn());
        let init =
            r#"{"type":"system","subtype":"init","mcp_servers":[{"name":"a","status":"failed"}]}"#;
        assert_eq!(written(&driver.line(init.as_bytes())), ["mcp_status"]);
        let steps = driver
            .line(states(2, json!([{ "name": "a", "status": "failed", "error": "e" }])).as_bytes());
        assert_eq!(problems(&steps), ["the MCP server `a` could not be connected: e"]);
    }

    const ASK: &str = r#"{"type":"control_request","request_id":"a","request":{"subtype":"elicitation","mcp_server_name":"slow","message":"Which?"}}"#;

    #[test]
    fn the_prompt_of_a_canceled_turn_is_not_given_to_the_cli() {
        let mut driver = driver(&[]);
        driver.begin(&turn());
        driver.line(ASK.as_bytes());
        assert_eq!(written(&driver.interrupt()), ["interrupt"]);
        let steps = driver.woke(Timer::Servers);
        assert_eq!(steps.last(), Some(&Step::End(Outcome::Canceled)));
        assert_eq!(written(&steps).len(), 1, "the ask is declined and nothing else is written");
        assert_eq!(driver.woke(Timer::Servers), []);
    }

    #[test]
    fn the_time_of_a_question_is_not_time_that_the_servers_take() {
        let mut driver = driver(&[]);
        driver.begin(&turn());
        driver.line(ASK.as_bytes());
        let polls = driver.options.server_wait.div_duration_f64(POLL).ceil() as usize;
        assert!(
            (0..2 * polls)
                .all(|_| driver.woke(Timer::Servers).contains(&Step::Wake(Timer::Servers, POLL)))
        );
        driver.answer("a", &Answer::Deny { message: "no".to_owned() });
        let steps: Vec<Step> = (0..polls).flat_map(|_| driver.woke(Timer::Servers)).collect();
        assert_eq!(written(&steps), ["prompt"]);
    }
}
