//! Each of the forerunners' variables does what it did there.

use super::super::load::{Environment, Flags, Loaded, load};
use super::*;
use crate::config::{Color, WorkspaceMode};

fn with<const N: usize>(variables: [(&str, &str); N]) -> Loaded {
    with_flags(variables, &Flags::default()).unwrap()
}

fn with_flags<const N: usize>(
    variables: [(&str, &str); N],
    flags: &Flags,
) -> Result<Loaded, Error> {
    let mut environment = Environment::from(variables);
    environment.variables.insert("HOME".to_owned(), "/home/me".to_owned());
    load(flags, &environment, tempfile::tempdir().unwrap().path())
}

#[test]
fn every_simple_variable_sets_its_key() {
    let loaded = with([
        ("HOST", "localhost"),
        ("PORT", "3000"),
        ("API_TOKEN", "t"),
        ("CLAUDE_CODE_WORKSPACE_DIR", "/w"),
        ("CLAUDE_LOG_PATH", "/l"),
        ("INIT_SESSION", "/i"),
        ("REQUEST_TIMEOUT_MS", "300000"),
        ("RATE_LIMIT_RPM", "30"),
        ("MAX_BODY_BYTES", "20000000"),
    ]);
    let config = &loaded.config;
    assert_eq!((config.server.host.as_str(), config.server.port), ("localhost", 3000));
    assert_eq!(config.auth.token.as_deref(), Some("t"));
    assert_eq!(config.workspace.path.to_str(), Some("/w"));
    assert_eq!(config.log.path.as_ref().unwrap().to_str(), Some("/l"));
    assert_eq!(config.sessions.init.as_ref().unwrap().to_str(), Some("/i"));
    assert_eq!(config.timeouts.turn.to_string(), "5m");
    assert_eq!((config.limits.rate, config.limits.body.get()), (30, 20_000_000));
    assert_eq!(loaded.origins["server.port"].to_string(), "environment PORT");
}

#[test]
fn an_alias_in_use_is_named_at_start() {
    assert_eq!(
        with([("PORT", "3000")]).notes,
        ["older variable names in use: environment PORT → server.port"],
    );
}

#[test]
fn our_own_name_wins_over_an_alias_and_an_empty_alias_is_unset() {
    assert_eq!(with([("PORT", "1"), ("PILOTHOUSE_SERVER_PORT", "2")]).config.server.port, 2);
    assert_eq!(with([("PORT", "")]).config.server.port, 2222);
}

#[test]
fn a_command_becomes_the_agent_that_serves() {
    let loaded = with([
        ("AGENT_CMD", "python 'my agent.py' --fast"),
        ("AGENT_NAME", "py"),
        ("AGENT_DESCRIPTION", "d"),
    ]);
    let agent = &loaded.config.agents["command"];
    assert_eq!(loaded.config.agent, "command");
    assert_eq!(agent.program.as_deref(), Some("python"));
    assert_eq!(agent.args, ["my agent.py", "--fast"]);
    assert_eq!((agent.name.as_deref(), agent.description.as_deref()), (Some("py"), Some("d")));
    assert_eq!(loaded.config.agents["claude"].name.as_deref(), Some("claude-code"));
}

#[test]
fn a_command_does_not_serve_where_another_agent_is_named() {
    let flags = Flags { agent: Some("demo".to_owned()), ..Flags::default() };
    let loaded = with_flags([("AGENT_CMD", "codex")], &flags).unwrap();
    assert_eq!(loaded.config.agent, "demo");
    assert!(loaded.config.agents.contains_key("command"));
}

#[test]
fn a_command_with_an_open_quote_is_refused() {
    let error = with_flags([("AGENT_CMD", "sh -c 'x")], &Flags::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "environment AGENT_CMD cannot set `agents.command`: a quote in it is not closed"
    );
}

#[test]
fn the_names_flag_wins_over_the_names_variables() {
    let flags = Flags { agent_name: Some("flag".to_owned()), ..Flags::default() };
    let loaded =
        with_flags([("CLAUDE_AGENT_NAME", "first"), ("AGENT_NAME", "second")], &flags).unwrap();
    assert_eq!(loaded.config.agents["claude"].name.as_deref(), Some("flag"));
    let loaded = with([("CLAUDE_AGENT_NAME", "first"), ("AGENT_NAME", "second")]);
    assert_eq!(loaded.config.agents["claude"].name.as_deref(), Some("first"));
}

#[test]
fn a_project_is_a_folder_that_all_sessions_share() {
    let config = with([("AGENT_PROJECT", "/project")]).config;
    assert_eq!(
        (config.workspace.mode, config.workspace.path.to_str()),
        (WorkspaceMode::Shared, Some("/project"))
    );
}

#[test]
fn the_cards_host_and_port_make_the_public_address() {
    let url = |variables: [(&str, &str); 2]| with(variables).config.server.public_url;
    assert_eq!(
        url([("AGENT_CARD_HOST", "agent.example"), ("AGENT_CARD_PORT", "8080")]).as_deref(),
        Some("http://agent.example:8080/")
    );
    assert_eq!(
        url([("AGENT_CARD_HOST", "agent.example"), ("PORT", "443")]).as_deref(),
        Some("https://agent.example/")
    );
    assert_eq!(
        url([("AGENT_CARD_PORT", "99"), ("HOST", "::1")]).as_deref(),
        Some("http://[::1]:99/")
    );
}

#[test]
fn colour_follows_the_two_variables_that_everyone_knows() {
    assert_eq!(with([("NO_COLOR", "1")]).config.log.color, Color::Never);
    // It is a usual name, and no older one.
    assert_eq!(with([("NO_COLOR", "1")]).notes, [""; 0]);
    assert_eq!(with([("NO_COLOR", "1"), ("FORCE_COLOR", "1")]).config.log.color, Color::Always);
    assert_eq!(with([("FORCE_COLOR", "0")]).config.log.color, Color::Never);
}

#[test]
fn a_smaller_body_takes_the_prompt_along() {
    let loaded = with([("MAX_BODY_BYTES", "1048576")]);
    assert_eq!(loaded.config.limits.prompt, loaded.config.limits.body);
    assert_eq!(loaded.origins["limits.prompt"].to_string(), "follows `limits.body`");
}

#[test]
fn the_name_of_an_agent_that_is_not_there_adds_none() {
    let flags = Flags { agent: Some("cluade".to_owned()), ..Flags::default() };
    let error = with_flags([("AGENT_NAME", "x")], &flags).unwrap_err().to_string();
    assert!(error.starts_with("`agent` names `cluade`, which is not among `agents`"), "{error}");
}

#[test]
fn arguments_after_the_dashes_are_appended_to_the_agents_own() {
    let flags =
        Flags { agent_args: vec!["--model".to_owned(), "m".to_owned()], ..Flags::default() };
    let agents = with_flags([("AGENT_CMD", "codex exec")], &flags).unwrap().config.agents;
    assert_eq!(agents["command"].args, ["exec", "--model", "m"]);
    let agents = with_flags([], &flags).unwrap().config.agents;
    assert_eq!(agents["claude"].args, ["--model", "m"]);
    assert!(agents["demo"].args.is_empty());
}
