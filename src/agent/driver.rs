//! The driver of an agent's processes, made of its configuration and of what its sessions are set up with.

use super::{Agent, SetupRevision};
use crate::config::{self, DriverKind, Format, Input};
use pilothouse_agents::Driver;
use pilothouse_agents::acp::{Acp, AcpOptions, AcpSetup};
use pilothouse_agents::claude::{
    BackgroundEnd, Claude, ClaudeOptions, ClaudeSetup, SELF_WAKING_TOOLS,
};
use pilothouse_agents::command::{self, Command, CommandOptions};
use serde_json::json;
use std::sync::Arc;

/// How one process of an agent's CLI differs from what is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaunchChoice {
    /// The model.
    pub model: Option<String>,
    /// The effort of the model.
    pub effort: Option<String>,
    /// The permission mode.
    pub permission: Option<String>,
}

impl Agent {
    /// A driver for a new process with the set-up of today.
    pub fn driver(&self) -> Box<dyn Driver> {
        self.driver_with(self.setup.as_deref(), &LaunchChoice::default())
    }

    /// A driver for a new process of a session that began with this revision of the set-up.
    pub fn driver_of(&self, revision: Option<&str>, choice: &LaunchChoice) -> Box<dyn Driver> {
        let setup = revision.and_then(|digest| self.find_setup(digest));
        self.driver_with(setup.as_deref(), choice)
    }

    fn driver_with(&self, setup: Option<&SetupRevision>, choice: &LaunchChoice) -> Box<dyn Driver> {
        let chosen = |wished: &Option<String>, own: &Option<String>| wished.clone().or(own.clone());
        let program = self.program.to_string_lossy().into_owned();
        match self.config.driver {
            DriverKind::Claude => Box::new(Claude::new(ClaudeOptions {
                program,
                args: self.args.clone(),
                permission_mode: choice
                    .permission
                    .clone()
                    .unwrap_or_else(|| self.config.permission_mode.clone()),
                max_retries: self.config.max_retries,
                disallowed_tools: self.config.disallowed_tools.clone().unwrap_or_else(|| {
                    SELF_WAKING_TOOLS.iter().map(|&tool| tool.to_owned()).collect()
                }),
                model: chosen(&choice.model, &self.config.model),
                effort: choice.effort.clone(),
                background: self.config.background == config::Background::Wait,
                background_grace: self.config.background_grace.get(),
                background_end: match self.config.background_end {
                    config::BackgroundEnd::Keep => BackgroundEnd::Keep,
                    config::BackgroundEnd::Kill => BackgroundEnd::Kill,
                },
                background_patience: self.times.1,
                command_timeout: self.times.0,
                server_wait: self.server_wait,
                required_servers: self.required_servers(setup),
                setup: self.claude_setup(setup),
                ..ClaudeOptions::default()
            })),
            DriverKind::Acp => {
                let known = self.known();
                let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
                Box::new(Acp::new(AcpOptions {
                    program,
                    args: self.args.clone(),
                    env: known.map_or_else(Vec::new, |known| {
                        let own = known.env.iter();
                        own.map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
                    }),
                    auth_method: self.config.auth_method.clone(),
                    mode: self.config.mode.clone(),
                    model: chosen(&choice.model, &self.config.model),
                    credentials: known.map_or_else(Vec::new, |known| texts(known.credentials)),
                    setup: self.acp_setup(setup),
                }))
            }
            DriverKind::Command | DriverKind::Demo => Box::new(Command::new(CommandOptions {
                program,
                args: self.args.clone(),
                input: match (self.config.driver, self.config.input) {
                    (DriverKind::Demo, _) | (_, Input::Stdin) => command::Input::Stdin,
                    (_, Input::Argument) => command::Input::Argument,
                },
                terminator: self.config.terminator.clone(),
                format: match (self.config.driver, self.config.format) {
                    (DriverKind::Demo, _) | (_, Format::Events) => command::Format::Events,
                    (_, Format::Text) => command::Format::Text,
                },
                env: Vec::new(),
            })),
        }
    }

    /// The set-up with this digest: that of today, or an earlier one that sessions began with.
    fn find_setup(&self, digest: &str) -> Option<Arc<SetupRevision>> {
        match &self.setup {
            Some(setup) if setup.digest == digest => Some(setup.clone()),
            _ => SetupRevision::read(&self.setups, digest).map(Arc::new).or(self.setup.clone()),
        }
    }

    /// MCP servers without which no turn begins.
    fn required_servers(&self, setup: Option<&SetupRevision>) -> Vec<String> {
        let declared = setup.into_iter().flat_map(|setup| &setup.required);
        let mut servers: Vec<String> =
            self.config.mcp.required.iter().chain(declared).cloned().collect();
        servers.sort();
        servers.dedup();
        servers
    }

    /// What a process of Claude Code is set up with. The permissions are those of today, whatever the session began
    /// with: a rule that the operator adds holds for every session.
    fn claude_setup(&self, setup: Option<&SetupRevision>) -> ClaudeSetup {
        let mut setup = setup.map(SetupRevision::for_claude).unwrap_or_default();
        let permissions = &self.config.setup.permissions;
        if *permissions != config::Permissions::default() {
            setup.settings.insert("permissions".to_owned(), json!(permissions));
        }
        setup
    }

    /// What the sessions of an agent of the Agent Client Protocol are set up with.
    fn acp_setup(&self, setup: Option<&SetupRevision>) -> AcpSetup {
        let given = self.latest_env();
        // Behind a sandbox its keys stay outside.
        let env = match self.is_sandboxed {
            true => given.reach.env.iter().cloned().collect(),
            false => given.env.clone(),
        };
        setup.map(|setup| setup.for_acp(env, self.config.setup.lenient)).unwrap_or_default()
    }
}
