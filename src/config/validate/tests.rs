//! What is refused, and in which words.

use super::*;
use crate::config::{Bytes, Log, Uids};

fn problem(change: impl FnOnce(&mut Config)) -> String {
    let mut config = Config::default();
    change(&mut config);
    let texts = |problems: Vec<Problem>| {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    config.validate().map_or_else(texts, |()| "ok".to_owned())
}

fn claude(config: &mut Config) -> &mut Agent {
    config.agents.get_mut("claude").unwrap()
}

#[test]
fn the_defaults_are_possible() {
    assert_eq!(problem(|_| ()), "ok");
}

#[test]
fn no_token_on_an_open_address_needs_a_second_word() {
    let open = |config: &mut Config| {
        config.auth.required = false;
        config.server.host = "0.0.0.0".to_owned();
    };
    assert!(problem(open).starts_with("`auth.required` is false and `server.host` is 0.0.0.0"));
    assert_eq!(
        problem(|config| {
            open(config);
            config.auth.insecure = true;
        }),
        "ok"
    );
    for host in ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"] {
        assert_eq!(
            problem(|config| {
                open(config);
                config.server.host = host.to_owned();
            }),
            "ok",
            "{host}"
        );
    }
}

#[test]
fn bounds_of_asks_at_which_nobody_could_ask_are_refused() {
    let texts = [
        problem(|config| config.asks.per_turn = 0),
        problem(|config| config.asks.per_session = 0),
        problem(|config| config.asks.total = Bytes::new(1)),
    ];
    insta::assert_snapshot!(texts.join("\n"), @r"
`asks.per_turn` is 0: no agent would ever be heard; make it at least 1
`asks.per_session` is 0: no agent could ask; make it at least 1
`asks.bytes` (6MiB) is larger than `asks.total` (1); raise `asks.total` or lower `asks.bytes`
");
}

#[test]
fn a_log_without_a_name_is_refused_and_whether_it_can_be_written_is_asked_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let asked = |path: PathBuf| {
        let config = Config { audit: path.display().to_string(), ..Config::default() };
        (config.validate().is_ok(), config.find_unwritable().join("; "))
    };
    assert_eq!(asked(path("new")), (true, String::new()));
    let (is_possible, why) = asked(path("missing/audit"));
    assert!(is_possible && why.contains("No such file"), "{why}");
    let (is_possible, why) = asked(folder.path().to_owned());
    assert!(is_possible && why.starts_with("`audit` is the directory "), "{why}");
    let log = Log { path: Some(path("missing/log")), ..Log::default() };
    let unwritable = Config { log, ..Config::default() }.find_unwritable();
    assert!(unwritable[0].starts_with("`log.path` is "), "{unwritable:?}");
    assert!(problem(|config| config.audit = String::new()).starts_with("`audit` is empty"));
}

#[test]
fn a_driver_with_a_process_for_each_turn_starts_none_ahead() {
    let warm = |driver: DriverKind| {
        problem(|config| {
            let agent = claude(config);
            (agent.driver, agent.warm) = (driver, 1);
            agent.program = Some("agent".to_owned());
        })
    };
    for driver in [DriverKind::Command, DriverKind::Demo] {
        assert!(warm(driver).contains("`agents.claude.warm` is 1"), "{}", warm(driver));
    }
    for driver in [DriverKind::Claude, DriverKind::Acp] {
        assert_eq!(warm(driver), "ok");
    }
}

#[test]
fn commands_for_callers_are_single_words_of_claude() {
    let with = |driver: DriverKind, name: &str| {
        problem(|config| {
            let agent = claude(config);
            (agent.driver, agent.commands) = (driver, vec![name.to_owned()]);
            agent.program = Some("agent".to_owned());
        })
    };
    assert_eq!(with(DriverKind::Claude, "tools:review"), "ok");
    for name in ["/review", "a b", "", "\u{200b}"] {
        let why = with(DriverKind::Claude, name);
        assert!(why.contains("which is not a command's name"), "{name:?}: {why}");
    }
    assert!(with(DriverKind::Command, "x").contains("`driver: claude` alone"));
}

#[test]
fn users_of_agents_that_are_root_or_no_user_are_refused() {
    let with = |first, count| {
        let mut config = Config::default();
        config.isolation.uids = Uids { first, count };
        config.validate().is_ok()
    };
    assert!(with(1, 0) && with(1, u32::MAX - 1));
    assert!(!with(0, 10) && !with(1, u32::MAX) && !with(u32::MAX, 1));
}

#[test]
fn agents_need_some_open_files() {
    let problem = problem(|config| config.isolation.limits.files = 63);
    insta::assert_snapshot!(problem, @"`isolation.limits.files` is 63, with which no agent could work; make it at least 64");
}

