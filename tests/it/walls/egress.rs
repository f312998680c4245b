//! The one way out: what is refused on it and who is told, what is reached, and that there is no other.
//!
//! Every packet goes to loopback: names are refused before they are resolved, or are `localhost`.

use super::{WALLS, Wall};
use crate::building::Builder;
use crate::http::Event;
use crate::reading::{answer, message, message_in, state};
use crate::world::{PATIENCE, World};
use serde_json::{Value, json};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// `via HOST:PORT [PROXY]`: asks for `http://HOST:PORT/` through the proxy and says what is answered.
pub(super) const VIA: &str = r#"
via() {
    url=${2:-$HTTP_PROXY}; url=${url#http://}; door=${url#*@}
    word=$(printf %s "${url%@*}" | base64 -w0)
    exec 3<>"/dev/tcp/${door%:*}/${door#*:}" || return
    printf 'GET http://%s/ HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic %s\r\nConnection: close\r\n\r\n' "$1" "$1" "$word" >&3
    cat <&3
    exec 3>&-
}
"#;

/// A listener that nobody shall reach, or all may who are let.
pub(super) struct Canary(TcpListener);

impl Canary {
    pub(super) fn on(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    pub(super) fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Whether somebody has connected: whoever connects is in the queue of the kernel at once.
    pub(super) fn was_reached(&self) -> bool {
        match self.0.accept() {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Answers one who asks while this is done.
    pub(super) fn answers<T>(&self, done: impl FnOnce() -> T) -> T {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    match self.0.accept() {
                        Ok((socket, _)) => return answer_one(socket),
                        Err(_) => std::thread::sleep(Duration::from_millis(2)),
                    }
                }
            });
            let told = done();
            over.store(true, Ordering::Relaxed);
            told
        })
    }
}

fn answer_one(mut socket: TcpStream) {
    socket.set_nonblocking(false).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let reply = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\nthe canary\n";
    socket.write_all(reply.as_bytes()).unwrap();
}

fn described(wall: Wall, egress: Value) -> Builder {
    wall.shell().config(json!({"egress": egress}))
}

fn says(world: &World, script: &str) -> String {
    let task = world.say(&format!("{VIA} {script}"));
    assert_eq!(state(&task), "COMPLETED", "{task:#}");
    answer(&task)
}

fn refusals(events: &[Event]) -> Vec<Value> {
    let data = events.iter().filter_map(Event::data);
    data.filter(|data| data["kind"] == "egress-refused").cloned().collect()
}

fn audited(world: &World, action: &str) -> Vec<Value> {
    let text = fs::read_to_string(world.path("audit.jsonl")).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|entry| entry["action"] == action).collect()
}

// === connections ===

#[test]
fn a_connection_of_a_session_without_a_request_ends() {
    for wall in WALLS {
        let world =
            described(wall, json!({})).config(json!({"timeouts": {"header": "300ms"}})).start();
        // The shell reads until the proxy closes.
        let script =
            "url=${HTTP_PROXY##*@}; exec 3<>\"/dev/tcp/${url%:*}/${url#*:}\"; cat <&3; echo closed";
        assert_eq!(says(&world, script).trim(), "closed", "{wall:?}");
    }
}

// === what is refused ===

#[test]
fn a_host_that_is_not_allowed_is_refused_with_the_key_that_allows_it() {
    for wall in WALLS {
        let said = says(&described(wall, json!({})).start(), "via nowhere.example:80");
        assert!(said.starts_with("HTTP/1.1 403 "), "{wall:?}: {said}");
        let advice = "nowhere.example:80 is not in agents.fake.egress.allow; the server's operator can add it";
        assert!(said.contains(advice), "{wall:?}: {said}");
    }
}

