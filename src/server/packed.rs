//! Gzip: bodies and messages that come compressed are unpacked within a bound, large answers are packed where their caller
//! takes that. Streams of events are not.

use super::admin::end_with;
use super::answers::Room;
use super::door::CallContext;
use super::{Doors, RequestBody, SMALL_BODY, json_response};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use pilothouse_a2a::error::{Error, ErrorKind};
use std::io::{Read, Write};
use std::sync::Arc;

/// The encoding that is taken beside none.
pub(super) const GZIP: &str = "gzip";

/// Smaller answers are not packed, which would cost more than it saves, and do not end with their token.
pub(super) const LARGE: usize = 64 * 1024;

/// Names the encoding of the message in a gRPC request.
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// Whether what a request holds is compressed.
///
/// # Errors
///
/// `ContentTypeNotSupported` for an encoding that is not taken.
pub(super) fn is_packed(headers: &HeaderMap) -> Result<bool, Error> {
    let mut packed = false;
    for name in [header::CONTENT_ENCODING, GRPC_ENCODING] {
        for value in headers.get_all(name) {
            let value = value.to_str().unwrap_or("?").trim().to_ascii_lowercase();
            match value.as_str() {
                "" | "identity" => {}
                GZIP | "x-gzip" if !packed => packed = true,
                _ => {
                    let message = "the body is compressed in a way that is not taken; send it as it is, or with gzip";
                    return Err(Error::new(ErrorKind::ContentTypeNotSupported, message));
                }
            }
        }
    }
    Ok(packed)
}

/// Whether a caller takes answers that are packed.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT_ENCODING).into_iter();
    let mut encodings =
        lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    encodings.any(|encoding| {
        let (name, quality) = encoding.split_once(';').unwrap_or((encoding, ""));
        let quality =
            quality.trim().strip_prefix("q=").and_then(|quality| quality.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case(GZIP) && quality != Some(0.0)
    })
}

impl Doors {
    /// A whole answer of JSON, packed where it is large and its caller takes that.
    pub(super) async fn answer_json(
        &self,
        context: &CallContext,
        body: impl Into<Vec<u8>>,
        room: Room,
    ) -> Response {
        let body = body.into();
        if body.len() < LARGE {
            return json_response(StatusCode::OK, room.hold(body));
        }
        let (body, is_packed) = match takes_gzip(context.headers()) {
            true => self.pack(body).await,
            false => (body, false),
        };
        let mut response = json_response(StatusCode::OK, room.hold(body));
        let headers = response.headers_mut();
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        if is_packed {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(GZIP));
        }
        end_with(context.caller.grant.clone(), response)
    }

    /// The bytes, packed where that goes well.
    async fn pack(&self, bytes: Vec<u8>) -> (Vec<u8>, bool) {
        let bytes = Arc::new(bytes);
        let given = bytes.clone();
        let packed = self.operations.spawn_blocking(move || pack(&given).ok()).await;
        match packed.ok().flatten() {
            Some(packed) => (packed, true),
            None => (Arc::unwrap_or_clone(bytes), false),
        }
    }

    /// Unpacks a body within `limits.body`, in a place of its own where what it holds is not small. It takes a while,
    /// so it is done on a thread that may take it: first it is measured, so that it takes no more room than it needs.
    ///
    /// # Errors
    ///
    /// `TooLarge`, `InvalidRequest`, and `Unavailable` where there is no room.
    pub(super) async fn unpack(
        &self,
        caller: &Arc<str>,
        body: RequestBody,
    ) -> Result<RequestBody, Error> {
        let most = self.config.limits.body;
        let RequestBody { bytes: packed, place } = body;
        let invalid = || Error::new(ErrorKind::InvalidRequest, "the body is no valid gzip");
        let given = packed.clone();
        let size = self.operations.spawn_blocking(move || measure(&given, most.as_usize()));
        let size = size.await.ok().and_then(Result::ok).ok_or_else(invalid)?;
        let size = size.ok_or_else(|| super::too_large(most))?;
        // Two requests that each waited for more would wait for each other.
        drop(place);
        let (mut bytes, mut place) = (Vec::new(), None);
        if size > SMALL_BODY {
            place = Some(self.reserve_body(caller, size + packed.len(), &mut bytes).await?);
        }
        let unpacked = self.operations.spawn_blocking(move || {
            MultiGzDecoder::new(&packed[..]).read_to_end(&mut bytes).map(|_| bytes)
        });
        let bytes = unpacked.await.ok().and_then(Result::ok).ok_or_else(invalid)?;
        Ok(RequestBody { bytes: Bytes::from(bytes), place })
    }
}

fn pack(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// How many bytes these hold; none where that is more than so many.
fn measure(packed: &[u8], most: usize) -> std::io::Result<Option<usize>> {
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let size = std::io::copy(&mut MultiGzDecoder::new(packed).take(limit), &mut std::io::sink())?;
    Ok(usize::try_from(size).ok().filter(|size| *size <= most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_packed_for_those_who_say_that_they_take_it() {
        let takes = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            takes_gzip(&headers)
        };
        assert!(takes("gzip") && takes("br, GZIP;q=0.5") && takes("deflate, gzip"));
        assert!(!takes("identity") && !takes("gzip;q=0") && !takes("xgzip"));
    }

    #[test]
    fn what_unpacks_to_more_than_the_bound_is_not_unpacked() {
        let packed = pack(&vec![b'x'; 1_000_000]).unwrap();
        assert!(packed.len() < 10_000);
        assert_eq!(measure(&packed, 999_999).unwrap(), None);
        assert_eq!(measure(&packed, 1_000_000).unwrap(), Some(1_000_000));
        assert!(measure(&packed[..packed.len() / 2], 1_000_000).is_err());
        assert!(measure(b"no gzip", 100).is_err());
    }
}
