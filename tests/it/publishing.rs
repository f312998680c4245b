//! The push of a session's branch by the server, and its pull request, against stand-ins for git's smart HTTP and for
//! the API of each forge (GitHub "Pulls", GitLab "Merge requests", Gitea "repository", as they document them).

mod bounds;

use crate::building::Builder;
use crate::reading::{answer, artifact, message_in, message_to, state, words};
use crate::repositories::{commit, git, repository};
use crate::walls::{WALLS, Wall};
use crate::world::{OWNER, World};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The credential of the server, for git and for the APIs.
const TOKEN: &str = "forge-secret-4711";

/// A caller who may not answer in the place of a person.
const SENDER: &str = "token-of-a-sender-88b1c5a2e90f4d37";

/// Serves repositories below a folder to whoever has the token, and the three APIs beside them. Requests of the APIs are
/// noted; `limit` and `revoked` in the folder make them refuse, and `hold` has pushes wait.
const FORGE: &str = r#"
import base64, http.server, json, os, subprocess, sys, time, urllib.parse
folder, token = sys.argv[1], sys.argv[2]
opened = {}
class Handler(http.server.BaseHTTPRequestHandler):
    def reply(self, status, value, headers={}):
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def forge(self, kind, path, query, body):
        expected = {"github": ("Authorization", "Bearer " + token), "gitlab": ("PRIVATE-TOKEN", token), "gitea": ("Authorization", "token " + token)}[kind]
        wanted = json.loads(body) if body else {}
        if self.headers.get(expected[0]) != expected[1] or os.path.exists(folder + "/revoked"):
            return self.reply(401, {"message": "Bad credentials"})
        if os.path.exists(folder + "/limit"):
            return self.reply(403, {"message": "API rate limit exceeded"}, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(time.time()) + 100)})
        open(folder + "/requests", "a").write(json.dumps([kind, self.command, path, wanted]) + "\n")
        query = dict(urllib.parse.parse_qsl(query))
        names = {"github": ("head", "base"), "gitea": ("head", "base"), "gitlab": ("source_branch", "target_branch")}[kind]
        member = "web_url" if kind == "gitlab" else "html_url"
        place = "/projects/team%2Fshop/merge_requests" if kind == "gitlab" else "/repos/team/shop/pulls"
        if not path.startswith(place):
            return self.reply(404, {"message": "Not Found"})
        if self.command == "POST":
            key = (kind, wanted[names[0]], wanted[names[1]])
            if key in opened:
                return self.reply(409 if kind != "github" else 422, {"message": "exists already"})
            opened[key] = {member: "https://%s.test/team/shop/pull/%d" % (kind, len(opened) + 1), "state": "open"}
            return self.reply(201, opened[key])
        if kind == "gitea":
            base, head = [urllib.parse.unquote(name) for name in path[len(place) + 1:].split("/")]
            found = opened.get((kind, head, base))
            return self.reply(200, found) if found else self.reply(404, {"message": "not found"})
        head = query[names[0]].split(":")[-1]
        found = opened.get((kind, head, query[names[1]]))
        self.reply(200, [found] if found else [])
    def answer(self):
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        while "git-receive-pack" in self.path and os.path.exists(folder + "/hold"):
            open(folder + "/held", "w").close()
            time.sleep(0.01)
        first, _, rest = path[1:].partition("/")
        if first in ("github", "gitlab", "gitea"):
            return self.forge(first, "/" + rest, query, body)
        expected = "Basic " + base64.b64encode(("x-access-token:" + token).encode()).decode()
        if self.headers.get("Authorization") != expected:
            return self.reply(401, {}, {"WWW-Authenticate": "Basic realm=x"})
        names = {"CONTENT_TYPE": "Content-Type", "HTTP_CONTENT_ENCODING": "Content-Encoding", "HTTP_GIT_PROTOCOL": "Git-Protocol"}
        env = {name: self.headers.get(header, "") for name, header in names.items()}
        env |= {"PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": folder, "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path}
        env |= {"QUERY_STRING": query, "REQUEST_METHOD": self.command, "GIT_CONFIG_NOSYSTEM": "1", "REMOTE_USER": "x"}
        done = subprocess.run(["git", "http-backend"], input=body, env=env, stdout=subprocess.PIPE).stdout
        head, _, rest = done.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().splitlines()]
        self.send_response(int(dict(fields).get("Status", "200")[:3]))
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest)
    do_GET = do_POST = answer
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"#;

