//! `/api/v1/sessions/{id}/files` and `/archive`: what lies in a session's workspace, for its caller alone.

use super::super::answers::AT_HAND;
use super::super::{Doors, json_response};
use super::page::{PageQuery, no_token, render_page};
use super::{Answered, carry_out, failed, find_session, not_there};
use crate::service::Client;
use crate::store::SessionRow;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::stream::try_unfold;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::time::Timestamp;
use pilothouse_sandbox::workspace::{FileEntry, OpenFile, SessionFiles, encode_path};
use serde_json::{Value, json};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a file that are read at a time.
const PIECE: usize = 64 * 1024;

/// `GET /api/v1/sessions/{id}/files`: what is in the workspace, in the order of the paths, a page of it.
pub(in super::super) async fn list(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let most = doors.config.limits.response.as_usize();
    let action = ("ListSessionFiles", most);
    carry_out(&doors, request, action, async move |doors, client, request: Request<Bytes>| {
        let query = PageQuery::read(request.uri().query().unwrap_or_default()).map_err(refused)?;
        let after = query.token.map(|token| BASE64_URL_SAFE_NO_PAD.decode(token));
        let after = after.transpose().map_err(|_| refused(no_token()))?;
        let (session, files) = find(&doors, &client, &id, request.extensions()).await?;
        let most_entries = doors.config.sessions.copy.entries;
        let page = files.list(after, query.size, most_entries).await;
        let page = page.map_err(|error| list_failed(&error))?;
        let entries = page.entries.iter().map(|entry| {
            (render_entry(&session, entry), BASE64_URL_SAFE_NO_PAD.encode(&entry.path))
        });
        let bounds = (query.size, page.total, most);
        let body = render_page("files", entries, page.has_more, bounds);
        Ok(json_response(StatusCode::OK, body))
    })
    .await
}

/// `GET /api/v1/sessions/{id}/files/{path}`: one file, or a range of it.
pub(in super::super) async fn read(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let action = ("GetSessionFile", AT_HAND);
    carry_out(&doors, request, action, async move |doors, client, request: Request<Bytes>| {
        let (id, path) = read_address(&request).map_err(refused)?;
        let (_, files) = find(&doors, &client, &id, request.extensions()).await?;
        let shown = String::from_utf8_lossy(&path).into_owned();
        let file = files.read(path.clone()).await.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => {
                refused(Error::invalid("path", format!("`{shown}` is no regular file")))
            }
            _ => Box::new(not_there(&format!("no file `{shown}` in the workspace of the session"))),
        })?;
        answer_file(&doors, &client, request.headers(), &path, file)
    })
    .await
}

/// `GET /api/v1/sessions/{id}/archive`: the whole workspace as a tar archive.
pub(in super::super) async fn archive(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let action = ("GetSessionArchive", AT_HAND);
    carry_out(&doors, request, action, async move |doors, client, request: Request<Bytes>| {
        let (session, files) = find(&doors, &client, &id, request.extensions()).await?;
        let limits = doors.agents.folders_of(&session.scope.agent).copy_limits();
        let archive = files.archive(limits).map_err(|error| list_failed(&error))?;
        let name = format!("{}.tar", session.id);
        let caller = client.caller.name.clone();
        let body = Body::from_stream(try_unfold(archive, move |archive| {
            let (doors, caller, id) = (doors.clone(), caller.clone(), session.id.clone());
            async move {
                let room = doors.answers.reserve_piece(&caller, 3 * PIECE).await;
                let room = room.map_err(|error| io::Error::other(error.message))?;
                let next = archive.next().await.inspect_err(|error| {
                    tracing::warn!(session.id = %id, "the archive of a session broke off: {error}");
                });
                Ok::<_, io::Error>(next?.map(|(piece, rest)| (room.hold(piece), rest)))
            }
        }));
        Ok(attachment(StatusCode::OK, body, "application/x-tar", name.as_bytes()))
    })
    .await
}

fn refused(error: Error) -> Box<Response> {
    Box::new(failed(&error))
}

fn list_failed(error: &io::Error) -> Box<Response> {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::FileTooLarge => ErrorKind::UnsupportedOperation,
        _ => ErrorKind::Internal,
    };
    let hint = match kind {
        ErrorKind::UnsupportedOperation => {
            "; read files by their paths, or have the server's operator raise `sessions.copy.entries`"
        }
        _ => "",
    };
    refused(Error::new(kind, format!("the workspace of the session cannot be read: {error}{hint}")))
}

/// The caller's session of this id or context, and its files.
pub(in super::super) async fn find(
    doors: &Doors,
    client: &Client,
    id: &str,
    extensions: &Extensions,
) -> Result<(SessionRow, SessionFiles), Box<Response>> {
    let session = find_session(doors, client, id, extensions).await?;
    let files = doors.agents.folders_of(&session.scope.agent).files(&session.id).await;
    Ok((session, files.map_err(|error| list_failed(&error))?))
}

fn render_entry(session: &SessionRow, entry: &FileEntry) -> Value {
    let path = encode_path(&entry.path);
    json!({
        "path": String::from_utf8_lossy(&entry.path),
        "address": format!("/api/v1/sessions/{}/files/{path}", session.id),
        "kind": entry.kind.as_str(),
        "bytes": entry.bytes,
        "modified": Timestamp::from_millisecond(entry.modified.saturating_mul(1000)),
    })
}

