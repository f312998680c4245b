//! `doctor --online`: one real turn of the default agent, through a server of its own that keeps nothing: program,
//! sandbox, proxy, credential and model at once.

use crate::cli::trial::TrialServer;
use crate::client::failure::Failure;
use crate::client::report::Report;
use crate::config::Loaded;
use pilothouse_a2a::client::{Client, ClientTls};
use pilothouse_a2a::message::Message;
use pilothouse_a2a::operation::{SendMessageRequest, SendMessageResponse};
use pilothouse_a2a::task::{Task, TaskState};
use std::path::Path;
use std::time::{Duration, Instant};

/// What the agent is told.
const PROMPT: &str = "Answer with the word ok. Use no tools.";
/// Longer than a first start and a slow model take.
const PATIENCE: Duration = Duration::from_secs(180);

/// Asks the model once.
pub(super) async fn ask_model(
    loaded: &Loaded,
    cwd: &Path,
    report: &mut Report,
) -> Result<(), Failure> {
    let server = match TrialServer::start(loaded, cwd, |_| ()).await {
        Ok(server) => server,
        Err(error) => {
            report.bad("online", error.to_string(), "");
            return Ok(());
        }
    };
    let name = server.agents[0].name.clone();
    let began = Instant::now();
    let answer = tokio::time::timeout(PATIENCE, send(&server.url, server.token.clone())).await;
    server.stop().await;
    match answer {
        Ok(Ok(task)) => describe(&name, &task, began.elapsed(), report),
        Ok(Err(failure)) => return Err(failure),
        Err(_) => {
            let words = format!("{name} did not answer within {} s", PATIENCE.as_secs());
            report.bad("online", words, "see whether its model can be reached from here");
        }
    }
    Ok(())
}

/// What came of the turn.
fn describe(name: &str, task: &Task, took: Duration, report: &mut Report) {
    let artifacts = task.artifacts.iter().flat_map(|artifact| &artifact.parts);
    let answer: String = artifacts.filter_map(|part| part.as_text()).collect();
    let said = task.status.message.as_ref().map(Message::text_content).unwrap_or_default();
    let said = if answer.trim().is_empty() { said } else { answer };
    let said = said.trim().lines().next().unwrap_or_default().to_owned();
    let seconds = took.as_secs_f64();
    match task.status.state {
        TaskState::Completed => {
            report.good("online", format!("{name} answered in {seconds:.1} s: {said}"));
        }
        state => report.bad_text("online", &format!("{name} {}: {said}", state.word()), ""),
    }
}

async fn send(url: &str, token: Option<String>) -> Result<Task, Failure> {
    let client = Client::new(url, token, &ClientTls::default())
        .map_err(|error| Failure::of_client(&error, url))?;
    let message = Message::user_text(PROMPT);
    let request = SendMessageRequest { tenant: None, message, configuration: None, metadata: None };
    match client.send(&request).await.map_err(|error| Failure::of_client(&error, url))? {
        SendMessageResponse::Task(task) => Ok(task),
        SendMessageResponse::Message(_) => Err(Failure::usage("the agent answered without a task")),
    }
}
