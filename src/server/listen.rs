//! The accept loop. It is our own, because connections are counted, Nagle's algorithm is switched off
//! (44 ms of delay otherwise, with a delayed acknowledgement), headers have a deadline, and a stop must
//! end streams that would otherwise keep it waiting for ever.

use super::{Doors, Seen, admin, call, router};
use axum::body::Body;
use axum::http::{HeaderValue, header};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

/// Accepts connections until `stop`, then lets the open ones finish within `patience`.
pub async fn serve(
    listener: TcpListener,
    doors: Arc<Doors>,
    stop: CancellationToken,
    patience: Duration,
) {
    let app = router(doors.clone());
    let connections = Arc::new(Semaphore::new(doors.config.limits.connections));
    let tracker = TaskTracker::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(doors.config.timeouts.header.get())
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(doors.config.limits.http2_streams)
        .max_pending_accept_reset_streams(doors.config.limits.http2_resets)
        .max_local_error_reset_streams(doors.config.limits.http2_resets)
        .keep_alive_interval(doors.config.timeouts.keep_alive.get());
    let builder = Arc::new(builder);
    loop {
        let permit = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            permit = connections.clone().acquire_owned() => permit.expect("the connections are never closed"),
        };
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, say: waiting a moment is all that helps.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let _ = socket.set_nodelay(true);
        let (app, builder, stop) = (app.clone(), builder.clone(), stop.clone());
        let doors = doors.clone();
        tracker.spawn(async move {
            let service = hyper::service::service_fn(
                move |mut request: hyper::Request<hyper::body::Incoming>| {
                    see_through_proxies(&doors, peer, &mut request);
                    let known = name_agent(&doors, &mut request);
                    let mut app = app.clone();
                    async move {
                        if known {
                            app.call(request.map(Body::new)).await
                        } else {
                            Ok(admin::not_found(request.map(Body::new)).await)
                        }
                    }
                },
            );
            let connection = builder.serve_connection(TokioIo::new(socket), service);
            tokio::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => {}
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
            drop(permit);
        });
    }
    drop(listener);
    tracker.close();
    let _ = tokio::time::timeout(patience, tracker.wait()).await;
}

/// Notes who asks. Where a trusted proxy says which host the client named, that one is the request's
/// `Host` from here on: it is checked, and it stands on cards.
fn see_through_proxies<B>(doors: &Doors, peer: SocketAddr, request: &mut hyper::Request<B>) {
    let seen = doors.access.seen(peer.ip(), request.headers());
    if let Some(host) = &seen.host
        && let Ok(host) = HeaderValue::try_from(host)
    {
        request.headers_mut().insert(header::HOST, host);
    }
    request.extensions_mut().insert(Seen(seen));
}

/// Takes `/agents/NAME` off a path, so that every door is there for each agent; false for an unknown one.
fn name_agent<B>(doors: &Doors, request: &mut hyper::Request<B>) -> bool {
    let Some(rest) = request.uri().path().strip_prefix("/agents/") else {
        return true;
    };
    let (name, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let agents = &doors.service.sessions().house().agents;
    let Some(agent) = agents.get(name) else {
        return false;
    };
    let path = if path.is_empty() { "/" } else { path };
    let path = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = path.parse().ok();
    let Ok(uri) = axum::http::Uri::from_parts(parts) else {
        return false;
    };
    let key = agent.key.clone();
    *request.uri_mut() = uri;
    request.extensions_mut().insert(call::Named(key));
    true
}
