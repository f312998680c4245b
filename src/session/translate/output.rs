//! An answer that is to fit a JSON schema: the value in it, and another try.

use super::Translator;
use crate::session::bounded;
use crate::session::schema::{Schema, find_json};
use pilothouse_a2a::id::ArtifactId;
use pilothouse_a2a::message::Part;
use pilothouse_a2a::task::Artifact;
use serde_json::json;

/// The artifact with the value.
const OUTPUT: &str = "structured-output";

impl Translator {
    /// What has streamed of the answer, where that is remembered.
    pub(in crate::session) fn streamed_text(&self) -> &str {
        self.streamed.as_deref().unwrap_or_default()
    }

    /// Makes an artifact of the value in the answer of this turn: in what the CLI says that it is, else in what has
    /// streamed.
    ///
    /// # Errors
    ///
    /// Why there is none, for the caller and for the agent.
    pub(in crate::session) fn add_output(
        &mut self,
        schema: &Schema,
        answer: Option<&str>,
    ) -> Result<(), String> {
        let streamed = self.streamed.as_deref().unwrap_or_default();
        if answer.is_none() && self.streamed_bytes > streamed.len() {
            return Err("the answer is too long to be checked".to_owned());
        }
        let value = find_json(answer.unwrap_or(streamed)).ok_or("the answer is no JSON")?;
        schema.fits(&value)?;
        let part = Part::data(value);
        if bounded::size(&part) > self.data_limit() {
            return Err("the answer is larger than one event may be (`limits.event`)".to_owned());
        }
        let id = ArtifactId::new(format!("{}-artifact-{OUTPUT}", self.log.id));
        let mut artifact = Artifact::new(id, OUTPUT, vec![part]);
        artifact.description = Some("the answer, as the schema of the request has it".to_owned());
        self.add_results(vec![artifact]);
        Ok(())
    }

    /// What the agent says from now on takes the place of its answer so far.
    pub(in crate::session) fn begin_again(&mut self, reason: &str) {
        let line = format!("the agent is asked again, because {reason}");
        self.status(&line, Some(json!({"kind": "schema", "reason": reason})));
        (self.answer_begun, self.new_paragraph, self.streamed_bytes) = (false, false, 0);
        self.streamed = Some(String::new());
    }
}
