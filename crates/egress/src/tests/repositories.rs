//! Routes to repositories, with the real git on both sides.

use super::super::*;
use super::world::*;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const SECRET: &str = "ghp-the-real-one";

/// What GitHub and its like would ask for.
fn authorized(asked: &Asked) -> bool {
    let pair = base64::prelude::BASE64_STANDARD.encode(format!("x-access-token:{SECRET}"));
    let given = asked.headers.get("authorization");
    given.is_some_and(|given| *given == format!("Basic {pair}"))
}

/// A server of the repositories below a folder, as git itself serves them.
async fn server(root: &Path) -> Fake {
    let root = root.to_owned();
    Fake::start(move |asked| {
        if !authorized(asked) {
            return full(401, "text/plain", "who are you");
        }
        let (path, query) = asked.uri.split_once('?').unwrap_or((&asked.uri, ""));
        let header = |name: &str| {
            let value = asked.headers.get(name);
            value.map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        let mut backend = Command::new("git")
            .arg("http-backend")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_PROJECT_ROOT", &root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REMOTE_USER", "somebody")
            .env("REQUEST_METHOD", &asked.method)
            .env("PATH_INFO", path)
            .env("QUERY_STRING", query)
            .env("CONTENT_TYPE", header("content-type"))
            .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
            .env("HTTP_GIT_PROTOCOL", header("git-protocol"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = backend.stdin.take().unwrap();
        let body = asked.body.clone();
        let writing = std::thread::spawn(move || stdin.write_all(&body));
        let output = backend.wait_with_output().unwrap().stdout;
        let _ = writing.join().unwrap();
        let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(output[..end].to_vec()).unwrap();
        let mut answer = full(200, "x", output[end + 4..].to_vec());
        for line in head.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            if name == "Status" {
                *answer.status_mut() = value[..3].parse().unwrap();
            } else {
                let name: hyper::header::HeaderName = name.parse().unwrap();
                answer.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        answer
    })
    .await
}

/// Runs git as a session would, in a folder, with this environment alone.
async fn git(folder: &Path, env: &[(String, String)], words: &[&str]) -> (bool, String) {
    let mut git = Command::new("git");
    git.args(words)
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "a")
        .env("GIT_AUTHOR_EMAIL", "a@a.test")
        .env("GIT_COMMITTER_NAME", "a")
        .env("GIT_COMMITTER_EMAIL", "a@a.test")
        .envs(env.iter().cloned());
    let output = tokio::task::spawn_blocking(move || git.output()).await;
    let output = output.unwrap().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn routes(fake: &Fake, path: &str) -> Vec<Route> {
    let route = GitRoute::new("git.test", path, None, SECRET).unwrap();
    vec![Route::Git(route.with_upstream(&fake.url()).unwrap())]
}

/// A folder, with an empty repository at `served/team/a.git`.
async fn repository() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (made, said) =
        git(folder.path(), &[], &["init", "-q", "--bare", "served/team/a.git"]).await;
    assert!(made, "{said}");
    folder
}

#[tokio::test]
async fn git_clones_and_pushes_with_a_credential_that_it_never_has() {
    let folder = repository().await;
    let here = folder.path();
    let fake = server(&here.join("served")).await;
    let world = World::start().await;
    let session = world.credential_with(&[], routes(&fake, "team"));
    let own = world.own(&session).await;
    for (round, port) in [("one", world.port), ("two", own)] {
        let env = session.env(port);
        assert!(!format!("{env:?}").contains(SECRET));
        let run = async |folder: &Path, words: &[&str]| {
            let (done, said) = git(folder, &env, words).await;
            assert!(done, "{round}: {words:?}: {said}");
            assert!(!said.contains(SECRET), "{said}");
            said
        };
        run(here, &["clone", "-q", "https://git.test/team/a.git", round]).await;
        let work = here.join(round);
        // Larger than git sends in one piece.
        let noise: Vec<u8> = (0..3_000_000_u32)
            .flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        std::fs::write(work.join(round), &noise[..4_000_000]).unwrap();
        run(&work, &["add", "."]).await;
        run(&work, &["commit", "-qm", round]).await;
        run(&work, &["push", "-q", "origin", "HEAD:refs/heads/main"]).await;
        run(&work, &["fetch", "-q", "git@git.test:team/a", "main"]).await;
        let config = std::fs::read_to_string(work.join(".git/config")).unwrap();
        assert!(!config.contains(session.token()), "{config}");
        let served = here.join("served/team/a.git");
        let log = run(&served, &["log", "--format=%s", "main"]).await;
        assert!(log.starts_with(round), "{log}");
        let back = ["update-ref", "HEAD", "refs/heads/main"];
        run(&served, &back).await;
    }
    assert!(fake.asked().iter().all(authorized));
}

#[tokio::test]
async fn a_session_with_a_branch_of_its_own_pushes_to_that_alone_and_git_says_why() {
    let folder = repository().await;
    let here = folder.path();
    let served = here.join("served");
    let (made, said) = git(here, &[], &["init", "-q", "--bare", "served/team/b.git"]).await;
    assert!(made, "{said}");
    let fake = server(&served).await;
    let world = World::start().await;
    let session = world.credential_with(&[], routes(&fake, "team"));
    session.limit_pushes(PushRule::new("https://git.test/team/a.git", "pilothouse/x"));
    let env = session.env(world.own(&session).await);
    let run = async |words: &[&str]| git(&here.join("work"), &env, words).await;
    let (cloned, said) = git(here, &env, &["clone", "-q", "https://git.test/team/a", "work"]).await;
    assert!(cloned, "{said}");
    std::fs::write(here.join("work/file"), vec![b'x'; 3_000_000]).unwrap();
    assert!(run(&["add", "."]).await.0);
    assert!(run(&["commit", "-qm", "one"]).await.0);
    for refs in [
        &["HEAD:refs/heads/main"][..],
        &["HEAD:refs/heads/pilothouse/x", "HEAD:refs/heads/main"],
        &["HEAD:refs/tags/v1"],
        &["HEAD:refs/heads/pilothouse/x/y"],
    ] {
        let (done, said) = run(&[&["push", "origin"], refs].concat()).await;
        assert!(
            !done && said.contains("this session may push to refs/heads/pilothouse/x alone"),
            "{said}"
        );
    }
    let (done, said) =
        run(&["push", "https://git.test/team/b", "HEAD:refs/heads/pilothouse/x"]).await;
    assert!(!done && said.contains("403"), "{said}");
    let refs = async |name: &str| {
        git(&served.join(name), &[], &["for-each-ref", "--format=%(refname)"]).await.1
    };
    assert_eq!(
        (refs("team/a.git").await, refs("team/b.git").await),
        (String::new(), String::new())
    );
    let (done, said) = run(&["push", "-q", "origin", "HEAD:refs/heads/pilothouse/x"]).await;
    assert!(done, "{said}");
    assert_eq!(refs("team/a.git").await.trim(), "refs/heads/pilothouse/x");
}

#[tokio::test]
async fn a_repository_that_is_not_below_the_path_is_refused() {
    let folder = repository().await;
    let fake = server(&folder.path().join("served")).await;
    let world = World::start().await;
    let session = world.credential_with(&[], routes(&fake, "team/b"));
    let credential = basic(session.token());
    let headers = [("authorization", credential.as_str())];
    for path in ["team/a.git", "team/bb", "team", "team/b/../a.git", "team/b/%2e%2e/a.git"] {
        let uri = format!("/git/git.test/{path}/info/refs?service=git-upload-pack");
        let (status, _, line) = ask(world.port, "GET", &uri, &headers, "").await;
        assert_eq!(status, 403, "{path}");
        assert!(line.starts_with(b"git.test/"), "{line:?}");
    }
    assert!(fake.asked().is_empty());
    let refusal = session.next_refusal().await;
    assert_eq!(refusal.reason, Reason::OutsideRoute);
    assert_eq!(
        refusal.advice,
        "git.test/team/a.git/info/refs is not reached: it is not below a path of egress.git; the server's operator can add it"
    );
}

#[tokio::test]
async fn only_the_smart_protocol_is_carried() {
    let fake = Fake::start(|_| full(200, "text/plain", "")).await;
    let world = World::start().await;
    let session = world.credential_with(&[], routes(&fake, "team"));
    let port = world.own(&session).await;
    for (method, path) in [
        ("GET", "a.git/HEAD"),
        ("GET", "a.git/info/refs"),
        ("GET", "a.git/info/refs?service=git-upload-pack&x=y"),
        ("GET", "a.git/info/refs?service=git-upload-archive"),
        ("POST", "a.git/git-upload-archive"),
        ("PUT", "a.git/git-receive-pack"),
        ("POST", "api/v4/user"),
        ("GET", "../user"),
    ] {
        let uri = format!("/git/git.test/team/{path}");
        let (status, _, _) = ask(port, method, &uri, &[], "").await;
        assert_eq!(status, 403, "{method} {path}");
    }
    let uri = "/git/git.test/team/a.git/info/lfs/objects/batch";
    let (status, _, line) = ask(port, "POST", uri, &[], "").await;
    assert_eq!(status, 403);
    assert!(String::from_utf8_lossy(&line).contains("git LFS"), "{line:?}");
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn the_shared_listener_asks_git_for_its_token() {
    let fake = Fake::start(|_| full(200, "text/plain", "")).await;
    let world = World::start().await;
    let session = world.credential_with(&[], routes(&fake, "team"));
    let void = world.credential_with(&[], routes(&fake, "team")).token().to_owned();
    let uri = "/git/git.test/team/a.git/info/refs?service=git-upload-pack";
    let (status, headers, _) = ask(world.port, "GET", uri, &[], "").await;
    assert_eq!(status, 401);
    assert_eq!(headers["www-authenticate"], "Basic realm=\"pilothouse\"");
    let headers = [("authorization", &*basic(&void))];
    let (status, _, _) = ask(world.port, "GET", uri, &headers, "").await;
    assert_eq!(status, 401);
    assert!(fake.asked().is_empty());
    let headers = [("authorization", &*basic(session.token()))];
    let (status, _, _) = ask(world.port, "GET", uri, &headers, "").await;
    assert_eq!(status, 200);
    assert!(authorized(&fake.asked()[0]));
}

#[tokio::test]
async fn a_credential_that_the_host_refuses_is_said_and_git_asks_nobody() {
    let world = World::start().await;
    let fake = Fake::start(|_| full(401, "text/plain", "who are you")).await;
    let session = world.credential_with(&[], routes(&fake, ""));
    let port = world.own(&session).await;
    let folder = tempfile::tempdir().unwrap();
    let words = ["clone", "https://git.test/a/b", "c"];
    let (done, said) = git(folder.path(), &session.env(port), &words).await;
    assert!(!done);
    assert!(
        said.contains("git.test refuses the credential of egress.git; the operator must renew it"),
        "{said}"
    );
}

#[tokio::test]
async fn a_host_that_is_not_there_is_said() {
    let world = World::start().await;
    let url = closed_url();
    let route = GitRoute::new("git.test", "", None, SECRET).unwrap();
    let session = world.credential_with(&[], vec![Route::Git(route.with_upstream(&url).unwrap())]);
    let port = world.own(&session).await;
    let uri = "/git/git.test/a/info/refs?service=git-upload-pack";
    let (status, _, line) = ask(port, "GET", uri, &[], "").await;
    assert_eq!(status, 502);
    assert!(line.starts_with(b"git.test could not be reached: "), "{line:?}");
}
