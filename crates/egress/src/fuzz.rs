//! What of this module reads foreign bytes, for `fuzz/`. Requests as such are read by hyper.

use super::git;
use super::policy::{HostRule, Target};
use super::upstream::{below, decoded};
use super::usage::{Counted, Meter};
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method};
use parking_lot::Mutex;
use reqwest::Url;
use std::sync::Arc;

/// A line as a destination, as a rule, and as path and query of a request.
pub fn read_line(line: &str) {
    if let Ok(target) = Target::parse(line, Some(443)) {
        // One destination has one spelling.
        assert_eq!(Target::parse(&target.to_string(), None), Ok(target));
    }
    if let Ok(rule) = line.parse::<HostRule>() {
        assert_eq!(rule.to_string().parse(), Ok(rule));
    }
    let (path, query) = match line.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (line, None),
    };
    let base = Url::parse("https://upstream.example/base/of/all").expect("the URL is valid");
    if let Some(url) = below(&base, path, query) {
        let inside = url.path().strip_prefix(base.path()).expect("it stays below its base");
        assert!(inside.is_empty() || inside.starts_with('/'), "{url}");
        assert_eq!(url.host_str(), base.host_str());
        let plain = decoded(url.path()).unwrap_or_default();
        assert!(!plain.split('/').any(|step| step == ".."), "{url}");
    }
    for method in [Method::GET, Method::POST] {
        git::read_path(&method, path, query);
    }
}

/// An answer in both forms that are looked at: it passes as it came.
pub fn read_answer(bytes: &[u8]) {
    for kind in ["text/event-stream", "application/json"] {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
        let body = Full::new(Bytes::copy_from_slice(bytes));
        let total = Arc::new(Mutex::new(Counted::default()));
        let passed = Meter::new(body, &headers, total).collect().now_or_never();
        let passed = passed.expect("the body is there").expect("the body has no errors");
        assert_eq!(passed.to_bytes(), bytes);
    }
}
