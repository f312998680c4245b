//! The page itself: static files that are in the program, or a word on how to build them.

use crate::http::Reply;
use crate::reading::message;
use crate::world::{OWNER, World};
use flate2::read::GzDecoder;
use serde_json::json;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The page as it was built, where it was.
fn built() -> Option<PathBuf> {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("ui/dist");
    dist.join("index.html").is_file().then_some(dist)
}

fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
    reply.header(name).unwrap_or_default()
}

/// The files below a folder, by their paths in it.
fn files(folder: &Path, below: &str, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder.join(below)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{below}{}", entry.file_name().to_str().unwrap());
        match entry.path().is_dir() {
            true => files(folder, &format!("{name}/"), found),
            false => found.push((name, fs::read(entry.path()).unwrap())),
        }
    }
}

#[test]
fn the_page_is_what_was_built_byte_for_byte_or_a_word_on_how_to_build_it() {
    let world = World::start();
    let Some(dist) = built() else {
        let reply = world.get("/ui/", &[]);
        assert_eq!(reply.status, 503);
        assert!(reply.text().contains("`make ui`"), "{}", reply.text());
        return;
    };
    let mut all = Vec::new();
    files(&dist, "", &mut all);
    for (name, bytes) in all {
        let plain = world.get(&format!("/ui/{name}"), &[]);
        assert!(plain.status == 200 && plain.body == bytes, "{name}: {}", plain.status);
        let packed = world.get(&format!("/ui/{name}"), &[("Accept-Encoding", "gzip")]);
        assert_eq!(header(&packed, "content-encoding"), "gzip", "{name}");
        let mut unpacked = Vec::new();
        GzDecoder::new(&*packed.body).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == bytes, "{name}");
        let known = world.get(&format!("/ui/{name}"), &[("If-None-Match", header(&plain, "etag"))]);
        assert_eq!((known.status, known.body.len()), (304, 0), "{name}");
        let is_hashed = name.starts_with("assets/");
        assert_eq!(header(&plain, "cache-control").contains("immutable"), is_hashed, "{name}");
    }
    assert_eq!(world.get("/ui/none", &[]).status, 404);
}

#[test]
fn the_page_may_load_nothing_from_elsewhere_and_run_no_script_of_its_own_text() {
    let world = World::start();
    let reply = world.get("/ui/", &[]);
    let policy = header(&reply, "content-security-policy");
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(header(&reply, "x-content-type-options"), "nosniff");
    assert_eq!(header(&reply, "referrer-policy"), "no-referrer");
    let other = world.get("/ui/", &[("Host", "elsewhere.test")]);
    assert_eq!(other.status, 403);
}

#[test]
fn an_address_without_a_slash_leads_to_the_page() {
    let world = World::start();
    let reply = world.get("/ui", &[]);
    assert_eq!((reply.status, header(&reply, "location")), (308, "ui/"));
}

#[test]
fn a_dashboard_that_is_off_is_not_there_and_its_origin_may_not_call() {
    let world = World::describe().config(json!({"ui": "off"})).start();
    assert_eq!(world.get("/ui/", &[]).status, 404);
    assert_eq!(post_from(&world, &format!("http://{}", world.address())), 403);
}

/// The status of a call that a page of this origin makes.
fn post_from(world: &World, origin: &str) -> u16 {
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": message("say x")});
    let bearer = format!("Bearer {OWNER}");
    let headers = [("Authorization", bearer.as_str()), ("Origin", origin)];
    world.post("/", &headers, body.to_string().as_bytes()).status
}

#[test]
fn the_page_may_call_the_server_that_it_came_from_and_no_other_origin_may() {
    let world = World::start();
    let address = world.address();
    assert_eq!(post_from(&world, &format!("http://{address}")), 200);
    let others = [
        format!("https://{address}"),
        format!("http://localhost:{}", address.port()),
        format!("http://{}:{}", address.ip(), address.port() ^ 1),
        format!("http://{address}.example"),
        "null".to_owned(),
    ];
    for origin in others {
        assert_eq!(post_from(&world, &origin), 403, "{origin}");
    }
}