/// Such a server with one repository, `team/shop`, until it is dropped.
struct Forge {
    child: Child,
    host: String,
    folder: PathBuf,
}

impl Forge {
    fn start(described: &Builder) -> Self {
        let shop = repository(described, "shop");
        let folder = described.path("served");
        let upstream = folder.join("team/shop.git");
        git(&shop, &["clone", "-q", "--bare", ".", upstream.to_str().unwrap()]);
        let mut python = Command::new("python3");
        python.args(["-c", FORGE]).arg(&folder).arg(TOKEN).stdout(Stdio::piped());
        let mut child = python.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self { child, host: format!("127.0.0.1:{}", line.trim()), folder }
    }

    fn upstream(&self) -> PathBuf {
        self.folder.join("team/shop.git")
    }

    fn branches(&self) -> String {
        git(&self.upstream(), &["branch", "--format=%(refname:short)"])
    }

    /// What the APIs were asked.
    fn requests(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.join("requests")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The configuration of a world that works on its repository; the forge is of this kind.
    fn config(&self, kind: &str, token: &str, push: Value) -> Value {
        let host = &self.host;
        let entry = json!({
            "host": host, "path": "team", "token": token, "forge": kind, "api": format!("http://{host}/{kind}"),
        });
        json!({
            "workspace": {
                "mode": "repository",
                "repository": {"url": format!("http://{host}/team/shop.git")},
                "push": push,
            },
            "egress": {"git": [entry]},
            // The guard of addresses lets the server reach no inner one by itself.
            "push": {"allow": ["127.0.0.1/32"]},
        })
    }
}

impl Drop for Forge {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn session(world: &World, context: &str) -> Value {
    let authorization = format!("Bearer {OWNER}");
    world.get(&format!("/api/v1/sessions/{context}"), &[("Authorization", &authorization)]).json()
}

fn branch(world: &World, context: &str) -> String {
    session(world, context)["checkout"]["branch"].as_str().unwrap().to_owned()
}

/// `pilothouse sessions push`: its exit code, and what it says.
fn push(world: &World, args: &[&str]) -> (Option<i32>, String) {
    let mut pilothouse = Command::new(env!("CARGO_BIN_EXE_pilothouse"));
    pilothouse.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    pilothouse.env("HOME", world.path("home")).stdin(Stdio::null());
    pilothouse
        .env("PILOTHOUSE_URL", format!("http://{}", world.address()))
        .env("PILOTHOUSE_TOKEN", OWNER);
    let run = pilothouse.args(["sessions", "push"]).args(args).output().unwrap();
    let said = [run.stdout, run.stderr].concat();
    (run.status.code(), String::from_utf8(said).unwrap())
}

/// The same by the API: status and body.
fn post(world: &World, context: &str, token: &str, body: &Value) -> (u16, String) {
    let authorization = format!("Bearer {token}");
    let headers = [("Authorization", authorization.as_str())];
    let path = format!("/api/v1/sessions/{context}/push");
    let reply = world.post(&path, &headers, body.to_string().as_bytes());
    (reply.status, reply.text())
}

#[test]
fn a_replacement_hides_no_commit_from_the_person_who_looks_at_a_push() {
    let described = Wall::covering().shell();
    let forge = Forge::start(&described);
    let world = described.config(forge.config("github", TOKEN, json!({}))).start();
    let script = "echo evil > evil; git add evil; git commit -qm 'Add a backdoor'; \
                  harmless=$(git commit-tree -p HEAD~1 -m 'Mend a typo' 'HEAD^{tree}'); git replace HEAD $harmless";
    assert_eq!(state(&world.send(message_in("a", script))), "COMPLETED");
    let (code, said) = push(&world, &["a"]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("Add a backdoor") && !said.contains("Mend a typo"), "{said}");
}

#[test]
fn the_api_of_github_is_reached_with_a_token_that_stays_outside_of_the_sandbox() {
    for wall in WALLS {
        let described = wall.shell();
        let forge = Forge::start(&described);
        let world = described
            .agent(json!({"env": {"pass": ["GH_TOKEN", "GITHUB_API_URL"]}}))
            .env("GH_TOKEN", TOKEN)
            .env("GITHUB_API_URL", &format!("http://{}/github", forge.host))
            .start();
        let asking = "curl -s -H \"Authorization: Bearer $GH_TOKEN\" \"$GITHUB_API_URL/repos/team/shop/pulls?head=a:b&base=c\"; \
                      curl -s -o /dev/null -w ' %{http_code}' -H 'Authorization: Bearer x' \"$GITHUB_API_URL/repos\"; env | grep -c TOKEN";
        let task = world.send(message_in("one", asking));
        assert_eq!(answer(&task).split_whitespace().next(), Some("[]"), "{wall:?}: {task:#}");
        assert!(!task.to_string().contains(TOKEN));
        let seen = answer(&world.send(message_in("one", "env; cat /proc/self/environ")));
        assert!(seen.contains("GH_TOKEN=") && !seen.contains(TOKEN), "{wall:?}: {seen}");
        assert_eq!(
            forge.requests().len(),
            1,
            "{wall:?}: a stand-in that is none of the session's is no way in"
        );
        assert!(world.stderr().contains("reaches the API of GitHub with your token"));
    }
}

#[test]
fn a_session_is_pushed_once_with_a_request_at_each_forge_and_a_credential_that_it_never_sees() {
    let described = Wall::covering().shell();
    let forge = Forge::start(&described);
    let mut world = described.config(forge.config("github", TOKEN, json!({}))).start();
    // What a server has left that was killed in the middle of a push.
    let entries = fs::read_dir(world.path("state/repositories")).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let mirror = paths.find(|path| path.extension().is_some_and(|end| end == "git")).unwrap();
    fs::create_dir(mirror.with_extension("push-left")).unwrap();
    for kind in ["github", "gitlab", "gitea"] {
        world.reconfigure(forge.config(kind, TOKEN, json!({})));
        world.restart();
        let script =
            "echo a > a; git add a; git commit -qm one; echo b > 'b c'; echo Two files were made.";
        assert_eq!(state(&world.send(message_in(kind, script))), "COMPLETED");
        let branch = branch(&world, kind);
        // Nobody is there who could look at it.
        let (code, said) = push(&world, &[kind]);
        assert_eq!(code, Some(4), "{said}");
        assert!(said.contains("2 commits on ") && said.contains("one"), "{said}");
        assert!(!forge.branches().contains(&branch), "{said}");
        let (code, said) = push(&world, &[kind, "--yes"]);
        let address = format!("https://{kind}.test/team/shop/pull/");
        assert!(code == Some(0) && said.contains(&address), "{code:?} {said}");
        let log = git(
            &forge.upstream(),
            &["log", "--format=%s|%an|%(trailers:unfold,separator=%x2C)", &branch],
        );
        let lines: Vec<&str> = log.lines().collect();
        assert!(lines[0].starts_with("Two files were made.|fake|Pilothouse-Task: "), "{log}");
        let id = session(&world, kind)["id"].as_str().unwrap().to_owned();
        assert!(lines[0].ends_with(&format!("Pilothouse-Session: {id}")), "{log}");
        assert_eq!(lines[1..], ["one|fake|", "first|Ann|"]);
        // It can be repeated, and there is one request.
        let (code, said) = push(&world, &[kind, "--yes"]);
        assert!(code == Some(0) && said.contains("is open already"), "{code:?} {said}");
        let posts = forge.requests().into_iter().filter(|one| one[0] == kind && one[1] == "POST");
        let posts: Vec<Value> = posts.collect();
        assert_eq!(posts.len(), 1, "{posts:?}");
        assert_eq!(posts[0][3]["title"], "Two files were made.");
        let text =
            ["body", "description"].map(|name| posts[0][3][name].as_str().unwrap_or_default());
        assert!(text.concat().contains(&id), "{text:?}");
        // Neither the sandbox nor what is kept of the session knows the credential.
        let look = "env; cat .git/config; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'; \
                    grep -rs forge-secret . \"$HOME\"; true";
        let task = world.send(message_in(kind, look));
        assert!(!task.to_string().contains(TOKEN), "{task:#}");
        // The branch is upstream, so nothing keeps the session any more.
        let count = "git rev-list --count HEAD --not --remotes";
        assert_eq!(answer(&world.send(message_in(kind, count))).trim(), "0");
    }
    // No folder of a push is left.
    let left = fs::read_dir(world.path("state/repositories")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("push-")), "{left:?}");
}

#[test]
fn a_push_is_refused_with_what_to_do() {
    let described = Wall::covering().shell();
    let forge = Forge::start(&described);
    let tokens =
        json!({"auth": {"tokens": {"sender": {"token": SENDER, "scopes": ["send", "read"]}}}});
    let mut world =
        described.config(forge.config("github", TOKEN, json!({}))).config(tokens).start();
    world.send(message_in("none", "true"));
    let (code, said) = push(&world, &["none", "--yes"]);
    assert!(code == Some(2) && said.contains("nothing to push: the branch pilothouse/"), "{said}");
    world.send(message_in("one", "echo a > a; git add a; git commit -qm one"));
    let own = branch(&world, "one");
    // Another commit than the one that was seen.
    let (status, told) = post(&world, "one", OWNER, &json!({"commit": "0".repeat(40)}));
    assert!(
        status == 400 && told.contains("has changed since it was looked at"),
        "{status} {told}"
    );
    let (status, told) = post(&world, "one", OWNER, &json!({"force": true}));
    assert!(status == 400 && told.contains("force"), "{status} {told}");
    // Who may not answer in the place of a person.
    world.rpc_as(SENDER, "SendMessage", message_in("theirs", "echo a > a"));
    let (status, told) = post(&world, "theirs", SENDER, &json!({"commit": "0".repeat(40)}));
    assert!(status == 403 && told.contains("answer"), "{status} {told}");
    // The forge wants to be asked less often: the branch is there, and the request can be sent again.
    fs::write(forge.folder.join("limit"), "").unwrap();
    let (code, said) = push(&world, &["one", "--yes"]);
    assert!(
        code == Some(75) && said.contains("is pushed") && said.contains("less often"),
        "{code:?} {said}"
    );
    fs::remove_file(forge.folder.join("limit")).unwrap();
    // The token may push, and open nothing.
    fs::write(forge.folder.join("revoked"), "").unwrap();
    let (code, said) = push(&world, &["one", "--yes"]);
    assert!(code == Some(69) && said.contains("refuses the token (401)"), "{code:?} {said}");
    fs::remove_file(forge.folder.join("revoked")).unwrap();
    assert!(forge.branches().contains(&own));
    // The branch has moved on there.
    let other = world.path("other");
    git(
        &world.path("cwd"),
        &["clone", "-q", forge.upstream().to_str().unwrap(), other.to_str().unwrap()],
    );
    git(&other, &["checkout", "-q", &own]);
    let theirs = commit(&other, "theirs", "theirs");
    git(&other, &["push", "-q", "origin", &own]);
    world.send(message_in("one", "echo b > b"));
    let (code, said) = push(&world, &["one", "--yes"]);
    assert!(
        code == Some(2) && said.contains("has commits that the session does not have"),
        "{said}"
    );
    assert_eq!(git(&forge.upstream(), &["rev-parse", &own]), theirs);
    // The repository has rules of its own.
    let hook = forge.upstream().join("hooks/pre-receive");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\necho 'branches are frozen' >&2\nexit 1\n").unwrap();
    fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).unwrap();
    world.send(message_in("two", "echo a > a"));
    let (code, said) = push(&world, &["two", "--yes"]);
    assert!(code == Some(2) && said.contains("does not take the branch"), "{said}");
    assert!(said.contains("branches are frozen"), "{said}");
    fs::remove_file(&hook).unwrap();
    // Nothing of this is pushed where the operator does not want it.
    world.reconfigure(json!({"workspace": {"push": {"policy": "deny"}}}));
    world.restart();
    let (code, said) = push(&world, &["two", "--yes"]);
    assert!(code == Some(77) && said.contains("`workspace.push.policy`"), "{code:?} {said}");
    // A credential that is not valid any more.
    world.reconfigure(forge.config("github", "not-the-token-81f2", json!({"policy": "allow"})));
    world.restart();
    let (code, said) = push(&world, &["two"]);
    assert!(code == Some(2) && said.contains("`egress.git`"), "{said}");
    assert!(!said.contains("not-the-token"), "{said}");
}

