//! What a session may push: its own branch, and nothing else.
//!
//! A push is one request that begins with its commands, a line for each ref (gitprotocol-pack, "Reference Update
//! Request"). They are read and judged before a byte of it goes on. What is refused is answered as a server of git
//! answers, so that git says to its user which ref was refused and why.

use super::git::steps_of;
use super::upstream::{Body, ProxyResponse};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

/// Bytes of all commands of one push.
const MOST: usize = 64 * 1024;

/// What a session may push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushRule {
    repository: PushTarget,
    /// The ref of its branch.
    own: String,
}

/// Where a session may push to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PushTarget {
    /// Any repository of the routes: its own is not at an address of https.
    Any,
    /// Its own, by host and steps of the path.
    Own(String, Vec<String>),
    /// None: its address cannot be compared with others.
    Nowhere,
}

/// What a push wants, as far as it has come.
#[derive(Debug, PartialEq, Eq)]
enum Commands {
    /// There is more of it.
    More,
    /// These refs.
    Whole { refs: Vec<String>, capabilities: String },
    /// It is no push that can be read.
    Unreadable,
}

/// A push that was judged.
pub(super) enum Judged {
    /// It goes on, with this body.
    Passed(Body),
    /// It is answered with this.
    Refused(Box<ProxyResponse>),
}

impl PushRule {
    /// To this branch, where the address is one of https in this repository alone.
    pub fn new(url: &str, branch: &str) -> Self {
        let is_https =
            url.split_once(':').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("https"));
        let repository = match steps_of(url) {
            Some((host, steps)) => PushTarget::Own(host, steps),
            None if is_https => PushTarget::Nowhere,
            None => PushTarget::Any,
        };
        Self { repository, own: format!("refs/heads/{branch}") }
    }

    /// Whether something may be pushed to this repository.
    pub(super) fn permits(&self, host: &str, steps: &[String]) -> bool {
        match &self.repository {
            PushTarget::Any => true,
            PushTarget::Own(own_host, own) => {
                own_host.eq_ignore_ascii_case(host) && own.as_slice() == steps
            }
            PushTarget::Nowhere => false,
        }
    }

    /// Why another repository is refused.
    pub(super) fn describe_refusal(&self) -> String {
        "this session may push to the repository that it is a clone of, and there to its own branch"
            .to_owned()
    }

    /// Reads the commands of a push and judges them.
    pub(super) async fn judge(&self, mut body: Incoming) -> Judged {
        let mut head = BytesMut::new();
        let (refs, capabilities) = loop {
            match read_commands(&head) {
                Commands::Whole { refs, capabilities } => break (refs, capabilities),
                Commands::More if head.len() <= MOST => {}
                Commands::More | Commands::Unreadable => {
                    break (Vec::new(), "unreadable".to_owned());
                }
            }
            match body.frame().await {
                Some(Ok(frame)) => head.extend(frame.into_data().unwrap_or_default()),
                Some(Err(_)) | None => break (Vec::new(), "unreadable".to_owned()),
            }
        };
        let is_own = refs.iter().all(|name| *name == self.own);
        if capabilities != "unreadable" && is_own && !has_options(&capabilities) {
            return Judged::Passed(join(head.freeze(), body));
        }
        // Git reads no answer before it has sent all.
        while let Some(Ok(_)) = body.frame().await {}
        Judged::Refused(Box::new(self.refuse(&refs, &capabilities)))
    }

    /// The answer of a server that took nothing.
    fn refuse(&self, refs: &[String], capabilities: &str) -> ProxyResponse {
        let mut report = line("unpack ok\n");
        for name in refs {
            let why = match *name == self.own {
                true if has_options(capabilities) => {
                    "this session may not push with options (`-o`, `push.pushOption`)"
                }
                true => "not pushed, because another ref was refused",
                false => &format!("this session may push to {} alone", self.own),
            };
            report += &line(&format!("ng {name} {why}\n"));
        }
        report += "0000";
        if capabilities.split(' ').any(|one| one == "side-band-64k") {
            report = line(&format!("\u{1}{report}")) + "0000";
        }
        let mut answer = Response::new(full(report));
        if refs.is_empty() {
            *answer.status_mut() = StatusCode::FORBIDDEN;
        }
        let kind = HeaderValue::from_static("application/x-git-receive-pack-result");
        answer.headers_mut().insert(CONTENT_TYPE, kind);
        answer
    }
}

