//! The walls around agents, from outside: what an agent behind one reaches, and what is left of it at its end.
//!
//! Each fact is tried behind both walls, unless its test says otherwise. They need what `docs/isolation.md`
//! asks of a machine: Linux 6.12 and bubblewrap 0.8; beside these the tests use `unshare` and `setpriv`
//! (util-linux), `ip` (iproute2), `bash` and `python3`.

use crate::building::Builder;
use crate::containers;
use crate::world::{World, await_end};
use serde_json::{Value, json};
use std::fs;
use std::sync::OnceLock;

mod asking;
mod attacks;
mod connecting;
mod egress;
mod grants;
mod hostile;
mod inside;
mod limits;
mod modes;
mod networks;
mod no_start;
mod own;
mod promises;
mod starts;
mod survivors;
mod told;

/// What makes the wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wall {
    Bubblewrap,
    Landlock,
    Container,
}

/// The walls behind which a fact is tried: those of this machine, or containers where there is an engine for tests.
#[derive(Clone, Copy)]
pub(crate) struct Walls;

pub(crate) const WALLS: Walls = Walls;

impl Walls {
    /// Those that need no engine.
    const HERE: [Wall; 2] = [Wall::Bubblewrap, Wall::Landlock];
}

impl IntoIterator for Walls {
    type Item = Wall;
    type IntoIter = std::vec::IntoIter<Wall>;

    fn into_iter(self) -> Self::IntoIter {
        let walls = match containers::has_engine() {
            true => vec![Wall::Container],
            false => Self::HERE.to_vec(),
        };
        walls.into_iter()
    }
}

/// What the server requires without being told.
const USUAL: [&str; 10] = [
    "env",
    "fs.read",
    "fs.write",
    "peer-sessions",
    "server-memory",
    "processes",
    "net.egress",
    "net.loopback",
    "unix-sockets",
    "kill-tree",
];

impl Wall {
    const fn name(self) -> &'static str {
        match self {
            Self::Bubblewrap => "bubblewrap",
            Self::Landlock => "landlock",
            Self::Container => "container",
        }
    }

    /// What it gives of what is required by default.
    fn gives(self) -> Vec<&'static str> {
        let lacks = |one: &&str| self == Self::Landlock && *one == "processes";
        USUAL.into_iter().filter(|one| !lacks(one)).collect()
    }

    /// The one that covers files and has a root of its own: bubblewrap, or containers where there is an engine.
    pub(crate) fn covering() -> Self {
        if containers::has_engine() { Self::Container } else { Self::Bubblewrap }
    }

    fn config(self) -> Value {
        json!({"isolation": {"backend": self.name(), "require": self.gives()}})
    }

    /// A world whose agent plays scripts behind this wall.
    fn described(self) -> Builder {
        if self == Self::Container {
            return containers::contained();
        }
        let builder = World::describe().config(self.config());
        let cues = builder.path("cues");
        builder.config(json!({"isolation": {"read": [cues]}}))
    }

    fn start(self) -> World {
        self.described().start()
    }

    /// A world whose agent is the shell: each message is a script.
    pub(crate) fn shell(self) -> Builder {
        // A name is looked for in the image, a path is one of the image's.
        let program = if self == Self::Container { "bash" } else { "/bin/bash" };
        self.described().agent(json!({"program": program, "args": ["-c"], "format": "text"}))
    }
}

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    /// The user who runs the tests.
    Own,
    /// An ordinary user.
    Ordinary,
}

/// What `pilothouse doctor --json` says behind a sandbox; each is asked once for all tests.
fn doctor(wall: Wall, user: User) -> &'static Value {
    static ANSWERS: [OnceLock<Value>; 6] = [const { OnceLock::new() }; 6];
    let answer = &ANSWERS[wall as usize * 2 + user as usize];
    answer.get_or_init(|| {
        examine(match user {
            User::Own => wall.described(),
            User::Ordinary => wall.described().ordinary(),
        })
    })
}

/// What it says of the sandbox: the backend, each guarantee and each attack.
fn findings(wall: Wall, user: User) -> &'static Value {
    let isolation = &doctor(wall, user)["isolation"];
    assert!(isolation[0].is_object() && isolation[1].is_null(), "{isolation:#}");
    &isolation[0]
}

/// What `pilothouse doctor --json` prints.
fn examine(builder: Builder) -> Value {
    let builder = builder.args(["doctor", "--json"]);
    let mut child = builder.spawn();
    if await_end(&mut child, builder.patience).is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let said = |name: &str| fs::read_to_string(builder.path(name)).unwrap();
    serde_json::from_str(&said("stdout"))
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", said("stdout"), said("stderr")))
}
