//! The sandbox that an agent's process puts around itself: limits, capabilities, Landlock, system calls.
//!
//! It is composed here, as records that `launcher/wall.rs` applies one after the other. Landlock's words
//! are those of `linux/landlock.h`; which of them exist depends on the version that the kernel tells.

use crate::supervisor::{Confined, Spec};
use std::path::{Path, PathBuf};

/// Version of Landlock whose words are known here; a newer kernel is used like this one.
const KNOWN: u32 = 7;

/// Reading files and folders, and executing.
const READ: u64 = EXECUTE | READ_FILE | READ_DIR;
const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
/// Everything that version 1 knows: these and removing and making.
const VERSION_1: u64 = (1 << 13) - 1;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
/// What a rule on a file that is no folder may name.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;
const BIND_TCP: u64 = 1;
const CONNECT_TCP: u64 = 1 << 1;
const ABSTRACT_SOCKETS_AND_SIGNALS: u64 = 0b11;

/// Records of `launcher/wall.rs`.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
enum Record {
    Limit = 1,
    NoCapabilities = 2,
    Rules = 3,
    Path = 4,
    Port = 5,
    Restrict = 6,
    Filter = 7,
    Listen = 8,
    NoNewPrivileges = 9,
    Group = 10,
    Keep = 11,
    Connect = 12,
    Users = 20,
    Mounts = 21,
    ReadOnly = 22,
    NoNamespaces = 23,
}

/// The records so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Sandbox(Vec<u8>);

/// A path as the agent sees it, and whether it is a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    path: PathBuf,
    folder: bool,
}

/// What Landlock lets through.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    /// Files and folders that may be read and executed.
    pub read: Vec<Place>,
    /// Files and folders that may be changed as well.
    pub write: Vec<Place>,
    /// Devices that may be read and written.
    pub devices: Vec<Place>,
    /// Which ports may be connected to.
    pub ports: Ports,
}

/// Which ports of TCP Landlock lets a process connect to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Ports {
    /// Any, and it may listen as well.
    #[default]
    All,
    /// This one, at every address.
    One(u16),
    /// None.
    None,
}

impl Place {
    /// A folder, wherever the agent will find it.
    pub(super) fn folder(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), folder: true }
    }

    /// A file, wherever the agent will find it.
    pub(super) fn file(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), folder: false }
    }

    /// A path of this machine; none where nothing is there.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let folder = std::fs::metadata(path).ok()?.is_dir();
        Some(Self { path: path.to_owned(), folder })
    }
}

/// What starts outside of every sandbox, and writes no file that is larger than this.
pub fn limit_files(spec: Spec, most: Option<u64>) -> Confined {
    let mut sandbox = Sandbox::default();
    sandbox.file_limit(most);
    Confined { sandbox: sandbox.into_bytes(), ..Confined::from(spec) }
}

impl Sandbox {
    fn record(&mut self, record: Record, payload: &[u8]) -> &mut Self {
        let length = u32::try_from(payload.len()).expect("a record is short");
        self.0.extend((record as u32).to_ne_bytes());
        self.0.extend(length.to_ne_bytes());
        self.0.extend(payload);
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        self
    }

    fn words<const N: usize>(&mut self, record: Record, words: [u64; N]) -> &mut Self {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.record(record, &bytes)
    }

    /// The bytes that go to the supervisor.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The largest file that may be written.
    pub(super) fn file_limit(&mut self, most: Option<u64>) -> &mut Self {
        match most {
            Some(most) => self.words(Record::Limit, [u64::from(libc::RLIMIT_FSIZE), most, most]),
            None => self,
        }
    }

    /// How many descriptors a process may open, and so how many of all processes of its user it may leave in flight.
    /// It comes after what hands descriptors out, which the lower limit would refuse while others have many in flight.
    pub(super) fn descriptor_limit(&mut self, most: u64) -> &mut Self {
        self.words(Record::Limit, [u64::from(libc::RLIMIT_NOFILE), most, most])
    }

    /// No capabilities.
    pub(super) fn no_capabilities(&mut self) -> &mut Self {
        self.record(Record::NoCapabilities, &[])
    }

    /// No capabilities, and the process becomes this user, of the group with the same number.
    pub(super) fn become_user(&mut self, user: u32) -> &mut Self {
        self.words(Record::NoCapabilities, [u64::from(user)])
    }

    /// The same, and it is in this group besides.
    pub(super) fn become_user_in(&mut self, user: u32, group: u32) -> &mut Self {
        self.words(Record::NoCapabilities, [user, group].map(u64::from))
    }

    /// No way to new privileges.
    pub(super) fn no_new_privileges(&mut self) -> &mut Self {
        self.record(Record::NoNewPrivileges, &[])
    }

