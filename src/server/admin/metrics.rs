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
use tokio_util::sync::CancellationToken;

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
    let moment = read(&doors).await;
    let mut response = Response::new(Body::from(metrics.render(moment)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}

/// Sends the metrics to the operator's collector, where there is one, until the server stops; then once more.
pub async fn send_metrics(doors: Arc<Doors>, stop: CancellationToken) {
    let Some(interval) = doors.telemetry.metric_interval() else { return };
    let mut is_over = false;
    while !is_over {
        is_over = stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_none();
        doors.telemetry.send_metrics(read(&doors).await);
    }
}

/// What is looked up for the metrics.
async fn read(doors: &Doors) -> Readings {
    let (processes, processes_max) = doors.service.sessions().processes();
    let (sessions_busy, sessions) = doors.service.sessions().running();
    let (asks_open, oldest) = doors.service.open_asks();
    let age = |since: Timestamp| clock::now().as_millisecond() - since.as_millisecond();
    Readings {
        asks_open,
        asks_open_seconds: oldest.map_or(0, age) / 1000,
        processes,
        processes_max,
        sessions,
        sessions_busy,
        guarantees: doors.isolation.findings().in_force().count(),
        streams: Arc::strong_count(&doors.streams).saturating_sub(1),
        waiting: doors.service.sessions().waiting(),
        store_bytes: stored(&doors.config),
        store_works: store_works(doors).await,
        audit_works: !doors.telemetry.audit().fails(),
    }
}

/// Bytes of the store's file; 0 where it is in memory.
fn stored(config: &Config) -> u64 {
    let file = config.state_dir.join(&config.store.path);
    std::fs::metadata(file).map_or(0, |found| found.len())
}
