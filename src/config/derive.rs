//! What follows from other values and from the machine, where nobody said it.

use super::Bytes;
use super::environment::Environment;
use super::layers::Layers;
use super::origin::Origin;
use super::own::SESSION_SCRIPT;
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
    if unsaid(layers, "sessions.init") && cwd.join(SESSION_SCRIPT).is_file() {
        layers.set(
            "sessions.init",
            format!("./{SESSION_SCRIPT}").into(),
            Origin::Derived("found in the working directory".to_owned()),
        );
    }
    super::repository::place(layers, cwd);
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
    let responses = Bytes::new(config.limits.response.get().saturating_mul(4));
    if unsaid(layers, "limits.responses") && config.limits.responses < responses {
        let origin = Origin::Derived("four times `limits.response`".to_owned());
        layers.set("limits.responses", to_json(&responses), origin);
    }
    let prompts = Bytes::new(config.limits.prompt.get().saturating_mul(2));
    if unsaid(layers, "limits.prompts")
        && !unsaid(layers, "limits.prompt")
        && config.limits.prompts < prompts
    {
        let origin = Origin::Derived("twice `limits.prompt`".to_owned());
        layers.set("limits.prompts", to_json(&prompts), origin);
    }
    let lines = Bytes::new(config.limits.line.get().saturating_mul(2));
    if unsaid(layers, "limits.lines") && config.limits.lines < lines {
        let origin = Origin::Derived("twice `limits.line`".to_owned());
        layers.set("limits.lines", to_json(&lines), origin);
    }
    if unsaid(layers, "limits.longest_line") && config.limits.longest_line < config.limits.line {
        let origin = Origin::Derived("as long as `limits.line`".to_owned());
        layers.set("limits.longest_line", to_json(&config.limits.line), origin);
    }
    let connections = config.limits.connections;
    let share = (connections / 2).max(1);
    if unsaid(layers, "limits.connections_per_caller")
        && config.limits.connections_per_caller != share
    {
        let origin = Origin::Derived("half of `limits.connections`".to_owned());
        layers.set("limits.connections_per_caller", json!(share), origin);
    }
    let share = connections / 4 * 3;
    if unsaid(layers, "limits.connections_per_address")
        && config.limits.connections_per_address < share
    {
        let origin = Origin::Derived("three quarters of `limits.connections`".to_owned());
        layers.set("limits.connections_per_address", json!(share), origin);
    }
    if unsaid(layers, "limits.requests") && config.limits.requests < connections {
        let origin = Origin::Derived("as many as `limits.connections`".to_owned());
        layers.set("limits.requests", json!(connections), origin);
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

#[cfg(test)]
mod tests {
    use crate::config::{Bytes, Environment, Flags, load};
    use std::path::Path;

    #[test]
    fn longer_lines_take_the_room_for_them_along() {
        let limits = |variables: &[(&str, &str)]| {
            let mut environment = Environment::from([("HOME", "/nonexistent")]);
            for (name, value) in variables {
                environment.variables.insert((*name).to_owned(), (*value).to_owned());
            }
            load(&Flags::default(), &environment, Path::new("/nonexistent"))
                .map(|loaded| loaded.config.limits)
        };
        let lines = |variables: &[(&str, &str)]| limits(variables).map(|limits| limits.lines);
        let line = ("PILOTHOUSE_LIMITS_LINE", "32MiB");
        assert_eq!(lines(&[line]).unwrap(), Bytes::new(64 << 20));
        assert_eq!(
            lines(&[line, ("PILOTHOUSE_LIMITS_LINES", "40MiB")]).unwrap(),
            Bytes::new(40 << 20)
        );
        assert!(lines(&[line, ("PILOTHOUSE_LIMITS_LINES", "16MiB")]).is_err());
        let line = ("PILOTHOUSE_LIMITS_LINE", "256MiB");
        assert_eq!(limits(&[line]).unwrap().longest_line, Bytes::new(256 << 20));
    }
}