#[test]
fn bounds_of_nothing_are_refused_together() {
    insta::assert_snapshot!(problem(|config| {
        config.processes.max = 0;
        config.workspace.shared_turns = 0;
        config.limits.connections = 0;
    }), @r"
`processes.max` is 0: no agent could ever run; make it at least 1
`workspace.shared_turns` is 0: no turn could ever begin; make it at least 1
`limits.connections` is 0: nobody could connect; make it at least 1
");
}

#[test]
fn a_part_larger_than_its_whole_is_refused() {
    insta::assert_snapshot!(problem(|config| {
        config.limits.prompt = Bytes::new(32 << 20);
        config.limits.line = Bytes::new(2 << 30);
    }), @r"
`limits.prompt` (32MiB) is larger than `limits.body` (16MiB); raise `limits.body` or lower `limits.prompt`
`limits.line` (2GiB) is larger than `limits.answer` (1GiB); raise `limits.answer` or lower `limits.line`
`limits.line` (2GiB) is larger than `limits.lines` (8MiB); raise `limits.lines` or lower `limits.line`
`limits.line` (2GiB) is larger than `limits.longest_line` (128MiB); raise `limits.longest_line` or lower `limits.line`
");
}

#[test]
fn an_agent_that_is_not_there_is_refused_with_the_nearest_name() {
    insta::assert_snapshot!(problem(|config| config.agent = "cluade".to_owned()), @"`agent` names `cluade`, which is not among `agents`: did you mean `claude`?");
}

#[test]
fn an_agents_own_contradictions_name_its_keys() {
    insta::assert_snapshot!(problem(|config| {
        claude(config).input = Input::Stdin;
        claude(config).terminator = Some("--".to_owned());
        claude(config).env.presets = vec!["antropic".to_owned()];
        config.agents.insert("codex".to_owned(), Agent::default());
    }), @r"
`agents.claude.terminator` has no use with `agents.claude.input: stdin`: it stands between arguments and message; leave one out
`agents.claude.env.presets` names `antropic`, which is not a preset: did you mean `anthropic`?
`agents.codex.program` is missing: the driver `command` needs a program to run
");
}

#[test]
fn a_name_that_is_an_address_of_the_server_is_refused() {
    for name in ["ui", "auto", ".well-known", "A", ""] {
        let agent = Agent::of(DriverKind::Demo);
        assert_ne!(
            problem(|config| {
                config.agents.insert(name.to_owned(), agent);
            }),
            "ok",
            "{name}"
        );
    }
}

#[test]
fn two_callers_cannot_share_a_token() {
    assert_eq!(
        problem(|config| {
            config.auth.token = Some("same".to_owned());
            config.auth.tokens.insert("ci".to_owned(), "same".into());
        }),
        "`auth.tokens.ci` is the token of another caller too; give each its own",
    );
}

fn protocol(change: impl FnOnce(&mut Agent)) -> String {
    problem(|config| {
        let mut agent = Agent::of(DriverKind::Acp);
        change(&mut agent);
        config.agents.insert("other".to_owned(), agent);
    })
}

#[test]
fn an_agent_of_the_protocol_needs_a_program_or_a_preset() {
    let refused = protocol(|_| ());
    assert!(refused.starts_with("`agents.other.program` is missing"));
    assert!(refused.contains("gemini"));
    assert_eq!(protocol(|agent| agent.program = Some("bot".to_owned())), "ok");
}

#[test]
fn a_preset_that_is_not_known_is_refused_with_the_nearest() {
    let refused = protocol(|agent| agent.preset = Some("gemin".to_owned()));
    assert!(refused.ends_with("did you mean `gemini`?"), "{refused}");
}

#[test]
fn keys_of_the_protocol_are_refused_with_another_driver() {
    let refused = problem(|config| claude(config).mode = Some("plan".to_owned()));
    assert!(refused.starts_with("`agents.claude.mode` has a meaning with `driver: acp` alone"));
}

#[test]
fn a_budget_of_nothing_is_refused() {
    let zero = problem(|config| {
        config.budgets.session.tokens = Some(0);
        let agent = config.agents.get_mut("claude").unwrap();
        agent.budgets.day.cost_usd = Some(crate::config::Dollars::from_micros(0));
    });
    insta::assert_snapshot!(zero, @r"
    `budgets.session.tokens` is 0: nothing could ever run; leave it out for no ceiling, or make it more than 0
    `agents.claude.budgets.day.cost_usd` is 0: nothing could ever run; leave it out for no ceiling, or make it more than 0
    ");
}

#[test]
fn every_key_that_may_not_be_0_is_a_number_of_the_configuration() {
    let values = to_json(&Config::default());
    for (key, _) in AT_LEAST_ONE {
        let value = key.split('.').fold(&values, |value, name| &value[name]);
        let is_size = value.as_str().is_some_and(|text| text.parse::<Bytes>().is_ok());
        assert!(value.is_u64() || is_size, "{key} is {value}");
    }
}
