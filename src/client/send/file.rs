//! A file that is sent.

use crate::client::failure::Failure;
use pilothouse_a2a::message::Part;
use std::io::Read;
use std::path::Path;

/// The largest file that is read; servers take less.
pub(super) const MAX_FILE: u64 = 64 << 20;

pub(super) fn file_part(path: &Path) -> Result<Part, Failure> {
    let refused = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("cannot send {}: {why}", path.display()))
    };
    // A person may name a pipe, of which nobody knows how much will come.
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| refused(&error))?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| refused(&error))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(refused(&format!("it is larger than {} MiB", MAX_FILE >> 20)));
    }
    let media_type = media_type(path, &bytes);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Part::raw(bytes).named(name).typed(media_type))
}

/// The media type by the file's extension; what is not known is text where it reads as text.
fn media_type(path: &Path, bytes: &[u8]) -> &'static str {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    match extension.as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "pdf" => "application/pdf",
        "json" => "application/json",
        "md" | "markdown" => "text/markdown",
        "html" | "htm" => "text/html",
        "csv" => "text/csv",
        "diff" | "patch" => "text/x-diff",
        _ if std::str::from_utf8(bytes).is_ok() => "text/plain",
        _ => "application/octet-stream",
    }
}
