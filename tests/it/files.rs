//! The files of a session by their addresses, for its caller alone, whatever the agent has made of its workspace.

use crate::cli_asks::{pilothouse, url};
use crate::http::Reply;
use crate::reading::{answer, message_in, text_of};
use crate::world::{BOB, OWNER, World};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// An answer to the caller with this token.
fn get_as(world: &World, token: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    let bearer = format!("Bearer {token}");
    let headers = [&[("Authorization", bearer.as_str())], headers].concat();
    world.ask("GET", path, &headers, b"").whole()
}

fn get(world: &World, path: &str) -> Reply {
    get_as(world, OWNER, path, &[])
}

/// A session named `s` in which the agent has written `a.txt`, and its folder.
fn written() -> (World, PathBuf) {
    let world = World::start();
    world.send(message_in("s", "write sub/a.txt 0123456789"));
    let folder = PathBuf::from(answer(&world.send(message_in("s", "pwd"))));
    (world, folder)
}

const FILES: &str = "/api/v1/sessions/s/files";

#[test]
fn a_file_is_read_whole_or_in_part_by_its_caller_and_by_nobody_else() {
    let (world, folder) = written();
    let path = format!("{FILES}/sub/a.txt");
    let whole = get(&world, &path);
    assert_eq!((whole.status, whole.text().as_str()), (200, "0123456789"));
    assert_eq!(whole.header("content-length"), Some("10"));
    assert_eq!(whole.header("x-content-type-options"), Some("nosniff"));
    assert!(whole.header("content-disposition").unwrap().starts_with("attachment"));
    let part = get_as(&world, OWNER, &path, &[("Range", "bytes=2-4")]);
    assert_eq!((part.status, part.text().as_str()), (206, "234"));
    assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
    let behind = get_as(&world, OWNER, &path, &[("Range", "bytes=10-")]);
    assert_eq!((behind.status, behind.header("content-range")), (416, Some("bytes */10")));
    // Larger than one piece.
    fs::write(folder.join("large"), vec![b'x'; 300_000]).unwrap();
    assert_eq!(get(&world, &format!("{FILES}/large")).body.len(), 300_000);
    for path in [path.as_str(), FILES, "/api/v1/sessions/s/archive"] {
        assert_eq!(get_as(&world, BOB, path, &[]).status, 404, "{path}");
        assert_eq!(world.get(path, &[]).status, 401, "{path}");
    }
}

#[test]
fn no_address_leads_out_of_the_workspace() {
    let (world, folder) = written();
    let secret = world.path("secret");
    fs::write(&secret, "of the host").unwrap();
    symlink(&secret, folder.join("link")).unwrap();
    symlink(world.path(""), folder.join("up")).unwrap();
    for (path, status) in [
        ("link", 404),
        ("up/secret", 404),
        ("../secret", 400),
        ("%2e%2e/secret", 400),
        ("sub%2F..%2F..%2Fsecret", 400),
        ("//etc/passwd", 400),
        ("sub", 400),
        ("nothing", 404),
    ] {
        let reply = get(&world, &format!("{FILES}/{path}"));
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
        assert!(!reply.text().contains("of the host"), "{path}");
    }
    // In the archive a link is a link.
    let archive = get(&world, "/api/v1/sessions/s/archive").body;
    assert!(!archive.windows(11).any(|bytes| bytes == b"of the host"));
    // A workspace that is gone is no error of the server's.
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(get(&world, FILES).status, 404);
    assert_eq!(get(&world, &format!("{FILES}/sub/a.txt")).status, 404);
}

#[test]
fn names_of_any_bytes_are_listed_with_addresses_that_lead_to_them() {
    use std::os::unix::ffi::OsStrExt;
    let (world, folder) = written();
    let odd = std::ffi::OsStr::from_bytes(b"a\n%\xff");
    fs::write(folder.join(odd), "odd").unwrap();
    let mut seen = Vec::new();
    let mut path = format!("{FILES}?pageSize=1");
    loop {
        let page = get(&world, &path).json();
        assert_eq!(page["totalSize"], 3, "{page}");
        seen.extend(page["files"].as_array().unwrap().clone());
        let next = text_of(&page, "nextPageToken");
        if next.is_empty() {
            break;
        }
        path = format!("{FILES}?pageSize=1&pageToken={next}");
    }
    let kinds: Vec<_> = seen.iter().map(|file| text_of(file, "kind")).collect();
    assert_eq!(kinds, ["file", "folder", "file"]);
    assert!(text_of(&seen[0], "address").ends_with("/files/a%0A%25%FF"), "{}", seen[0]);
    assert_eq!(get(&world, text_of(&seen[0], "address")).text(), "odd");
    assert_eq!(get(&world, text_of(&seen[2], "address")).text(), "0123456789");
    assert_eq!(get(&world, &format!("{FILES}?pageToken=%21")).status, 400);
}

#[test]
fn the_command_line_lists_reads_and_archives_the_files_of_a_session() {
    let (world, folder) = written();
    fs::write(folder.join("two words"), "second").unwrap();
    let address = url(world.address());
    let listed = pilothouse(&address, &["sessions", "files", "s"]);
    assert!(listed.out.contains("sub/a.txt") && listed.out.contains("two words"), "{}", listed.out);
    let read = pilothouse(&address, &["sessions", "get", "s", "two words"]);
    assert_eq!((read.code, read.out.as_str()), (Some(0), "second"), "{}", read.err);
    let missing = pilothouse(&address, &["sessions", "get", "s", "../x"]);
    assert_ne!(missing.code, Some(0));
    let to = world.path("out.tar");
    let archived =
        pilothouse(&address, &["sessions", "archive", "last", "-o", to.to_str().unwrap()]);
    assert_eq!(archived.code, Some(0), "{}", archived.err);
    assert_eq!(unpacked(&to), ["sub", "sub/a.txt", "two words"]);
}

/// The names in an archive, as another program reads them.
fn unpacked(archive: &Path) -> Vec<String> {
    let output = std::process::Command::new("tar").arg("-tf").arg(archive).output().unwrap();
    assert!(output.status.success());
    let mut names: Vec<_> =
        String::from_utf8(output.stdout).unwrap().lines().map(ToOwned::to_owned).collect();
    names.sort_unstable();
    names
}
