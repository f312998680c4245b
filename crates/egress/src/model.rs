//! A request to a model: the session's token comes in, the operator's key goes out.

use super::KeyWatch;
use super::provider::Slot;
use super::refusal_of_model::ModelRefusal;
use super::route::ModelRoute;
use super::upstream::{ProxyResponse, Upstream, below, decoded, json_error, strip};
use super::usage::{Counted, Meter};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{ACCEPT_ENCODING, CONNECTION, COOKIE, HeaderName, HeaderValue, UPGRADE};
use hyper::{HeaderMap, Method, Request, StatusCode};
use parking_lot::Mutex;
use std::sync::Arc;

/// What is asked of a model. A provider's own methods, and none that shows a request to its sender.
const METHODS: [Method; 6] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// Whether the clients of Anthropic and OpenAI ask again.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The parameters of a query that a key may stand in.
const PARAMETERS: [&str; 3] = ["key", "api_key", "access_token"];

/// The keys that a request carries, and where.
pub(super) fn presented(request: &Request<Incoming>) -> Vec<(Slot, String)> {
    let mut keys: Vec<_> = Slot::ALL
        .into_iter()
        .filter_map(|slot| {
            let text = request.headers().get(slot.name())?.to_str().ok()?;
            let key = match slot {
                Slot::Bearer => bearer(text)?,
                Slot::ApiKey | Slot::Google => text,
            };
            Some((slot, key.trim().to_owned()))
        })
        .collect();
    let parameters = request.uri().query().unwrap_or_default().split('&');
    let key = parameters.filter_map(|parameter| parameter.strip_prefix("key=")).find_map(decoded);
    keys.extend(key.map(|key| (Slot::Google, key)));
    keys
}

fn bearer(text: &str) -> Option<&str> {
    let (scheme, key) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key)
}

/// Sends a request on; `path` is what follows the route's name, `slot` is where the token stood. The key is looked at
/// by `watch` before, and where the model refuses it.
pub(super) async fn forward(
    upstream: &Upstream,
    watch: Option<&dyn KeyWatch>,
    route: &ModelRoute,
    (path, slot): (&str, Slot),
    request: Request<Incoming>,
    counted: &Arc<Mutex<Counted>>,
) -> ProxyResponse {
    look(watch);
    let secrets = route.secrets();
    let of_others = Arc::default();
    // Only what models answer is counted.
    let counted = if route.is_model() { counted } else { &of_others };
    let (parts, body) = request.into_parts();
    if !METHODS.contains(&parts.method) {
        let message = "this method is not sent to a model";
        return json_error(StatusCode::METHOD_NOT_ALLOWED, message);
    }
    if wants_upgrade(&parts.headers) {
        // Codex tries a web socket first and takes this answer as the word to use HTTP.
        let message = "no other protocol is spoken on this route; use HTTP";
        return json_error(StatusCode::UPGRADE_REQUIRED, message);
    }
    let query = parts.uri.query().map(without_keys).filter(|query| !query.is_empty());
    let Some(url) = below(&secrets.upstream, path, query.as_deref()) else {
        let message = "this path leads out of the route";
        return json_error(StatusCode::FORBIDDEN, message);
    };
    let mut headers = parts.headers;
    // First: `connection` could name what is put in below.
    strip(&mut headers);
    for name in Slot::ALL.map(Slot::name).iter().chain([&COOKIE]) {
        headers.remove(name);
    }
    // What is compressed cannot be counted.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let name = route.describe();
    let key = match &route.changing {
        None => None,
        Some(changing) => match changing.get().await {
            Ok(key) => Some(key),
            Err(why) => {
                let message = format!("there is no key for {name}: {why}");
                upstream.complain(&message);
                return no_retry(json_error(StatusCode::BAD_GATEWAY, &message));
            }
        },
    };
    route.sign(&secrets, &mut headers, slot, key.as_deref());
    let body = body.map_err(Into::into).boxed_unsync();
    match upstream.send(url, parts.method, headers, body).await {
        Ok(answer) => {
            let is_refused = answer.status() == StatusCode::UNAUTHORIZED;
            if is_refused {
                look(watch);
            }
            let is_renewed = match (&route.changing, &key) {
                (Some(changing), Some(key)) => is_refused && changing.renew(key).await,
                _ => is_refused && !Arc::ptr_eq(&secrets, &route.secrets()),
            };
            if is_renewed {
                // What was asked has passed and is not here any more, so its client asks again.
                let message = &format!("the key of {name} was renewed; ask again");
                let mut answer = json_error(StatusCode::SERVICE_UNAVAILABLE, message);
                answer.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("true"));
                return answer;
            }
            let (parts, body) = answer.into_parts();
            counted.lock().refusal = ModelRefusal::of(parts.status, &parts.headers);
            let meter = Meter::new(body, &parts.headers, counted.clone());
            ProxyResponse::from_parts(parts, meter.boxed_unsync())
        }
        Err(why) => {
            let message = format!("{name} could not be reached: {why}");
            upstream.complain(&message);
            let answer = json_error(StatusCode::BAD_GATEWAY, &message);
            if why.is_lasting { no_retry(answer) } else { answer }
        }
    }
}

fn look(watch: Option<&dyn KeyWatch>) {
    if let Some(watch) = watch {
        watch.look();
    }
}

/// An answer after which the clients of Anthropic and OpenAI do not ask again.
fn no_retry(mut answer: ProxyResponse) -> ProxyResponse {
    answer.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    answer
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    let named = headers.get_all(CONNECTION).iter();
    headers.contains_key(UPGRADE)
        && named
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.to_ascii_lowercase().contains("upgrade"))
}

/// A query without what a key could stand in.
fn without_keys(query: &str) -> String {
    let kept: Vec<_> = query
        .split('&')
        .filter(|parameter| {
            let name = parameter.split('=').next().unwrap_or_default();
            let name = decoded(name).unwrap_or_default();
            !PARAMETERS.contains(&name.to_ascii_lowercase().as_str())
        })
        .collect();
    kept.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_out_of_a_query_and_the_rest_stays() {
        assert_eq!(without_keys("alt=sse&key=x&a=%20b"), "alt=sse&a=%20b");
        assert_eq!(without_keys("%6bey=x&API_KEY=y"), "");
        assert_eq!(without_keys("monkey=1"), "monkey=1");
    }
}
