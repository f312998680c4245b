//! One connection: its requests one after the other, the model's doors and the test's doors.

use crate::dialect::{self, Dialect, Sent};
use crate::http::{self, Next, Request};
use crate::hub::{Event, Hub, Line, Seen, Waited};
use crate::messages;
use crate::script::{Beat, Reply, head};
use serde_json::{Value, json};
use std::io::{self, BufReader};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// The most requests that one model answers.
const REQUESTS: u64 = 100_000;
/// The longest that the waiting door waits.
const WAIT: Duration = Duration::from_secs(30);

/// How an answer to a message ended.
enum Ended {
    /// It was sent whole.
    Whole,
    /// The script wanted the connection cut.
    Cut,
    /// The client left before the end.
    ClientClosed,
}

/// Serves a connection until either side closes it.
pub(crate) fn connection(mut stream: TcpStream, line: &Line, hub: &Arc<Hub>) {
    // Whatever goes wrong here concerns this one client, and it sees a closed connection.
    let _ = requests(&mut stream, line, hub);
    let _ = stream.shutdown(Shutdown::Both);
}

fn requests(stream: &mut TcpStream, line: &Line, hub: &Hub) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        match http::read(&mut reader)? {
            Next::End => return Ok(()),
            Next::TooLarge => {
                let request = Request { close: true, ..Request::default() };
                return http::json(stream, &request, 413, "", &messages::error(413));
            }
            Next::Request(request) => {
                let go_on = answer(stream, line, hub, &request)?;
                if request.close || !go_on {
                    return Ok(());
                }
            }
        }
    }
}

/// Answers a request; false where the connection must end.
fn answer(stream: &mut TcpStream, line: &Line, hub: &Hub, request: &Request) -> io::Result<bool> {
    let path = request.path.as_str();
    if let ("POST", Some(dialect)) = (request.method.as_str(), Dialect::at(path)) {
        return message(stream, line, hub, request, dialect);
    }
    let (status, value) = match (request.method.as_str(), path) {
        ("POST", "/v1/messages/count_tokens") => (200, json!({"input_tokens": tokens(request)})),
        ("POST", _) if path.ends_with(":countTokens") => {
            (200, json!({"totalTokens": tokens(request)}))
        }
        ("GET", "/v1/models") => (200, models()),
        ("HEAD", _) => (200, json!({})),
        ("GET", "/__model/requests") => {
            let seen = hub.requests();
            (200, seen.iter().map(Seen::to_json).collect())
        }
        ("GET", "/__model/wait") => wait(hub, &request.query),
        ("POST", _) if path.strip_prefix("/__model/cue/").is_some_and(|name| !name.is_empty()) => {
            hub.release(path.trim_start_matches("/__model/cue/"));
            (200, json!({"released": true}))
        }
        _ => (404, messages::error(404)),
    };
    http::json(stream, request, status, "", &value)?;
    Ok(true)
}

fn models() -> Value {
    let ids = ["claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-1"];
    let models = ids.map(|id| {
        let created = "2025-01-01T00:00:00Z";
        json!({"id": id, "type": "model", "display_name": id, "created_at": created})
    });
    json!({"data": models, "has_more": false, "first_id": ids[0], "last_id": ids[2]})
}

