//! Tokens of an identity provider, against an issuer of the test's own on loopback.

use crate::building::Builder;
use crate::processes::await_some;
use crate::reading::message;
use crate::world::{OWNER, PATIENCE, World};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A key of the issuer.
struct Key {
    kid: &'static str,
    pair: KeyPair,
}

impl Key {
    fn new(kid: &'static str) -> Self {
        Self { kid, pair: KeyPair::generate().unwrap() }
    }

    fn encoding(&self) -> EncodingKey {
        EncodingKey::from_ec_pem(self.pair.serialize_pem().as_bytes()).unwrap()
    }

    fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.encoding(), Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(self.kid.to_owned());
        serde_json::to_value(jwk).unwrap()
    }

    /// A token with these claims.
    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.to_owned());
        encode(&header, claims, &self.encoding()).unwrap()
    }
}

/// What an issuer shows, and how often it was asked for its keys.
struct Shown {
    url: String,
    keys: Mutex<Vec<Value>>,
    asked: AtomicUsize,
}

/// An issuer that answers over plain HTTP.
struct Issuer {
    shown: Arc<Shown>,
    address: SocketAddr,
    serving: Option<JoinHandle<()>>,
    stop: Arc<Mutex<bool>>,
}

impl Issuer {
    fn start(keys: &[&Key]) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), keys)
    }

    fn on(listener: TcpListener, keys: &[&Key]) -> Self {
        let address = listener.local_addr().unwrap();
        let shown = Arc::new(Shown {
            url: format!("http://{address}"),
            keys: Mutex::new(keys.iter().map(|key| key.public()).collect()),
            asked: AtomicUsize::new(0),
        });
        let stop = Arc::new(Mutex::new(false));
        let (told, seen) = (shown.clone(), stop.clone());
        let serving = std::thread::spawn(move || {
            for socket in listener.incoming() {
                if *seen.lock().unwrap() {
                    return;
                }
                let _ = answer(socket.unwrap(), &told);
            }
        });
        Self { shown, address, serving: Some(serving), stop }
    }

    fn show(&self, keys: &[&Key]) {
        *self.shown.keys.lock().unwrap() = keys.iter().map(|key| key.public()).collect();
    }

    fn asked(&self) -> usize {
        self.shown.asked.load(Ordering::SeqCst)
    }

    /// The claims of a usual token.
    fn claims(&self, more: Value) -> Value {
        let mut claims = json!({
            "iss": self.shown.url, "aud": "pilothouse", "sub": "alice", "exp": now() + 600,
            "scope": "openid agents-users",
        });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        *self.stop.lock().unwrap() = true;
        let _ = TcpStream::connect(self.address);
        let _ = self.serving.take().unwrap().join();
    }
}

