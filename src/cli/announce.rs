//! What the server says at its start: what is served, where agents work, what the sandbox is worth, what to do next.

use crate::access::Token;
use crate::app::App;
use crate::config::{Config, Environment, Flags, load_named};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Lines that a start takes at a terminal.
const LINES: usize = 8;

/// Columns below which nothing is wrapped.
const NARROWEST: usize = 40;

/// How a line of a start begins.
const BEGIN: &str = "pilothouse: ";

/// How the line begins that names the next command.
const TRY: &str = "pilothouse: try: ";

/// Prints it to standard error: all of it, but at a terminal a few lines.
pub(super) fn print(app: &App, environment: &Environment, cwd: &Path) {
    let is_terminal = std::io::stderr().is_terminal();
    let program = std::env::args().next().unwrap_or_default();
    let hint = match app.config().store.path == Path::new("memory") {
        true => None,
        false => Some(command(app.config(), &program, find_usual_state(environment, cwd))),
    };
    let hint = hint.unwrap_or_else(|| command_with_token(app, &program));
    let columns = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, |size| size.ws_col);
    for line in lines(app, &hint, is_terminal) {
        eprintln!("{}", wrap(&line, usize::from(columns)));
    }
}

/// A line in rows of whole words that fit in these columns; 0 where there is no terminal. What is copied stays one line.
fn wrap(line: &str, columns: usize) -> String {
    let is_copied = !line.starts_with(BEGIN) || line.starts_with(TRY);
    if columns < NARROWEST || is_copied {
        return line.to_owned();
    }
    let options = textwrap::Options::new(columns)
        .subsequent_indent("  ")
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    textwrap::fill(line, options)
}

/// The lines of a start; `hint` is the command to try next.
fn lines(app: &App, hint: &str, is_terminal: bool) -> Vec<String> {
    let mut facts = serving(app);
    facts.extend(app.reason.clone());
    facts.push(describe_place(app));
    let worth = app.isolation().describe_worth();
    facts.push(match (app.isolation().is_sandboxed(), is_terminal) {
        (true, true) => format!("{worth}; `pilothouse doctor` lists them"),
        (true, false) => format!("{worth}: {}", app.isolation().list_guarantees()),
        (false, _) => worth,
    });
    let token = describe_token(app, is_terminal);
    // Beside the facts, the token and the command.
    let room = LINES.saturating_sub(facts.len() + 2).max(1);
    let most = if is_terminal { room } else { usize::MAX };
    let notes = shorten(&app.notes, most).into_iter().map(|note| format!("note: {note}"));
    let lines = facts.into_iter().chain(notes).map(|line| format!("{BEGIN}{line}"));
    lines.chain([token, format!("{TRY}{hint}")]).collect()
}

/// As many notes as there is room for; the last line counts those that are left out.
fn shorten(notes: &[String], most: usize) -> Vec<String> {
    if notes.len() <= most {
        return notes.to_vec();
    }
    let kept = most.saturating_sub(1);
    let left = notes.len() - kept;
    let count = format!("{left} more; `pilothouse doctor` lists them");
    notes[..kept].iter().cloned().chain([count]).collect()
}

/// Each agent with its address, the default one first.
fn serving(app: &App) -> Vec<String> {
    let (agents, url) = (app.agents(), app.url());
    let default = agents.default_one();
    let others = agents.iter().filter(|agent| agent.key != default.key);
    let others =
        others.map(|other| format!("serving {} at {url}/agents/{}/", other.name, other.key));
    std::iter::once(format!("serving {} at {url}/", default.name)).chain(others).collect()
}

/// Where the default agent works.
fn describe_place(app: &App) -> String {
    let workspaces = &app.agents().default_one().workspaces;
    match workspaces.shared() {
        Some(folder) => format!("workspace: {}, shared by all sessions", folder.display()),
        None => format!("workspace: a folder for each session in {}", workspaces.root().display()),
    }
}