#[test]
fn a_refusal_is_seen_in_the_stream_of_the_task() {
    for wall in WALLS {
        let world = described(wall, json!({})).start();
        let script = format!("{VIA} via nowhere.example:80");
        let events = world.stream("SendStreamingMessage", message(&script)).rest();
        let expected = json!({"kind": "egress-refused", "host": "nowhere.example", "port": 80, "reason": "not-allowed"});
        assert_eq!(refusals(&events), [expected], "{wall:?}");
    }
}

#[test]
fn a_refusal_is_in_the_audit_log_once_however_often_it_was_tried() {
    for wall in WALLS {
        let mut world = described(wall, json!({})).start();
        let task = world.say(&format!(
            "{VIA} via nowhere.example:80; via nowhere.example:80; via other.example:80"
        ));
        world.stop();
        let found = audited(&world, "egress nowhere.example:80");
        let [entry] = found.as_slice() else {
            panic!("{wall:?}: {found:#?}");
        };
        assert_eq!(
            (&entry["task"], &entry["outcome"], &entry["peer"]),
            (&task["id"], &json!("not-allowed"), &json!("agent fake"))
        );
        assert_eq!(audited(&world, "egress other.example:80").len(), 1, "{wall:?}");
    }
}

#[test]
fn an_allowed_name_that_leads_inward_is_refused_and_the_canary_sees_nothing() {
    for wall in WALLS {
        let canary = Canary::on("127.0.0.1:0");
        let host = format!("localhost:{}", canary.port());
        let world = described(wall, json!({"allow": [host]})).start();
        let events =
            world.stream("SendStreamingMessage", message(&format!("{VIA} via {host}"))).rest();
        let refused = refusals(&events);
        assert_eq!(
            (refused.len(), &refused[0]["reason"]),
            (1, &json!("inner")),
            "{wall:?}: {refused:?}"
        );
        assert!(!canary.was_reached(), "{wall:?}");
    }
}

#[test]
fn a_literal_loopback_address_is_refused_even_where_it_is_allowed() {
    for wall in WALLS {
        let canary = Canary::on("127.0.0.1:0");
        let host = format!("127.0.0.1:{}", canary.port());
        let said = says(&described(wall, json!({"allow": [host]})).start(), &format!("via {host}"));
        assert!(said.starts_with("HTTP/1.1 403 "), "{wall:?}: {said}");
        assert!(!canary.was_reached(), "{wall:?}");
    }
}

#[test]
fn other_spellings_of_loopback_lead_nowhere_either() {
    for wall in WALLS {
        let canary = Canary::on("127.0.0.1:0");
        let world = described(wall, json!({"allow": ["*"]})).start();
        for host in [
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "127.1",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
            "[::1]",
        ] {
            let said = says(&world, &format!("via {host}:{}", canary.port()));
            assert!(said.starts_with("HTTP/1.1 4"), "{wall:?} {host}: {said}");
        }
        assert!(!canary.was_reached(), "{wall:?}");
    }
}

#[test]
fn a_port_of_the_machine_is_not_reached_past_the_proxy() {
    for wall in WALLS {
        let canary = Canary::on("127.0.0.1:0");
        let port = canary.port();
        // Both keys name it: they are about the proxy alone.
        let egress = json!({"allow": [format!("127.0.0.1:{port}")], "inner": ["127.0.0.0/8"]});
        let world = described(wall, egress).start();
        let said =
            says(&world, &format!("exec 3<>/dev/tcp/127.0.0.1/{port} && echo reached; true"));
        assert_eq!(said, "", "{wall:?}");
        assert!(!canary.was_reached(), "{wall:?}");
    }
}

#[test]
fn the_servers_own_port_is_not_reached() {
    for wall in WALLS {
        let world = described(wall, json!({"allow": ["*"]})).start();
        let port = world.address().port();
        let script = format!(
            "via 127.0.0.1:{port}; exec 3<>/dev/tcp/127.0.0.1/{port} && echo reached; true"
        );
        let said = says(&world, &script);
        assert!(said.starts_with("HTTP/1.1 403 ") && !said.contains("reached"), "{wall:?}: {said}");
    }
}

