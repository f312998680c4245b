//! What is started for an agent: its process, its session script, and what the server does in its sandbox.

use super::{Agent, AgentEnvironment, DEFAULT_PATH, resolve};
use crate::config::DriverKind;
use pilothouse_agents::Launch;
use pilothouse_sandbox::isolation::Places;
use pilothouse_sandbox::supervisor::Spec;
use std::path::Path;

impl Agent {
    /// What is started for this agent, with paths as it finds them.
    /// Behind a wall it is told by `door` how it gets out, and its keys stay outside.
    pub fn spec(
        &self,
        given: &AgentEnvironment,
        launch: &Launch,
        places: &Places,
        door: Option<Vec<(String, String)>>,
    ) -> Spec {
        let mut env = self.environment(given, places);
        env.extend(launch.env.iter().cloned());
        self.add_own(given, &mut env, door);
        let (mut program, mut args) = (launch.program.clone(), launch.args.clone());
        if self.contained && self.config.driver != DriverKind::Demo && !program.contains('/') {
            // Where the image has it is for its own PATH to say.
            args.insert(0, std::mem::replace(&mut program, "/usr/bin/env".to_owned()));
        }
        Spec { program, args, env, cwd: places.workspace.clone() }
    }

    /// What is started for the session script.
    pub fn script_spec(
        &self,
        given: &AgentEnvironment,
        script: &Path,
        places: &Places,
        door: Option<Vec<(String, String)>>,
        session: &str,
        context: &str,
    ) -> Spec {
        // In the workspace it is what lies there inside of the sandbox.
        let shared = self.workspaces.shared().and_then(|shared| script.strip_prefix(shared).ok());
        let script = shared
            .map_or_else(|| script.to_owned(), |below| Path::new(&places.workspace).join(below));
        let line = run_by(&script.to_string_lossy());
        self.shell_spec(given, line, places, door, (session, context))
    }

    /// What is started for a line of the shell that sets a new session up.
    pub fn shell_spec(
        &self,
        given: &AgentEnvironment,
        line: String,
        places: &Places,
        door: Option<Vec<(String, String)>>,
        (session, context): (&str, &str),
    ) -> Spec {
        let mut env = self.environment(given, places);
        env.push(("A2A_SESSION_ID".to_owned(), session.to_owned()));
        env.push(("A2A_CONTEXT_ID".to_owned(), context.to_owned()));
        if self.config.driver == DriverKind::Claude {
            env.push(("CLAUDE_CONFIG_DIR".to_owned(), format!("{}/.claude", places.home)));
        }
        self.add_own(given, &mut env, door);
        Spec {
            program: "/bin/sh".to_owned(),
            args: vec!["-c".to_owned(), line],
            env,
            cwd: places.workspace.clone(),
        }
    }

    /// What is started to make the clone of a new session: a script of the server's own, with these arguments.
    pub fn clone_spec(
        &self,
        (script, args): (&str, &[&str]),
        places: &Places,
        door: Option<Vec<(String, String)>>,
    ) -> Spec {
        let mut env = self.environment(&self.latest_env(), places);
        env.extend(door.into_iter().flatten());
        let own = ["-c", script, "sh"].into_iter().chain(args.iter().copied());
        let args = own.map(ToOwned::to_owned).collect();
        Spec { program: "/bin/sh".to_owned(), args, env, cwd: places.workspace.clone() }
    }

    /// What is started in its sandbox by the server itself, with nothing that the agent was given.
    pub fn own_spec(&self, program: &str, args: &[&str], places: &Places) -> Spec {
        Spec {
            program: program.to_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: self.environment(&self.latest_env(), places),
            cwd: places.workspace.clone(),
        }
    }

    /// What it was given. The last value of a name counts, so earlier ones go.
    fn add_own(
        &self,
        given: &AgentEnvironment,
        env: &mut Vec<(String, String)>,
        door: Option<Vec<(String, String)>>,
    ) {
        let owned = |(name, value): (&String, &String)| (name.clone(), value.clone());
        match door {
            None => env.extend(given.env.iter().map(owned)),
            Some(door) => {
                env.extend(given.reach.env.iter().cloned());
                if self.bypasses() {
                    // Claude Code as root refuses to go without asking, unless it is told of the wall.
                    env.push(("IS_SANDBOX".to_owned(), "1".to_owned()));
                }
                env.retain(|(name, _)| !door.iter().any(|(own, _)| own == name));
                env.extend(door);
            }
        }
    }

    /// What every agent has; everything else is chosen.
    fn environment(&self, given: &AgentEnvironment, places: &Places) -> Vec<(String, String)> {
        let path = match places.env.iter().find(|(name, _)| name == "PATH") {
            Some((_, path)) => path.clone(),
            None if self.contained => DEFAULT_PATH.to_owned(),
            None => self.path.clone(),
        };
        let path = resolve::search_path(self.config.driver, &self.program, &path);
        let own = [
            ("PATH", path),
            ("TMPDIR", places.tmp.clone()),
            ("HOME", places.home.clone()),
            ("LANG", "C.UTF-8".to_owned()),
            ("TERM", "dumb".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let image = places.env.iter().filter(|(name, _)| {
            // A name may stand there once: who reads it takes the first one or the last.
            let is = |(other, _): &(String, String)| other == name;
            !given.env.contains_key(name) && !own.iter().chain(&given.reach.env).any(is)
        });
        let identity = self.identity.iter().filter(|(name, _)| !given.env.contains_key(name));
        image.chain(&own).chain(identity).cloned().collect()
    }
}

/// An executable script by its own first line, any other by the shell.
fn run_by(script: &str) -> String {
    let quoted = shell_words::quote(script);
    format!("if [ -x {quoted} ]; then exec {quoted}; else exec /bin/sh {quoted}; fi")
}