fn answer(mut socket: TcpStream, shown: &Shown) -> std::io::Result<()> {
    let mut reader = BufReader::new(socket.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let body = match first.split(' ').nth(1).unwrap_or_default() {
        "/.well-known/openid-configuration" => {
            json!({"issuer": shown.url, "jwks_uri": format!("{}/keys", shown.url)})
        }
        _ => {
            shown.asked.fetch_add(1, Ordering::SeqCst);
            json!({"keys": *shown.keys.lock().unwrap()})
        }
    }
    .to_string();
    let size = body.len();
    write!(socket, "HTTP/1.1 200 OK\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n{body}")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A server that accepts tokens of this issuer.
fn world(issuer: &str, more: Value) -> Builder {
    World::describe()
        .config(json!({"auth": {"oidc": {
            "issuer": issuer, "audience": "pilothouse", "leeway": "1ms", "retry": "1ms",
            "scopes": {"agents-users": ["send", "read", "answer"], "agents-readers": ["read"]},
        }}, "limits": {"wrong_tokens": 100}}))
        .config(json!({"auth": {"oidc": more}}))
}

fn get(world: &World, token: &str, path: &str) -> (u16, Value) {
    let reply = world.get(path, &[("Authorization", &format!("Bearer {token}"))]);
    (reply.status, reply.json())
}

/// Why a token was refused, with the status.
fn refusal(world: &World, token: &str) -> (u16, String) {
    let (status, told) = get(world, token, "/tasks");
    (status, told["error"]["message"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_token_of_the_issuer_names_its_caller_and_what_its_claims_allow() {
    let key = Key::new("one");
    let issuer = Issuer::start(&[&key]);
    let world = world(&issuer.shown.url, json!({"agents_claim": "agents"})).start();
    let claims = issuer.claims(json!({"agents": ["fake"]}));
    let task = world.rpc_as(&key.sign(&claims), "SendMessage", message("say hello"));
    assert_eq!(task["task"]["status"]["state"], "TASK_STATE_COMPLETED", "{task}");
    let (status, page) = get(&world, OWNER, "/tasks?caller=oidc:alice");
    assert_eq!((status, page["tasks"].as_array().unwrap().len()), (200, 1), "{page}");
    let reader = key.sign(&issuer.claims(json!({"agents": "fake", "scope": ["agents-readers"]})));
    assert_eq!(get(&world, &reader, "/tasks").0, 200);
    let refused = world.error_as(&reader, "SendMessage", message("say no"));
    assert!(refused["message"].as_str().unwrap().contains("scope `send`"), "{refused}");
    // Words that are in no table allow nothing, and a token for other agents is for none here.
    let nothing = key.sign(&issuer.claims(json!({"agents": "fake", "scope": "admin owner"})));
    assert_eq!(get(&world, &nothing, "/tasks").0, 403);
    let other = key.sign(&issuer.claims(json!({"agents": "other"})));
    assert_eq!(get(&world, &other, "/tasks").0, 403);
    assert!(refusal(&world, &key.sign(&issuer.claims(json!({})))).1.contains("agents_claim"));

    let (_, card) = get(&world, OWNER, "/.well-known/agent-card.json");
    let place = format!("{}/.well-known/openid-configuration", issuer.shown.url);
    let scheme = &card["securitySchemes"]["oidc"]["openIdConnectSecurityScheme"];
    assert_eq!(scheme["openIdConnectUrl"], json!(place), "{card}");
    let entry = await_some("the entry of the audit log", PATIENCE, || {
        let log = std::fs::read_to_string(world.path("audit.jsonl")).unwrap_or_default();
        let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        entries.into_iter().find(|entry| entry["caller"] == "oidc:alice")
    });
    assert_eq!(entry["token"], "oidc", "{entry}");
    assert_eq!(world.readiness()["oidc"], "ok");
}

#[test]
fn a_token_that_is_not_of_this_issuer_for_this_server_now_is_refused_with_the_reason() {
    let (key, other) = (Key::new("one"), Key::new("one"));
    let issuer = Issuer::start(&[&key]);
    let world = world(&issuer.shown.url, json!({})).start();
    let signed = |more: Value| key.sign(&issuer.claims(more));
    let keyed_hash = {
        // The public key is no secret, so it must not be taken for one.
        let secret = EncodingKey::from_secret(key.pair.public_key_pem().as_bytes());
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("one".to_owned());
        encode(&header, &issuer.claims(json!({})), &secret).unwrap()
    };
    let unsigned = {
        let part = |value: Value| {
            use base64::Engine;
            base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
        };
        let header = part(json!({"alg": "none", "kid": "one"}));
        format!("{header}.{}.", part(issuer.claims(json!({}))))
    };
    let cases = [
        (signed(json!({"aud": "another"})), "another audience"),
        (signed(json!({"iss": "http://127.0.0.1:1"})), "another issuer"),
        (signed(json!({"exp": now() - 5})), "has expired"),
        (signed(json!({"nbf": now() + 600})), "has not begun"),
        (signed(json!({"aud": null})), "lacks one of the claims"),
        (signed(json!({"sub": ""})), "names no caller"),
        (signed(json!({"padding": "x".repeat(9000)})), "auth.oidc.token_size"),
        (other.sign(&issuer.claims(json!({}))), "signature is wrong"),
        (keyed_hash, "auth.oidc.algorithms"),
        (unsigned, "header cannot be read"),
        ("a.b.c".to_owned(), "header cannot be read"),
    ];
    for (token, words) in cases {
        let (status, told) = refusal(&world, &token);
        assert!(status == 401 && told.contains(words), "{words}: {status} {told}");
    }
    assert_eq!(get(&world, &signed(json!({})), "/tasks").0, 200);
}

#[test]
fn a_new_key_works_without_a_restart_and_one_that_is_gone_ends_what_it_opened() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let issuer = Issuer::start(&[&old]);
    let world = world(&issuer.shown.url, json!({})).start();
    let authorization = format!("Bearer {}", old.sign(&issuer.claims(json!({}))));
    let headers = [("Content-Type", "application/json"), ("Authorization", authorization.as_str())];
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage",
        "params": message("say one; wait never")});
    let stream = world.ask("POST", "/", &headers, body.to_string().as_bytes());
    assert_eq!(stream.status, 200);
    issuer.show(&[&new]);
    // The issuer is asked again at once, because no token had this key before.
    assert_eq!(get(&world, &new.sign(&issuer.claims(json!({}))), "/tasks").0, 200);
    let stream = stream.whole().text();
    assert!(stream.contains("this bearer token was revoked"), "{stream}");
    assert!(refusal(&world, &authorization["Bearer ".len()..]).1.contains("key id"));
}

#[test]
fn a_token_that_expires_ends_the_stream_that_it_opened() {
    let key = Key::new("one");
    let issuer = Issuer::start(&[&key]);
    let world = world(&issuer.shown.url, json!({})).start();
    let token = key.sign(&issuer.claims(json!({"exp": now() + 2})));
    let authorization = format!("Bearer {token}");
    let headers = [("Content-Type", "application/json"), ("Authorization", authorization.as_str())];
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage",
        "params": message("say one; wait never")});
    let stream = world.ask("POST", "/", &headers, body.to_string().as_bytes());
    assert_eq!(stream.status, 200);
    let stream = stream.whole().text();
    assert!(stream.contains("this bearer token has expired"), "{stream}");
    assert!(refusal(&world, &token).1.contains("has expired"));
}

