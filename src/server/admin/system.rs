//! `GET /api/v1/system`: how the server does, what is in force, and what the caller may do: what a dashboard shows beside lists.

use super::super::{Doors, json_response};
use super::{carry_out, store_works};
use crate::config::{Dashboard, TokenScope};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET /api/v1/system`: health, work, limits, and the agents with their guarantees.
pub(in super::super) async fn read(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let most = doors.config.limits.response.as_usize();
    let action = ("GetSystem", most);
    carry_out(&doors, request, action, async move |doors, client, _: Request<Bytes>| {
        let grant = &client.caller.grant;
        let scopes = [TokenScope::Send, TokenScope::Read, TokenScope::Answer, TokenScope::Admin];
        let scopes: Vec<_> = scopes.into_iter().filter(|scope| grant.has(*scope)).collect();
        let agents = doors.agents.iter().filter(|agent| grant.serves(&agent.key));
        let agents = agents.map(|agent| {
            let shown = json!({
                "name": agent.name,
                "driver": agent.config.driver,
                "isolation": agent.isolation(&doors.isolation),
            });
            (agent.key.to_string(), shown)
        });
        let agents: serde_json::Map<String, Value> = agents.collect();
        let served = doors.agents.iter().filter(|agent| grant.serves(&agent.key));
        let limits: Vec<_> = served.filter_map(|agent| doors.service.limit_of(agent)).collect();
        let sessions = doors.service.sessions();
        let (live, most) = sessions.processes();
        let (open_asks, oldest) = doors.service.open_asks();
        let stopping = doors.stop.is_cancelled() || doors.draining.is_cancelled();
        let mut body = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "ui": if doors.config.ui == Dashboard::ReadOnly { "read-only" } else { "on" },
            "caller": &*client.caller.name,
            "scopes": scopes,
            "health": {
                "store": if store_works(&doors).await { "ok" } else { "failed" },
                "audit": if doors.telemetry.audit().fails() { "failed" } else { "ok" },
                "stopping": stopping,
                "accountLimits": limits,
            },
            "work": {},
            "limits": doors.config.limits,
            "agents": agents,
        });
        // What others do and are asked is told whoever may look at it.
        if client.caller.is_admin() {
            body["work"] = json!({
                "processes": live,
                "processesMax": most,
                "running": sessions.running(),
                "waiting": sessions.waiting(),
                "asks": open_asks,
                "oldestAsk": oldest,
            });
        }
        Ok(json_response(StatusCode::OK, body.to_string()))
    })
    .await
}
