//! The HTTP below the client: connections, bounded bodies, cards.

use super::error::ClientError;
use super::tls::ClientTls;
use crate::jsonrpc;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Response, Url};
use serde_json::Value;
use std::time::Duration;

/// Where a card lies below an agent's address (specification 8.2).
const CARD_PATH: &str = "/.well-known/agent-card.json";
/// The largest answer that is read: above what our own server sends, far below what hurts.
const MAX_BODY: usize = 64 << 20;
/// As much of an error's body as a person wants to see.
const MAX_ERROR_BODY: usize = 8 << 10;
const CONNECT: Duration = Duration::from_secs(10);
/// A card is small; a server that takes longer is stuck.
const CARD: Duration = Duration::from_secs(30);
/// Notices a peer that vanished while a stream is silent.
const PROBE: Duration = Duration::from_secs(30);

/// A card as it was received.
#[derive(Clone, Debug)]
pub struct FetchedCard {
    /// Where it was read.
    pub url: String,
    /// The headers of the response.
    pub headers: HeaderMap,
    /// The card, unread.
    pub card: Value,
}

/// Reads the card of the agent at `url`: its address, or the address of the card itself (ending in
/// `.json`). `version` asks for the card of that `A2A-Version`.
pub async fn card(
    url: &str,
    token: Option<&str>,
    version: Option<&str>,
    tls: &ClientTls,
) -> Result<FetchedCard, ClientError> {
    let mut place = self::url(url)?;
    if !place.path().ends_with(".json") {
        let path = format!("{}{CARD_PATH}", place.path().trim_end_matches('/'));
        place.set_path(&path);
        place.set_query(None);
    }
    let mut request = connector(&place, token, tls)?.get(place.clone()).timeout(CARD);
    // The connector says 1.0 by itself; without a version the server's default is wanted.
    request = request.header("a2a-version", version.unwrap_or_default());
    let response = request.send().await?;
    if !response.status().is_success() {
        return Err(failed(response).await);
    }
    let headers = response.headers().clone();
    let card = serde_json::from_slice(&bounded(response, MAX_BODY).await?)
        .map_err(|cause| ClientError::Protocol(format!("{place} is not JSON: {cause}")))?;
    Ok(FetchedCard { url: place.into(), headers, card })
}

/// Reads an address.
pub(super) fn url(text: &str) -> Result<Url, ClientError> {
    let url = Url::parse(text)
        .map_err(|cause| ClientError::Input(format!("`{text}` is not a url: {cause}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(ClientError::Input(format!("`{text}` is not an http or https url")));
    }
    Ok(url)
}

/// The endpoint that a card names, as it may be used with a token: on the card's own origin. The
/// names of one's own machine are all the same one.
pub(super) fn near(card: &str, endpoint: &Url, with_token: bool) -> Result<Url, ClientError> {
    let card = url(card)?;
    if card.origin() == endpoint.origin() || !with_token {
        return Ok(endpoint.clone());
    }
    let same_place = is_loopback(&card)
        && is_loopback(endpoint)
        && card.scheme() == endpoint.scheme()
        && card.port_or_known_default() == endpoint.port_or_known_default();
    if same_place {
        return Ok(endpoint.clone());
    }
    Err(ClientError::ForeignEndpoint { card: card.into(), endpoint: endpoint.to_string() })
}

/// A pool of connections for one origin; the token goes with every request and into no log.
pub(super) fn connector(
    to: &Url,
    token: Option<&str>,
    tls: &ClientTls,
) -> Result<reqwest::Client, ClientError> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
            ClientError::Input("the token has characters that no header can carry".into())
        })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    headers.insert("a2a-version", HeaderValue::from_static("1.0"));
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("pilothouse/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .redirect(Policy::none())
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .tcp_keepalive(PROBE);
    builder = match to.scheme() {
        // Without TLS there is no need for root certificates, which a small image may not have.
        "http" => builder.tls_certs_only([]),
        _ => tls.apply(builder)?,
    };
    if is_loopback(to) {
        builder = builder.no_proxy();
    }
    Ok(builder.build()?)
}

/// The body of a successful response.
pub(super) async fn body(response: Response) -> Result<Vec<u8>, ClientError> {
    if !response.status().is_success() {
        return Err(failed(response).await);
    }
    bounded(response, MAX_BODY).await
}

/// The response when it streams or answers at once; an error when it tells one.
pub(super) async fn stream_or_error(response: Response) -> Result<Response, ClientError> {
    if response.status().is_success() { Ok(response) } else { Err(failed(response).await) }
}

/// The response carries a stream of events.
pub(super) fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().starts_with("text/event-stream"))
}

/// Why a response is no success: by its JSON-RPC error, or by its status.
async fn failed(response: Response) -> ClientError {
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let retry_after = header(RETRY_AFTER).and_then(|seconds| seconds.trim().parse().ok());
    let body = truncated(response, MAX_ERROR_BODY).await;
    if let Ok(jsonrpc::Response { outcome: Err(error), .. }) = jsonrpc::parse_response(&body) {
        return ClientError::Rpc(error);
    }
    let body = String::from_utf8_lossy(&body).trim().to_owned();
    ClientError::Http { status, body, retry_after }
}

async fn bounded(mut response: Response, limit: usize) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Err(ClientError::Protocol(format!("an answer is larger than {limit} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

async fn truncated(mut response: Response, limit: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = limit - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            break;
        }
    }
    body
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(card: &str, endpoint: &str, with_token: bool) -> Result<String, ClientError> {
        near(card, &url(endpoint).unwrap(), with_token).map(String::from)
    }

    #[test]
    fn a_token_follows_no_card_to_another_host() {
        let away = endpoint("https://a.example/card.json", "https://b.example/", true);
        assert!(matches!(away, Err(ClientError::ForeignEndpoint { .. })));
        let plain = endpoint("https://a.example/card.json", "http://a.example/", true);
        assert!(matches!(plain, Err(ClientError::ForeignEndpoint { .. })));
        endpoint("https://a.example/card.json", "https://a.example/a2a", true).unwrap();
        endpoint("https://a.example/card.json", "https://b.example/", false).unwrap();
    }

    #[test]
    fn the_names_of_ones_own_machine_are_one_place() {
        endpoint("http://localhost:1/card.json", "http://127.0.0.1:1/", true).unwrap();
        endpoint("http://[::1]:1/card.json", "http://localhost:1/", true).unwrap();
        endpoint("http://localhost:1/card.json", "http://127.0.0.1:2/", true).unwrap_err();
    }

    #[test]
    fn only_http_is_spoken() {
        assert!(matches!(url("file:///etc/passwd"), Err(ClientError::Input(_))));
        assert!(matches!(url("127.0.0.1:2222"), Err(ClientError::Input(_))));
    }
}
