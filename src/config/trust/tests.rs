//! What files that were only found may say, and what not.

use super::*;
use crate::config::{Environment, Flags, load};

const WEAK: &[&str] = &[
    "isolation: {backend: none}",
    "isolation: {require: [env]}",
    "isolation: {read: [/srv]}",
    "isolation: {write: [/srv]}",
    "isolation: {uids: {count: 0}}",
    "isolation: {uids: {first: 1000}}",
    "isolation: {container: {image: example.com/evil}}",
    "isolation: {container: {runtime: ./evil}}",
    "egress: {allow: ['*']}",
    "egress: {allow: ['*:443']}",
    "egress: {allow: ['*.com']}",
    "egress: {allow: [example.com]}",
    "egress: {setup: ['*']}",
    "egress: {inner: [10.0.0.0/8]}",
    "egress: {git: [{host: example.com, token: abc}]}",
    "auth: {required: false}",
    "auth: {insecure: true}",
    "{auth: {token: 0123456789abcdef}, server: {host: 0.0.0.0}}",
    "server: {host: 0.0.0.0}",
    "server: {trusted_proxies: [10.0.0.0/8]}",
    "server: {allowed_origins: ['https://example.com']}",
    "server: {allowed_hosts: [example.com]}",
    "server: {public_url: 'https://example.com'}",
    "push: {allow: [10.0.0.0/8]}",
    "workspace: {path: /}",
    "workspace: {mode: shared, path: /usr}",
    "workspace: {path: ../other}",
    "workspace: {path: link/below}",
    "state_dir: /srv/state",
    "store: {path: /srv/store.db}",
    "log: {path: /srv/log}",
    "audit: 'off'",
    "audit: /srv/audit",
    "sessions: {init: /etc/hostname}",
    "env_file: {path: /dev/null}",
    "agents: {claude: {permission_mode: bypassPermissions}}",
    "agents: {claude: {trust_project: true}}",
    "agents: {claude: {args: [--dangerously-skip-permissions]}}",
    "agents: {claude: {args: [/etc/hostname]}}",
    "agents: {claude: {args: [--model, /etc/hostname]}}",
    "agents: {claude: {args: [--model, a, --mcp-config, b]}}",
    "agents: {claude: {program: ./evil}}",
    "agents: {claude: {init: /etc/hostname}}",
    "agents: {claude: {defaults_dir: /etc}}",
    "agents: {claude: {skills_from: [/etc]}}",
    "agents: {claude: {workspace: {path: /usr}}}",
    "agents: {claude: {env: {set: {AWS_CONFIG_FILE: /etc/hostname}}}}",
    "agents: {claude: {env: {pass: ['*']}}}",
    "agents: {claude: {env: {pass: [DEPLOY_KEY]}}}",
    "agents: {claude: {env: {presets: [openai]}}}",
    "agents: {claude: {asks: allow}}",
    "agents: {claude: {ask_rules: [{tool: '*', policy: allow}]}}",
    "agents: {claude: {egress: {allow: ['*']}}}",
    "agents: {claude: {egress: {setup: [example.com]}}}",
    "agents: {codex: {preset: codex, mode: agent-full-access}}",
];

const HARMLESS: &[&str] = &[
    "server: {port: 1}",
    "{server: {host: 127.0.0.1}, auth: {token: 0123456789abcdef}}",
    "isolation: {backend: landlock, limits: {pids: 10}}",
    "workspace: {mode: shared, path: .}",
    "{state_dir: state, audit: audit.jsonl, log: {path: log, level: debug}}",
    "limits: {rate: 1}",
    "budgets: {day: {cost_usd: 1}}",
    "agents: {claude: {name: writer, model: opus, args: [--model, opus], asks: deny}}",
    "agents: {codex: {preset: codex, description: writes}}",
    "sessions: {init: ./set-up.sh}",
    "push: {enabled: false, allow: []}",
];

fn check<const N: usize>(
    files: [(&str, &str); N],
    variables: &[(&str, &str)],
    flags: &Flags,
) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    std::os::unix::fs::symlink("/usr", folder.path().join("link")).unwrap();
    let mut environment = Environment::from([("HOME", "/nonexistent")]);
    for (name, value) in variables {
        environment.variables.insert((*name).to_owned(), (*value).to_owned());
    }
    let loaded = load(flags, &environment, folder.path()).unwrap();
    loaded.check_folder(folder.path()).map_err(|error| error.to_string())
}

#[test]
fn each_value_that_weakens_the_sandbox_is_refused_where_its_file_was_only_found() {
    for &text in WEAK {
        let files = [("pilothouse.yaml", text)];
        let said = check(files, &[], &Flags::default()).expect_err(text);
        assert!(said.contains("(pilothouse.yaml:1)") && said.contains(TRUST_FOLDER), "{said}");
        let named = Flags { config: Some("pilothouse.yaml".into()), ..Flags::default() };
        assert_eq!(check(files, &[], &named), Ok(()), "{text}");
        assert_eq!(
            check(files, &[("PILOTHOUSE_CONFIG", "pilothouse.yaml")], &Flags::default()),
            Ok(())
        );
        let trusted = Flags { trust_folder: true, ..Flags::default() };
        assert_eq!(check(files, &[], &trusted), Ok(()), "{text}");
        assert_eq!(check(files, &[(VARIABLE, "1")], &Flags::default()), Ok(()), "{text}");
    }
}

