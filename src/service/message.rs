//! A message on its way in: is it one that may be sent, and what is the agent told?

use super::review::read_review;
use super::schema::{self, find_schema, read_schema};
use super::wishes::{self, read_wishes};
use super::{Service, beside};
use crate::agent::Agent;
use crate::config::DriverKind;
use crate::queue::Place;
use crate::session::{File, Origin, Wishes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::id::{ContextId, TaskId};
use pilothouse_a2a::json::{Json, Metadata};
use pilothouse_a2a::message::{Message, Part, PartContent, Role};
use pilothouse_agents::Turn as Prompt;
use std::sync::Arc;

/// Longest id that a client may choose, in bytes: of a message, a context, a v0.1 task.
const ID_BYTES: usize = 256;

/// Bytes of a prompt that are not counted among those in memory.
const SHORT: usize = 4096;

/// Seconds after which a message that found no room is worth another try.
const PROMPTS_RETRY_SECONDS: u64 = 10;

/// Longest name of a file in the workspace, in characters.
const NAME_CHARS: usize = 60;

/// What the agent is told: words and images, and files in its workspace.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) prompt: Prompt,
    pub(super) files: Vec<File>,
    /// Its bytes, with the files and the metadata, and what its parts take besides.
    pub(super) size: usize,
    /// Its place among the prompts in memory; none where it is short.
    pub(super) place: Option<Arc<Place>>,
    /// What the message wants beside its words.
    pub(super) wishes: Option<Arc<Wishes>>,
}

impl Told {
    /// Whether it counts among the prompts in memory.
    pub(super) fn is_long(&self) -> bool {
        self.size > SHORT
    }

    /// Where its turn comes from.
    pub(super) fn take_origin(&mut self) -> Origin {
        let (prompt, wishes) = (self.place.take(), self.wishes.take());
        Origin { prompt, wishes, ..Origin::default() }
    }

    /// Names the task; the words that say where its files lie need its id.
    pub(super) fn belongs_to(&mut self, task: &TaskId, context: &ContextId) {
        self.prompt.task_id = task.to_string();
        self.prompt.context_id = context.to_string();
        for file in &self.files {
            if !self.prompt.text.is_empty() {
                self.prompt.text.push_str("\n\n");
            }
            let line = format!("Attached file: .a2a/{task}/{}", file.name);
            self.prompt.text.push_str(&line);
        }
    }
}

/// The texts of a message, an empty line between two.
#[derive(Default)]
struct Words(String);

/// The contents of a message by how the agent is given them.
#[derive(Default)]
struct Contents {
    takes_images: bool,
    /// Bytes up to which a text file stands in the prompt.
    inline: usize,
    text: Words,
    images: Vec<(String, String)>,
    files: Vec<File>,
}

impl Contents {
    fn add_file(&mut self, name: Option<&str>, media_type: &str, bytes: &[u8]) {
        let is_image = media_type.starts_with("image/");
        if is_image && self.takes_images {
            return self.images.push((media_type.to_owned(), STANDARD.encode(bytes)));
        }
        match std::str::from_utf8(bytes) {
            Ok(words) if !is_image && words.len() <= self.inline => {
                self.text.add(name.unwrap_or("file"));
                self.text.0.push_str(":\n");
                self.text.0.push_str(words);
            }
            Ok(_) | Err(_) => {
                let name = file_name(name, &self.files);
                self.files.push(File { name, bytes: bytes.to_vec() });
            }
        }
    }

    /// A file that stands in its address, or an address with what is known of its content.
    fn add_url(&mut self, url: &str, part: &Part) -> Result<(), Error> {
        if url.starts_with("data:") {
            let (bytes, media_type) = beside::read_data_url(url)
                .ok_or_else(|| Error::invalid("message.parts", "a `data:` URL cannot be read"))?;
            let media_type = part.media_type.as_deref().unwrap_or(&media_type);
            self.add_file(part.filename.as_deref(), media_type, &bytes);
            return Ok(());
        }
        let about = [part.filename.as_deref(), part.media_type.as_deref()];
        let about: Vec<_> = about.into_iter().flatten().collect();
        match about.is_empty() {
            true => self.text.add(url),
            false => self.text.add(&format!("{}: {url}", about.join(", "))),
        }
        Ok(())
    }
}

/// Bytes that a further part takes, however little it holds.
const PART: usize = 128;

