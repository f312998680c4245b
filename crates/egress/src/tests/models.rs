//! Routes to models: what goes in with the token comes out with the key, and nothing else changes.

use super::super::*;
use super::world::*;
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const KEY: &str = "sk-ant-the-real-one";

/// A route to this upstream, with these variables beside.
pub(super) fn route(kind: ProviderKind, base: (&str, &str), others: &[(&str, &str)]) -> Vec<Route> {
    let all = others.iter().chain([&base]);
    let owned = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut env: BTreeMap<_, _> = owned.collect();
    take_keys(&mut env, &[kind]).unwrap()
}

pub(super) fn anthropic(fake: &Fake) -> Vec<Route> {
    let base = ("ANTHROPIC_BASE_URL", fake.url());
    route(ProviderKind::Anthropic, (base.0, &base.1), &[("ANTHROPIC_API_KEY", KEY)])
}

fn json(text: &'static str) -> impl Fn(&Asked) -> Sent + Send + Sync + 'static {
    move |_| full(200, "application/json", text)
}

#[tokio::test]
async fn the_key_is_put_in_outside_and_the_token_stays_inside() {
    let world = World::start().await;
    let fake = Fake::start(json("{}")).await;
    let session = world.credential_with(&[], anthropic(&fake));
    let headers = [
        ("x-api-key", session.token()),
        ("authorization", "Bearer something"),
        ("cookie", "a=b"),
        ("accept-encoding", "gzip"),
        ("anthropic-version", "2023-06-01"),
    ];
    let uri = "/model/anthropic/v1/messages?beta=true";
    let (status, _, body) = ask(world.port, "POST", uri, &headers, r#"{"a":1}"#).await;
    assert_eq!((status, &body[..]), (200, &b"{}"[..]));
    let asked = fake.asked().remove(0);
    assert_eq!((asked.method.as_str(), asked.uri.as_str()), ("POST", "/v1/messages?beta=true"));
    assert_eq!(asked.body, r#"{"a":1}"#);
    assert_eq!(asked.headers["x-api-key"], KEY);
    assert_eq!(asked.headers["anthropic-version"], "2023-06-01");
    assert_eq!(asked.headers["accept-encoding"], "identity");
    assert_eq!(asked.headers["content-length"], "7");
    assert_eq!(asked.headers["host"], format!("127.0.0.1:{}", fake.port));
    for name in ["authorization", "cookie"] {
        assert!(!asked.headers.contains_key(name), "{name}");
    }
    let all = format!("{:?}", asked.headers.values().collect::<Vec<_>>());
    assert!(!all.contains(session.token()), "{all}");
}

#[tokio::test]
async fn each_provider_has_its_key_in_its_place() {
    let world = World::start().await;
    let fake = Fake::start(json("{}")).await;
    let base = format!("{}/base", fake.url());
    let cases = [
        (ProviderKind::OpenAi, "OPENAI_BASE_URL", "OPENAI_API_KEY", "openai", "authorization"),
        (
            ProviderKind::Gemini,
            "GOOGLE_GEMINI_BASE_URL",
            "GEMINI_API_KEY",
            "gemini",
            "x-goog-api-key",
        ),
        (
            ProviderKind::Anthropic,
            "ANTHROPIC_BASE_URL",
            "CLAUDE_CODE_OAUTH_TOKEN",
            "anthropic",
            "authorization",
        ),
        (ProviderKind::GitHub, "GITHUB_API_URL", "GH_TOKEN", "github", "authorization"),
    ];
    for (kind, base_name, key_name, name, header) in cases {
        let session =
            world.credential_with(&[], route(kind, (base_name, &base), &[(key_name, "real")]));
        let inside = match header {
            "authorization" => format!("Bearer {}", session.token()),
            _ => session.token().to_owned(),
        };
        let uri = format!("/model/{name}/v1/x");
        let (status, _, _) = ask(world.port, "POST", &uri, &[(header, &inside)], "").await;
        assert_eq!(status, 200, "{name}");
        let asked = fake.asked().pop().unwrap();
        assert_eq!(asked.uri, "/base/v1/x");
        let expected = inside.replace(session.token(), "real");
        assert_eq!(asked.headers[header], expected.as_str());
    }
}

#[tokio::test]
async fn a_request_without_a_body_stays_without_one() {
    let world = World::start().await;
    let fake = Fake::start(json("{}")).await;
    let session = world.credential_with(&[], anthropic(&fake));
    let headers = [("x-api-key", session.token()), ("accept", "x/y")];
    let uri = "/model/anthropic/v1/models";
    let (status, _, _) = ask(world.port, "GET", uri, &headers, "").await;
    assert_eq!(status, 200);
    let asked = fake.asked().remove(0);
    assert!(!asked.headers.contains_key("transfer-encoding"));
    assert!(!asked.headers.contains_key("content-length"));
    assert_eq!(asked.headers["accept"], "x/y");
}

#[tokio::test]
async fn geminis_key_may_stand_in_the_query_and_leaves_it() {
    let world = World::start().await;
    let fake = Fake::start(json("{}")).await;
    let base = ("GOOGLE_GEMINI_BASE_URL", fake.url());
    let routes = route(ProviderKind::Gemini, (base.0, &base.1), &[("GEMINI_API_KEY", "real")]);
    let session = world.credential_with(&[], routes);
    let uri = format!("/model/gemini/v1beta/models/m:stream?key={}&alt=sse", session.token());
    let (status, _, _) = ask(world.port, "POST", &uri, &[], "").await;
    assert_eq!(status, 200);
    let asked = fake.asked().remove(0);
    assert_eq!(asked.uri, "/v1beta/models/m:stream?alt=sse");
    assert_eq!(asked.headers["x-goog-api-key"], "real");
}

#[tokio::test]
async fn a_wrong_or_old_or_missing_token_reaches_no_model() {
    let world = World::start().await;
    let fake = Fake::start(json("{}")).await;
    let session = world.credential_with(&[], anthropic(&fake));
    let old = world.credential_with(&[], anthropic(&fake)).token().to_owned();
    let own = world.own(&session).await;
    let others = world.credential_with(&[], anthropic(&fake));
    let uri = "/model/anthropic/v1/messages";
    for port in [world.port, own] {
        for token in ["", "sk-ant-guess", &old, KEY] {
            let headers = [("x-api-key", token)];
            let (status, _, body) = ask(port, "POST", uri, &headers, "").await;
            assert_eq!(status, 401, "{token}");
            let error: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(error["type"], "error");
            assert_eq!(error["error"]["type"], "authentication_error");
        }
    }
    // Another session's token is none at a session's own listener.
    let headers = [("x-api-key", others.token())];
    let (status, _, _) = ask(own, "POST", uri, &headers, "").await;
    assert_eq!(status, 401);
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn a_session_has_its_own_routes_alone() {
    let world = World::start().await;
    let fake = Fake::start(json("{}")).await;
    let _with = world.credential_with(&[], anthropic(&fake));
    let without = world.credential(&["*"]);
    let headers = [("x-api-key", without.token())];
    let uri = "/model/anthropic/v1/messages";
    let (status, _, body) = ask(world.port, "POST", uri, &headers, "").await;
    assert_eq!(status, 404);
    assert!(String::from_utf8_lossy(&body).contains("no such route"));
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn no_path_and_no_method_leads_out_of_the_route() {
    let world = World::start().await;
    let fake = Fake::start(json("{}")).await;
    let base = format!("{}/team/v1", fake.url());
    let base = ("ANTHROPIC_BASE_URL", base.as_str());
    let routes = route(ProviderKind::Anthropic, base, &[("ANTHROPIC_API_KEY", KEY)]);
    let session = world.credential_with(&[], routes);
    let headers = [("x-api-key", session.token())];
    for path in ["/../admin", "/%2e%2e/admin", "/a/..%2f..%2fadmin", "/..%5cadmin"] {
        let uri = format!("/model/anthropic{path}");
        let (status, _, _) = ask(world.port, "GET", &uri, &headers, "").await;
        assert_eq!(status, 403, "{path}");
    }
    let (status, _, _) = ask(world.port, "TRACE", "/model/anthropic/x", &headers, "").await;
    assert_eq!(status, 405);
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn statuses_errors_and_redirects_pass_unchanged() {
    let world = World::start().await;
    let fake = Fake::start(|asked| {
        let mut answer = match asked.uri.as_str() {
            "/overloaded" => full(529, "application/json", r#"{"type":"error"}"#),
            _ => full(307, "text/plain", "elsewhere"),
        };
        let headers = answer.headers_mut();
        headers.insert("location", "http://127.0.0.1:1/".parse().unwrap());
        headers.insert("retry-after", "7".parse().unwrap());
        answer
    })
    .await;
    let session = world.credential_with(&[], anthropic(&fake));
    let headers = [("x-api-key", session.token())];
    let uri = "/model/anthropic/overloaded";
    let (status, head, body) = ask(world.port, "POST", uri, &headers, "").await;
    assert_eq!((status, &body[..]), (529, &br#"{"type":"error"}"#[..]));
    assert_eq!(head["retry-after"], "7");
    let uri = "/model/anthropic/moved";
    let (status, head, body) = ask(world.port, "POST", uri, &headers, "").await;
    assert_eq!((status, &body[..]), (307, &b"elsewhere"[..]));
    assert_eq!(head["location"], "http://127.0.0.1:1/");
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_said_in_every_clients_words() {
    let world = World::start().await;
    let url = closed_url();
    let base = ("ANTHROPIC_BASE_URL", url.as_str());
    let routes = route(ProviderKind::Anthropic, base, &[("ANTHROPIC_API_KEY", KEY)]);
    let session = world.credential_with(&[], routes);
    let headers = [("x-api-key", session.token())];
    let uri = "/model/anthropic/v1/messages";
    let (status, head, body) = ask(world.port, "POST", uri, &headers, "").await;
    assert_eq!(status, 502);
    assert_eq!(head["content-type"], "application/json");
    let error: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let message = error["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("the model's server (anthropic) could not be reached: "),
        "{message}"
    );
    assert_eq!(error["error"]["type"], "api_error");
    assert_eq!(error["error"]["code"], 502);
    assert_eq!(error["error"]["status"], "UNAVAILABLE");
}

#[tokio::test]
async fn a_web_socket_is_told_to_use_http() {
    let world = World::start().await;
    let fake = Fake::start(json("{}")).await;
    let session = world.credential_with(&[], anthropic(&fake));
    let headers =
        [("x-api-key", session.token()), ("connection", "Upgrade"), ("upgrade", "websocket")];
    let (status, _, _) = ask(world.port, "GET", "/model/anthropic/x", &headers, "").await;
    assert_eq!(status, 426);
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn a_client_that_proxies_even_loopback_reaches_its_route() {
    let world = World::start().await;
    let fake = Fake::start(json("{}")).await;
    let session = world.credential_with(&[], anthropic(&fake));
    let credential = basic(session.token());
    let headers = [("x-api-key", session.token()), ("proxy-authorization", credential.as_str())];
    let uri = format!("http://127.0.0.1:{}/model/anthropic/v1/messages", world.port);
    let (status, _, _) = ask(world.port, "POST", &uri, &headers, "").await;
    assert_eq!(status, 200);
    let here = format!("127.0.0.1:{}", world.port);
    let (status, _, mut socket) = tunnel(world.port, &here, Some(session.token())).await;
    assert_eq!(status, 200);
    let request = format!(
        "POST /model/anthropic/v1/messages HTTP/1.1\r\nHost: {here}\r\nX-Api-Key: {}\r\nContent-Length: 0\r\n\r\n",
        session.token()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    assert!(head(&mut socket).await.starts_with("HTTP/1.1 200"));
    let mut body = [0; 2];
    socket.read_exact(&mut body).await.unwrap();
    assert_eq!(&body, b"{}");
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn a_process_is_told_its_routes_and_no_key() {
    let world = World::start().await;
    let fake = Fake::start(json("{}")).await;
    let session = world.credential_with(&[], anthropic(&fake));
    let env = session.env(8118);
    let told: HashMap<_, _> = env.iter().cloned().collect();
    assert_eq!(told["ANTHROPIC_BASE_URL"], "http://127.0.0.1:8118/model/anthropic");
    assert_eq!(told["ANTHROPIC_API_KEY"], session.token());
    assert!(!format!("{env:?}").contains(KEY));
}

/// Replaces the keys of a policy when it is asked for the second time.
struct Replaces {
    policy: Arc<Policy>,
    newer: Policy,
    looks: Mutex<u32>,
}

impl KeyWatch for Replaces {
    fn look(&self) {
        let mut looks = self.looks.lock();
        *looks += 1;
        if *looks == 2 {
            assert!(self.policy.replace_keys(&self.newer));
        }
    }
}

fn policy(fake: &Fake, variable: &str, key: &str) -> Policy {
    let url = fake.url();
    let routes = route(ProviderKind::Anthropic, ("ANTHROPIC_BASE_URL", &url), &[(variable, key)]);
    Policy { routes, ..Policy::default() }
}

#[tokio::test]
async fn a_refused_key_that_was_replaced_meanwhile_is_told_as_such_and_the_next_request_has_the_new_one()
 {
    let world = World::start().await;
    let fake = Fake::start(|asked| match asked.headers["x-api-key"].as_bytes() {
        b"old" => full(401, "application/json", "{}"),
        _ => full(200, "application/json", "{}"),
    })
    .await;
    let older = Arc::new(policy(&fake, "ANTHROPIC_API_KEY", "old"));
    let newer = policy(&fake, "ANTHROPIC_API_KEY", "new");
    let session = world.egress.issue_credential(older.clone());
    world.egress.watch_keys(Arc::new(Replaces { policy: older, newer, looks: Mutex::new(0) }));
    let headers = [("x-api-key", session.token())];
    let mut asked = Vec::new();
    for _ in 0..2 {
        let (status, _, _) = ask(world.port, "POST", "/model/anthropic/v1/x", &headers, "").await;
        asked.push(status);
    }
    assert_eq!(asked, [503, 200]);
}

#[tokio::test]
async fn a_policy_with_other_stand_ins_does_not_take_the_place_of_one_in_use() {
    let fake = Fake::start(json("{}")).await;
    let older = policy(&fake, "ANTHROPIC_API_KEY", "old");
    assert!(!older.replace_keys(&policy(&fake, "CLAUDE_CODE_OAUTH_TOKEN", "new")));
    assert!(!older.replace_keys(&Policy::default()));
    let wider = Policy {
        allow: vec!["example.com".parse().unwrap()],
        ..policy(&fake, "ANTHROPIC_API_KEY", "new")
    };
    assert!(!older.replace_keys(&wider));
}

#[tokio::test]
async fn what_the_api_of_a_forge_answers_counts_as_no_answer_of_a_model() {
    let world = World::start().await;
    let fake = Fake::start(json(r#"{"usage": {"input_tokens": 5, "output_tokens": 7}}"#)).await;
    let base = ("GITHUB_API_URL", &*fake.url());
    let routes = route(ProviderKind::GitHub, base, &[("GH_TOKEN", "real")]);
    let session = world.credential_with(&[], routes);
    let inside = format!("Bearer {}", session.token());
    let headers = [("authorization", &*inside)];
    let (status, _, _) = ask(world.port, "GET", "/model/github/issues", &headers, "").await;
    assert_eq!((status, session.tokens()), (200, Counted::default()));
}
