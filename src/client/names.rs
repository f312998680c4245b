//! Which task, session or ask a person means: its id, the beginning or the end of it, or `last`.
//!
//! # How it works
//!
//! Where no agent is named, all agents of the server are searched. A whole id is asked for at each of them.
//! A short one is compared with what the server lists first: the newest tasks and sessions of each agent, and
//! the open asks. So a short id costs one page of each agent, however much is stored. An ambiguous one is an
//! error that lists the candidates.

use super::exit;
use super::failure::Failure;
use super::list::read_list;
use super::local::{Server, escape};
use super::outcome::ago;
use super::tasks::Ask;
use super::terminal::{clean_line, cut};
use pilothouse_a2a::error::ErrorKind;
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::operation::ListTasksRequest;
use pilothouse_a2a::task::Task;
use pilothouse_a2a::time::Timestamp;
use serde_json::Value;

/// The newest one.
const LAST: &str = "last";
/// Tasks and sessions of each agent that a short id is looked for among.
const NEWEST: usize = 100;
/// Open asks that a short id is looked for among.
const MOST_ASKS: usize = 1000;
/// Candidates that an error lists.
const MOST_CANDIDATES: usize = 10;
/// Characters of a short id as it is printed: the end of a UUID is random, its beginning is the time.
const PRINTED: usize = 8;
/// Characters of a short context id at least: a caller may name a new context himself.
const SHORTEST_CONTEXT: usize = 4;
/// Characters of a text at most that is a short id and never the name of a new context.
const LONGEST_SHORT: usize = 12;

/// What a text may mean.
struct Candidate<T> {
    /// The ids that lead to it.
    ids: Vec<String>,
    about: String,
    value: T,
}

/// An open ask, and the server that leads to its agent.
pub(super) struct FoundAsk {
    pub(super) server: Server,
    pub(super) task: TaskId,
    /// The ask as the server lists it; none where the task itself says what it asks.
    pub(super) listed: Option<Value>,
}

/// A short form of an id, for people: the end of a UUID, else all of it.
pub(super) fn shorten(id: &str) -> &str {
    if is_whole(id) { &id[id.len() - PRINTED..] } else { id }
}

fn is_whole(id: &str) -> bool {
    id.len() == 36 && uuid::Uuid::try_parse(id).is_ok()
}

/// The one candidate that a text names: by a whole id, else by the beginning or the end of one.
fn pick<T>(what: &str, text: &str, candidates: Vec<Candidate<T>>) -> Result<Option<T>, Failure> {
    let wanted = text.to_ascii_lowercase();
    if wanted.is_empty() {
        return Ok(None);
    }
    let is_short_of = |id: &String| {
        let id = id.to_ascii_lowercase();
        id.starts_with(&wanted) || id.ends_with(&wanted)
    };
    let (exact, others): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|one| one.ids.iter().any(|id| id == text));
    let mut found = match exact.is_empty() {
        true => others.into_iter().filter(|one| one.ids.iter().any(is_short_of)).collect(),
        false => exact,
    };
    if found.len() > 1 {
        return Err(ambiguous(&format!("`{text}` may be one of {} {what}", found.len()), &found));
    }
    Ok(found.pop().map(|one| one.value))
}

/// An error that lists what may be meant.
fn ambiguous<T>(why: &str, candidates: &[Candidate<T>]) -> Failure {
    let shown = candidates.iter().take(MOST_CANDIDATES).map(|one| {
        let id = one.ids.first().map(String::as_str).unwrap_or_default();
        format!("\n  {}  {}", clean_line(id), cut(&clean_line(&one.about), 80))
    });
    let left = candidates.len().saturating_sub(MOST_CANDIDATES);
    let more = if left > 0 { format!("\n  … and {left} more") } else { String::new() };
    Failure::usage(format!("{why}; name one of them:{}{more}", shown.collect::<String>()))
}

/// What is not there is none; every other failure stays.
fn unless_missing<T>(found: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.is_missing => Ok(None),
        Err(failure) => Err(failure),
    }
}

// === tasks ===

