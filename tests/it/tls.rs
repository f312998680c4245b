//! TLS on the listener: every door inside of it, certificates that change while the server runs, certificates of clients.

use crate::certificates::{Authority, Issued};
use crate::cli_asks::pilothouse;
use crate::processes::await_some;
use crate::world::{OWNER, PATIENCE, World};
use reqwest::{Certificate, Client, Identity, Method, Version};
use serde_json::{Value, json};
use std::fs;
use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A client that trusts one authority alone.
fn client(authority: &Authority, shown: Option<&Issued>) -> Client {
    let trusted = Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    let builder = Client::builder().tls_certs_only([trusted]).no_proxy().timeout(PATIENCE);
    let identity = shown.map(|issued| {
        Identity::from_pem(format!("{}{}", issued.cert, issued.key).as_bytes()).unwrap()
    });
    match identity {
        Some(identity) => builder.identity(identity),
        None => builder,
    }
    .build()
    .unwrap()
}

async fn ask(
    client: &Client,
    world: &World,
    method: Method,
    path: &str,
) -> Result<(u16, Value), String> {
    let request = client.request(method, format!("https://{}{path}", world.address()));
    let answer = request.bearer_auth(OWNER).send().await.map_err(|error| format!("{error:?}"))?;
    let status = answer.status().as_u16();
    let body = answer.bytes().await.unwrap();
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

fn get(client: &Client, world: &World, path: &str) -> Result<(u16, Value), String> {
    wait(ask(client, world, Method::GET, path))
}

/// A command that finds the server by its state folder.
fn local(world: &World, args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_pilothouse"))
        .args(args)
        .arg("--state-dir")
        .arg(world.path("state"))
        .args(["--token", OWNER])
        .current_dir(world.path("work"))
        .env_clear()
        .env("HOME", world.path("work"))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn every_door_speaks_tls_and_cards_and_the_start_say_https() {
    let authority = Authority::new("ours");
    let world = World::describe().tls(&authority.server()).start();
    let https = format!("https://{}", world.address());
    assert!(world.stderr().contains(&format!("{https}/")), "{}", world.stderr());
    // HTTP/2 is agreed on in the handshake; gRPC needs it.
    let both = client(&authority, None);
    let trusted = Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    let older =
        Client::builder().tls_certs_only([trusted]).http1_only().no_proxy().build().unwrap();
    for (client, version) in [(&both, Version::HTTP_2), (&older, Version::HTTP_11)] {
        let card = wait(async {
            let place = format!("{https}/.well-known/agent-card.json");
            let answer = client.get(place).send().await.unwrap();
            assert_eq!(answer.version(), version);
            serde_json::from_slice::<Value>(&answer.bytes().await.unwrap()).unwrap()
        });
        assert_eq!(card["supportedInterfaces"][0]["url"], format!("{https}/"), "{card}");
    }
    let health = wait(async {
        let place = format!("{https}/grpc.health.v1.Health/Check");
        let request = both.post(place).header("content-type", "application/grpc");
        let answer = request.body(vec![0; 5]).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    });
    // A frame with the message `status: SERVING`.
    assert_eq!(health, (200, vec![0, 0, 0, 0, 2, 8, 1]));

    let ca = world.path("cwd").join("ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let said = pilothouse(&https, &["send", "say hello", "--ca", ca.to_str().unwrap()]);
    assert_eq!((said.code, said.out.trim()), (Some(0), "hello"), "{}", said.err);
    let said = pilothouse(&https, &["send", "say hello"]);
    assert_ne!(said.code, Some(0), "{}", said.out);
    // On this machine the server itself tells which certificate it has.
    let (code, said) = local(&world, &["send", "say hello"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("hello"), "{said}");
    assert_eq!(local(&world, &["healthcheck"]), (Some(0), String::new()));
}

#[test]
fn a_reload_takes_a_new_certificate_for_new_connections_and_a_broken_one_changes_nothing() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let world = World::describe().tls(&old.server()).start();
    let write = |name: &str, text: &str| fs::write(world.path("cwd").join(name), text).unwrap();
    wait(async {
        let open = client(&old, None);
        let reload = async || ask(&open, &world, Method::POST, "/api/v1/reload").await.unwrap();
        assert_eq!(reload().await, (200, json!({"changed": [], "needsRestart": []})));
        write("server.pem", "nothing");
        let (status, told) = reload().await;
        assert_eq!(status, 400, "{told}");
        let words = told["error"]["message"].as_str().unwrap();
        assert!(words.contains("`server.tls.cert`") && words.contains("no certificate"), "{words}");
        ask(&client(&old, None), &world, Method::GET, "/health").await.unwrap();
        let issued = new.server();
        write("server.pem", &issued.cert);
        // The key of the one before.
        let (status, told) = reload().await;
        assert_eq!(status, 400, "{told}");
        assert!(told.to_string().contains("is not the key of"), "{told}");
        write("server-key.pem", &issued.key);
        let changed = json!({"changed": ["server.tls"], "needsRestart": []});
        assert_eq!(reload().await, (200, changed));
        // The connection that was open goes on; a new one is shown the new certificate.
        ask(&open, &world, Method::GET, "/ready").await.unwrap();
        let refused = ask(&client(&old, None), &world, Method::GET, "/ready").await.unwrap_err();
        assert!(refused.contains("UnknownIssuer") || refused.contains("certificate"), "{refused}");
        ask(&client(&new, None), &world, Method::GET, "/ready").await.unwrap();
    });
    let (code, said) = local(&world, &["send", "say hello"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn where_clients_must_have_a_certificate_none_connects_without_one_of_that_authority() {
    let (authority, other) = (Authority::new("ours"), Authority::new("theirs"));
    let world = World::describe()
        .tls(&authority.server())
        .file("clients.pem", 0o644, &authority.pem())
        .config(json!({"server": {"tls": {"client_ca": "clients.pem"}}}))
        .start();
    let ours = authority.client();
    assert_eq!(get(&client(&authority, Some(&ours)), &world, "/tasks").unwrap().0, 200);
    get(&client(&authority, None), &world, "/health").unwrap_err();
    get(&client(&authority, Some(&other.client())), &world, "/health").unwrap_err();
    let (ca, cert) = (world.path("cwd").join("clients.pem"), world.path("cwd").join("me.pem"));
    fs::write(&cert, format!("{}{}", ours.cert, ours.key)).unwrap();
    let https = format!("https://{}", world.address());
    let (ca, cert) = (ca.to_str().unwrap(), cert.to_str().unwrap());
    let said = pilothouse(&https, &["send", "say hello", "--ca", ca, "--client-cert", cert]);
    assert_eq!((said.code, said.out.trim()), (Some(0), "hello"), "{}", said.err);
    let (code, said) = local(&world, &["send", "say hello", "--client-cert", cert]);
    assert_eq!(code, Some(0), "{said}");
    let said = pilothouse(&https, &["send", "say hello", "--ca", ca, "--client-cert", ca]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("a certificate and its private key"), "{}", said.err);
}

#[test]
fn a_client_without_tls_is_told_so_and_half_a_handshake_ends_at_the_deadline_of_heads() {
    let authority = Authority::new("ours");
    let mut world = World::describe()
        .tls(&authority.server())
        .config(json!({"timeouts": {"header": "1s"}}))
        .start();
    // Each such client is a line of the log, once that shows so much; the level needs no restart.
    world.rewrite(json!({"log": {"level": "debug"}}));
    let reloaded = wait(ask(&client(&authority, None), &world, Method::POST, "/api/v1/reload"));
    assert_eq!(reloaded.unwrap().1["changed"], json!(["log.level"]));
    assert!(!world.stderr().contains("no TLS with a client"));
    let mut plain = TcpStream::connect(world.address()).unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut told = String::new();
    plain.read_to_string(&mut told).unwrap();
    assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("https://"), "{told}");
    await_some("the line of the log", PATIENCE, || {
        world.stderr().contains("no TLS with a client").then_some(())
    });
    assert_eq!(told.len() - told.find("\r\n\r\n").unwrap() - 4, 53);
    // The record of a handshake whose rest does not come.
    let mut half = TcpStream::connect(world.address()).unwrap();
    half.set_read_timeout(Some(PATIENCE)).unwrap();
    half.write_all(&[0x16, 3, 1, 2, 0]).unwrap();
    assert_eq!(half.read(&mut [0; 1]).map_err(|error| error.kind()), Ok(0));
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_at_the_start_with_the_reason() {
    let authority = Authority::new("ours");
    let (good, other) = (authority.server(), authority.server());
    let mixed = Issued { cert: good.cert.clone(), key: other.key };
    let cases = [
        (&authority.expired(), "ended at 2021-01-01"),
        (&authority.client(), "is not for servers"),
        (&Issued { cert: authority.pem(), key: good.key.clone() }, "that of an authority"),
        (&mixed, "is not the key of the first certificate"),
        (&Issued { cert: good.cert.clone(), key: String::new() }, "holds no private key"),
    ];
    for (issued, words) in cases {
        let failure = World::describe().tls(issued).fails();
        assert!(failure.stderr.contains("`server.tls."), "{}", failure.stderr);
        assert!(failure.stderr.contains(words), "{words}: {}", failure.stderr);
    }
    let open = World::describe().tls(&good).file("server-key.pem", 0o644, &good.key).fails();
    assert!(open.stderr.contains("everybody on this machine can read"), "{}", open.stderr);
    // The operator can know before a start.
    for (issued, words) in
        [(&authority.expired(), "ended at 2021-01-01"), (&good, "holds until 4096-")]
    {
        let described = World::describe().tls(issued);
        described.write_config();
        let output = Command::new(env!("CARGO_BIN_EXE_pilothouse"))
            .args(["doctor", "--trust-folder"])
            .current_dir(described.cwd())
            .env_clear()
            .env("HOME", described.path("home"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(words), "{said}");
    }
    let lone = World::describe().config(json!({"server": {"tls": {"cert": "x.pem"}}})).fails();
    assert!(lone.stderr.contains("`server.tls.key` is not"), "{}", lone.stderr);
}
