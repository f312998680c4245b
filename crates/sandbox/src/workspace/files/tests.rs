//! Tests of `files`: an agent's tricks, and the archive as other programs read it.

use super::*;
use crate::workspace::CopyLimits;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// A workspace beside a folder of the host that has a secret.
struct TestFolder {
    root: tempfile::TempDir,
}

impl TestFolder {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("work")).unwrap();
        fs::write(root.path().join("secret"), "of the host").unwrap();
        Self { root }
    }

    fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    fn files(&self) -> SessionFiles {
        SessionFiles::open(&self.work(), true).unwrap()
    }
}

fn read(files: &SessionFiles, path: &[u8]) -> io::Result<Vec<u8>> {
    files.open_file(path)?.read_up_to(1 << 20)
}

async fn archived(files: &SessionFiles, most: CopyLimits) -> io::Result<Vec<u8>> {
    let (mut archive, mut all) = (files.archive(most)?, Vec::new());
    while let Some((piece, rest)) = archive.next().await? {
        all.extend(piece);
        archive = rest;
    }
    Ok(all)
}

const MOST: CopyLimits = CopyLimits { entries: 100, size: 1 << 20, depth: 100 };

#[test]
fn no_path_leaves_the_workspace() {
    let place = TestFolder::new();
    symlink("../secret", place.work().join("link")).unwrap();
    symlink("..", place.work().join("up")).unwrap();
    fs::create_dir(place.work().join("folder")).unwrap();
    fs::write(place.work().join("folder/file"), "mine").unwrap();
    let files = place.files();
    assert_eq!(read(&files, b"folder/file").unwrap(), b"mine");
    let (missing, wrong) = (io::ErrorKind::NotFound, io::ErrorKind::InvalidInput);
    let cases: [(&[u8], _); 12] = [
        (b"link", missing),
        (b"up/secret", missing),
        (b"folder/file/more", missing),
        (b"nothing", missing),
        (b"../secret", wrong),
        (b"folder/../../secret", wrong),
        (b"/etc/passwd", wrong),
        (b"./folder/file", wrong),
        (b"folder//file", wrong),
        (b"folder", wrong),
        (b"", wrong),
        (b"a\0b", wrong),
    ];
    for (path, kind) in cases {
        let error = read(&files, path).unwrap_err();
        assert_eq!(error.kind(), kind, "{}", path.escape_ascii());
    }
}

#[test]
fn a_file_that_becomes_a_link_after_the_folder_was_opened_is_not_followed() {
    let place = TestFolder::new();
    fs::write(place.work().join("file"), "mine").unwrap();
    let files = place.files();
    let before = files.open_file(b"file").unwrap();
    fs::remove_file(place.work().join("file")).unwrap();
    symlink("../secret", place.work().join("file")).unwrap();
    assert_eq!(read(&files, b"file").unwrap_err().kind(), io::ErrorKind::NotFound);
    // Who has it open reads what it was.
    assert_eq!(before.read_up_to(100).unwrap(), b"mine");
    // The whole workspace as another one: the open one stays the one that is read.
    fs::rename(place.work(), place.root.path().join("moved")).unwrap();
    symlink("/", place.work()).unwrap();
    assert_eq!(read(&files, b"etc/passwd").unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(SessionFiles::open(&place.work(), true).is_err());
}

#[tokio::test]
async fn a_pipe_and_a_socket_are_listed_and_not_opened() {
    let place = TestFolder::new();
    let pipe = place.work().join("pipe");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.work().join("socket")).unwrap();
    let files = place.files();
    for path in [b"pipe".as_slice(), b"socket"] {
        assert_eq!(read(&files, path).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    let page = files.list(None, 10, 10).await.unwrap();
    assert!(page.entries.iter().all(|entry| entry.kind == EntryKind::Special));
    assert_eq!((page.entries.len(), page.total, page.has_more), (2, 2, false));
}

#[tokio::test]
async fn a_list_has_pages_in_the_order_of_its_paths_and_is_bounded() {
    let place = TestFolder::new();
    fs::create_dir_all(place.work().join("b/c")).unwrap();
    fs::create_dir_all(place.work().join("sub/.git")).unwrap();
    fs::write(place.work().join("sub/.git/config"), "").unwrap();
    let odd = OsStr::from_bytes(b"a\n\xff");
    fs::write(place.work().join(odd), "12345").unwrap();
    fs::write(place.work().join("b/c/d"), "1").unwrap();
    symlink("/etc/passwd", place.work().join("z")).unwrap();
    let files = place.files();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = files.list(after, 2, 100).await.unwrap();
        assert_eq!(page.total, 6);
        after = page.entries.last().map(|entry| entry.path.clone());
        seen.extend(page.entries);
        if !page.has_more {
            break;
        }
    }
    let seen: Vec<_> = seen
        .iter()
        .map(|entry| (entry.path.as_slice(), entry.kind.as_str(), entry.bytes))
        .collect();
    let expected: [(&[u8], _, _); 6] = [
        (b"a\n\xff", "file", 5),
        (b"b", "folder", 0),
        (b"b/c", "folder", 0),
        (b"b/c/d", "file", 1),
        (b"sub", "folder", 0),
        (b"z", "link", 0),
    ];
    assert_eq!(seen, expected);
    let error = files.list(None, 2, 5).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    assert_eq!(read(&files, b"a\n\xff").unwrap(), b"12345");
}

#[tokio::test]
async fn an_archive_has_all_files_as_they_are_and_links_as_links() {
    let place = TestFolder::new();
    let long = format!("{}/{}", "f".repeat(150), "g".repeat(150));
    fs::create_dir(place.work().join("f".repeat(150))).unwrap();
    fs::write(place.work().join(&long), vec![7; 200_000]).unwrap();
    let odd = OsStr::from_bytes(b"a\n\xff");
    fs::write(place.work().join(odd), "12345").unwrap();
    fs::write(place.work().join("empty"), "").unwrap();
    symlink("/etc/passwd", place.work().join("link")).unwrap();
    let bytes = archived(&place.files(), MOST).await.unwrap();
    let mut seen = BTreeMap::new();
    for entry in tar::Archive::new(&*bytes).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut contents = Vec::new();
        io::Read::read_to_end(&mut entry, &mut contents).unwrap();
        let link = entry.link_name_bytes().map(|name| name.into_owned());
        seen.insert(entry.path_bytes().into_owned(), (contents, link));
    }
    assert_eq!(seen.len(), 5);
    assert_eq!(seen[long.as_bytes()].0, vec![7; 200_000]);
    assert_eq!(seen[b"a\n\xff".as_slice()].0, b"12345");
    assert_eq!(seen[b"empty".as_slice()].0, b"");
    assert_eq!(seen[b"link".as_slice()], (Vec::new(), Some(b"/etc/passwd".to_vec())));
    // Its end is that of an archive.
    assert!(bytes.ends_with(&[0; 1024]) && bytes.len() % 512 == 0);
}