impl Words {
    fn add(&mut self, words: &str) {
        if !self.0.is_empty() {
            self.0.push_str("\n\n");
        }
        self.0.push_str(words);
    }
}

impl Service {
    /// What the agent is told: `modes` are the media types that the caller takes.
    pub(super) fn prompt(
        &self,
        agent: &Agent,
        message: &Message,
        (caller, modes): (&str, &[String]),
    ) -> Result<Told, Error> {
        let wishes = read_wishes(agent, message)?.map(Arc::new);
        let schema = match find_schema(message)? {
            None if wishes.is_some() => wishes::find_schema(message)?,
            schema => schema,
        };
        let (mut command, mut schema) = (command_of(agent, message)?, schema);
        let mut contents = Contents {
            takes_images: agent.takes_images(),
            inline: self.config.limits.file_in_prompt.as_usize(),
            ..Contents::default()
        };
        for part in &message.parts {
            match &part.content {
                PartContent::Text(words) => contents.text.add(words),
                PartContent::Data(data)
                    if part.media_type.as_deref() == Some(schema::MEDIA_TYPE) =>
                {
                    schema = Some(read_schema("message.parts", data)?);
                }
                PartContent::Data(data) => {
                    add_data(agent, data, &mut command, &mut contents.text)?;
                }
                PartContent::Url(url) => contents.add_url(url, part)?,
                PartContent::Raw(bytes) => {
                    let media_type = part.media_type.as_deref().unwrap_or_default();
                    contents.add_file(part.filename.as_deref(), media_type, bytes);
                }
            }
        }
        if let Some(schema) = &schema {
            contents.text.add(&schema::instruct(schema));
        }
        let Contents { text, images, files, .. } = contents;
        let Words(text) = text;
        let limit = self.config.limits.prompt.as_usize();
        if text.len() > limit {
            return Err(Error::invalid(
                "message.parts",
                format!(
                    "the text is {} bytes long, more than {}; send less; the server's operator can raise `limits.prompt`",
                    text.len(),
                    self.config.limits.prompt
                ),
            ));
        }
        if text.trim().is_empty() && images.is_empty() && files.is_empty() && command.is_none() {
            return Err(Error::invalid("message.parts", "the message holds no text"));
        }
        let mut prompt = Prompt {
            text,
            command,
            images,
            schema,
            message_id: message.message_id.to_string(),
            beside: beside::describe(caller, message, modes),
            ..Prompt::default()
        };
        if agent.config.message_context {
            let line = format!("\n\nThe message came with: {}", prompt.beside);
            prompt.text.push_str(&line);
        }
        if !files.is_empty() && prompt.text.is_empty() && prompt.command.is_none() {
            "See the attached files.".clone_into(&mut prompt.text);
        }
        agent
            .check(&prompt)
            .map_err(|refusal| Error::invalid("message.parts", refusal.to_string()))?;
        let images: usize = prompt.images.iter().map(|(_, image)| image.len()).sum();
        let attached: usize = files.iter().map(|file| file.bytes.len()).sum();
        let metadata = message.metadata.as_ref().map_or(0, |metadata| metadata.text().len());
        let parts = message.parts.len().saturating_sub(1) * PART;
        let size = prompt.text.len() + images + attached + metadata + parts;
        Ok(Told { prompt, files, size, place: None, wishes })
    }

    /// Holds room for a prompt until its turn is over.
    pub(super) fn hold_prompt(&self, caller: &Arc<str>, told: &mut Told) -> Result<(), Error> {
        if !told.is_long() {
            return Ok(());
        }
        let place = self.prompts.try_take_many(caller, told.size).ok_or_else(|| {
            let message = format!(
                "the prompts of tasks that wait or run fill their room ({}, of which one caller has half); wait until some of \
                 them are over, or cancel them; the server's operator can raise `limits.prompts`",
                self.config.limits.prompts
            );
            Error::new(ErrorKind::ResourceExhausted, message).retry_after(PROMPTS_RETRY_SECONDS)
        })?;
        told.place = Some(Arc::new(place));
        Ok(())
    }
}

/// The command of the agent's own that `metadata.command` names.
fn command_of(agent: &Agent, message: &Message) -> Result<Option<String>, Error> {
    if agent.config.driver != DriverKind::Claude {
        return Ok(None);
    }
    let metadata = message.metadata.as_ref().map(Metadata::as_json);
    let wanted = metadata.and_then(|metadata| metadata.member("command"));
    wanted.map(|wanted| check_command(agent, "message.metadata.command", &wanted)).transpose()
}

