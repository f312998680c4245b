//! `POST /api/v1/sessions/{id}/push`: the push of a session's branch by the server, with its pull request.

use super::super::Doors;
use super::{carry_out, failed, find_own_session, json_response};
use crate::access::Denied;
use crate::config::TokenScope;
use crate::service::{Client, NoBundle, NotPublished, Publication, PushAbout, PushWish};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::id::ContextId;
use pilothouse_a2a::operation::ListTasksRequest;
use serde::Deserialize;
use std::sync::Arc;

/// What is wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct PushOrder {
    /// The commit that the caller has seen; without it the answer says what would be pushed.
    commit: Option<String>,
    /// The title of the pull request.
    title: Option<String>,
    /// Its text.
    body: Option<String>,
    /// The branch that it is for.
    base: Option<String>,
    /// Whether it is opened.
    pull_request: Option<bool>,
}

/// Pushes the branch, or says what would be pushed.
pub(in super::super) async fn push(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let action = ("PushSession", 0);
    carry_out(&doors, request, action, async move |doors, client, request: Request<Bytes>| {
        let refused = |error: Error| Box::new(failed(&error));
        let order: PushOrder = match &request.body()[..] {
            [] => PushOrder::default(),
            body => serde_json::from_slice(body).map_err(|error| {
                let words = format!("the body is no JSON object of a push: {error}");
                refused(Error::new(ErrorKind::Parse, words))
            })?,
        };
        let row = find_own_session(&doors, &client, &id, request.extensions()).await?;
        if order.commit.is_some() {
            // Who says that this commit may be pushed answers in the place of a person.
            let may = client.caller.require(TokenScope::Answer);
            may.map_err(|denied: Denied| refused(denied.into()))?;
        }
        let about = find_task(&doors, &client, &row.context_id).await.map_err(refused)?;
        let PushOrder { commit, title, body, base, pull_request } = order;
        let wish = PushWish { commit, title, body, base, request: pull_request };
        let published = doors.service.sessions().publish(&client.agent, &row, &about, &wish).await;
        match published.map_err(|error| refused(to_error(&error)))? {
            Publication::Ready(ready) => {
                let mut body = ready.render();
                body["state"] = "ready".into();
                Ok(json_response(StatusCode::OK, body.to_string()))
            }
            Publication::Done(done) => {
                if let Some(why) = done.request_failure() {
                    let error = Error::new(ErrorKind::Unavailable, done.describe());
                    return Err(refused(match why {
                        crate::service::NotRequested::TooOften { seconds, .. } => {
                            Error::new(ErrorKind::ResourceExhausted, done.describe())
                                .retry_after(*seconds)
                        }
                        _ => error,
                    }));
                }
                let mut body = done.render();
                body["state"] = "pushed".into();
                body["text"] = done.describe().into();
                Ok(json_response(StatusCode::OK, body.to_string()))
            }
        }
    })
    .await
}

/// The last task of a context, and what was answered in it.
async fn find_task(
    doors: &Doors,
    client: &Client,
    context: &ContextId,
) -> Result<PushAbout, Error> {
    let request = ListTasksRequest {
        context_id: Some(context.clone()),
        page_size: Some(1),
        include_artifacts: true,
        history_length: Some(0),
        ..ListTasksRequest::default()
    };
    let page = doors.service.list(client, request).await?;
    let Some(task) = page.tasks.into_iter().next() else { return Ok(PushAbout::default()) };
    let answer = task.artifacts.iter().find(|one| one.name.as_deref() == Some("answer"));
    let answer = answer.map(|one| one.parts.iter().filter_map(|part| part.as_text()).collect());
    let base = doors.config.server.public_url.as_deref().map(|base| base.trim_end_matches('/'));
    let link = base.map(|base| format!("{base}/agents/{}/tasks/{}", client.agent.key, task.id));
    Ok(PushAbout {
        task: task.id.to_string(),
        answer: answer.unwrap_or_default(),
        link: link.unwrap_or_default(),
    })
}

fn to_error(error: &NotPublished) -> Error {
    let kind = match error {
        NotPublished::Busy => ErrorKind::SessionInUse,
        NotPublished::Bundle(NoBundle::Busy) | NotPublished::Stopped => ErrorKind::Unavailable,
        NotPublished::Denied => ErrorKind::PermissionDenied,
        NotPublished::NoClone
        | NotPublished::Nothing(_)
        | NotPublished::Git(_)
        | NotPublished::Bundle(NoBundle::Failed(_))
        | NotPublished::Push(_) => ErrorKind::UnsupportedOperation,
    };
    Error::new(kind, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::PushOrder;
    use serde_json::{Value, json};

    #[test]
    fn an_unknown_member_of_a_push_is_refused() {
        let read = |order: Value| serde_json::from_value::<PushOrder>(order);
        assert!(read(json!({"commit": "a", "pullRequest": false})).is_ok());
        assert!(read(json!({"force": true})).is_err());
    }
}
