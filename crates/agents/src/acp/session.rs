//! An open session of an agent, and what may be chosen in it: mode and model.

use super::wire::Opened;
use serde_json::Value;

/// A session of the agent.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) model: Option<String>,
    pub(super) mode: Setup,
    pub(super) model_setup: Setup,
}

/// What is to be chosen in a session, and from what.
#[derive(Debug, Default)]
pub(super) struct Setup {
    /// The option that holds it; none where the protocol has a method of its own for it.
    pub(super) option: Option<String>,
    pub(super) current: Option<String>,
    /// Id and name of what is offered.
    offered: Vec<(String, String)>,
    /// Whether it was chosen by us.
    pub(super) done: bool,
}

impl Setup {
    /// The id of what is wanted: by id, by name, or by the last part of an id (of an address, or
    /// behind a provider's name) where only one has it.
    pub(super) fn find(&self, wanted: &str) -> Option<&str> {
        let same = |text: &str| text.eq_ignore_ascii_case(wanted);
        let last = |id: &str| same(id.rsplit(['#', '/']).next().unwrap_or_default());
        let by = |test: &dyn Fn(&(String, String)) -> bool| {
            let mut found = self.offered.iter().filter(|offered| test(offered));
            found.next().map(|first| (first.0.as_str(), found.next()))
        };
        by(&|(id, _)| id == wanted)
            .or_else(|| by(&|(_, name)| same(name)))
            .or_else(|| by(&|(id, _)| last(id)).filter(|(_, second)| second.is_none()))
            .map(|(id, _)| id)
    }

    /// What is offered, as far as it fits a sentence.
    pub(super) fn list(&self) -> String {
        let ids: Vec<&str> = self.offered.iter().take(12).map(|(id, _)| id.as_str()).collect();
        let more = if self.offered.len() > ids.len() { ", .." } else { "" };
        format!("{}{more}", ids.join(", "))
    }
}

impl From<Opened> for Session {
    /// Options are what the protocol prefers; modes and models of their own are its older form.
    fn from(opened: Opened) -> Self {
        let options = opened.config_options.unwrap_or_default();
        let modes = opened.modes.unwrap_or_default();
        let models = opened.models.unwrap_or_default();
        let mode = Setup {
            current: modes.current_mode_id,
            offered: modes
                .available_modes
                .unwrap_or_default()
                .into_iter()
                .map(|mode| (mode.id, mode.name.unwrap_or_default()))
                .collect(),
            ..Setup::default()
        };
        let model = Setup {
            current: models.current_model_id,
            offered: models
                .available_models
                .unwrap_or_default()
                .into_iter()
                .map(|model| (model.model_id, model.name.unwrap_or_default()))
                .collect(),
            ..Setup::default()
        };
        let mode = option(&options, "mode").unwrap_or(mode);
        let model = option(&options, "model").unwrap_or(model);
        Self { id: String::new(), model: model.current.clone(), mode, model_setup: model }
    }
}

/// The option of this category, with its values, those of groups included.
fn option(options: &[Value], category: &str) -> Option<Setup> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let found = options
        .iter()
        .find(|option| option["category"] == category)
        .or_else(|| options.iter().find(|option| option["id"] == category))?;
    let values = found.get("options").and_then(Value::as_array)?;
    let offered = values
        .iter()
        .flat_map(|value| match value.get("options").and_then(Value::as_array) {
            Some(group) => group.iter().collect(),
            None => vec![value],
        })
        .filter_map(|value| Some((text(value, "value")?, text(value, "name").unwrap_or_default())))
        .collect();
    Some(Setup {
        option: Some(text(found, "id")?),
        current: text(found, "currentValue"),
        offered,
        done: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_an_id_is_enough_where_only_one_has_it() {
        let offered = ["a/big", "b/big", "c/small", "https://example.com/modes#plan"];
        let setup = Setup {
            offered: offered.map(|id| (id.to_owned(), String::new())).to_vec(),
            ..Setup::default()
        };
        assert_eq!(setup.find("small"), Some("c/small"));
        assert_eq!(setup.find("Plan"), Some("https://example.com/modes#plan"));
        assert_eq!(setup.find("big"), None);
        assert_eq!(setup.find("b/big"), Some("b/big"));
    }
}