#[test]
fn a_task_ends_with_a_push_when_its_caller_has_allowed_it() {
    let described = Wall::covering().shell();
    let forge = Forge::start(&described);
    let at_end = json!({"at_end": true});
    let mut world = described.config(forge.config("gitlab", TOKEN, at_end)).start();
    let task = world.send(message_in("looks", "cat README"));
    assert_eq!(state(&task), "COMPLETED", "{task:#}");
    for (context, said) in [("allowed", "allow"), ("denied", "deny: not yet")] {
        let task = world.send(message_in(context, "echo a > a; echo A file was made."));
        assert_eq!(state(&task), "INPUT_REQUIRED", "{task:#}");
        assert_eq!(answer(&task).trim(), "A file was made.");
        let branch = branch(&world, context);
        assert!(
            words(&task).contains(&format!("May the branch {branch} be pushed to shop?")),
            "{task:#}"
        );
        assert!(!forge.branches().contains(&branch));
        let ended = world.send(message_to(task["id"].as_str().unwrap(), said));
        assert_eq!(state(&ended), "COMPLETED", "{ended:#}");
        assert_eq!(answer(&ended).trim(), "A file was made.");
        assert_eq!(forge.branches().contains(&branch), context == "allowed", "{ended:#}");
        if context == "allowed" {
            let data = &artifact(&ended, "push")["parts"][0]["data"];
            assert_eq!(data["pullRequest"]["url"], "https://gitlab.test/team/shop/pull/1");
            assert_eq!(data["branch"], json!(branch));
        }
    }
    let allowed = json!({"at_end": true, "policy": "allow", "request": false, "message": "{task} by {agent}"});
    world.reconfigure(forge.config("gitlab", TOKEN, allowed));
    world.restart();
    let task = world.send(message_in("at once", "echo a > a"));
    assert_eq!(state(&task), "COMPLETED", "{task:#}");
    let data = &artifact(&task, "push")["parts"][0]["data"];
    assert_eq!((data["pushed"].clone(), data.get("pullRequest")), (json!(true), None), "{data}");
    let branch = branch(&world, "at%20once");
    let subject = git(&forge.upstream(), &["log", "-1", "--format=%s", &branch]);
    assert_eq!(subject, format!("{} by fake", task["id"].as_str().unwrap()));
}

