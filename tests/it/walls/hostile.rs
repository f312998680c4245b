//! A hostile agent: it makes all attacks from its own turn, behind each driver, and leaves what it can for the server
//! and for later sessions.
//!
//! The attacks are those of the launcher's program, which the probe uses too. Here the server has not prepared
//! anything for them: the agent is an ordinary one of an ordinary session.

use super::{User, WALLS, Wall, findings};
use crate::bindings::Binding;
use crate::building::{Builder, copy_program};
use crate::processes::await_some;
use crate::reading::{answer, message, message_in, message_with, state, text_of, words};
use crate::world::{OWNER, World};
use pilothouse_a2a::operation::Operation;
use pilothouse_sandbox::supervisor::PROGRAM;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const USERS: [User; 2] = [User::Own, User::Ordinary];
/// Agents that run a prompt as a script: by the driver `command`, `acp` and `claude`.
const AGENTS: [&str; 3] = ["fake", "acp", "claude"];

/// A server with the three agents, and all that they aim at.
struct Battle {
    world: World,
    marker: String,
    /// Files that no session may reach.
    outside: PathBuf,
    attack: PathBuf,
}

impl Battle {
    fn start(wall: Wall, user: User) -> Self {
        let builder = wall.shell();
        let marker = format!("hostile-{}", uuid::Uuid::new_v4().simple());
        let (outside, attack) = (builder.path("outside"), builder.path("attack"));
        fs::create_dir_all(outside.join("ssh")).unwrap();
        for name in ["secret", "append", "unlink", "rename", "truncate", "mode", "tmp", "ssh/id"] {
            fs::write(outside.join(name), &marker).unwrap();
        }
        let launcher = outside.join("launcher");
        fs::write(&launcher, PROGRAM).unwrap();
        copy_program(&launcher, &attack);
        fs::remove_file(launcher).unwrap();
        fs::set_permissions(&attack, Permissions::from_mode(0o755)).unwrap();
        let builder = match user {
            User::Own => builder,
            User::Ordinary => builder.ordinary(),
        };
        let world = Self::armed(builder, &attack).start();
        Self { world, marker, outside, attack }
    }

    /// The same with the agents of the other two drivers.
    fn armed(builder: Builder, attack: &Path) -> Builder {
        let copy = builder.path("bin/fake-agent");
        let program =
            if copy.exists() { json!(copy) } else { json!(crate::building::fake_agent()) };
        let env = builder.config["agents"]["fake"]["env"].clone();
        let granted = PathBuf::from(program.as_str().unwrap());
        builder
            .granted([attack, &granted])
            .config(json!({
                "agents": {
                    "acp": {"driver": "acp", "program": program, "args": ["--acp", "runs"], "env": env},
                    "claude": {"driver": "claude", "skills_source": "files", "program": program, "env": env},
                },
            }))
            .env("ANTHROPIC_API_KEY", "none")
    }

    /// What this agent's script prints in a new session.
    fn run(&self, agent: &str, script: &str) -> String {
        let door = self.world.through(Binding::JsonRpc);
        let task = door.agent(agent).well(Operation::SendMessage, &message(script))["task"].take();
        assert_eq!(state(&task), "COMPLETED", "{agent}: {task:#}");
        answer(&task)
    }

    /// Where the session of a context really lies.
    fn workspace(&self, context: &str) -> PathBuf {
        let authorization = format!("Bearer {OWNER}");
        let path = format!("/api/v1/sessions/{context}");
        let session = self.world.get(&path, &[("Authorization", &authorization)]).json();
        PathBuf::from(text_of(&session, "workspace"))
    }

    /// A process of another session, as long as its task is not canceled.
    fn peer(&self) -> (String, i32) {
        let files = "for name in secret unlink rename; do printf %s \"$MARKER\" > $name; done";
        let script = format!(
            "MARKER={}; {files}; sleep 600 | {} attack victim \"$MARKER\"",
            self.marker,
            self.attack.display()
        );
        let mut params = message_in("peer", &script);
        params["configuration"] = json!({"returnImmediately": true});
        let task = text_of(&self.world.send(params), "id").to_owned();
        let victim = format!("{} attack victim", self.attack.display());
        let pid = await_some("the peer", self.world.patience(), || {
            let agents = self.world.agents();
            let ready = self.workspace("peer").join("rename").exists();
            agents
                .into_iter()
                .find(|one| ready && one.command.starts_with(&victim))
                .map(|one| one.pid)
        });
        (task, pid)
    }
}

/// A stand-in for the server: a process of the server's user with the marker in its memory and environment.
struct Victim {
    process: Child,
    address: String,
}