#[tokio::test]
async fn an_archive_beyond_its_bounds_breaks_off_and_names_the_key() {
    let place = place_of(&["a", "b", "c"]);
    let refusal = async |most| archived(&place.files(), most).await.unwrap_err().to_string();
    let few = CopyLimits { entries: 2, ..MOST };
    assert!(refusal(few).await.contains("sessions.copy.entries"));
    assert!(refusal(CopyLimits { size: 2999, ..MOST }).await.contains("sessions.copy.size"));
}

fn place_of(names: &[&str]) -> TestFolder {
    let place = TestFolder::new();
    for name in names {
        fs::write(place.work().join(name), [0; 1000]).unwrap();
    }
    place
}

#[test]
fn a_file_that_has_become_shorter_is_filled_up_in_the_archive() {
    let place = place_of(&["file"]);
    let mut archive = place.files().archive(MOST).unwrap();
    let kind = archive.paths.next().unwrap();
    let mut piece = Vec::new();
    archive.add_entry(kind, &mut piece).unwrap();
    fs::write(place.work().join("file"), [1; 10]).unwrap();
    archive.add_contents(&mut piece).unwrap();
    assert_eq!(piece.len(), 512 + 1024);
    assert_eq!(&piece[512..524], [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0]);
}

#[tokio::test]
async fn a_look_tells_a_change_from_none_and_knows_the_large_files() {
    let place = place_of(&["file"]);
    fs::create_dir_all(place.work().join("sub/.git")).unwrap();
    let files = place.files();
    let look = async || files.look(LookBounds { entries: 100, large: 1000 }).await.unwrap();
    let first = look().await;
    assert!(!first.is_empty() && !first.is_cut && first.large.is_empty());
    // What a folder has for a moment leaves it as it was, and so does what is not the agent's.
    fs::write(place.work().join("sub/passing"), "").unwrap();
    fs::remove_file(place.work().join("sub/passing")).unwrap();
    fs::write(place.work().join("sub/.git/index"), "1").unwrap();
    fs::create_dir(place.work().join(".a2a")).unwrap();
    fs::write(place.work().join(".a2a/of-the-caller"), "1").unwrap();
    assert_eq!(look().await, first);
    fs::write(place.work().join("sub/large"), [0; 1001]).unwrap();
    let second = look().await;
    assert_ne!(second, first);
    assert_eq!(second.large, [b"sub/large".to_vec()]);
    let few = files.look(LookBounds { entries: 2, large: 1000 }).await.unwrap();
    assert!(few.is_cut && !few.is_empty());
}
