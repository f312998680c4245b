//! What an MCP server wants to know from a person: a form, or an address to open.
//!
//! The CLI passes any answer on, so what a person says is checked against the requested schema by the house
//! (`form::check`).

use super::wire::{Control, Text};
use crate::form::{self, Form};
use crate::{Answer, AskKind};
use serde_json::{Value, json};

/// A request of an MCP server that waits for its answer.
#[derive(Debug)]
pub(super) struct Elicitation {
    server: String,
    /// The request as the house stores it; a form has `requestedSchema`.
    input: Value,
    form: Form,
}

impl Elicitation {
    pub(super) fn of(request: Control<'_>) -> Self {
        let server = request.mcp_server_name.map(Text::into_owned).unwrap_or_default();
        let message = request.message.map(Text::into_owned).unwrap_or_default();
        let input = match request.mode.as_deref() {
            Some("url") => json!({
                "mode": "url",
                "mcpServer": server,
                "message": message,
                "url": request.url.as_deref(),
                "elicitationId": request.elicitation_id.as_deref(),
            }),
            _ => json!({
                "mode": "form",
                "mcpServer": server,
                "message": message,
                "requestedSchema": request.requested_schema.unwrap_or_else(|| json!({})),
            }),
        };
        let form = Form::of(&input);
        Self { server, input, form }
    }

    /// The ask in the house's words.
    pub(super) fn kind(&self) -> AskKind {
        let message = self.input["message"].as_str().unwrap_or_default();
        let mut lines = vec![format!("The MCP server `{}` asks: {message}", self.server)];
        let options = if form::is_address(&self.input) {
            lines.push(self.input["url"].as_str().unwrap_or_default().to_owned());
            lines.push(
                "Open this address yourself, then answer `accept`; or answer `decline`.".to_owned(),
            );
            vec!["accept".to_owned(), "decline".to_owned()]
        } else {
            let options = self.form.options();
            if options.is_empty() {
                lines.extend(self.form.fields());
            }
            options
        };
        AskKind::Question { text: lines.join("\n"), options, input: self.input.clone() }
    }

    /// The CLI's form of an answer.
    pub(super) fn response(&self, answer: &Answer) -> Value {
        if !form::is_address(&self.input) {
            return self.form.answered(answer);
        }
        let agrees = form::consent(answer).unwrap_or(false);
        json!({ "action": if agrees { "accept" } else { "decline" } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elicitation(request: &Value) -> Elicitation {
        Elicitation::of(serde_json::from_str(&request.to_string()).unwrap())
    }

    fn text(elicitation: &Elicitation) -> String {
        match elicitation.kind() {
            AskKind::Question { text, .. } => text,
            AskKind::Permission { .. } => panic!("a permission"),
        }
    }

    #[test]
    fn a_form_names_its_server_and_its_fields() {
        let asked = elicitation(&json!({
            "subtype": "elicitation", "mcp_server_name": "bank", "message": "Which account?", "mode": "form",
            "requested_schema": { "type": "object", "required": ["account"], "properties": {
                "account": { "type": "string", "description": "its number" }, "note": { "type": "string" } } },
        }));
        insta::assert_snapshot!(text(&asked), @r"
        The MCP server `bank` asks: Which account?
        - account: string, required; its number
        - note: string
        ");
        let answer = Answer::Allow { input: Some(json!({ "answers": { "account": "a1" } })) };
        let accepted = json!({ "action": "accept", "content": { "account": "a1" } });
        assert_eq!(asked.response(&answer), accepted);
        let denied = Answer::Deny { message: "no".to_owned() };
        assert_eq!(asked.response(&denied), json!({ "action": "decline" }));
    }

    #[test]
    fn an_address_is_shown_and_accepted_without_content() {
        let asked = elicitation(&json!({
            "subtype": "elicitation", "mcp_server_name": "bank", "message": "Sign in", "mode": "url",
            "url": "https://example.com/sign", "elicitation_id": "e",
        }));
        assert!(text(&asked).contains("\nhttps://example.com/sign\n"));
        let answer = |words: &str| asked.response(&Answer::Allow { input: Some(json!(words)) });
        assert_eq!(answer("done"), json!({ "action": "accept" }));
        assert_eq!(answer("decline"), json!({ "action": "decline" }));
    }
}
