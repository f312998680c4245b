//! Bodies and messages that come compressed with gzip: how they are recognised, and unpacked within a bound.

use super::Doors;
use axum::http::{HeaderMap, HeaderName, header};
use flate2::read::MultiGzDecoder;
use pilothouse_a2a::error::{Error, ErrorKind};
use std::io::Read;

/// The encoding that is taken beside none.
pub(super) const GZIP: &str = "gzip";

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

impl Doors {
    /// Unpacks bytes, within `limits.body`. It takes a while, so it is done on a thread that may take it.
    ///
    /// # Errors
    ///
    /// `TooLarge` and `InvalidRequest`.
    pub(super) async fn unpack(&self, bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
        let most = self.config.limits.body;
        let unpacked = self.operations.spawn_blocking(move || unpack(&bytes, most.as_usize()));
        match unpacked.await {
            Ok(Ok(Some(unpacked))) => Ok(unpacked),
            Ok(Ok(None)) => Err(super::too_large(most)),
            Ok(Err(_)) | Err(_) => {
                Err(Error::new(ErrorKind::InvalidRequest, "the body is no valid gzip"))
            }
        }
    }
}

/// What the bytes hold; none where that is more than so many bytes.
fn unpack(bytes: &[u8], most: usize) -> std::io::Result<Option<Vec<u8>>> {
    let mut unpacked = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(bytes).take(limit).read_to_end(&mut unpacked)?;
    Ok((unpacked.len() <= most).then_some(unpacked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_unpacks_to_more_than_the_bound_is_not_unpacked_further() {
        let packed = pack(&vec![b'x'; 1_000_000]);
        assert!(packed.len() < 10_000);
        assert_eq!(unpack(&packed, 999_999).unwrap(), None);
        assert_eq!(unpack(&packed, 1_000_000).unwrap().unwrap().len(), 1_000_000);
        assert!(unpack(&packed[..packed.len() / 2], 1_000_000).is_err());
        assert!(unpack(b"no gzip", 100).is_err());
    }
}