/// The id, and the path below it, of an address like `/api/v1/sessions/ID/files/PATH`. Read from the address as it
/// came: a name may have bytes that are no text.
pub(super) fn read_address<B>(request: &Request<B>) -> Result<(String, Vec<u8>), Error> {
    let mut names = request.uri().path().splitn(7, '/').skip(4);
    let id = percent_decode_str(names.next().unwrap_or_default()).decode_utf8_lossy();
    Ok((id.into_owned(), decode_path(names.nth(1).unwrap_or_default())?))
}

/// The bytes of a path of an address: no name in it leads upwards, and `%2F` is no way to write two names as one.
fn decode_path(encoded: &str) -> Result<Vec<u8>, Error> {
    let names = encoded.split('/').map(|name| {
        let name: Vec<u8> = percent_decode_str(name).collect();
        let is_one = !name.is_empty() && name != b"." && name != b"..";
        (is_one && !name.iter().any(|byte| matches!(byte, b'/' | 0))).then_some(name)
    });
    let names: Option<Vec<_>> = names.collect();
    names.map(|names| names.join(&b'/')).ok_or_else(|| {
        Error::invalid("path", "must be names between slashes, without `.` and `..`")
    })
}

fn answer_file(
    doors: &Arc<Doors>,
    client: &Client,
    headers: &HeaderMap,
    path: &[u8],
    file: OpenFile,
) -> Answered {
    let whole = file.bytes;
    let asked = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let range = match asked.map_or(Asked::Whole, |text| read_range(text, whole)) {
        Asked::Whole => None,
        Asked::Part(range) => Some(range),
        Asked::Nothing => {
            let mut response = failed(&Error::invalid("Range", "is behind the end of the file"));
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            set(&mut response, header::CONTENT_RANGE, &format!("bytes */{whole}"));
            return Err(Box::new(response));
        }
    };
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let Range { start, end } = range.clone().unwrap_or(0..whole);
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let body = file_body(doors.clone(), client.caller.name.clone(), file, start..end);
    let mut response = attachment(status, body, "application/octet-stream", name);
    set(&mut response, header::CONTENT_LENGTH, &(end - start).to_string());
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    if range.is_some() {
        let said = format!("bytes {start}-{}/{whole}", end - 1);
        set(&mut response, header::CONTENT_RANGE, &said);
    }
    Ok(response)
}

/// The bytes of a file as they are read. Where that fails, or the file has become shorter, the body breaks off.
fn file_body(doors: Arc<Doors>, caller: Arc<str>, file: OpenFile, range: Range<u64>) -> Body {
    let file = Arc::new(file);
    Body::from_stream(try_unfold(range, move |left| {
        let (doors, caller, file) = (doors.clone(), caller.clone(), file.clone());
        async move {
            let wanted = usize::try_from(left.end - left.start).unwrap_or(PIECE).min(PIECE);
            if wanted == 0 {
                return Ok(None);
            }
            let room = doors.answers.reserve_piece(&caller, PIECE).await;
            let room = room.map_err(|error| io::Error::other(error.message))?;
            let piece = file.piece(left.start, wanted).await?;
            if piece.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            let start = left.start + piece.len() as u64;
            Ok(Some((room.hold(piece), start..left.end)))
        }
    }))
}

/// A file that no browser shows as a page of this server's.
pub(super) fn attachment(
    status: StatusCode,
    body: Body,
    kind: &'static str,
    name: &[u8],
) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_TYPE, kind);
    set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    let name = percent_encode(name, NON_ALPHANUMERIC);
    let disposition = format!("attachment; filename*=UTF-8''{name}");
    set(&mut response, header::CONTENT_DISPOSITION, &disposition);
    response
}

fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// All of it: also where the header asks for several parts, or is none.
    Whole,
    Part(Range<u64>),
    /// Nothing that is there.
    Nothing,
}

fn read_range(text: &str, whole: u64) -> Asked {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|part| part.split_once('-'))
    else {
        return Asked::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..whole.min(last.saturating_add(1)),
        (Some(first), None) if last.trim().is_empty() => first..whole,
        (None, Some(length)) if first.trim().is_empty() => whole.saturating_sub(length)..whole,
        _ => return Asked::Whole,
    };
    if range.start < range.end { Asked::Part(range) } else { Asked::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_part_of_the_file_or_nothing_and_what_is_no_range_is_the_whole() {
        assert_eq!(read_range("bytes=0-3", 10), Asked::Part(0..4));
        assert_eq!(read_range("bytes=8-99", 10), Asked::Part(8..10));
        assert_eq!(read_range("bytes=8-", 10), Asked::Part(8..10));
        assert_eq!(read_range("bytes=-3", 10), Asked::Part(7..10));
        assert_eq!(read_range("bytes=-30", 10), Asked::Part(0..10));
        for nothing in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
            assert_eq!(read_range(nothing, 10), Asked::Nothing, "{nothing}");
        }
        assert_eq!(read_range("bytes=0-0", 0), Asked::Nothing);
        for whole in ["bytes=3-1", "bytes=0-1,4-5", "bytes=-", "bytes=x-y", "lines=0-1", ""] {
            assert_eq!(read_range(whole, 10), Asked::Whole, "{whole}");
        }
    }

    #[test]
    fn a_path_of_an_address_is_names_of_any_bytes_and_never_leads_upwards() {
        assert_eq!(decode_path("a/b%20c%0A%FF").unwrap(), b"a/b c\n\xff");
        for wrong in ["", "a//b", "../x", "a/%2e%2E/x", "a%2F..%2Fb", "/etc/passwd", "a/.", "a%00"]
        {
            assert!(decode_path(wrong).is_err(), "{wrong}");
        }
    }
}
