//! The layers over the public door, and what is said when one of them is wrong.

use super::*;
use insta::assert_snapshot;
use tempfile::TempDir;

/// A working directory with files in it.
struct Folder(TempDir);

impl Folder {
    fn with<const N: usize>(files: [(&str, &str); N]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    fn try_load<const N: usize>(
        &self,
        variables: [(&str, &str); N],
        flags: &Flags,
    ) -> Result<Loaded, Error> {
        let mut environment = Environment::from(variables);
        environment.variables.insert("HOME".to_owned(), "/home/me".to_owned());
        load(flags, &environment, self.0.path())
    }

    fn load<const N: usize>(&self, variables: [(&str, &str); N]) -> Loaded {
        self.try_load(variables, &Flags::default()).unwrap()
    }

    fn error<const N: usize>(&self, variables: [(&str, &str); N]) -> String {
        self.try_load(variables, &Flags::default()).unwrap_err().to_string()
    }
}

#[test]
fn what_agents_are_granted_is_meant_from_home_or_from_the_working_directory() {
    let folder = Folder::with([(
        "pilothouse.yaml",
        "isolation: {read: [~/.cargo, tools], write: [/srv/cache]}\n",
    )]);
    let isolation = folder.load([]).config.isolation;
    let here = folder.0.path().join("tools");
    assert_eq!(isolation.read, [Path::new("/home/me/.cargo"), &here]);
    assert_eq!(isolation.write, [Path::new("/srv/cache")]);
}

#[test]
fn each_layer_wins_over_the_one_before_it_and_is_remembered() {
    let folder = Folder::with([
        (
            "pilothouse.yaml",
            "server:\n  port: 1\n  host: localhost\nlimits:\n  rate: 1\n  body: 32MiB\n",
        ),
        (".env", "PILOTHOUSE_LIMITS_RATE=3\nPILOTHOUSE_PROCESSES_MAX=3\n"),
    ]);
    let flags = Flags { port: Some(4), ..Flags::default() };
    let loaded = folder
        .try_load(
            [
                ("PILOTHOUSE_LIMITS_RATE", "2"),
                ("PILOTHOUSE_PROCESSES_QUEUE", "2"),
                ("PILOTHOUSE_SERVER_PORT", "2"),
            ],
            &flags,
        )
        .unwrap();
    let of = |key: &str| loaded.origins[key].to_string();
    assert_eq!((loaded.config.server.port, of("server.port").as_str()), (4, "option --port"));
    assert_eq!(
        (loaded.config.limits.rate, of("limits.rate").as_str()),
        (3, ".env PILOTHOUSE_LIMITS_RATE")
    );
    assert_eq!(
        (loaded.config.processes.queue, of("processes.queue").as_str()),
        (2, "environment PILOTHOUSE_PROCESSES_QUEUE")
    );
    assert_eq!(
        (loaded.config.limits.body.to_string().as_str(), of("limits.body").as_str()),
        ("32MiB", "pilothouse.yaml:6")
    );
    assert_eq!(
        (loaded.config.limits.connections, of("limits.connections").as_str()),
        (1024, "default")
    );
}

#[test]
fn a_value_of_the_env_file_that_differs_is_named_and_the_order_can_be_swapped() {
    let files = [(".env", "A=file\nPILOTHOUSE_LIMITS_RATE=3\nSAME=1")];
    let variables = [("A", "environment"), ("PILOTHOUSE_LIMITS_RATE", "2"), ("SAME", "1")];
    let loaded = Folder::with(files).load(variables);
    assert_eq!((loaded.config.limits.rate, loaded.agent_environment["A"].as_str()), (3, "file"));
    assert_eq!(loaded.env_file_names, ["A", "PILOTHOUSE_LIMITS_RATE", "SAME"]);
    assert_eq!(
        loaded.notes,
        [
            ".env overrides the environment for A, PILOTHOUSE_LIMITS_RATE; `env_file.override: false` gives the other order"
        ],
    );

    let folder = Folder::with([files[0], ("pilothouse.yaml", "env_file: {override: false}")]);
    let loaded = folder.load(variables);
    assert_eq!(
        (loaded.config.limits.rate, loaded.agent_environment["A"].as_str()),
        (2, "environment")
    );
}

#[test]
fn an_entry_of_the_file_changes_the_keys_it_names_and_no_others() {
    let folder = Folder::with([(
        "pilothouse.yaml",
        "agents:\n  claude:\n    model: haiku\n    env: {pass: [GH_TOKEN]}\n  codex:\n    program: codex\n  two:\n    driver: claude\n",
    )]);
    let config = folder.load([]).config;
    let claude = &config.agents["claude"];
    assert_eq!(
        (claude.name.as_deref(), claude.model.as_deref()),
        (Some("claude-code"), Some("haiku"))
    );
    assert_eq!((claude.env.presets.len(), claude.env.pass.len()), (6, 1));
    assert_eq!(config.agents["codex"].env.presets, ["proxy", "ca"]);
    assert_eq!(config.agents["two"].env.presets, claude.env.presets);
    assert!(config.agents.contains_key("demo"));
}

#[test]
fn the_only_agent_that_was_added_serves_unless_another_is_named() {
    let folder = Folder::with([("pilothouse.yaml", "agents: {codex: {program: codex}}")]);
    let loaded = folder.load([("AGENT_NAME", "mine")]);
    assert_eq!(loaded.config.agent, "codex");
    assert_eq!(loaded.origins["agent"].to_string(), "the only agent that was added");
    assert_eq!(loaded.config.agents["codex"].name.as_deref(), Some("mine"));
    assert_eq!(folder.load([("PILOTHOUSE_AGENT", "demo")]).config.agent, "demo");
}

#[test]
fn paths_are_absolute_and_the_state_has_its_place() {
    let folder = Folder::with([(".init-session.sh", "")]);
    let loaded = folder.load([]);
    assert_eq!(loaded.config.state_dir.to_str(), Some("/home/me/.local/state/pilothouse"));
    assert_eq!(loaded.config.workspace.path, folder.0.path().join("workspace"));
    assert_eq!(loaded.config.sessions.init.unwrap(), folder.0.path().join(".init-session.sh"));
    assert_eq!(loaded.origins["sessions.init"].to_string(), "found in the working directory");
    let loaded = folder.load([("XDG_STATE_HOME", "/state")]);
    assert_eq!(loaded.config.state_dir.to_str(), Some("/state/pilothouse"));
}

#[test]
fn without_a_home_the_state_directory_must_be_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = load(&Flags::default(), &Environment::default(), folder.path()).unwrap_err();
    assert_snapshot!(error, @"`state_dir` begins with `~`, but HOME is not set; set HOME or give `state_dir` an absolute path");
    let flags = Flags { state_dir: Some("/state".into()), ..Flags::default() };
    assert!(load(&flags, &Environment::default(), folder.path()).is_ok());
}

