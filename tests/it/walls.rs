//! The walls around agents, from outside: what an agent behind one reaches, and what is left of it at its end.
//!
//! Each fact is tried behind both walls, unless its test says otherwise. They need what `docs/isolation.md`
//! asks of a machine: Linux 6.12 and bubblewrap 0.8; beside these the tests use `unshare` and `setpriv`
//! (util-linux), `ip` (iproute2), `bash` and `python3`.

use crate::building::Builder;
use crate::world::{World, await_end};
use serde_json::{Value, json};
use std::fs;

mod attacks;
mod connecting;
mod egress;
mod inside;
mod limits;
mod modes;
mod networks;
mod no_start;
mod own;
mod survivors;
mod table;
mod told;

/// What makes the wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wall {
    Bubblewrap,
    Landlock,
}

const WALLS: [Wall; 2] = [Wall::Bubblewrap, Wall::Landlock];

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
        }
    }

    /// What it gives of what is required by default.
    fn gives(self) -> Vec<&'static str> {
        let lacks = |one: &&str| self == Self::Landlock && *one == "processes";
        USUAL.into_iter().filter(|one| !lacks(one)).collect()
    }

    fn config(self) -> Value {
        json!({"isolation": {"backend": self.name(), "require": self.gives()}})
    }

    /// A world whose agent plays scripts behind this wall.
    fn described(self) -> Builder {
        let builder = World::describe().config(self.config());
        let cues = builder.path("cues");
        builder.config(json!({"isolation": {"read": [cues]}}))
    }

    fn start(self) -> World {
        self.described().start()
    }

    /// A world whose agent is the shell: each message is a script.
    fn shell(self) -> Builder {
        let bash = json!({"program": "/bin/bash", "args": ["-c"], "format": "text"});
        self.described().agent(bash)
    }
}

/// What `pilothouse doctor --json` says of a world's isolation.
fn doctor(builder: Builder) -> Value {
    let builder = builder.args(["doctor", "--json"]);
    let mut child = builder.spawn();
    if await_end(&mut child, builder.patience).is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let said = |name: &str| fs::read_to_string(builder.path(name)).unwrap();
    let found: Value = serde_json::from_str(&said("stdout"))
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", said("stdout"), said("stderr")));
    let isolation = found["isolation"].as_array().cloned().unwrap_or_default();
    let [one] = isolation.as_slice() else {
        panic!("one backend is expected in {found:#}");
    };
    one.clone()
}
