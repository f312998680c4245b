//! `pilothouse healthcheck`: whether the server answers, for images without a shell. Silent when it does.

use crate::client::exit;
use crate::client::failure::{Failure, root_cause};
use crate::client::local::{Server, body, http, parsed};
use pilothouse_a2a::client::ClientTls;
use std::time::Duration;

/// How long the server has.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the server whether it is alive; the exit code.
pub(super) async fn run(server: &Server) -> Result<u8, Failure> {
    match answered(&server.url, &server.tls).await? {
        Ok((200, _)) => Ok(0),
        Ok((status, _)) => Err(Failure::new(
            exit::UNAVAILABLE,
            format!("{}/health answers with HTTP status {status}", server.url),
        )),
        Err(error) => Err(Failure::unreachable(&server.url, &root_cause(&error))),
    }
}

/// The status and the body of `GET /health`, or why there is none.
pub(super) async fn answered(
    url: &str,
    tls: &ClientTls,
) -> Result<Result<(u16, Vec<u8>), reqwest::Error>, Failure> {
    let url = parsed(&format!("{url}/health"))?;
    let response = match http(&url, PATIENCE, tls)?.get(url).send().await {
        Ok(response) => response,
        Err(error) => return Ok(Err(error)),
    };
    let status = response.status().as_u16();
    Ok(body(response).await.map(|body| (status, body)))
}
