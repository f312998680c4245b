//! The operator's collector, over HTTP or gRPC: it sends nobody elsewhere, and its answers are bounded.
//!
//! A call of gRPC is a request of HTTP/2 whose message stands behind five bytes. One that fails is answered without a
//! message, so its trailers need not be read.

use crate::config::OtlpTarget;
use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, TE};
use std::io::Write;
use std::pin::Pin;
use std::time::Duration;

/// Bytes of the collector's answer that are read: it says nothing that we need.
const ANSWER_BYTES: usize = 64 * 1024;

/// Bytes before a message of gRPC: whether it is compressed, and its length.
const FRAME: usize = 5;

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// The way to who takes one kind of telemetry. Clones share its connections.
#[derive(Debug, Clone)]
pub(super) struct Collector {
    client: reqwest::Client,
    is_grpc: bool,
    timeout: Duration,
}

impl Collector {
    pub(super) fn new(target: &OtlpTarget) -> reqwest::Result<Self> {
        let mut client = reqwest::Client::builder()
            .timeout(target.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("pilothouse/", env!("CARGO_PKG_VERSION")));
        if target.is_grpc {
            client = client.http2_prior_knowledge();
        }
        Ok(Self { client: client.build()?, is_grpc: target.is_grpc, timeout: target.timeout })
    }

    /// Whether it can speak to this target as well.
    pub(super) fn suits(&self, target: &OtlpTarget) -> bool {
        (self.is_grpc, self.timeout) == (target.is_grpc, target.timeout)
    }

    /// Sends one message of OTLP, once.
    ///
    /// # Errors
    ///
    /// Why it was not taken, without the address.
    pub(super) async fn post(&self, target: &OtlpTarget, message: Vec<u8>) -> Result<(), String> {
        let mut request =
            Request::post(&target.endpoint).header(CONTENT_TYPE, "application/x-protobuf");
        for (name, value) in &target.headers {
            request = request.header(name, value);
        }
        let mut body = message;
        if target.gzip {
            request = request.header(CONTENT_ENCODING, "gzip");
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            let packed = packed.write_all(&body).and_then(|()| packed.finish());
            body = packed.map_err(|error| error.to_string())?;
        }
        let request = request.body(body.into()).map_err(|error| error.to_string())?;
        let answer = self.exchange(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(format!("it answers {status}")) }
    }

    /// Sends a request as the protocol wants it, and reads the answer.
    async fn exchange(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        if self.is_grpc {
            frame(&mut request);
        }
        let sent = self.client.execute(request.try_into()?).await;
        let mut answer = sent.map_err(reqwest::Error::without_url)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
            if body.len() + chunk.len() > ANSWER_BYTES {
                // What it says beyond that changes nothing.
                break;
            }
            body.extend_from_slice(&chunk);
        }
        if self.is_grpc {
            if body.len() < FRAME {
                let status = answer.headers().get("grpc-status");
                let status = status.and_then(|status| status.to_str().ok()).unwrap_or("unknown");
                return Err(format!("it answers with the status {status} of gRPC").into());
            }
            body.drain(..FRAME);
        }
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = answer.status();
        if let Some(after) = answer.headers().get(RETRY_AFTER) {
            response.headers_mut().insert(RETRY_AFTER, after.clone());
        }
        Ok(response)
    }
}

/// Makes a call of gRPC of a request with a message.
fn frame(request: &mut Request<Bytes>) {
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    let encoding = headers.remove(CONTENT_ENCODING);
    let is_packed = encoding.is_some();
    headers.extend(encoding.map(|encoding| (GRPC_ENCODING, encoding)));
    let message = std::mem::take(request.body_mut());
    let mut framed = BytesMut::with_capacity(FRAME + message.len());
    framed.put_u8(is_packed.into());
    // A batch is far below four gigabytes.
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put(message);
    *request.body_mut() = framed.freeze();
}

impl HttpClient for Collector {
    fn send_bytes<'life, 'future>(
        &'life self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'future>>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(self.exchange(request))
    }
}
