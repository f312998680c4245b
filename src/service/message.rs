//! A message on its way in: is it one that may be sent, and what is the agent told?

use super::Service;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::message::{Message, Part, PartContent, Role};
use pilothouse_agents::Turn as Prompt;

/// Longest `contextId` and v0.1 task id that a client may choose, in bytes.
const ID_BYTES: usize = 256;

impl Service {
    /// What the agent is told.
    pub(super) fn prompt(&self, message: &Message) -> Result<Prompt, Error> {
        let house = self.sessions.house();
        let mut texts: Vec<String> = Vec::new();
        let mut images = Vec::new();
        for (number, part) in message.parts.iter().enumerate() {
            match &part.content {
                PartContent::Text(text) => texts.push(text.clone()),
                PartContent::Data(data) => texts.push(data.to_string()),
                PartContent::Url(url) => texts.push(url.clone()),
                PartContent::Raw(bytes) => {
                    match (part.media_type.as_deref(), std::str::from_utf8(bytes)) {
                        (Some(media_type), _) if media_type.starts_with("image/") => {
                            images.push((media_type.to_owned(), base64_of(part)));
                        }
                        (_, Ok(text)) => {
                            let name = part.filename.as_deref().unwrap_or("file");
                            texts.push(format!("{name}:\n{text}"));
                        }
                        (media_type, Err(_)) => {
                            let media_type = media_type.unwrap_or("application/octet-stream");
                            return Err(Error::new(
                            ErrorKind::ContentTypeNotSupported,
                            format!("a file of type {media_type} cannot be given to this agent; send text or an image"),
                        )
                        .field(format!("message.parts[{number}]"), "neither text nor an image"));
                        }
                    }
                }
            }
        }
        let text = texts.join("\n\n");
        let limit = house.config.limits.prompt.as_usize();
        if text.len() > limit {
            return Err(Error::invalid(
                "message.parts",
                format!(
                    "the text is {} bytes long; this server takes {limit} (`limits.prompt`)",
                    text.len()
                ),
            ));
        }
        if text.trim().is_empty() && images.is_empty() {
            return Err(Error::invalid("message.parts", "the message holds no text"));
        }
        let prompt = Prompt {
            text,
            images,
            message_id: message.message_id.to_string(),
            ..Prompt::default()
        };
        house
            .agent
            .check(&prompt)
            .map_err(|refusal| Error::invalid("message.parts", refusal.to_string()))?;
        Ok(prompt)
    }
}

pub(super) fn check_message(message: &Message, alias: Option<&str>) -> Result<(), Error> {
    if message.role != Role::User {
        return Err(Error::invalid(
            "message.role",
            "a message to an agent has the role of the user",
        ));
    }
    if let Some(context) = &message.context_id {
        check_id("message.contextId", context.as_str())?;
    }
    alias.map_or(Ok(()), |alias| check_id("id", alias))
}

/// Ids of clients never become paths; one that looks like a path is refused all the same, because
/// whoever sends it is mistaken or tries something.
fn check_id(field: &str, id: &str) -> Result<(), Error> {
    if id.is_empty() || id.len() > ID_BYTES {
        return Err(Error::invalid(
            field,
            format!("must have between 1 and {ID_BYTES} bytes"),
        ));
    }
    if id.chars().any(char::is_control) || id.split(['/', '\\']).any(|piece| piece == "..") {
        return Err(Error::invalid(
            field,
            "must not hold control characters nor `..` as a path does",
        ));
    }
    Ok(())
}

fn base64_of(part: &Part) -> String {
    let json = serde_json::to_value(part).unwrap_or_default();
    json.get("raw")
        .and_then(serde_json::Value::as_str)
        .unwrap_or_default()
        .to_owned()
}
