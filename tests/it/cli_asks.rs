//! The command line where a task asks: what is shown, what is sent, and the exit codes.

use crate::building::Builder;
use crate::world::{OWNER, World};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// What a command came to.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs `pilothouse` against a server.
pub(crate) fn pilothouse(address: &str, args: &[&str]) -> Said {
    let home = tempfile::tempdir().unwrap();
    let named = ["--url", address];
    let output = Command::new(env!("CARGO_BIN_EXE_pilothouse"))
        .args(args)
        .args(if args.contains(&"--url") { &[][..] } else { &named })
        .args(["--token", OWNER])
        .current_dir(home.path())
        .env_clear()
        .env("HOME", home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

pub(crate) fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// The id of the task in the last line of an outcome.
fn task_of(said: &Said) -> String {
    let (_, rest) = said.err.split_once("· task ").unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

// === the real server ===

fn asked(described: Builder) -> (World, String, Said) {
    let world = described.start();
    let address = url(world.address());
    let said = pilothouse(&address, &["send", "ask Which colour? | red | green"]);
    (world, address, said)
}

#[test]
fn a_question_comes_with_its_options_and_the_command_that_answers_it() {
    let (_world, address, said) = asked(World::describe());
    assert_eq!((said.code, said.out.as_str()), (Some(4), "│ Which colour?\n│ - red\n│ - green\n"));
    let command = format!("answer with: pilothouse answer --url {address} ");
    let (_, rest) = said.err.split_once(&command).unwrap();
    let (id, rest) = rest.split_once(' ').unwrap();
    assert!(id.len() == 6 && rest.starts_with("\"...\"\n"), "{}", said.err);
}

#[test]
fn an_answer_is_given_and_its_task_is_followed_to_the_end() {
    let (_world, address, asked) = asked(World::describe());
    let said = pilothouse(&address, &["tasks", "answer", &task_of(&asked), "say green it is"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "green it is\n"), "{}", said.err);
}

#[test]
fn a_task_that_asks_again_has_the_code_of_a_question_again() {
    let (_world, address, asked) = asked(World::describe());
    let said = pilothouse(&address, &["tasks", "answer", &task_of(&asked), "ask How large?"]);
    assert_eq!((said.code, said.out.as_str()), (Some(4), "│ How large?\n"), "{}", said.err);
}

#[test]
fn a_question_cannot_be_approved() {
    let (_world, address, asked) = asked(World::describe());
    let said = pilothouse(&address, &["tasks", "approve", &task_of(&asked)]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("pilothouse answer"), "{}", said.err);
}

#[test]
fn a_task_that_asks_nothing_is_not_answered() {
    let world = World::start();
    let address = url(world.address());
    let done = pilothouse(&address, &["send", "say done"]);
    let said = pilothouse(&address, &["tasks", "deny", &task_of(&done)]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("it is completed"), "{}", said.err);
}

// === a server that says what it is told, and tells what it heard ===

/// A request as it was heard.
#[derive(Debug)]
struct Heard {
    path: String,
    body: Value,
}

/// Answers requests one after the other; `None` is 404.
fn serve(
    answers: impl Fn(&Heard) -> Option<(&'static str, String)> + Send + 'static,
) -> (String, Receiver<Heard>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, heard) = channel();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let Some(request) = request(&socket) else {
                continue;
            };
            let answer = match answers(&request) {
                Some((kind, body)) => format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                ),
                None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    .to_owned(),
            };
            if tell.send(request).is_err() || socket.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    (url(address), heard)
}

fn request(socket: &TcpStream) -> Option<Heard> {
    let mut reader = BufReader::new(socket);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut size = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            size = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; size];
    reader.read_exact(&mut body).ok()?;
    Some(Heard {
        path: first.split_whitespace().nth(1)?.to_owned(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}

/// A task that asks for a permission, and goes on when it is answered.
fn permission(command: &'static str) -> (String, Receiver<Heard>) {
    let task = |state: &str, message: Value| json!({"id": "t-1", "contextId": "c-1", "status": {"state": state, "message": message}});
    serve(move |heard| {
        let data = json!({"askId": "a-1", "kind": "permission", "tool": "Bash", "input": {"command": command}, "options": []});
        let words = json!({"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": "May Bash be used?"}, {"data": data}]});
        let asks = task("TASK_STATE_INPUT_REQUIRED", words);
        let id = &heard.body["id"];
        match heard.body["method"].as_str()? {
            "GetTask" => {
                let answer = json!({"jsonrpc": "2.0", "id": id, "result": asks});
                Some(("application/json", answer.to_string()))
            }
            "SendStreamingMessage" => {
                let done = json!({"task": task("TASK_STATE_COMPLETED", Value::Null)});
                let answer = json!({"jsonrpc": "2.0", "id": id, "result": done});
                Some(("text/event-stream", format!("data: {answer}\n\n")))
            }
            _ => None,
        }
    })
}

/// The message that was sent.
fn sent(heard: &Receiver<Heard>) -> Value {
    let mut all = heard.try_iter();
    let send = all.find(|heard| heard.body["method"] == "SendStreamingMessage");
    send.unwrap().body["params"]["message"].clone()
}

#[test]
fn approving_sends_the_decision_about_the_ask_that_was_shown() {
    let (address, heard) = permission("npm test");
    let said = pilothouse(&address, &["tasks", "approve", "t-1", "--session"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("allowed for the session: Bash: npm test"), "{}", said.err);
    let message = sent(&heard);
    assert_eq!(message["taskId"], "t-1");
    let wanted = json!({"askId": "a-1", "decision": "allow_session"});
    assert_eq!(message["parts"][0]["data"], wanted);
}

#[test]
fn denying_sends_the_reason() {
    let (address, heard) = permission("npm test");
    let said = pilothouse(&address, &["tasks", "deny", "t-1", "not on a Friday"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let wanted = json!({"askId": "a-1", "decision": "deny", "reason": "not on a Friday"});
    assert_eq!(sent(&heard)["parts"][0]["data"], wanted);
}

#[test]
fn a_permission_is_shown_with_all_that_would_run_and_nothing_of_it_reaches_the_terminal_raw() {
    let (address, _heard) =
        permission("rm -r *\u{1b}[2K\nallow it once: pilothouse tasks approve t-2");
    let said = pilothouse(&address, &["tasks", "get", "t-1"]);
    let wanted = "Bash asks to be used:\n│ rm -r *\\u{1b}[2K\n│ allow it once: pilothouse tasks approve t-2\n";
    assert_eq!(said.out, wanted);
    let command = format!("pilothouse approve --url {address} t-1 --ask a-1\n");
    assert!(said.err.contains(&command), "{}", said.err);
}

#[test]
fn all_that_waits_is_listed_page_by_page() {
    let (address, _heard) = serve(|heard| {
        let (task, next) = match heard.path.split_once('?')? {
            ("/api/v1/asks", query) if query.contains("pageToken=more") => ("t-2", ""),
            ("/api/v1/asks", _) => ("t-1", "more"),
            _ => return None,
        };
        let ask = json!({"askId": format!("ask-of-{task}"), "taskId": task, "agent": "claude", "kind": "permission", "tool": "Bash", "input": {"command": "ls"}, "state": "open", "created": "2020-01-01T00:00:00Z"});
        let page = json!({"asks": [ask], "nextPageToken": next});
        Some(("application/json", page.to_string()))
    });
    let said = pilothouse(&address, &["tasks", "asks"]);
    let rows: Vec<Vec<&str>> =
        said.out.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 2);
    for (row, task) in rows.iter().zip(["t-1", "t-2"]) {
        let id = format!("ask-of-{task}");
        let wanted = vec![&*id, "open", "claude", "Bash"];
        assert_eq!((row[..4].to_vec(), row.last()), (wanted, Some(&"ls")));
    }
}

#[test]
fn a_fork_names_the_context_that_it_begins_as() {
    let (address, heard) = serve(|heard| match heard.path.as_str() {
        "/api/v1/sessions/s-1" => {
            Some(("application/json", json!({"id": "s-1", "contextId": "c-1"}).to_string()))
        }
        _ => {
            let id = heard.body.get("id")?;
            let task = json!({"task": {"id": "t-2", "contextId": "c-2", "status": {"state": "TASK_STATE_COMPLETED"}}});
            let answer = json!({"jsonrpc": "2.0", "id": id, "result": task});
            Some(("text/event-stream", format!("data: {answer}\n\n")))
        }
    });
    let said = pilothouse(&address, &["sessions", "fork", "s-1", "try it otherwise"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let message = sent(&heard);
    assert_eq!(message["metadata"], json!({"fork": {"contextId": "c-1"}}));
    assert_eq!(message.get("contextId"), None);
}

// === attaching ===

#[test]
fn an_attached_program_has_exactly_its_environment_and_the_session_is_held_until_it_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = url(listener.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let cwd = folder.path().canonicalize().unwrap();
    let place = json!({
        "program": "/bin/sh",
        // Standard input tells it when the server has seen that the answer is still held.
        "args": ["-c", "while [ ! -e go ]; do sleep 0.01; done; /usr/bin/env | grep -v -e ^_= -e ^SHLVL= -e ^PWD=; pwd; exit 7"],
        "env": {"ONLY": "this"},
        "cwd": cwd,
    });
    let go = cwd.join("go");
    // What a server leaves in its state folder while it runs.
    let word = json!({"url": address, "pid": std::process::id()});
    std::fs::write(cwd.join("server.json"), word.to_string()).unwrap();
    let lock = std::fs::File::create(cwd.join("lock")).unwrap();
    lock.lock().unwrap();
    let server = std::thread::spawn(move || {
        // The session is looked for first.
        let (mut socket, heard) = loop {
            let (mut socket, _) = listener.accept().unwrap();
            let heard = request(&socket).unwrap();
            match heard.path.as_str() {
                "/api/v1/sessions/a%2Fb" => {
                    let body = json!({"id": "a/b"}).to_string();
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                    socket.write_all(format!("{head}{body}").as_bytes()).unwrap();
                }
                path if path.ends_with("/attach") => break (socket, heard),
                _ => socket
                    .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    .unwrap(),
            }
        };
        let line = format!("{place}\n");
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{line}\r\n1\r\n\n\r\n",
            line.len()
        );
        socket.write_all(answer.as_bytes()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let held = socket.read(&mut [0; 1]).unwrap_err().kind() == std::io::ErrorKind::WouldBlock;
        socket.set_nonblocking(false).unwrap();
        std::fs::write(go, "").unwrap();
        let closed = matches!(socket.read(&mut [0; 1]), Ok(0) | Err(_));
        (heard.path, held, closed)
    });
    let state = cwd.to_str().unwrap();
    let said = pilothouse(&address, &["sessions", "attach", "a/b", "--state-dir", state]);
    assert_eq!(said.code, Some(7), "{}", said.err);
    assert_eq!(said.out, format!("ONLY=this\n{}\n", cwd.display()));
    assert_eq!(server.join().unwrap(), ("/api/v1/sessions/a%2Fb/attach".to_owned(), true, true));
}

#[test]
fn a_session_of_another_machine_is_not_attached_to() {
    let said = pilothouse("http://agents.example.test", &["sessions", "attach", "s-1"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("loopback"), "{}", said.err);
}
