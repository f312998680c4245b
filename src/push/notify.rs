//! Notifications that the operator has configured: on an ask, a failure, a completion; by the same guarded posts as
//! webhooks. They are not kept over the end of the server.

use super::Push;
use super::post::{PostOutcome, Target};
use crate::config::{self, NotificationTarget, Notifications, NotifyOn, TargetKind};
use crate::store::{Durability, LinkRow, Write};
use crate::telemetry::Notice;
use bytes::Bytes;
use pilothouse_a2a::time::Timestamp;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Makes the links that answer asks.
pub struct Links {
    /// The address under which people reach the server, without a slash at its end.
    pub base: String,
    /// Makes a secret, and its hash.
    pub make: fn() -> std::io::Result<(String, [u8; 32])>,
}

impl Push {
    /// Tells the operator's targets of what happens, until the server stops.
    pub async fn notify(
        self,
        settings: Notifications,
        links: Links,
        mut notices: mpsc::Receiver<Notice>,
    ) {
        let pending = Arc::new(Semaphore::new(settings.pending.clamp(1, Semaphore::MAX_PERMITS)));
        loop {
            let notice = tokio::select! {
                biased;
                () = self.0.stop.cancelled() => return,
                notice = notices.recv() => notice,
            };
            let Some(notice) = notice else { return };
            for (name, target) in &settings.targets {
                if !is_told(target, &notice) {
                    continue;
                }
                let Ok(permit) = pending.clone().try_acquire_owned() else {
                    tracing::warn!(
                        target.name = name,
                        "a notification was left out: too many are on their way (`notifications.pending`)"
                    );
                    continue;
                };
                let link = self.link(target, &notice, &settings, &links).await;
                let post = render(target, &notice, link.as_deref().unwrap_or_default());
                match post {
                    Ok((post, body)) => {
                        let give_up = settings.give_up.get();
                        let delivery =
                            self.clone().deliver(name.clone(), post, body, give_up, permit);
                        self.0.workers.spawn(delivery);
                    }
                    Err((field, what)) => tracing::warn!(
                        target.name = name,
                        "a notification was left out: `notifications.targets.{name}.{field}` {what}"
                    ),
                }
            }
        }
    }

    /// A link that answers the ask of a notice, once and for a limited time.
    async fn link(
        &self,
        target: &NotificationTarget,
        notice: &Notice,
        settings: &Notifications,
        links: &Links,
    ) -> Option<String> {
        let ask = notice.ask.as_ref().filter(|_| target.links)?;
        let made = (links.make)().map(|(secret, hash)| {
            let now = Timestamp::now();
            let age = i64::try_from(settings.link.get().as_millis()).unwrap_or(i64::MAX);
            let expires = Timestamp::from_millisecond(now.as_millisecond().saturating_add(age));
            let (ask, scope) = (ask.id.clone(), ask.scope.clone());
            (secret, LinkRow { hash, ask, scope, expires, used: None })
        });
        let (secret, row) = made.ok()?;
        let written = self.0.store.commit(vec![Write::Link(Box::new(row))], Durability::Written);
        if let Err(error) = written.await {
            tracing::warn!(%error, "a notification has no link: it could not be stored");
            return None;
        }
        // What stands behind `#` is not sent to the server with the request for the page, so no log has it.
        Some(format!("{}/answer#{secret}", links.base))
    }

    async fn deliver(
        self,
        name: String,
        target: Target,
        body: Bytes,
        give_up: Duration,
        _place: OwnedSemaphorePermit,
    ) {
        let until = Instant::now() + give_up;
        let mut pause = self.0.settings.backoff.get();
        loop {
            let Ok(post) = self.0.posts.acquire().await else { return };
            let outcome = self.0.poster.post(&target, body.clone()).await;
            drop(post);
            let (reason, wait) = match outcome {
                PostOutcome::Taken => return,
                PostOutcome::Gone => ("it is gone".to_owned(), give_up),
                PostOutcome::Failed { reason, retry_after } => {
                    (reason, retry_after.unwrap_or(pause).max(pause))
                }
            };
            if Instant::now() + wait >= until {
                let host = target.host();
                tracing::warn!(target.name = name, host, "a notification was given up: {reason}");
                return;
            }
            tokio::select! {
                biased;
                () = self.0.stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            pause = (pause * 2).min(self.0.settings.backoff_max.get());
        }
    }
}

fn is_told(target: &NotificationTarget, notice: &Notice) -> bool {
    let fits = |names: &[String], name: &str| names.is_empty() || names.iter().any(|n| n == name);
    target.on.contains(&notice.event)
        && fits(&target.callers, &notice.scope.caller)
        && fits(&target.agents, &notice.scope.agent)
}

/// What is posted of a notice, and where.
fn render(
    target: &NotificationTarget,
    notice: &Notice,
    link: &str,
) -> Result<(Target, Bytes), (&'static str, String)> {
    let Notice { event, scope, task, context, ask, title, text } = notice;
    let ask = ask.as_ref().map_or("", |ask| &*ask.id);
    let token = target.token.as_deref();
    let body = match target.kind {
        TargetKind::Slack => {
            let link = if link.is_empty() { String::new() } else { format!("\n<{link}|Answer>") };
            json!({"text": format!("*{title}*\n{text}{link}")}).to_string()
        }
        TargetKind::Ntfy => {
            // The topic is in the address: its headers are plain ASCII, so the words stand in the body.
            let priority = if *event == NotifyOn::Completion { "default" } else { "high" };
            let mut more = vec![("x-priority", priority), ("x-title", "pilothouse")];
            if !link.is_empty() {
                more.push(("x-click", link));
            }
            let post = Target::of_notification(&target.url, token, &more)?;
            return Ok((post, Bytes::from(format!("{title}\n{text}"))));
        }
        TargetKind::Webhook => match &target.template {
            Some(template) => config::fill_template(
                template,
                &[
                    ("event", event.word()),
                    ("title", title),
                    ("text", text),
                    ("agent", &scope.agent),
                    ("caller", &scope.caller),
                    ("task", task),
                    ("context", context),
                    ("ask", ask),
                    ("link", link),
                ],
            ),
            None => json!({
                "event": event.word(),
                "title": title,
                "text": text,
                "agent": &*scope.agent,
                "caller": &*scope.caller,
                "taskId": task,
                "contextId": context,
                "askId": ask,
                "link": link,
            })
            .to_string(),
        },
    };
    Ok((Target::of_notification(&target.url, token, &[])?, Bytes::from(body)))
}