/// The token, or where it is. Only a terminal is certainly the operator's: a journal is read by others too.
fn describe_token(app: &App, is_terminal: bool) -> String {
    match &app.token {
        None => "pilothouse: no token is asked for (--no-auth)".to_owned(),
        Some(Token::Made(token, _)) => format!("  TOKEN={token}"),
        Some(Token::Kept(token)) if is_terminal => format!("  TOKEN={token}"),
        Some(Token::Kept(_)) => {
            "pilothouse: the token is the one kept in the state folder".to_owned()
        }
        Some(Token::Configured(_)) => "pilothouse: the token is the configured one".to_owned(),
    }
}

/// The state folder of a client that is given no option, in another terminal of this user.
fn find_usual_state(environment: &Environment, cwd: &Path) -> Option<PathBuf> {
    let is_of_user = |name: &str| ["HOME", "XDG_STATE_HOME"].contains(&name);
    let variables = environment.variables.iter().filter(|(name, _)| is_of_user(name));
    let variables = variables.map(|(name, value)| (name.clone(), value.clone())).collect();
    let environment = Environment { variables, unreadable: Vec::new() };
    Some(load_named(&Flags::default(), &environment, cwd).ok()?.config.state_dir)
}

/// The first command to try, which finds this server and its token by the state folder.
fn command(config: &Config, program: &str, usual_state: Option<PathBuf>) -> String {
    let program = shell_words::quote(program);
    let folder = config.state_dir.display().to_string();
    match usual_state.as_ref() == Some(&config.state_dir) {
        true => format!("{program} send \"hello\""),
        false => format!("{program} send \"hello\" --state-dir {}", shell_words::quote(&folder)),
    }
}

/// The same where the state folder tells nothing, because the store is in memory.
fn command_with_token(app: &App, program: &str) -> String {
    let token = if app.token.is_some() { " --token \"$TOKEN\"" } else { "" };
    format!("{} send \"hello\" --url {}{token}", shell_words::quote(program), app.url())
}

/// The same as lines of a log that programs read. A token never stands there.
pub(super) fn log(app: &App) {
    for note in &app.notes {
        tracing::info!("{note}");
    }
    let worth = app.isolation().describe_worth();
    match app.isolation().is_sandboxed() {
        true => tracing::info!("{worth}: {}", app.isolation().list_guarantees()),
        false => tracing::warn!("{worth}"),
    }
    let url = format!("{}/", app.url());
    let agents = app.agents();
    for agent in agents.iter() {
        match agent.key == agents.default_one().key {
            true => tracing::info!(url, "serving {}", agent.name),
            false => tracing::info!(
                url = format!("{url}agents/{}/", agent.key),
                "serving {}",
                agent.name
            ),
        }
    }
    if let Some(reason) = &app.reason {
        tracing::info!("{reason}");
    }
    tracing::info!("{}", describe_place(app));
    match &app.token {
        None => tracing::info!("no token is asked for (--no-auth)"),
        Some(Token::Made(_, Some(file))) => {
            tracing::info!(file = %file.display(), "made a token and kept it in a file");
        }
        Some(Token::Made(_, None)) => tracing::warn!(
            "made a token that nobody can read: it is kept nowhere, and this log shows no secrets; set `auth.token`"
        ),
        Some(Token::Kept(_)) => tracing::info!("the token is the one kept in the state folder"),
        Some(Token::Configured(_)) => tracing::info!("the token is the configured one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_wrapped_between_words_and_what_is_copied_is_not() {
        let line = "pilothouse: serving claude-code at http://127.0.0.1:2222/ for all";
        let wrapped = "pilothouse: serving claude-code at\n  http://127.0.0.1:2222/ for all";
        assert_eq!(wrap(line, 40), wrapped);
        assert_eq!(wrap(line, 0), line);
        let copied = format!("{TRY}pilothouse send \"hello\" --state-dir /a/folder/of/its/own");
        assert_eq!(wrap(&copied, 40), copied);
    }

    #[test]
    fn notes_without_room_are_counted() {
        let notes: Vec<String> = ["a", "b", "c"].map(ToOwned::to_owned).to_vec();
        assert_eq!(shorten(&notes, 3), ["a", "b", "c"]);
        assert_eq!(shorten(&notes, 2), ["a", "2 more; `pilothouse doctor` lists them"]);
    }
}