fn wait(hub: &Hub, query: &str) -> (u16, Value) {
    let field = |name: &str| {
        let mut fields = query.split('&').filter_map(|field| field.split_once('='));
        fields.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let event = field("event").and_then(Event::named);
    let count = field("count").unwrap_or("1").parse().ok();
    let (Some(event), Some(count)) = (event, count) else {
        let expected = "event=request|client_closed|cue and count=N";
        return (400, json!({"error": format!("the test must give {expected}")}));
    };
    let seen = hub.wait(event, count, WAIT);
    let reached = seen >= count;
    let status = if reached { 200 } else { 408 };
    (status, json!({"reached": reached, "count": seen}))
}

/// About as many tokens as a model would count.
fn tokens(request: &Request) -> usize {
    (request.body.len() / 4).max(1)
}

fn message(
    stream: &mut TcpStream,
    line: &Line,
    hub: &Hub,
    request: &Request,
    dialect: Dialect,
) -> io::Result<bool> {
    line.begin();
    let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
        let (status, value) = dialect.error(400);
        http::json(stream, request, status, "", &value)?;
        return Ok(true);
    };
    let conversation = dialect.conversation(&body);
    let shape = dialect.shape(&body).filter(|_| conversation.tools.is_empty());
    let mut reply = match shape {
        _ if request.key.contains("bad") => failure(401),
        Some(shape) => Reply::say(dialect::example(shape).to_string()),
        None => conversation.reply(),
    };
    if let Reply::Error { times: Some((times, key)), .. } = &reply
        && hub.failed_enough(key, *times)
    {
        let beats = vec![Beat::Say(format!("recovered after {times}"))];
        reply = Reply::Text { thinking: None, beats };
    }
    let model = dialect.model(&request.path, &body);
    let streams = dialect.streams(&body);
    let n = hub.record(Seen {
        body: String::from_utf8_lossy(&request.body).into_owned(),
        n: 0,
        model: model.to_owned(),
        user: head(conversation.user(), 160).to_owned(),
        reply: reply.describe(),
        stream: streams,
        messages: dialect.entries(&body),
        tools: conversation.tools.len(),
        key: last_four(&request.key),
        client_closed: false,
    });
    if n > REQUESTS {
        reply = failure(429);
    }
    let ended = match &reply {
        Reply::Error { code, headers, .. } => {
            // Clients repeat these on their own account only when told that it may help.
            let retry = matches!(code, 429 | 529) && headers.is_empty();
            let extra = if retry { "x-should-retry: true\r\n" } else { headers };
            let (status, value) = dialect.error(*code);
            http::json(stream, request, status, extra, &value)?;
            Ended::Whole
        }
        reply if streams => {
            let sent = dialect.stream(model, tokens(request), reply);
            // A write fails when nobody reads any more.
            play(stream, line, dialect, sent).unwrap_or(Ended::ClientClosed)
        }
        reply => {
            let value = dialect.whole(model, tokens(request), reply);
            whole(stream, line, request, reply, &value).unwrap_or(Ended::ClientClosed)
        }
    };
    match ended {
        Ended::Whole => Ok(true),
        Ended::Cut => Ok(false),
        Ended::ClientClosed => {
            hub.closed_early(n);
            Ok(false)
        }
    }
}

fn failure(code: u16) -> Reply {
    Reply::Error { code, times: None, headers: String::new() }
}

fn last_four(key: &str) -> String {
    let from = key.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
    key[from..].to_owned()
}

/// Plays a reply as a stream.
fn play(
    stream: &mut TcpStream,
    line: &Line,
    dialect: Dialect,
    sent: Vec<Sent<'_>>,
) -> io::Result<Ended> {
    http::begin_events(stream)?;
    for sent in sent {
        match sent {
            Sent::Event(event) => http::event(stream, &event)?,
            Sent::Beat(Beat::Cut) => return Ok(Ended::Cut),
            Sent::Beat(beat) => match hold(stream, line, beat) {
                Waited::Over => {}
                Waited::TimedOut => {
                    http::event(stream, &dialect.cue_timed_out())?;
                    break;
                }
                Waited::Gone => return Ok(Ended::ClientClosed),
            },
        }
    }
    http::end_events(stream)?;
    Ok(Ended::Whole)
}

/// Plays a reply as one message: the same silences, then all at once.
fn whole(
    stream: &mut TcpStream,
    line: &Line,
    request: &Request,
    reply: &Reply,
    value: &Value,
) -> io::Result<Ended> {
    if let Reply::Text { beats, .. } = reply {
        for beat in beats {
            if *beat == Beat::Cut {
                return Ok(Ended::Cut);
            }
            if hold(stream, line, beat) == Waited::Gone {
                return Ok(Ended::ClientClosed);
            }
        }
    }
    http::json(stream, request, 200, "", value)?;
    Ok(Ended::Whole)
}

fn hold(stream: &TcpStream, line: &Line, beat: &Beat) -> Waited {
    match beat {
        Beat::Pause(time) => line.pause(stream, *time),
        Beat::Cue(name) => line.cue(stream, name),
        Beat::Say(_) | Beat::Cut => Waited::Over,
    }
}
