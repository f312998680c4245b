//! `/ui/`: the dashboard, static files that are in the program. What it shows it asks for like every client, by a token.
mod live;

pub(super) use live::live;

use super::admin::not_found;
use super::packed::{GZIP, takes_gzip};
use super::{Doors, refuse_host};
use crate::config::Dashboard;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, LazyLock};

/// The files of the page by their paths, each compressed; none where the program was built without it.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// What the page may load and send, and which scripts may make HTML of text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; \
                      font-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types dompurify";

/// What is said where there is no page.
const NOT_BUILT: &str = "This program was built without the dashboard. Run `make ui` (it needs npm), build it again, and restart \
                         the server.\n";

/// Files whose names change with what they hold.
const HASHED: &str = "assets/";

/// A file of the page.
struct PageFile {
    packed: &'static [u8],
    tag: String,
}

static PAGE: LazyLock<HashMap<&str, PageFile>> = LazyLock::new(|| {
    let file = |&(path, packed): &(&'static str, &'static [u8])| {
        let digest = Sha256::digest(packed);
        let tag: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        (path, PageFile { packed, tag: format!("\"{tag}\"") })
    };
    FILES.iter().map(file).collect()
});

/// `GET /ui/...`: a file of the page; public, because it holds nothing of anybody.
pub(super) async fn page(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    if let Some(refused) = refuse_host(&doors, &request) {
        return refused;
    }
    if doors.config.ui == Dashboard::Off {
        return not_found(request).await;
    }
    let path = request.uri().path();
    let Some(name) = path.strip_prefix("/ui/") else {
        let mut response = text(StatusCode::PERMANENT_REDIRECT, "the dashboard is at /ui/\n");
        // A relative address, so that it is also right where a proxy has taken a prefix off.
        response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("ui/"));
        return response;
    };
    let name = if name.is_empty() { "index.html" } else { name };
    match PAGE.get(name) {
        Some(file) => serve(name, file, request.headers()),
        None if FILES.is_empty() => text(StatusCode::SERVICE_UNAVAILABLE, NOT_BUILT),
        None => not_found(request).await,
    }
}

fn text(status: StatusCode, words: &'static str) -> Response {
    let mut response = Response::new(Body::from(words));
    *response.status_mut() = status;
    protect(response.headers_mut(), "text/plain; charset=utf-8", "no-store");
    response
}

fn serve(name: &str, file: &PageFile, asked: &HeaderMap) -> Response {
    let cache = match name.starts_with(HASHED) {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let known = asked.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let is_known = known.is_some_and(|tags| tags.contains(&file.tag));
    let takes_gzip = takes_gzip(asked);
    let mut response = if is_known {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else if takes_gzip {
        Response::new(Body::from(file.packed))
    } else {
        Response::new(Body::from(unpack(file.packed)))
    };
    let headers = response.headers_mut();
    protect(headers, kind_of(name), cache);
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if takes_gzip && !is_known {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(GZIP));
    }
    if let Ok(tag) = HeaderValue::try_from(&file.tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// The file as it was built.
fn unpack(packed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut bytes).expect("the build has packed it");
    bytes
}

fn protect(headers: &mut HeaderMap, kind: &'static str, cache: &'static str) {
    let values: [(HeaderName, &'static str); 5] = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, cache),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in values {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn kind_of(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, end)| end) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
