//! v0.3 as protobuf JSON of `a2a.v1`: what the SDKs of v0.3 send over HTTP.

pub(super) mod read;
pub(super) mod request;