/// The task that a text names, and the server that leads to its agent. A text that names none is taken as it is: the
/// server says what is wrong with it.
pub(super) async fn find_task(server: &Server, text: &str) -> Result<(Server, TaskId), Failure> {
    let agents = server.each_agent().await;
    let as_it_is = (server.clone(), TaskId::new(text));
    if !is_whole(text) {
        let most = if text == LAST { 1 } else { NEWEST };
        let mut candidates = Vec::new();
        for (name, agent) in &agents {
            let tasks = newest_tasks(agent, most).await?.into_iter();
            candidates.extend(tasks.map(|task| (name.clone(), agent.clone(), task)));
        }
        if text == LAST {
            let newest = candidates.into_iter().max_by_key(|(.., task)| task.status.timestamp);
            let newest = newest.map(|(_, agent, task)| (agent, task.id));
            return newest.ok_or_else(|| Failure::usage("there is no task yet"));
        }
        let candidates = candidates.into_iter().map(|(name, agent, task)| Candidate {
            ids: vec![task.id.to_string()],
            about: describe(&name, &task),
            value: (agent, task.id),
        });
        if let Some(found) = pick("tasks", text, candidates.collect())? {
            return Ok(found);
        }
    }
    if let [_] = &agents[..] {
        return Ok(as_it_is);
    }
    for (_, agent) in agents {
        let client = agent.client().await?;
        let found = client.get(&as_it_is.1, Some(0)).await.map_err(|error| agent.failure(&error));
        if unless_missing(found)?.is_some() {
            return Ok((agent, as_it_is.1));
        }
    }
    Ok(as_it_is)
}

/// The newest tasks of an agent; none of a server that lists none.
pub(super) async fn newest_tasks(server: &Server, most: usize) -> Result<Vec<Task>, Failure> {
    let request = ListTasksRequest {
        page_size: i32::try_from(most).ok(),
        history_length: Some(0),
        ..ListTasksRequest::default()
    };
    match server.client().await?.list(&request).await {
        Ok(page) => Ok(page.tasks),
        Err(error)
            if matches!(
                error.kind(),
                Some(ErrorKind::UnsupportedOperation | ErrorKind::MethodNotFound)
            ) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Ok(unless_missing(Err(server.failure(&error)))?.unwrap_or_default()),
    }
}

fn describe(agent: &str, task: &Task) -> String {
    let age = ago(task.status.timestamp, Timestamp::now());
    format!("{agent} {}, {age}", task.status.state.word()).trim().to_owned()
}

// === sessions ===

/// The session that a text names by its own id or that of its context, and the server that leads to its agent.
pub(super) async fn find_session(server: &Server, text: &str) -> Result<(Server, Value), Failure> {
    if let Some(found) = look_for_session(server, text, 1).await? {
        return Ok(found);
    }
    // The server says what is wrong with it.
    let session = server.get(&format!("/api/v1/sessions/{}", escape(text))).await?;
    Ok((server.clone(), session))
}

/// The context that a text names. One that no session has is a new one, and is taken as it is, unless it looks like a
/// short id.
pub(super) async fn find_context(
    server: &Server,
    text: &str,
) -> Result<(Server, ContextId), Failure> {
    match look_for_session(server, text, SHORTEST_CONTEXT).await? {
        Some((server, session)) => {
            let context = session.get("contextId").and_then(Value::as_str).unwrap_or(text);
            Ok((server, ContextId::new(context)))
        }
        None => Ok((server.clone(), new_context(text)?)),
    }
}

/// The context of a text that leads to no session: a new one, but a mistyped short id is an error.
fn new_context(text: &str) -> Result<ContextId, Failure> {
    if is_hex(text) && (SHORTEST_CONTEXT..=LONGEST_SHORT).contains(&text.len()) {
        return Err(Failure::usage(format!(
            "no conversation begins or ends with `{text}`; `pilothouse send --new-context {text}` begins one of that name"
        )));
    }
    Ok(ContextId::new(text))
}