#[test]
fn starts_are_bounded_by_the_cores() {
    let starting = Folder::with([]).load([]).config.processes.starting;
    assert!(starting >= 2 && starting.is_multiple_of(2));
}

#[test]
fn our_file_wins_over_the_forerunners() {
    let both = [
        ("pilothouse.yaml", "server: {port: 1}"),
        (".claude-code-agent.yaml", "server: {port: 2}"),
    ];
    let loaded = Folder::with(both).load([]);
    assert_eq!(loaded.config.server.port, 1);
    assert_eq!(
        loaded.notes,
        ["`.claude-code-agent.yaml` is not read because `pilothouse.yaml` is"]
    );
    assert_eq!(Folder::with([both[1]]).load([]).config.server.port, 2);
    let other = Folder::with([("other.yaml", "agent: {name: x}")]);
    let config = other.load([("CLAUDE_CODE_AGENT_CONFIG", "other.yaml")]).config;
    assert_eq!(config.agents["claude"].name.as_deref(), Some("x"));
}

#[test]
fn the_file_may_be_named_in_the_env_file_and_name_another_one() {
    let folder = Folder::with([
        (".env", "PILOTHOUSE_CONFIG=mine.yaml\nPORT=1"),
        ("mine.yaml", "env_file: {path: other.env}"),
        ("other.env", "PORT=2"),
    ]);
    assert_eq!(folder.load([]).config.server.port, 2);
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let folder = Folder::with([]);
    let flags = Flags { config: Some("gone.yaml".into()), ..Flags::default() };
    assert_snapshot!(folder.try_load([], &flags).unwrap_err(), @"could not read `gone.yaml`, named by --config: No such file or directory (os error 2); correct the name or the permissions");
    assert_snapshot!(folder.error([("PILOTHOUSE_ENV_FILE_PATH", "gone.env")]), @"could not read `gone.env`, named by `env_file.path`: No such file or directory (os error 2); correct the name or the permissions");
}

