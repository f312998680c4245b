//! The push with which a task ends: asked for as one more question of the task, or done at once.

use super::{NotPublished, PublishedBranch, Publisher, PushAbout, PushWish, ReadyBranch};
use crate::asks::{self, RememberedDecision};
use crate::config::AskPolicy;
use crate::session::Wishes;
use crate::session::ending::fault_with;
use crate::session::resources::{CurrentTurn, SessionResources};
use crate::store::{Durability, Write};
use pilothouse_a2a::id::ArtifactId;
use pilothouse_a2a::message::Part;
use pilothouse_a2a::task::Artifact;
use pilothouse_agents::{Answer, Outcome};
use serde_json::{Value, json};

/// What the ask of a push holds beside its words, so that its answer can be carried out by a later process.
const KIND: &str = "push";

/// Who can act where a push fails.
const HINT: &str = "what the agent did is in its session: push it with `pilothouse sessions push` when that is mended";

impl SessionResources {
    fn publisher(&self) -> Publisher {
        Publisher::new(&self.deps, &self.live, &self.agent, self.row.clone())
    }

    fn about(&self, turn: &CurrentTurn, answer: &str) -> PushAbout {
        let base = self.deps.config.server.public_url.as_deref();
        let link = base.map(|base| {
            let base = base.trim_end_matches('/');
            format!("{base}/agents/{}/tasks/{}", self.agent.key, turn.log.id)
        });
        PushAbout {
            task: turn.log.id.to_string(),
            answer: answer.to_owned(),
            link: link.unwrap_or_default(),
        }
    }
}

/// Pushes what a completed turn has left, or asks for that; what comes of the turn then.
pub(in crate::session) async fn publish_at_end(
    session: &mut SessionResources,
    turn: &mut CurrentTurn,
    outcome: Outcome,
) -> Outcome {
    let Outcome::Completed { answer } = &outcome else { return outcome };
    let Some(source) = &session.agent.clone_source else { return outcome };
    let policy = source.push.policy;
    let wished = turn.wishes.as_ref().and_then(|wishes| wishes.push);
    let is_wanted = wished.unwrap_or(source.push.at_end);
    if !is_wanted || turn.is_push || policy == AskPolicy::Deny || session.row.checkout.is_none() {
        return outcome;
    }
    let said = || turn.translator.streamed_text().to_owned();
    let (publisher, text) = (session.publisher(), answer.clone().unwrap_or_else(said));
    let about = session.about(turn, &text);
    let committing = async {
        let place = publisher.wait_for_place().await?;
        Ok((publisher.commit(&about).await?, place))
    };
    let (ready, place) = match session.inbox.wait_in_turn(None, committing).await {
        Ok(Ok((ready, place))) if !ready.is_pushed => (ready, place),
        Ok(Ok(_) | Err(NotPublished::Nothing(_))) => return outcome,
        Ok(Err(why)) => return fail(session, turn, answer.as_deref(), &why),
        Err(cause) => return cause.outcome(&session.deps.config),
    };
    if policy == AskPolicy::Ask {
        if let Some(answer) = answer {
            turn.translator.replace_if_different(answer);
        }
        let mut ask = ask_of(&ready, source.mirror.name(), &text);
        Wishes::note_in(turn.wishes.as_deref(), &mut ask);
        let question = asks::words(&ask);
        turn.push_ask = Some(ask);
        return Outcome::InputRequired { question, data: None };
    }
    let wish = PushWish::default();
    let pushing = session.inbox.wait_in_turn(None, publisher.push(ready, &about, &wish)).await;
    drop(place);
    match pushing {
        Ok(Ok(published)) => {
            show(turn, &published);
            outcome
        }
        Ok(Err(why)) => fail(session, turn, answer.as_deref(), &why),
        Err(cause) => cause.outcome(&session.deps.config),
    }
}

