//! What is said of a file that is wrong: people read it, so the words are the test.

use crate::config::Config;
use crate::config::layers::Layers;
use insta::assert_snapshot;
use std::path::Path;

fn error(text: &str) -> String {
    let mut layers = Layers::default();
    layers.file(Path::new("pilothouse.yaml"), text).unwrap_err().to_string()
}

fn read(text: &str) -> Config {
    let mut layers = Layers::default();
    layers.file(Path::new("pilothouse.yaml"), text).unwrap();
    layers.config()
}

#[test]
fn an_unknown_key_names_the_nearest_one() {
    assert_snapshot!(error("server:\n  prot: 2\n"), @r"
unknown key `server.prot`: did you mean `server.port`?
 --> pilothouse.yaml:2:3
  |
2 |   prot: 2
  |   ^^^^
");
}

#[test]
fn a_key_in_another_spelling_or_section_is_found() {
    assert_snapshot!(error("server: {publicUrl: x}"), @r"
unknown key `server.publicUrl`: did you mean `server.public_url`?
 --> pilothouse.yaml:1:10
  |
1 | server: {publicUrl: x}
  |          ^^^^^^^^^
");
    assert_snapshot!(error("host: 0.0.0.0\n"), @r"
unknown key `host`: did you mean `server.host`?
 --> pilothouse.yaml:1:1
  |
1 | host: 0.0.0.0
  | ^^^^
");
    assert_snapshot!(error("agents:\n  mine:\n    pogram: x\n"), @r"
unknown key `agents.mine.pogram`: did you mean `agents.mine.program`?
 --> pilothouse.yaml:3:5
  |
3 |     pogram: x
  |     ^^^^^^
");
}

#[test]
fn a_key_that_resembles_nothing_is_told_what_there_is() {
    assert_snapshot!(error("auth:\n  zebra: 1\n"), @r"
unknown key `auth.zebra`; known here are token, tokens, priorities, oidc, required, insecure
 --> pilothouse.yaml:2:3
  |
2 |   zebra: 1
  |   ^^^^^
");
}

#[test]
fn a_doubled_key_is_refused_where_it_stands_again() {
    assert_snapshot!(error("server:\n  port: 1\n  host: x\n  port: 2\n"), @r"
key `server.port` stands here a second time, first in line 2; keep one
 --> pilothouse.yaml:4:3
  |
4 |   port: 2
  |   ^^^^
");
}

#[test]
fn a_value_of_the_wrong_type_is_told_what_is_wanted() {
    assert_snapshot!(error("server:\n  port: lots # many\n"), @r"
`server.port` wants a whole number from 0 to 65535
 --> pilothouse.yaml:2:9
  |
2 |   port: lots # many
  |         ^
");
    assert_snapshot!(error("log:\n  console: maybe\n"), @r"
`log.console` wants true or false
 --> pilothouse.yaml:2:12
  |
2 |   console: maybe
  |            ^
");
    assert_snapshot!(error("server:\n  allowed_hosts: a.example\n"), @r"
`server.allowed_hosts` wants a list
 --> pilothouse.yaml:2:18
  |
2 |   allowed_hosts: a.example
  |                  ^
");
    assert_snapshot!(error("server: 2222\n"), @r"
`server` wants keys with values
 --> pilothouse.yaml:1:9
  |
1 | server: 2222
  |         ^
");
    assert_snapshot!(error("workspace:\n  mode: sesion\n"), @r"
`workspace.mode` is one of session, shared, copy, repository, not `sesion` (did you mean `session`?)
 --> pilothouse.yaml:2:9
  |
2 |   mode: sesion
  |         ^^^^^^
");
    assert_snapshot!(error("agents:\n  claude:\n    skills:\n      - id: x\n"), @r"
`name` is missing in `agents.claude.skills.0`
 --> pilothouse.yaml:4:9
  |
4 |       - id: x
  |         ^
");
}

#[test]
fn an_age_and_a_size_that_cannot_be_are_told_why() {
    assert_snapshot!(error("timeouts:\n  turn: 0\n"), @r"
`timeouts.turn`: must be longer than 0, like 90s or 10m
 --> pilothouse.yaml:2:9
  |
2 |   turn: 0
  |         ^
");
    assert_snapshot!(error("limits:\n  body: lots\n"), @r"
`limits.body`: `lots` is not a size like 64KiB, 16MiB or 1GB, or a number of bytes
 --> pilothouse.yaml:2:9
  |
2 |   body: lots
  |         ^
");
}

#[test]
fn what_is_not_yaml_is_shown_where_it_ends() {
    assert_snapshot!(error("server:\n\tport: 1\n"), @r"
not YAML that can be read: tabs disallowed within this context (block indentation)
 --> pilothouse.yaml:2:2
  |
2 |  port: 1
  |  ^
");
    assert_snapshot!(error("audit: a: b\n"), @r"
not YAML that can be read: mapping values are not allowed in this context
 --> pilothouse.yaml:1:9
  |
1 | audit: a: b
  |         ^
");
    assert_snapshot!(error("audit: off\n---\naudit: off\n"), @r"
a second document begins here; a configuration is one
 --> pilothouse.yaml:3:1
  |
3 | audit: off
  | ^
");
}

#[test]
fn an_error_never_shows_a_secret() {
    for text in [
        "auth:\n  token: hunter2\n  token: hunter2\n",
        "auth:\n  token: [hunter2]\n",
        "auth: {token: hunter2, tokn: hunter2}\n",
        "auth:\n  token: hunter2: hunter2\n",
        "agents:\n  claude:\n    env:\n      set:\n        A_KEY: {a: hunter2}\n",
        "agents:\n  claude:\n    env:\n      set:\n        A_KEY:\n          a: hunter2\n",
        "auth:\n  tokens:\n    ci: [hunter2]\n",
        "auth:\n  token: |\n    hunter2\n   hunter2: x\n",
    ] {
        let error = error(text);
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_section_with_nothing_but_comments_says_nothing() {
    assert_eq!(read("auth:\n  # token: x\nserver:\n"), Config::default());
    assert_eq!(read(""), Config::default());
}

#[test]
fn a_text_is_taken_as_it_stands_even_where_yaml_sees_something_else() {
    assert_eq!(read("audit: off\n").audit, "off");
    assert_eq!(
        read("agents: {claude: {version: 1.10}}\n").agents["claude"].version.as_deref(),
        Some("1.10")
    );
}

#[test]
fn anchors_and_merges_count_where_they_are_used() {
    let config = read(
        "store:\n  retention: &r {age: 1d, count: 5}\nsessions:\n  retention:\n    <<: *r\n    count: 6\n",
    );
    assert_eq!(
        (config.sessions.retention.count, config.sessions.retention.age.to_string().as_str()),
        (6, "1d")
    );
    assert_eq!(config.sessions.retention.size.to_string(), "20GiB");
}