/// Adds a data part: a command, a review, or what it is.
fn add_data(
    agent: &Agent,
    data: &Json,
    command: &mut Option<String>,
    text: &mut Words,
) -> Result<(), Error> {
    match command_in(agent, data)? {
        Some((name, arguments)) if command.as_ref().is_none_or(|known| *known == name) => {
            *command = Some(name);
            if let Some(arguments) = arguments {
                text.add(&arguments);
            }
        }
        _ => match read_review(data)? {
            Some(review) => text.add(&review),
            None => text.add(data.text()),
        },
    }
    Ok(())
}

/// The command and its arguments, where a data part is nothing but `command` and perhaps `arguments`, and callers
/// may run commands at all.
fn command_in(agent: &Agent, data: &Json) -> Result<Option<(String, Option<String>)>, Error> {
    let Some(wanted) = data.member("command").filter(|_| !agent.config.commands.is_empty()) else {
        return Ok(None);
    };
    let arguments = data.member("arguments");
    // The object, its members, and nothing else.
    if data.count() != wanted.count() + arguments.as_ref().map_or(0, Json::count) + 1 {
        return Ok(None);
    }
    let command = check_command(agent, "message.parts", &wanted)?;
    Ok(Some((command, arguments.and_then(|arguments| arguments.as_str()))))
}

/// A command that callers may run.
fn check_command(agent: &Agent, field: &str, wanted: &Json) -> Result<String, Error> {
    let allowed = &agent.config.commands;
    wanted.as_str().filter(|wanted| allowed.contains(wanted)).ok_or_else(|| {
        let key = &agent.key;
        let may = match allowed.as_slice() {
            [] => "callers may run none".to_owned(),
            names => format!("callers may run {}", names.join(", ")),
        };
        let words = format!(
            "no such command of this agent for callers: {may}; the server's operator can list others in \
             `agents.{key}.commands`"
        );
        Error::invalid(field, words)
    })
}

/// Whether a message to a working task interrupts it (`metadata.mode: steer`) instead of waiting.
pub(super) fn steers(message: &Message) -> bool {
    let mode = message.metadata.as_ref().and_then(|metadata| metadata.as_json().member("mode"));
    mode.is_some_and(|mode| mode.text() == r#""steer""#)
}

/// The context that a message wants a copy of.
pub(super) fn fork_of(message: &Message) -> Option<String> {
    let fork = message.metadata.as_ref()?.as_json().member("fork")?;
    fork.member("contextId")?.as_str()
}

/// A name for a file: the caller's own as far as it is one, and different from the others'.
fn file_name(wanted: Option<&str>, others: &[File]) -> String {
    let wanted = wanted.unwrap_or_default();
    let last = wanted.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut name: String = last
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ' '))
        .take(NAME_CHARS)
        .collect();
    name = name.trim_matches(['.', ' ']).to_owned();
    if name.is_empty() {
        "file".clone_into(&mut name);
    }
    if others.iter().any(|other| other.name == name) {
        name = format!("{}-{name}", others.len() + 1);
    }
    name
}

pub(super) fn check_message(message: &Message, alias: Option<&str>) -> Result<(), Error> {
    if message.role != Role::User {
        return Err(Error::invalid(
            "message.role",
            "a message to an agent has the role of the user",
        ));
    }
    if message.message_id.as_str().len() > ID_BYTES {
        let what = format!("must have at most {ID_BYTES} bytes");
        return Err(Error::invalid("message.messageId", what));
    }
    if let Some(context) = &message.context_id {
        check_id("message.contextId", context.as_str())?;
    }
    alias.map_or(Ok(()), |alias| check_id("id", alias))
}

/// Ids of clients never become paths; one that looks like a path is refused all the same, because
/// whoever sends it is mistaken or tries something.
pub(super) fn check_id(field: &str, id: &str) -> Result<(), Error> {
    if id.is_empty() || id.len() > ID_BYTES {
        return Err(Error::invalid(field, format!("must have between 1 and {ID_BYTES} bytes")));
    }
    if id.chars().any(char::is_control) || id.split(['/', '\\']).any(|piece| piece == "..") {
        return Err(Error::invalid(
            field,
            "must not hold control characters nor `..` as a path does",
        ));
    }
    Ok(())
}
