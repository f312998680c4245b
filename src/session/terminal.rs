//! A session's conversation at a person's terminal.

use super::Attach;
use super::activity::{SessionState, WaitsFor};
use super::resources::SessionResources;
use super::start::LONGEST_STATE;
use crate::agent::LaunchChoice;
use crate::config::DriverKind;
use pilothouse_agents::Setting;
use pilothouse_agents::claude::{STATE_FILE, forget_keys, skip_setup};
use pilothouse_sandbox::isolation::Places;
use pilothouse_sandbox::supervisor::{Spec, Word};

/// The variable of the key that Claude Code asks about before it uses it.
const KEY: &str = "ANTHROPIC_API_KEY";

/// Lends the conversation to a person at a terminal; turns wait meanwhile.
pub(super) async fn lend_conversation(session: &mut SessionResources, attach: Attach) {
    let Attach { ready, left } = attach;
    // Two processes on one conversation would go apart without a word.
    session.end_process(Word::Terminate).await;
    let spec = terminal(session).await;
    session.finish_folder().await;
    let lent = spec.is_ok();
    if ready.send(spec).is_ok() && lent {
        session.activity.enter(SessionState::Waiting(WaitsFor::Terminal));
        session.snapshots.forget();
        // Nothing runs that could be interrupted: this hears the stop, and cancels of what waits.
        tokio::select! {
            biased;
            _ = left => {}
            _ = session.inbox.interruption() => {}
        }
        forget_key(session).await;
        session.note_use().await;
    }
}

/// Takes out of the CLI's state what it remembers of the key that the person's terminal had: the next process is in the
/// sandbox, where there is no key.
async fn forget_key(session: &mut SessionResources) {
    if session.agent.config.driver != DriverKind::Claude {
        return;
    }
    if let Ok(Ok(folder)) = session.make_folder(None).await
        && let Err(error) = folder.edit(STATE_FILE, LONGEST_STATE, forget_keys).await
    {
        let id = &session.row.id;
        tracing::warn!(%error, "the state of the CLI of session {id} keeps the end of the key: it cannot be written");
    }
    session.finish_folder().await;
}

/// How the CLI is started at the terminal, or why not.
async fn terminal(session: &mut SessionResources) -> Result<Spec, String> {
    let stops = |_| "the server stops; try again when it runs".to_owned();
    let made = session.make_folder(None).await.map_err(stops)?;
    let folder = made.map_err(|error| error.to_string())?;
    // The person is the server's user; with the next turn all of it is the agent's again.
    let given = session.inbox.wait_in_turn(None, folder.give(None)).await.map_err(stops)?;
    given.map_err(|error| error.to_string())?;
    let agent = &session.agent;
    // A person's terminal is outside of the sandbox, with the folders where they really lie.
    let setting = Setting {
        workspace: folder.workspace_text(),
        home: folder.home_text(),
        resume: session.row.conversation.clone(),
        ..Setting::default()
    };
    let driver = agent.driver_of(session.row.setup.as_deref(), &LaunchChoice::default());
    let launch = driver.terminal(&setting).ok_or(match agent.config.driver {
        DriverKind::Claude => "nothing was said in this session yet",
        DriverKind::Acp | DriverKind::Command | DriverKind::Demo => {
            "this agent has no terminal of its own; go on with `pilothouse send -c CONTEXT`"
        }
    })?;
    let spec = agent.spec(&agent.latest_env(), &launch, &Places::real(&folder), None);
    if agent.config.driver == DriverKind::Claude {
        let key = spec.env.iter().find(|(name, _)| name == KEY).map(|(_, key)| key.clone());
        let edit = move |state: &[u8]| skip_setup(state, key.as_deref());
        let edited = folder.edit(STATE_FILE, LONGEST_STATE, edit).await;
        edited
            .map_err(|error| format!("the state of the agent's CLI cannot be written: {error}"))?;
    }
    Ok(spec)
}