/// Whether a push comes with options. A server may do anything at them, as to merge or to set variables of a pipeline.
fn has_options(capabilities: &str) -> bool {
    capabilities.split_ascii_whitespace().any(|word| word.starts_with("push-options"))
}

/// What was read already, and the rest as it comes.
fn join(head: Bytes, rest: Incoming) -> Body {
    let first = futures_util::stream::iter([Ok(Frame::data(head))]);
    let rest = http_body_util::BodyStream::new(rest);
    let both = futures_util::StreamExt::chain(first, rest);
    StreamBody::new(both).map_err(Into::into).boxed_unsync()
}

fn full(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}

/// A line of git's protocol.
fn line(text: &str) -> String {
    format!("{:04x}{text}", text.len() + 4)
}

/// Reads the commands at the beginning of a push. One without any asks only whether it may.
fn read_commands(mut bytes: &[u8]) -> Commands {
    let (mut refs, mut capabilities) = (Vec::new(), String::new());
    loop {
        let Some((length, _)) = bytes.split_at_checked(4) else { return Commands::More };
        let length = std::str::from_utf8(length).ok();
        let length = length.and_then(|length| usize::from_str_radix(length, 16).ok());
        match length {
            Some(0) => return Commands::Whole { refs, capabilities },
            Some(length) if length > 4 => {
                let Some((line, rest)) = bytes.split_at_checked(length) else {
                    return Commands::More;
                };
                let Ok(line) = std::str::from_utf8(&line[4..]) else { return Commands::Unreadable };
                bytes = rest;
                let (command, more) = line.split_once('\0').unwrap_or((line, ""));
                // Servers take them from each command.
                capabilities += more.trim_end_matches('\n');
                let command = command.trim_end_matches('\n');
                if command.starts_with("shallow ") {
                    continue;
                }
                let words: Vec<&str> = command.splitn(3, ' ').collect();
                let is_id = |text: &str| {
                    text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
                };
                match words.as_slice() {
                    [old, new, name] if is_id(old) && is_id(new) => refs.push((*name).to_owned()),
                    _ => return Commands::Unreadable,
                }
            }
            Some(_) | None => return Commands::Unreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789012345678901234567890123456789";

    #[test]
    fn a_push_with_options_is_told_from_others_wherever_it_names_them() {
        let one = line(&format!("{ID} {ID} refs/heads/a\0 report-status push-options\n"));
        let two = line(&format!("{ID} {ID} refs/heads/a\0 side-band-64k\n"));
        let Commands::Whole { capabilities, .. } =
            read_commands(format!("{one}{two}0000").as_bytes())
        else {
            panic!("these commands are whole");
        };
        assert!(has_options(&capabilities));
        assert!(!has_options(" report-status side-band-64k"));
    }

    #[test]
    fn a_repository_of_https_whose_address_cannot_be_compared_permits_no_push() {
        let steps = ["a".to_owned()];
        let permits = |url| PushRule::new(url, "x").permits("git.test", &steps);
        assert!(permits("https://git.test/a.git"));
        for url in ["https://git.test/b", "https://git.test/../a", "https://git.test", "HTTPS:/a"] {
            assert!(!permits(url), "{url}");
        }
    }

    #[test]
    fn the_commands_of_a_push_are_read_to_their_end_and_nothing_else_is_taken_for_one() {
        let one = line(&format!("{ID} {ID} refs/heads/a\0 report-status side-band-64k\n"));
        let two = line(&format!("{ID} {ID} refs/heads/b\n"));
        let shallow = line(&format!("shallow {ID}"));
        let whole = format!("{shallow}{one}{two}0000PACK");
        let expected = Commands::Whole {
            refs: vec!["refs/heads/a".to_owned(), "refs/heads/b".to_owned()],
            capabilities: " report-status side-band-64k".to_owned(),
        };
        assert_eq!(read_commands(whole.as_bytes()), expected);
        for end in 0..whole.len() - "PACK".len() {
            assert_eq!(read_commands(&whole.as_bytes()[..end]), Commands::More, "{end}");
        }
        let probe = Commands::Whole { refs: Vec::new(), capabilities: String::new() };
        assert_eq!(read_commands(b"0000"), probe);
        for wrong in [
            line("push-cert\0 report-status\n"),
            line(&format!("{ID} refs/heads/a\n")),
            "0001".to_owned(),
            "zzzz".to_owned(),
        ] {
            assert_eq!(read_commands(wrong.as_bytes()), Commands::Unreadable, "{wrong}");
        }
    }
}