/// Carries out the answer to the ask of a push, in a turn of its own; none where it is about something else.
pub(in crate::session) async fn finish_answered(
    session: &mut SessionResources,
    turn: &mut CurrentTurn,
) -> Option<Outcome> {
    let remembered = session.remembered.take_if(|one| one.ask["kind"] == KIND)?;
    turn.is_push = true;
    let RememberedDecision { id, ask, answer } = remembered;
    let spent = session.deps.store.commit(vec![Write::AskSpent { id }], Durability::Synced);
    if let Err(error) = session.inbox.serve_during(spent).await {
        let message = format!("the answer to the push could not be used: {error}");
        return Some(Outcome::Failed { message, hint: Some(HINT.into()) });
    }
    if let Answer::Deny { message } = answer {
        let words = format!("the branch is not pushed: {message}");
        turn.translator.say(pilothouse_agents::event::Event::Message(words));
        return Some(Outcome::Completed { answer: None });
    }
    let text = |name: &str| ask["input"][name].as_str().unwrap_or_default().to_owned();
    let (publisher, about) = (session.publisher(), session.about(turn, &text("answer")));
    let ready = ReadyBranch {
        branch: text("branch"),
        commit: text("commit"),
        count: ask["input"]["count"].as_u64().unwrap_or_default(),
        commits: text("commits").lines().map(ToOwned::to_owned).collect(),
        is_pushed: false,
    };
    let pushing = async {
        let _place = publisher.wait_for_place().await?;
        publisher.push(ready, &about, &PushWish::default()).await
    };
    Some(match session.inbox.wait_in_turn(None, pushing).await {
        Ok(Ok(published)) => {
            show(turn, &published);
            turn.translator.say(pilothouse_agents::event::Event::Message(published.describe()));
            Outcome::Completed { answer: None }
        }
        Ok(Err(why)) => fail(session, turn, None, &why),
        Err(cause) => cause.outcome(&session.deps.config),
    })
}

fn count_commits(count: u64) -> String {
    if count == 1 { "1 commit".to_owned() } else { format!("{count} commits") }
}

/// What a person is asked.
fn ask_of(ready: &ReadyBranch, repository: &str, answer: &str) -> Value {
    let ReadyBranch { branch, commit, count, .. } = ready;
    let commits = ready.describe();
    json!({
        "kind": KIND,
        "text": format!("May the branch {branch} be pushed to {repository}? {}:\n{commits}", count_commits(*count)),
        "tool": KIND,
        "input": {
            "branch": branch,
            "repository": repository,
            "commit": commit,
            "count": count,
            "commits": commits,
            // The title of a pull request is made of its first line.
            "answer": answer.chars().take(4000).collect::<String>(),
        },
        "options": [
            {"id": "allow", "name": "Push it"},
            {"id": "deny", "name": "Do not push it"},
        ],
        "why": "`workspace.push.at_end` says to push, and `workspace.push.policy` says to ask",
    })
}

/// Shows what was pushed: as a line, and as the artifact `push`.
fn show(turn: &mut CurrentTurn, published: &PublishedBranch) {
    let mut data = published.render();
    data["kind"] = "push".into();
    if let Some(why) = published.request_failure() {
        data["pullRequestFailure"] = why.to_string().into();
    }
    turn.translator.status(&published.describe(), Some(data.clone()));
    let id = ArtifactId::new(format!("{}-push", turn.log.id));
    let mut artifact = Artifact::new(id, "push", vec![Part::data(data)]);
    artifact.description = Some(published.describe());
    turn.translator.add_results(vec![artifact]);
}

/// The work is done and stays where it is; the push is not.
fn fail(
    session: &SessionResources,
    turn: &mut CurrentTurn,
    answer: Option<&str>,
    why: &NotPublished,
) -> Outcome {
    if let Some(answer) = answer {
        turn.translator.replace_if_different(answer);
    }
    fault_with(&format!("the branch is not pushed: {why}"), HINT).outcome(&session.deps.config)
}