#[test]
fn a_found_file_may_name_and_bound_and_keep_to_its_folder() {
    for &text in HARMLESS {
        assert_eq!(check([("pilothouse.yaml", text)], &[], &Flags::default()), Ok(()), "{text}");
    }
}

#[test]
fn arguments_behind_two_dashes_do_not_hide_those_of_a_found_file() {
    let flags = Flags { agent_args: vec!["--verbose".to_owned()], ..Flags::default() };
    let file = "agents: {claude: {args: [--dangerously-skip-permissions]}}";
    let said = check([("pilothouse.yaml", file)], &[], &flags).unwrap_err();
    assert!(
        said.contains("--dangerously-skip-permissions") && !said.contains("--verbose"),
        "{said}"
    );
    let file = "agents: {claude: {args: [--model, opus]}}";
    assert_eq!(check([("pilothouse.yaml", file)], &[], &flags), Ok(()));
}

#[test]
fn every_spelling_of_a_mode_that_asks_nobody_is_known() {
    for word in [
        "sandbox_mode=\"danger-full-access\"",
        "sandbox_mode = 'danger-full-access'",
        "approval_policy=never",
        "approval_policy=\"never\"",
        "--ask-for-approval=never",
        "-y",
        "--yolo",
        "--full-auto",
        "--allow-all-tools",
        "--force",
        "--permission-mode=bypassPermissions",
        "{\"permissions\": {\"defaultMode\": \"bypassPermissions\"}}",
    ] {
        assert!(asks_nobody(word), "{word}");
    }
    for word in ["--model", "plan", "acceptEdits", "on-request", "workspace-write"] {
        assert!(!asks_nobody(word), "{word}");
    }
}

#[test]
fn the_file_that_is_to_be_named_is_the_one_that_was_found() {
    let said = check([(".env", "HOST=0.0.0.0")], &[], &Flags::default()).unwrap_err();
    assert!(said.contains("PILOTHOUSE_ENV_FILE_PATH") && !said.contains("--config"), "{said}");
    let said = check([("pilothouse.yaml", WEAK[0])], &[], &Flags::default()).unwrap_err();
    assert!(!said.contains("PILOTHOUSE_ENV_FILE_PATH") && said.contains("--config"), "{said}");
}

#[test]
fn an_environment_file_that_was_found_can_neither_weaken_the_sandbox_nor_trust_itself() {
    for more in ["", "PILOTHOUSE_TRUST_FOLDER=1\n"] {
        let text =
            format!("{more}PILOTHOUSE_ISOLATION_BACKEND=none\nPILOTHOUSE_AUTH_REQUIRED=false\n");
        let said = check([(".env", &text)], &[], &Flags::default()).unwrap_err();
        for line in [
            "  `isolation.backend: none` (.env PILOTHOUSE_ISOLATION_BACKEND)\n",
            "  `auth.required: false` (.env PILOTHOUSE_AUTH_REQUIRED)\n",
        ] {
            assert!(said.contains(line), "{said}");
        }
    }
}

#[test]
fn an_environment_file_that_was_found_does_not_choose_the_program_that_makes_the_sandbox() {
    let files = [(".env", "PATH=/srv/evil\n")];
    let said = check(files, &[], &Flags::default()).unwrap_err();
    assert!(said.contains("`PATH` (.env PATH)") && !said.contains("/srv/evil"), "{said}");
    assert_eq!(check(files, &[("PILOTHOUSE_ENV_FILE_PATH", ".env")], &Flags::default()), Ok(()));
}

#[test]
fn an_environment_file_that_was_found_does_not_choose_who_gets_the_operators_keys() {
    for name in [
        "ANTHROPIC_BASE_URL",
        "ANTHROPIC_BEDROCK_BASE_URL",
        "OPENAI_BASE_URL",
        "GOOGLE_GEMINI_BASE_URL",
        "COPILOT_PROVIDER_BASE_URL",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
        "ANTHROPIC_FOUNDRY_RESOURCE",
        "https_proxy",
        "NODE_EXTRA_CA_CERTS",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ] {
        let text = format!("{name}=https://other.test\n");
        let said = check([(".env", &text)], &[], &Flags::default()).expect_err(name);
        assert!(said.contains(&format!("`{name}` (.env {name})")), "{said}");
    }
    let own = "ANTHROPIC_API_KEY=x\nANTHROPIC_MODEL=y\nAWS_REGION=z\n";
    assert_eq!(check([(".env", own)], &[], &Flags::default()), Ok(()));
}

#[test]
fn a_file_that_a_found_file_names_is_found_as_well() {
    let other = "isolation: {backend: none}";
    let files = [(".env", "PILOTHOUSE_CONFIG=other.yaml"), ("other.yaml", other)];
    assert!(check(files, &[], &Flags::default()).is_err());
    let env = "PILOTHOUSE_ISOLATION_BACKEND=none";
    let files = [("pilothouse.yaml", "env_file: {path: other.env}"), ("other.env", env)];
    assert!(check(files, &[], &Flags::default()).is_err());
}

#[test]
fn what_the_operator_says_himself_is_not_asked_about() {
    let files = [("pilothouse.yaml", "server: {port: 1}"), (".env", "API_TOKEN=team-secret")];
    let flags = Flags { isolation: Some("none".to_owned()), no_auth: true, ..Flags::default() };
    assert_eq!(check(files, &[("PILOTHOUSE_ISOLATION_READ", "/srv")], &flags), Ok(()));
}
