//! Processes that are started ahead for new sessions (`warm`), of agents that are scripted.

use crate::processes::await_some;
use crate::reading::{message_in, state};
use crate::world::World;
use serde_json::json;

/// An agent of the Agent Client Protocol that notes what it is told.
const NOTES: &str = "#!/bin/sh
tee -a \"$NOTED\" | \"$FAKE_AGENT\" --acp well
";

#[test]
fn an_acp_agent_has_shaken_hands_before_a_message_comes_and_is_replaced_after_it() {
    let described = World::describe().file("agent.sh", 0o755, NOTES);
    let noted = described.cwd().join("noted");
    let agent = json!({
        "driver": "acp", "args": [], "format": null, "warm": 1, "program": described.cwd().join("agent.sh"),
        "env": {"set": {"NOTED": noted, "FAKE_AGENT": crate::building::fake_agent()}},
    });
    let world = described.agent(agent).start();
    let told = |what: &str, count: usize| {
        await_some(what, world.patience(), || {
            let text = std::fs::read_to_string(&noted).unwrap_or_default();
            (text.matches(what).count() == count).then_some(text)
        })
    };
    let text = told("\"initialize\"", 1);
    assert!(!text.contains("session/new"), "{text}");
    let task = world.send(message_in("one", "hello"));
    assert_eq!(state(&task), "COMPLETED", "{task:#}");
    // No further message is needed for the next one.
    let text = told("\"initialize\"", 2);
    assert_eq!(text.matches("session/new").count(), 1, "{text}");
}

#[test]
fn an_agent_that_cannot_be_started_keeps_no_other_from_being_warm() {
    let described = World::describe().file("broken.sh", 0o755, "#!/nowhere/at/all\n");
    let broken = json!({
        "driver": "acp", "program": described.cwd().join("broken.sh"), "warm": 1,
    });
    let agents = json!({"agent": "broken", "agents": {"broken": broken, "fake": {
        "driver": "acp", "args": ["--acp", "well"], "format": null, "warm": 1,
    }}});
    let world = described.config(agents).start();
    await_some("a process ahead", world.patience(), || (!world.agents().is_empty()).then_some(()));
    assert!(world.stderr().contains("a warm process could not be started"), "{}", world.stderr());
}
