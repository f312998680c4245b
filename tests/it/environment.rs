//! What of the server's environment reaches the agent: what was named, and nothing else.

use crate::building::Builder;
use crate::reading::{answer, state};
use crate::world::World;
use serde_json::json;

/// A world without the variables that every other test sets for its agents.
fn names(world: &World) -> Vec<String> {
    answer(&world.say("envs")).lines().map(ToOwned::to_owned).collect()
}

fn with_secrets() -> Builder {
    World::describe()
        .env("OPENAI_API_KEY", "sk-openai-secret")
        .env("DATABASE_URL", "postgres://secret")
        .env("MY_TOOL_ONE", "1")
        .env("MY_TOOL_TWO", "2")
}

#[test]
fn the_environment_starts_empty() {
    let world = with_secrets().start();
    let own = ["FAKE_AGENT_CUES", "PILOTHOUSE_TEST_WORLD"];
    let base = [
        "A2A_CONTEXT_ID",
        "A2A_MESSAGE",
        "A2A_MESSAGE_ID",
        "A2A_TASK_ID",
        "GIT_AUTHOR_EMAIL",
        "GIT_AUTHOR_NAME",
        "GIT_COMMITTER_EMAIL",
        "GIT_COMMITTER_NAME",
        "HOME",
        "LANG",
        "PATH",
        "TERM",
        "TMPDIR",
    ];
    let mut expected: Vec<&str> = own.into_iter().chain(base).collect();
    expected.sort_unstable();
    assert_eq!(names(&world), expected);
}

#[test]
fn the_home_of_the_server_is_not_the_agents() {
    let world = World::start();
    assert_ne!(answer(&world.say("env HOME")), world.path("home").to_str().unwrap());
}

#[test]
fn names_that_look_like_keys_and_are_held_back_are_announced_without_their_values() {
    let world = with_secrets().start();
    let told = world.stderr();
    assert!(told.contains("held back") && told.contains("OPENAI_API_KEY"), "{told}");
    assert!(!told.contains("sk-openai-secret"), "{told}");
}

#[test]
fn a_name_that_is_passed_arrives() {
    let world = with_secrets().agent(json!({"env": {"pass": ["OPENAI_API_KEY"]}})).start();
    assert_eq!(answer(&world.say("env OPENAI_API_KEY")), "sk-openai-secret");
    assert!(!world.stderr().contains("sk-openai-secret"));
}

#[test]
fn a_prefix_that_is_passed_arrives() {
    let world = with_secrets().agent(json!({"env": {"pass": ["MY_TOOL_*"]}})).start();
    let names = names(&world);
    assert!(
        names.contains(&"MY_TOOL_ONE".to_owned()) && names.contains(&"MY_TOOL_TWO".to_owned()),
        "{names:?}"
    );
    assert!(!names.contains(&"DATABASE_URL".to_owned()), "{names:?}");
}

#[test]
fn a_preset_passes_its_names_as_far_as_they_are_set() {
    let world = with_secrets().agent(json!({"env": {"presets": ["openai"]}})).start();
    assert_eq!(answer(&world.say("env OPENAI_API_KEY")), "sk-openai-secret");
}

#[test]
fn a_value_of_the_configuration_arrives() {
    let world = World::describe().agent(json!({"env": {"set": {"COLOUR": "blue"}}})).start();
    assert_eq!(answer(&world.say("env COLOUR")), "blue");
}

#[test]
fn a_value_of_the_dotenv_file_arrives_where_it_is_passed() {
    let world = World::describe()
        .file(".env", 0o600, "MY_TOOL=from-file\n")
        .agent(json!({"env": {"pass": ["MY_TOOL"]}}))
        .start();
    assert_eq!(answer(&world.say("env MY_TOOL")), "from-file");
}

#[test]
fn the_dotenv_file_overrides_the_environment_and_the_name_is_announced() {
    let world = World::describe()
        .env("MY_TOOL", "from-environment")
        .file(".env", 0o600, "MY_TOOL=from-file\n")
        .agent(json!({"env": {"pass": ["MY_TOOL"]}}))
        .start();
    assert_eq!(answer(&world.say("env MY_TOOL")), "from-file");
    let told = world.stderr();
    assert!(told.contains("MY_TOOL") && !told.contains("from-file"), "{told}");
}

#[test]
fn the_environment_wins_over_dotenv_where_the_operator_says_so() {
    let world = World::describe()
        .env("MY_TOOL", "from-environment")
        .file(".env", 0o600, "MY_TOOL=from-file\n")
        .config(json!({"env_file": {"override": false}}))
        .agent(json!({"env": {"pass": ["MY_TOOL"]}}))
        .start();
    assert_eq!(answer(&world.say("env MY_TOOL")), "from-environment");
}

#[test]
fn the_token_of_the_server_never_reaches_the_agent() {
    let world = World::describe()
        .config(json!({"auth": {"token": null}}))
        .env("API_TOKEN", crate::world::OWNER)
        .agent(json!({"env": {"presets": ["anthropic", "openai", "gemini", "proxy", "ca"]}}))
        .start();
    assert!(!names(&world).contains(&"API_TOKEN".to_owned()));
}

#[test]
fn agent_cmd_serves_any_program_with_the_message_as_last_argument() {
    let builder = World::describe();
    let state_dir = builder.path("state").to_str().unwrap().to_owned();
    let world = builder
        .config_text("")
        .env("AGENT_CMD", "echo 'two words' said:")
        .env("API_TOKEN", crate::world::OWNER)
        .args(["--port", "0", "--state-dir", &state_dir])
        .start();
    let task = world.say("hello there");
    assert_eq!(
        (state(&task), answer(&task).as_str()),
        ("COMPLETED", "two words said: hello there\n")
    );
}

#[test]
fn the_variables_of_the_forerunner_are_honoured() {
    let builder = World::describe();
    let state_dir = builder.path("state").to_str().unwrap().to_owned();
    let project = builder.path("project");
    std::fs::create_dir(&project).unwrap();
    let world = builder
        .config_text("")
        .env("AGENT_CMD", "/bin/sh -c pwd")
        .env("AGENT_NAME", "my-bot")
        .env("AGENT_DESCRIPTION", "Says where it is.")
        .env("AGENT_PROJECT", project.to_str().unwrap())
        .env("API_TOKEN", crate::world::OWNER)
        .env("PORT", "0")
        .args(["--state-dir", &state_dir])
        // Behind bubblewrap every workspace is /workspace.
        .args(["--isolation", "none"])
        .start();
    let card = world.get("/.well-known/agent.json", &[]).json();
    assert_eq!(
        (&card["name"], &card["description"]),
        (&json!("my-bot"), &json!("Says where it is."))
    );
    let project = std::fs::canonicalize(project).unwrap();
    assert_eq!(answer(&world.say("x")).trim(), project.to_str().unwrap());
}

#[test]
fn the_log_of_agent_lines_holds_each_line_and_is_private() {
    let world = World::describe().args(["--log-path", "agents.jsonl"]).start();
    world.say("say unmistakable");
    let path = world.path("cwd").join("agents.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.lines().any(|line| line.contains("unmistakable")), "{text}");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}