#[test]
fn tokens_of_unknown_keys_do_not_make_the_server_ask_the_issuer_again_and_again() {
    let (key, unknown) = (Key::new("one"), Key::new("two"));
    let issuer = Issuer::start(&[&key]);
    let world = world(&issuer.shown.url, json!({"retry": "1h"})).start();
    assert_eq!(get(&world, &key.sign(&issuer.claims(json!({}))), "/tasks").0, 200);
    let asked = issuer.asked();
    let token = unknown.sign(&issuer.claims(json!({})));
    let statuses: Vec<_> = (0..15).map(|_| refusal(&world, &token).0).collect();
    assert!(statuses.iter().all(|status| [401, 429].contains(status)), "{statuses:?}");
    assert_eq!(issuer.asked(), asked);
}

#[test]
fn without_the_keys_of_the_issuer_its_tokens_are_refused_for_now_and_all_others_are_served() {
    let key = Key::new("one");
    let reserved = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let world = world(&format!("http://{address}"), json!({"timeout": "2s"})).start();
    assert_eq!(get(&world, OWNER, "/tasks").0, 200);
    let claims = json!({"iss": format!("http://{address}"), "aud": "pilothouse", "sub": "alice",
        "exp": now() + 600, "scope": "agents-users"});
    let token = key.sign(&claims);
    let (status, told) = refusal(&world, &token);
    assert!(status == 503 && told.contains("its keys could not be read"), "{status} {told}");
    let ready = world.readiness();
    assert_eq!((&ready["status"], &ready["oidc"]), (&json!("ready"), &json!("failed")), "{ready}");
    assert!(ready["oidcProblem"].as_str().unwrap().contains(&address.to_string()), "{ready}");
    let _issuer = Issuer::on(TcpListener::bind(address).unwrap(), &[&key]);
    await_some("the token to be accepted", Duration::from_secs(15), || {
        (get(&world, &token, "/tasks").0 == 200).then_some(())
    });
}
