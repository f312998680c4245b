//! Codex, through `codex-acp`: what it does beside the rest.

use super::setups::{CODEX, CODEX_ITSELF};
use super::{completed, workspace};
use crate::reading::message_in;
use fake_model::Model;
use serde_json::json;

super::of!(CODEX);

#[test]
fn works_behind_both_walls() {
    super::works_behind_both_walls(&CODEX_ITSELF);
}

#[test]
fn with_full_access_a_command_runs_and_nobody_is_asked() {
    let model = Model::start();
    let mode = json!({
        "isolation": {"backend": "bubblewrap"},
        "agents": {"codex": {"mode": "agent-full-access"}},
    });
    let world = CODEX_ITSELF.with(&model).config(mode).start();
    let task = world.send(message_in("c", "bash: echo yes >> ran\nsay the end"));
    assert!(completed(&task).ends_with("the end"), "{task:#}");
    let ran = workspace(&world, "c").join("ran");
    assert_eq!(std::fs::read_to_string(ran).unwrap(), "yes\n");
}
