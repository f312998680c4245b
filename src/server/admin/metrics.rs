//! What was counted, for Prometheus.

use super::{not_there, store_works};
use crate::clock;
use crate::config::{Config, Exposure};
use crate::server::{Doors, arrival, refusal, refuse_host};
use crate::telemetry::metrics::{MEDIA_TYPE, Readings};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use pilothouse_a2a::time::Timestamp;
use std::sync::Arc;

/// `GET /metrics`: what was counted, for Prometheus.
pub(in super::super) async fn metrics(
    State(doors): State<Arc<Doors>>,
    request: Request,
) -> Response {
    let Some(metrics) = doors.telemetry.metrics() else {
        return not_there("there are no metrics: `metrics` is off");
    };
    if doors.config.metrics == Exposure::Public {
        if let Some(refused) = refuse_host(&doors, &request) {
            return refused;
        }
    } else if let Err(denied) = doors.access.admit(request.headers(), &arrival(&request)).await {
        return refusal(denied);
    }
    let (processes, processes_max) = doors.service.sessions().processes();
    let (asks_open, oldest) = doors.service.open_asks();
    let age = |since: Timestamp| clock::now().as_millisecond() - since.as_millisecond();
    let moment = Readings {
        asks_open,
        asks_open_seconds: oldest.map_or(0, age) / 1000,
        processes,
        processes_max,
        waiting: doors.service.sessions().waiting(),
        store_bytes: stored(&doors.config),
        store_works: store_works(&doors).await,
        audit_works: !doors.telemetry.audit().fails(),
    };
    let mut response = Response::new(Body::from(metrics.render(moment)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}

/// Bytes of the store's file; 0 where it is in memory.
fn stored(config: &Config) -> u64 {
    let file = config.state_dir.join(&config.store.path);
    std::fs::metadata(file).map_or(0, |found| found.len())
}