impl Victim {
    fn start(battle: &Battle, user: User) -> Self {
        let mut command = match user {
            User::Ordinary if rustix::process::geteuid().is_root() => {
                let mut command = Command::new("setpriv");
                command
                    .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
                    .arg(&battle.attack);
                command
            }
            _ => Command::new(&battle.attack),
        };
        let mut process = command
            .args(["attack", "victim", &battle.marker])
            .env("CANARY", &battle.marker)
            .current_dir(&battle.outside)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { process, address: address.trim().to_owned() }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Result of each attack by its name: `stopped`, `succeeded` or `skipped`.
fn results(printed: &str) -> BTreeMap<&str, &str> {
    let lines = printed.lines().filter(|line| !line.starts_with("proxy "));
    lines.filter_map(|line| Some((line.split(' ').next()?, line.split(' ').nth(1)?))).collect()
}

/// What `doctor` says of the same attacks, which is what the table of the documentation says.
fn expected(wall: Wall, user: User) -> BTreeMap<&'static str, &'static str> {
    let attacks = findings(wall, user)["attacks"].as_array().unwrap();
    let judged_outside = ["tree.survive", "limits.forks", "limits.memory"];
    let listed = attacks.iter().map(|one| (text_of(one, "name"), text_of(one, "result")));
    // The probe covers stand-ins for the server's own files; those of a server are tried in `own.rs`.
    let is_made_here = |name: &str| !judged_outside.contains(&name) && !name.starts_with("own.");
    listed.filter(|(name, _)| is_made_here(name)).collect()
}

#[test]
fn every_attack_from_a_turn_of_each_driver_ends_as_the_table_says() {
    for (wall, user) in WALLS.into_iter().flat_map(|wall| USERS.map(|user| (wall, user))) {
        let battle = Battle::start(wall, user);
        let victim = Victim::start(&battle, user);
        let (peer_task, peer) = battle.peer();
        let secret = battle.workspace("peer").join("secret");
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&secret, "user.marker", battle.marker.as_bytes(), flags).unwrap();
        // Sockets have short paths.
        let sockets = tempfile::tempdir().unwrap();
        fs::set_permissions(&sockets, Permissions::from_mode(0o755)).unwrap();
        fs::write(sockets.path().join("file"), &battle.marker).unwrap();
        let _stream = UnixListener::bind(sockets.path().join("stream")).unwrap();
        let datagrams = UnixDatagram::bind(sockets.path().join("dgram")).unwrap();
        datagrams.set_nonblocking(true).unwrap();
        let name = SocketAddr::from_abstract_name(battle.marker.as_bytes()).unwrap();
        let _abstract = UnixListener::bind_addr(&name).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp6 = TcpListener::bind("[::1]:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let udp6 = UdpSocket::bind("[::1]:0").unwrap();
        for socket in [&udp, &udp6] {
            socket.set_nonblocking(true).unwrap();
        }
        let printed = battle.run("fake", "door=${http_proxy##*:}; echo ${door%%/*}");
        let proxy: u16 = printed.trim().parse().unwrap();
        // Where the network is the agent's own nobody listens at that number out here, and any will do.
        let same = TcpListener::bind(("127.0.0.2", proxy)).unwrap();
        let same6 = TcpListener::bind(("::1", proxy)).unwrap();
        let port = |socket: &TcpListener| socket.local_addr().unwrap().port();
        let aims = [
            ("marker", battle.marker.clone()),
            ("proxy", proxy.to_string()),
            ("same", port(&same).to_string()),
            ("same6", port(&same6).to_string()),
            ("victim", victim.process.id().to_string()),
            ("address", victim.address.clone()),
            ("peer_pid", peer.to_string()),
            ("peer_file", secret.display().to_string()),
            ("peer_dir", battle.workspace("peer").display().to_string()),
            ("outside_file", battle.outside.join("secret").display().to_string()),
            ("outside_dir", battle.outside.display().to_string()),
            ("ssh", battle.outside.join("ssh").display().to_string()),
            ("host_file", "/etc/hostname".to_owned()),
            ("host_text", fs::read_to_string("/etc/hostname").unwrap().trim().to_owned()),
            ("tcp", port(&tcp).to_string()),
            ("tcp6", port(&tcp6).to_string()),
            ("udp", udp.local_addr().unwrap().port().to_string()),
            ("udp6", udp6.local_addr().unwrap().port().to_string()),
            ("abstract", battle.marker.clone()),
            ("socket", sockets.path().join("stream").display().to_string()),
            ("dgram", sockets.path().join("dgram").display().to_string()),
            ("tmp", sockets.path().join("file").display().to_string()),
        ];
        let aims: Vec<String> =
            aims.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let attack = format!("exec {} attack list {}", battle.attack.display(), aims.join(" "));
        for agent in AGENTS {
            // The shell is the agent itself, or the agent has started it.
            let parent = match agent {
                "fake" => "$PPID",
                _ => "$(cut -d' ' -f4 /proc/$PPID/stat)",
            };
            let script = format!("{attack} parent={parent}");
            let printed = battle.run(agent, &script);
            assert!(printed.trim_end().ends_with("end"), "{wall:?} {user:?} {agent}: {printed}");
            let (found, expected) = (results(&printed), expected(wall, user));
            let differ: Vec<_> =
                expected.iter().filter(|(name, result)| found.get(*name) != Some(result)).collect();
            assert!(differ.is_empty(), "{wall:?} {user:?} {agent}: {differ:?} expected: {printed}");
        }
        for socket in [&udp, &udp6] {
            assert!(socket.recv(&mut [0; 64]).is_err(), "{wall:?} {user:?}: a datagram arrived");
        }
        assert!(datagrams.recv(&mut [0; 64]).is_err(), "{wall:?} {user:?}: a datagram arrived");
        battle.world.rpc("CancelTask", json!({"id": peer_task}));
    }
}

/// What an agent leaves wherever it can: files that programs of later sessions or of the server might run or read, and
/// in its workspace traps for whoever reads it.
const LEAVE: &str = r##"
for folder in /tmp /var/tmp /dev/shm /run /home "$HOME" .; do
    echo "$MARKER" 2>/dev/null > "$folder/left-$MARKER"
done
printf '#!/bin/sh\necho "$0" >> %s/ran\n' "$OUTSIDE" > trap.sh
chmod +x trap.sh
trap="$PWD/trap.sh"
for file in .bashrc .profile .bash_profile .bash_logout; do echo "# $MARKER; $trap" > "$HOME/$file"; done
hooks='{"hooks": {"SessionStart": [{"hooks": [{"type": "command", "command": "'$trap'"}]}]}, "marker": "'$MARKER'"}'
for folder in . "$HOME"; do
    mkdir -p "$folder/.claude" "$folder/.git/hooks" "$folder/.config/git"
    echo "$hooks" > "$folder/.claude/settings.json"
    printf '[core]\n\tfsmonitor = %s\n\thooksPath = %s\n\tpager = %s\n' "$trap" "$PWD" "$trap" > "$folder/.git/config"
    cp "$folder/.git/config" "$folder/.gitconfig"
    for hook in pre-commit post-checkout post-merge; do cp trap.sh "$folder/.git/hooks/$hook"; done
done
printf 'ref: refs/heads/main\n' > .git/HEAD
mkdir -p .git/objects .git/refs
printf 'API_TOKEN=from-the-agent\nAGENT_CMD=%s\n' "$trap" > .env
printf 'isolation: {backend: none}\n' > pilothouse.yaml
mkfifo pipe
ln -s "$OUTSIDE/secret" link
ln -s / root
ln -s "$OUTSIDE" .a2a
mkdir "$(printf '%255s' | tr ' ' n)"
touch "$(printf 'a\033[2J\033]0;owned\007b')"
echo left
"##;

/// Looks for what another session has left, everywhere that a session may look.
const LOOK: &str = r#"
grep -rlIs -D skip -- "$MARKER" /tmp /var/tmp /dev/shm /run /home "$HOME" .
find /tmp /var/tmp /dev/shm /run /home "$HOME" . -name "*$MARKER*" 2>/dev/null
echo looked
"#;

#[test]
fn what_an_agent_leaves_is_run_by_nobody_and_found_by_no_later_session() {
    for (wall, user) in WALLS.into_iter().flat_map(|wall| USERS.map(|user| (wall, user))) {
        let mut battle = Battle::start(wall, user);
        let setting = format!("MARKER={}; OUTSIDE={}\n", battle.marker, battle.outside.display());
        let said = |battle: &Battle, params: Value| {
            let task = battle.world.send(params);
            assert_eq!(state(&task), "COMPLETED", "{wall:?} {user:?}: {task:#}");
            answer(&task)
        };
        let left = said(&battle, message_in("first", &format!("{setting}{LEAVE}")));
        assert!(left.ends_with("left\n"), "{wall:?} {user:?}: {left}");

        // The server now works in what the agent has left: it writes a file for it, copies it, and starts again.
        let file =
            json!({"raw": "/wD/AA==", "mediaType": "application/zip", "filename": "all.zip"});
        let mut with_file = message_with(json!([{"text": "true"}, file]));
        with_file["message"]["contextId"] = json!("first");
        let task = battle.world.send(with_file);
        assert_eq!(state(&task), "FAILED", "{wall:?} {user:?}: {task:#}");
        assert!(words(&task).contains("could not be put into the workspace"), "{task:#}");
        let mut fork = message_in("fork", "true");
        fork["message"]["metadata"] = json!({"fork": {"contextId": "first"}});
        said(&battle, fork);
        battle.world.restart();
        said(&battle, message_in("first", "true"));

        let found = said(&battle, message_in("second", &format!("{setting}{LOOK}")));
        assert_eq!(found, "looked\n", "{wall:?} {user:?}");
        let mut names: Vec<String> = fs::read_dir(&battle.outside)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            ["append", "mode", "rename", "secret", "ssh", "tmp", "truncate", "unlink"]
        );
        let secret = fs::read_to_string(battle.outside.join("secret")).unwrap();
        assert_eq!(secret, battle.marker, "{wall:?} {user:?}");
        let printed =
            fs::read_to_string(battle.world.path("stdout")).unwrap() + &battle.world.stderr();
        assert!(!printed.contains(['\u{1b}', '\u{7}']), "{wall:?} {user:?}: {printed:?}");
    }
}