// === what is reached ===

#[test]
fn an_inner_address_that_both_keys_name_is_reached_through_the_proxy() {
    for wall in WALLS {
        let canary = Canary::on("127.0.0.1:0");
        let host = format!("127.0.0.1:{}", canary.port());
        let egress = json!({"allow": [host], "inner": ["127.0.0.1/32"]});
        let world = described(wall, egress).start();
        let said = canary.answers(|| says(&world, &format!("via {host}")));
        assert!(said.ends_with("the canary\n"), "{wall:?}: {said}");
    }
}

#[test]
fn a_list_of_one_agent_is_not_anothers() {
    for wall in WALLS {
        let canary = Canary::on("127.0.0.1:0");
        let host = format!("127.0.0.1:{}", canary.port());
        let builder = described(wall, json!({"inner": ["127.0.0.1/32"]}));
        let mut other = builder.config["agents"]["fake"].clone();
        other["egress"] = json!({"allow": [host]});
        let world = builder.config(json!({"agents": {"other": other}})).start();
        let refused = says(&world, &format!("via {host}"));
        assert!(refused.starts_with("HTTP/1.1 403 "), "{wall:?}: {refused}");
        assert!(!canary.was_reached(), "{wall:?}");
    }
}

#[test]
fn without_the_sessions_token_the_shared_door_says_nothing() {
    let canary = Canary::on("127.0.0.1:0");
    let host = format!("127.0.0.1:{}", canary.port());
    let egress = json!({"allow": [host], "inner": ["127.0.0.1/32"]});
    let world = described(Wall::Landlock, egress).start();
    let said = says(&world, &format!("via {host} http://session:guessed@${{HTTP_PROXY#*@}}"));
    assert!(said.starts_with("HTTP/1.1 407 "), "{said}");
    assert!(!said.contains("allow"), "{said}");
    assert!(!canary.was_reached());
}

// === the session script ===

#[test]
fn the_session_script_reaches_what_its_own_list_has_and_the_first_turn_does_not() {
    for wall in WALLS {
        let canary = Canary::on("127.0.0.1:0");
        let host = format!("127.0.0.1:{}", canary.port());
        let script = format!(
            "#!/bin/bash\n{VIA}\nvia {host} > fetched.txt\necho \"$HTTP_PROXY\" > door.txt\n"
        );
        let egress = json!({"setup": [host], "inner": ["127.0.0.1/32"]});
        let world = described(wall, egress).file(".init-session.sh", 0o755, &script).start();
        let first = canary.answers(|| world.send(message_in("one", "cat fetched.txt")));
        assert!(answer(&first).ends_with("the canary\n"), "{wall:?}: {first:#}");
        // Neither with its own credentials nor with those that the script had.
        for door in ["", "$(cat door.txt)"] {
            let text = format!("{VIA} via {host} {door}; true");
            let said = answer(&world.send(message_in("one", &text)));
            let refused = said.is_empty() || said.starts_with("HTTP/1.1 40");
            assert!(refused, "{wall:?}: {said}");
        }
        assert!(!canary.was_reached(), "{wall:?}");
    }
}

#[test]
fn the_session_script_does_not_reach_what_the_turns_do() {
    for wall in WALLS {
        let canary = Canary::on("127.0.0.1:0");
        let host = format!("127.0.0.1:{}", canary.port());
        let script = format!("#!/bin/bash\n{VIA}\nvia {host} > fetched.txt\n");
        let egress = json!({"allow": [host], "inner": ["127.0.0.1/32"]});
        let world = described(wall, egress).file(".init-session.sh", 0o755, &script).start();
        let said = answer(&world.say("cat fetched.txt"));
        assert!(said.contains("egress.setup"), "{wall:?}: {said}");
        assert!(!canary.was_reached(), "{wall:?}");
    }
}