#[test]
fn what_an_agent_makes_of_its_clone_leads_a_push_nowhere_else() {
    let described = Wall::covering().shell();
    let shop = repository(&described, "shop");
    let other = described.path("other.git");
    git(&shop, &["clone", "-q", "--bare", ".", other.to_str().unwrap()]);
    // The repository's own hooks are not run where it lies on this machine: it may be another user's.
    let planted = described.path("planted");
    for name in ["pre-receive", "post-receive", "update"] {
        let hook = shop.join(".git/hooks").join(name);
        fs::create_dir_all(hook.parent().unwrap()).unwrap();
        fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", planted.display())).unwrap();
        fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let config = json!({"workspace": {"mode": "repository", "repository": {"url": shop}, "push": {"policy": "allow"}}});
    let world = described.config(config).start();
    let script = format!(
        "git config remote.origin.pushurl {0}; git config url.{0}.pushInsteadOf {1}; \
         git config core.hooksPath \"$PWD/.hooks\"; mkdir .hooks; printf '#!/bin/sh\\nexit 1\\n' > .hooks/pre-commit; \
         printf '#!/bin/sh\\nexit 1\\n' > .hooks/pre-push; chmod +x .hooks/*; \
         git config commit.gpgSign true; git config gpg.program false; echo a > a",
        other.display(),
        shop.display()
    );
    world.send(message_in("one", &script));
    let (code, said) = push(&world, &["one"]);
    assert_eq!(code, Some(0), "{said}");
    let own = branch(&world, "one");
    assert!(git(&shop, &["branch", "--format=%(refname:short)"]).contains(&own));
    assert!(!git(&other, &["branch"]).contains(&own));
    assert_eq!(git(&shop, &["status", "--porcelain"]), "");
    assert!(!planted.exists());
    // What is left on another branch is not committed on it by the server.
    world.send(message_in("one", "git checkout -q -b elsewhere; echo b > b"));
    let (code, said) = push(&world, &["one"]);
    assert!(code == Some(2) && said.contains("not on the branch pilothouse/"), "{said}");
}