#[test]
fn a_folder_called_env_is_no_env_file() {
    let folder = Folder::with([]);
    std::fs::create_dir(folder.0.path().join(".env")).unwrap();
    assert_eq!(folder.load([]).env_file_names, Vec::<String>::new());
}

#[test]
fn a_broken_env_file_is_refused_with_its_line() {
    assert_snapshot!(Folder::with([(".env", "A=1\nNO VALUE\n")]).error([]), @r"
a line of this file is `NAME=value`, a comment, or empty
 --> .env:2:1
  |
2 | ***
  | ^
");
}

#[test]
fn a_variable_that_its_key_cannot_take_is_named() {
    let folder = Folder::with([(".env", "PORT=70000")]);
    assert_snapshot!(folder.error([]), @".env PORT cannot set `server.port`: it wants a whole number from 0 to 65535, not `70000`");
    let folder = Folder::with([]);
    assert_snapshot!(folder.error([("PILOTHOUSE_LOG_CONSOLE", "maybe")]), @r#"environment PILOTHOUSE_LOG_CONSOLE cannot set `log.console`: it wants true or false, not `maybe`"#);
    assert_snapshot!(folder.error([("PILOTHOUSE_SERVER_ALLOWED_HOSTS", "[a, b]")]), @r#"environment PILOTHOUSE_SERVER_ALLOWED_HOSTS cannot set `server.allowed_hosts`: it wants a list: `a,b`, or as JSON `["a", "b"]`"#);
    assert_snapshot!(folder.error([("PILOTHOUSE_TIMEOUTS_TURN", "soon")]), @"environment PILOTHOUSE_TIMEOUTS_TURN cannot set `timeouts.turn`: `soon` is not an age like 90s, 10m, 1h30m or 30d, or a number of seconds");
}

#[test]
fn lists_truths_and_an_agents_variables_can_be_set_by_variables() {
    let config = Folder::with([])
        .load([
            ("PILOTHOUSE_SERVER_ALLOWED_HOSTS", "a.example, b.example"),
            ("PILOTHOUSE_LOG_CONSOLE", "off"),
            ("PILOTHOUSE_AGENTS_CLAUDE_DISALLOWED_TOOLS", "[\"Bash(rm *)\"]"),
            ("PILOTHOUSE_AGENTS_CLAUDE_ENV_SET_LANG", "C"),
        ])
        .config;
    assert_eq!(config.server.allowed_hosts, ["a.example", "b.example"]);
    assert!(!config.log.console);
    assert_eq!(
        config.agents["claude"].disallowed_tools.as_deref(),
        Some(&["Bash(rm *)".to_owned()][..])
    );
    assert_eq!(config.agents["claude"].env.set["LANG"], "C");
}

#[test]
fn callers_get_their_tokens_from_variables_too() {
    let loaded = Folder::with([(".env", "PILOTHOUSE_ENV_FILE_PATH=x")])
        .load([("PILOTHOUSE_AUTH_TOKENS_CI", "hunter2")]);
    assert_eq!(loaded.config.auth.tokens["ci"].secret(), "hunter2");
    assert_eq!(
        loaded.origins["auth.tokens.ci"].to_string(),
        "environment PILOTHOUSE_AUTH_TOKENS_CI"
    );
    assert_eq!(
        loaded.notes,
        [
            ".env PILOTHOUSE_ENV_FILE_PATH has no effect there; set it in the environment or the file"
        ]
    );
}

#[test]
fn a_misspelt_variable_is_named_and_a_link_of_kubernetes_is_not() {
    let loaded = Folder::with([]).load([
        ("PILOTHOUSE_SERVER_PROT", "1"),
        ("PILOTHOUSE_SERVER_PORT", "tcp://10.0.0.1:80"),
        ("PILOTHOUSE_SERVICE_HOST", "10.0.0.1"),
        ("PILOTHOUSE_TOKEN", "t"),
    ]);
    assert_eq!(loaded.config.server.port, 2222);
    assert_eq!(
        loaded.notes,
        [
            "environment PILOTHOUSE_SERVER_PROT is not the name of any key: did you mean PILOTHOUSE_SERVER_PORT?"
        ],
    );
}

#[test]
fn an_impossible_combination_says_where_each_value_comes_from() {
    let folder =
        Folder::with([("pilothouse.yaml", "limits:\n  prompt: 1GiB\n"), (".env", "HOST=0.0.0.0")]);
    let flags = Flags { no_auth: true, ..Flags::default() };
    assert_snapshot!(folder.try_load([("MAX_BODY_BYTES", "1000000")], &flags).unwrap_err(), @r"
`auth.required` is false and `server.host` is 0.0.0.0: anyone who reaches this machine could run commands on it; listen on 127.0.0.1, ask for a token, or set `auth.insecure` (--insecure) if you mean it
  `auth.required`: option --no-auth
  `server.host`: .env HOST
`limits.prompt` (1GiB) is larger than `limits.body` (1MB); raise `limits.body` or lower `limits.prompt`
  `limits.prompt`: pilothouse.yaml:2
  `limits.body`: environment MAX_BODY_BYTES
");
}

#[test]
fn debug_shows_no_secret() {
    let loaded = Folder::with([(".env", "OTHER_KEY=hunter2")])
        .load([("API_TOKEN", "hunter2"), ("PILOTHOUSE_AGENTS_CLAUDE_ENV_SET_X", "hunter2")]);
    assert!(!format!("{loaded:?}").contains("hunter2"));
}

#[test]
fn a_preset_gives_what_its_agent_needs_and_other_keys_change_it() {
    let text = "agents:\n  one: {preset: gemini}\n  two: {preset: qwen, program: /opt/qwen, args: [--acp, -d]}\n";
    let folder = Folder::with([("pilothouse.yaml", text)]);
    let flags = Flags {
        agent: Some("one".to_owned()),
        agent_args: vec!["--debug".to_owned()],
        ..Flags::default()
    };
    let agents = folder.try_load([], &flags).unwrap().config.agents;
    let (one, two) = (&agents["one"], &agents["two"]);
    assert_eq!(one.driver, crate::config::DriverKind::Acp);
    assert_eq!(one.program.as_deref(), Some("gemini"));
    assert_eq!(one.args, ["--acp", "--debug"]);
    assert_eq!(one.auth_method.as_deref(), Some("gemini-api-key"));
    assert_eq!(one.env.presets, ["proxy", "ca", "gemini"]);
    assert_eq!(two.program.as_deref(), Some("/opt/qwen"));
    assert_eq!(two.args, ["--acp", "-d"]);
    assert_eq!(two.auth_method.as_deref(), Some("openai"));
}

#[test]
fn a_file_that_lies_in_the_folder_has_to_be_a_regular_one_of_bounded_size() {
    for name in [".env", "pilothouse.yaml"] {
        let folder = Folder::with([]);
        let path = folder.0.path().join(name);
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let said = folder.error([]);
        assert!(said.contains(name) && said.contains("not a regular file"), "{said}");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let said = folder.error([]);
        assert!(said.contains("not a regular file"), "{said}");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "#".repeat(1024 * 1024 + 1)).unwrap();
        let said = folder.error([]);
        assert!(said.contains("larger than 1048576 bytes"), "{said}");
    }
}

#[test]
fn a_file_that_was_named_has_to_be_a_regular_one_too() {
    let folder = Folder::with([]);
    for name in ["PILOTHOUSE_CONFIG", "PILOTHOUSE_ENV_FILE_PATH"] {
        for (path, what) in [("/dev/zero", "a device"), ("/", "a folder")] {
            let said = folder.error([(name, path)]);
            assert!(said.contains(what), "{name}: {said}");
        }
    }
}