    /// Enters a user namespace in which these users, inside and outside, are all that there are.
    pub(super) fn users(&mut self, map: &[(u32, u32)]) -> &mut Self {
        let lines: String =
            map.iter().map(|(inside, outside)| format!("{inside} {outside} 1\n")).collect();
        self.record(Record::Users, format!("{lines}\0").as_bytes())
    }

    /// No further user namespace can be made in this one.
    pub(super) fn no_namespaces(&mut self) -> &mut Self {
        self.record(Record::NoNamespaces, &[])
    }

    /// Enters a mount namespace in which these files are read-only, so that their modes stay what they are.
    pub(super) fn read_only(&mut self, files: &[&str]) -> &mut Self {
        self.record(Record::Mounts, &[]);
        for file in files {
            self.record(Record::ReadOnly, &text_of(Path::new(file)));
        }
        self
    }

    /// Joins a control group, by its folder.
    pub(super) fn group(&mut self, folder: &Path) -> &mut Self {
        let path = text_of(&folder.join("cgroup.procs"));
        self.record(Record::Group, &path)
    }

    /// Makes a listener on this port of loopback and hands it out.
    pub(super) fn listen(&mut self, port: u16) -> &mut Self {
        self.words(Record::Listen, [u64::from(port)])
    }

    /// What came along stays open when the program is executed.
    pub(super) fn keep(&mut self) -> &mut Self {
        self.record(Record::Keep, &[])
    }

    /// A filter of system calls: instructions of eight bytes.
    pub(super) fn filter(&mut self, instructions: &[u8]) -> &mut Self {
        self.record(Record::Filter, instructions)
    }

    /// A filter whose notifications go to the supervisor, which connects to this port for the process.
    pub(super) fn connecting_filter(&mut self, port: u16, instructions: &[u8]) -> &mut Self {
        let payload = [&u64::from(port).to_ne_bytes(), instructions].concat();
        self.record(Record::Connect, &payload)
    }

    /// Landlock, as far as this version of it goes; nothing where there is none.
    pub(super) fn landlock(&mut self, version: u32, rules: &Rules) -> &mut Self {
        let version = version.min(KNOWN);
        if version == 0 {
            return self;
        }
        let mut files = VERSION_1;
        for (since, right) in [(2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)] {
            files |= if version >= since { right } else { 0 };
        }
        let ports =
            if rules.ports != Ports::All && version >= 4 { BIND_TCP | CONNECT_TCP } else { 0 };
        match version {
            1..=3 => self.words(Record::Rules, [files]),
            4..=5 => self.words(Record::Rules, [files, ports]),
            _ => self.words(Record::Rules, [files, ports, ABSTRACT_SOCKETS_AND_SIGNALS]),
        };
        let devices = READ_FILE | WRITE_FILE | IOCTL_DEV;
        let lists =
            [(&rules.read, READ & files), (&rules.write, files), (&rules.devices, devices & files)];
        for (paths, access) in lists {
            for place in paths {
                let access = if place.folder { access } else { access & OF_FILES };
                // What has gone since it was looked at is not missed.
                let mut payload = [access, 1].map(u64::to_ne_bytes).concat();
                payload.extend(text_of(&place.path));
                self.record(Record::Path, &payload);
            }
        }
        if let (Ports::One(port), true) = (rules.ports, version >= 4) {
            self.words(Record::Port, [CONNECT_TCP, u64::from(port)]);
        }
        self.record(Record::Restrict, &[])
    }
}

fn text_of(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let mut text = path.as_os_str().as_bytes().to_vec();
    text.push(0);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_its_tag_its_length_and_a_payload_filled_up_to_eight() {
        let mut sandbox = Sandbox::default();
        sandbox.group(Path::new("/g"));
        let bytes = sandbox.into_bytes();
        assert_eq!(bytes[..4], 10u32.to_ne_bytes());
        assert_eq!(bytes[4..8], 16u32.to_ne_bytes());
        assert_eq!(&bytes[8..], b"/g/cgroup.procs\0");
        let mut sandbox = Sandbox::default();
        sandbox.group(Path::new("/gg"));
        assert_eq!(sandbox.into_bytes().len(), 32);
    }

    #[test]
    fn an_old_landlock_is_asked_for_what_it_knows() {
        let of = |version| {
            let mut sandbox = Sandbox::default();
            sandbox.landlock(version, &Rules { ports: Ports::One(1), ..Rules::default() });
            sandbox.into_bytes()
        };
        assert!(of(0).is_empty());
        // The rule set's attribute grows with the version: files, ports, scopes.
        assert_eq!([1, 4, 6, 9].map(|version| of(version)[4]), [8, 16, 24, 24]);
    }
}