/// Whether a text may be a piece of a UUID.
fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// The session of a text; a short one has at least `shortest` characters.
async fn look_for_session(
    server: &Server,
    text: &str,
    shortest: usize,
) -> Result<Option<(Server, Value)>, Failure> {
    let agents = server.each_agent().await;
    if text != LAST {
        let path = format!("/api/v1/sessions/{}", escape(text));
        for (_, agent) in &agents {
            if let Some(session) = unless_missing(agent.get(&path).await)? {
                return Ok(Some((agent.clone(), session)));
            }
        }
        if is_whole(text) || text.len() < shortest || !is_hex(text) {
            return Ok(None);
        }
    }
    let most = if text == LAST { 1 } else { NEWEST };
    let mut candidates = Vec::new();
    for (name, agent) in &agents {
        let list = read_list(agent, ("/api/v1/sessions", "sessions"), most).await;
        let sessions = unless_missing(list)?.map(|list| list.entries).unwrap_or_default();
        candidates
            .extend(sessions.into_iter().map(|session| (name.clone(), agent.clone(), session)));
    }
    let told = |session: &Value, name: &str| {
        session.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    if text == LAST {
        let used = |session: &Value| Timestamp::parse(&told(session, "used"));
        let newest = candidates.into_iter().max_by_key(|(.., session)| used(session));
        let newest = newest.map(|(_, agent, session)| (agent, session));
        return newest.map(Some).ok_or_else(|| Failure::usage("there is no session yet"));
    }
    let candidates = candidates.into_iter().map(|(name, agent, session)| {
        let ids = [told(&session, "contextId"), told(&session, "id")];
        let age = ago(Timestamp::parse(&told(&session, "used")), Timestamp::now());
        Candidate {
            ids: ids.into_iter().filter(|id| !id.is_empty()).collect(),
            about: format!("{name} used {age}").trim().to_owned(),
            value: (agent, session),
        }
    });
    pick("sessions", text, candidates.collect())
}

// === asks ===

/// The members of an ask that name it, in the order in which they are looked through.
const ASK_IDS: [&str; 4] = ["shortId", "askId", "taskId", "contextId"];

/// The open asks of all agents, or of the named one, oldest first.
async fn open_asks(server: &Server) -> Result<Vec<Candidate<Value>>, Failure> {
    read_asks(server, "/api/v1/asks").await
}

async fn read_asks(server: &Server, path: &str) -> Result<Vec<Candidate<Value>>, Failure> {
    let list = read_list(server, (path, "asks"), MOST_ASKS).await;
    let asks = unless_missing(list)?.map(|list| list.entries).unwrap_or_default();
    Ok(asks
        .into_iter()
        .map(|ask| Candidate {
            ids: ASK_IDS.map(|name| field(&ask, name)).to_vec(),
            about: format!("{} {}", field(&ask, "agent"), Ask::of_data(&ask).describe()),
            value: ask,
        })
        .collect())
}

fn field(ask: &Value, name: &str) -> String {
    ask.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The ask that a text names by its id, or that of its task or context; without a text the only open one.
pub(super) async fn find_ask(server: &Server, text: Option<&str>) -> Result<FoundAsk, Failure> {
    let mut asks = open_asks(server).await?;
    let found = match text {
        None if asks.len() > 1 => {
            return Err(ambiguous(&format!("{} asks are open", asks.len()), &asks));
        }
        None | Some(LAST) => {
            let nothing = || Failure::usage("nothing waits for an answer");
            Some(asks.pop().ok_or_else(nothing)?.value)
        }
        Some(text) => {
            // Those for later are asked for by name alone.
            asks.extend(read_asks(server, "/api/v1/asks?state=deferred").await?);
            asks.dedup_by(|one, other| one.ids == other.ids);
            match pick_ask(asks, text)? {
                Some(ask) => Some(ask),
                None => find_other_ask(server, text).await?,
            }
        }
    };
    let Some(ask) = found else {
        let (server, task) = find_task(server, text.unwrap_or_default()).await?;
        return Ok(FoundAsk { server, task, listed: None });
    };
    let task = TaskId::new(field(&ask, "taskId"));
    let agent = field(&ask, "agent");
    let agents = server.each_agent().await;
    let leads = agents.into_iter().find(|(name, _)| *name == agent);
    let server = leads.map_or_else(|| server.clone(), |(_, server)| server);
    Ok(FoundAsk { server, task, listed: Some(ask) })
}

/// The ask that a text names by its id, or that of its task or context.
fn pick_ask(mut asks: Vec<Candidate<Value>>, text: &str) -> Result<Option<Value>, Failure> {
    for (at, _) in ASK_IDS.iter().enumerate() {
        // The ids of an ask lead to it alone, the others to the first ask of the task.
        let mut tasks = Vec::new();
        asks.retain(|ask| {
            let task = ask.ids[2].clone();
            let is_first = at < 2 || !tasks.contains(&task);
            tasks.push(task);
            is_first
        });
        let of_kind = asks.iter().map(|ask| Candidate {
            ids: vec![ask.ids[at].clone()],
            about: ask.about.clone(),
            value: ask.value.clone(),
        });
        if let Some(found) = pick("open asks", text, of_kind.collect())? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// An ask that is not among the open ones of the caller: one that has ended, or one of another caller, for an admin.
async fn find_other_ask(server: &Server, text: &str) -> Result<Option<Value>, Failure> {
    let named = server.get(&format!("/api/v1/asks/{}", escape(text))).await;
    if let Some(ask) = unless_missing(named)?.filter(|ask| ask.get("askId").is_some()) {
        return Ok(Some(ask));
    }
    let all = server.of_all_callers();
    let mut asks = Vec::new();
    for path in ["/api/v1/asks", "/api/v1/asks?state=deferred"] {
        match read_asks(&all, path).await {
            Ok(more) => asks.extend(more),
            // Only an admin reads those of other callers.
            Err(failure) if failure.code == exit::NOT_AUTHORISED => return Ok(None),
            Err(failure) => return Err(failure),
        }
    }
    asks.dedup_by(|one, other| one.ids == other.ids);
    pick_ask(asks, text)
}

/// Whether a text names an open ask, so that it is hardly an answer.
pub(super) async fn names_ask(server: &Server, text: &str) -> Result<bool, Failure> {
    if text.len() < SHORTEST_CONTEXT {
        return Ok(false);
    }
    let asks = open_asks(server).await?;
    Ok(asks.iter().any(|ask| {
        ask.ids[0] == text || ask.ids.iter().any(|id| is_whole(id) && id.ends_with(text))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick_of(text: &str, ids: &[&str]) -> Result<Option<usize>, String> {
        let candidates = ids.iter().enumerate().map(|(value, id)| Candidate {
            ids: vec![(*id).to_owned()],
            about: format!("about {value}"),
            value,
        });
        pick("tasks", text, candidates.collect()).map_err(|failure| failure.message)
    }

    #[test]
    fn the_beginning_or_the_end_of_one_id_is_enough() {
        let ids = ["01a1-ba38", "01a2-ff00"];
        assert_eq!(pick_of("ba38", &ids), Ok(Some(0)));
        assert_eq!(pick_of("01A2", &ids), Ok(Some(1)));
        assert_eq!(pick_of("a1-b", &ids), Ok(None));
        assert_eq!(pick_of("", &ids), Ok(None));
    }

    #[test]
    fn a_whole_id_wins_over_longer_ones() {
        assert_eq!(pick_of("t-1", &["t-10", "t-1", "t-11"]), Ok(Some(1)));
    }

    #[test]
    fn an_ambiguous_id_lists_the_candidates() {
        insta::assert_snapshot!(pick_of("01", &["01a1", "02b2", "01c3"]).unwrap_err(), @"
`01` may be one of 2 tasks; name one of them:
  01a1  about 0
  01c3  about 2
");
    }

    #[test]
    fn a_short_id_that_leads_to_no_conversation_begins_none() {
        for text in ["beef", "07228c16", "01a1-faa5"] {
            let failure = new_context(text).unwrap_err();
            assert!(failure.message.starts_with("no conversation begins or ends with"), "{text}");
        }
        let uuid = "01a1faa5-948e-736e-845a-de8107228c16";
        for text in ["mine", "abc", "project-x", uuid] {
            assert_eq!(new_context(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn the_short_form_of_a_uuid_is_its_random_end() {
        assert_eq!(shorten("01a1faa5-948e-736e-845a-de8107228c16"), "07228c16");
        assert_eq!(shorten("t-1"), "t-1");
    }
}
