//! What follows from other values and from the machine, where nobody said it.

use super::Bytes;
use super::environment::Environment;
use super::layers::Layers;
use super::origin::Origin;
use super::tree::to_json;
use serde_json::json;
use std::path::Path;

/// Fills in what follows from something else and was not said.
pub(super) fn lay_over(layers: &mut Layers, environment: &Environment, cwd: &Path) {
    let unsaid = |layers: &Layers, key: &str| layers.origin(key) == Origin::Default;
    if unsaid(layers, "state_dir")
        && let Some(home) = environment.get("XDG_STATE_HOME").filter(|home| home.starts_with('/'))
    {
        let path = format!("{}/pilothouse", home.trim_end_matches('/'));
        layers.set("state_dir", path.into(), Origin::Environment("XDG_STATE_HOME".to_owned()));
    }
    if unsaid(layers, "sessions.init") && cwd.join(".init-session.sh").is_file() {
        layers.set(
            "sessions.init",
            "./.init-session.sh".into(),
            Origin::Derived("found in the working directory".to_owned()),
        );
    }
    let config = layers.config();
    for name in config.agents.keys() {
        let key = format!("agents.{name}.serve");
        // `auto` serves Claude Code only where it can run; that it is described is no order to serve it.
        let chosen_later = config.agent == "auto" && name == "claude";
        if unsaid(layers, &key) && !chosen_later && layers.declared(name) {
            let origin = Origin::Derived("declared in the file".to_owned());
            layers.set(&key, true.into(), origin);
        }
    }
    if config.processes.starting == 0 {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let origin = Origin::Derived(format!("twice the {cores} cores"));
        layers.set(
            "processes.starting",
            json!((2 * cores).max(2).min(config.processes.max.max(1))),
            origin,
        );
    }
    let responses = Bytes::new(config.limits.response.get().saturating_mul(8));
    if unsaid(layers, "limits.responses") && config.limits.responses < responses {
        let origin = Origin::Derived("eight times `limits.response`".to_owned());
        layers.set("limits.responses", to_json(&responses), origin);
    }
    let share = (config.limits.connections / 2).max(1);
    if unsaid(layers, "limits.connections_per_caller")
        && config.limits.connections_per_caller > share
    {
        let origin = Origin::Derived("half of `limits.connections`".to_owned());
        layers.set("limits.connections_per_caller", json!(share), origin);
    }
    // A smaller bound that was set takes the unset ones below it along.
    let limits = [
        ("limits.prompt", config.limits.prompt, "limits.body", config.limits.body),
        ("limits.line", config.limits.line, "limits.answer", config.limits.answer),
        (
            "limits.inline_answer",
            config.limits.inline_answer,
            "limits.response",
            config.limits.response,
        ),
    ];
    for (key, value, bound_key, bound) in limits {
        if unsaid(layers, key) && value > bound && bound > Bytes::new(0) {
            layers.set(key, to_json(&bound), Origin::Derived(format!("follows `{bound_key}`")));
        }
    }
}
