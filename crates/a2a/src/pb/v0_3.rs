//! What `a2a.v1`, the package of v0.3, has in another form: tasks and configs called by resource
//! names, and the endpoints of a card.

use super::Wrong;
use super::wire::{Field, Fields, Item, message};
use crate::card::{self, AgentCapabilities, AgentCard, AgentInterface};
use crate::dialect::Dialect;
use crate::dialect::v0_3::{PROTO_CREATE_NAMES, PROTO_SEND_NAMES};
use crate::id::TaskId;
use crate::operation::{
    DeleteTaskPushNotificationConfigRequest, GetTaskPushNotificationConfigRequest, Operation,
    SendMessageConfiguration,
};
use crate::push::{AuthenticationInfo, TaskPushNotificationConfig};
use serde_json::Value;

/// Before a task's id in its resource name.
const TASKS: &str = "tasks/";
/// Between a task's id and a config's; also the end of a name that means all configs of a task.
const CONFIGS: &str = "/pushNotificationConfigs";

/// The operation of a path in this package.
pub(super) fn operation(path: &str) -> Option<Operation> {
    Some(match path.strip_prefix("/a2a.v1.A2AService/")? {
        "SendMessage" => Operation::SendMessage,
        "SendStreamingMessage" => Operation::SendStreamingMessage,
        "GetTask" => Operation::GetTask,
        "CancelTask" => Operation::CancelTask,
        "TaskSubscription" => Operation::SubscribeToTask,
        "CreateTaskPushNotificationConfig" => Operation::CreateTaskPushNotificationConfig,
        "GetTaskPushNotificationConfig" => Operation::GetTaskPushNotificationConfig,
        "ListTaskPushNotificationConfig" => Operation::ListTaskPushNotificationConfigs,
        "DeleteTaskPushNotificationConfig" => Operation::DeleteTaskPushNotificationConfig,
        "GetAgentCard" => Operation::GetExtendedAgentCard,
        _ => return None,
    })
}

/// The fields of a request that have another name here than in v1.0.
pub(super) fn names(operation: Operation) -> &'static [(&'static str, &'static str)] {
    match operation {
        Operation::SendMessage | Operation::SendStreamingMessage => PROTO_SEND_NAMES,
        Operation::CreateTaskPushNotificationConfig => PROTO_CREATE_NAMES,
        _ => &[("id", "name")],
    }
}

/// `configuration.blocking` of a message, where there is a configuration: left out, it is false.
pub(super) fn blocking(body: &[u8]) -> Result<Option<bool>, Wrong> {
    let wishes = Fields::of(body, Dialect::V0_3)?.content(2, true)?;
    wishes.map(|wishes| bool::read(&Fields::of(&wishes, Dialect::V0_3)?, 4, "blocking")).transpose()
}

// === resource names ===

/// The id in `tasks/{id}`.
fn task_id(field: &str, name: &str) -> Result<TaskId, Wrong> {
    let id = name.strip_prefix(TASKS).filter(|id| !id.is_empty());
    id.map(TaskId::from).ok_or_else(|| Wrong::new(field, "must be `tasks/{id}`"))
}

/// The ids in `tasks/{id}/pushNotificationConfigs/{configId}`; the second may be missing.
fn ids(field: &str, name: &str) -> Result<(TaskId, String), Wrong> {
    let (task, config) = name.split_once(CONFIGS).unwrap_or((name, ""));
    Ok((task_id(field, task)?, config.strip_prefix('/').unwrap_or(config).to_owned()))
}

fn config_name(task_id: &str, id: &str) -> String {
    format!("{TASKS}{task_id}{CONFIGS}/{id}")
}

/// A task's id, in v0.3 as the resource name `name`.
pub(super) mod task_name {
    use super::{Dialect, Field, Fields, TASKS, TaskId, Wrong, task_id};

    pub(in crate::pb) fn write(id: &TaskId, dialect: Dialect, number: u32, out: &mut Vec<u8>) {
        match dialect {
            Dialect::V1_0 => id.write(dialect, number, out),
            Dialect::V0_3 | Dialect::V0_1 => format!("{TASKS}{id}").write(dialect, number, out),
        }
    }

    pub(in crate::pb) fn read(
        fields: &Fields<'_>,
        number: u32,
        name: &str,
    ) -> Result<TaskId, Wrong> {
        if fields.dialect == Dialect::V1_0 {
            return Field::read(fields, number, name);
        }
        task_id("name", &String::read(fields, number, "name")?)
    }
}

/// A task's id, in v0.3 as the resource name `parent`, which may also be the one of its configs.
pub(super) mod parent {
    use super::{Dialect, Field, Fields, TaskId, Wrong, ids};

    pub(in crate::pb) use super::task_name::write;

    pub(in crate::pb) fn read(
        fields: &Fields<'_>,
        number: u32,
        name: &str,
    ) -> Result<TaskId, Wrong> {
        if fields.dialect == Dialect::V1_0 {
            return Field::read(fields, number, name);
        }
        Ok(ids("parent", &String::read(fields, number, "parent")?)?.0)
    }
}

// === messages of another form ===

pub(super) struct Configuration {
    accepted_output_modes: Vec<String>,
    push_notification: Option<Config>,
    history_length: Option<i32>,
    blocking: bool,
}

/// A config without its task.
struct Config {
    id: Option<String>,
    url: String,
    token: Option<String>,
    authentication: Option<Authentication>,
}

struct Authentication {
    schemes: Vec<String>,
    credentials: Option<String>,
}

pub(super) struct NamedConfig {
    name: String,
    push_notification_config: Option<Config>,
}

pub(super) struct NewConfig {
    parent: String,
    config_id: Option<String>,
    config: Option<NamedConfig>,
}

pub(super) struct ConfigName {
    name: String,
}

/// Where an agent is reached: one endpoint, and others beside it.
struct Endpoints {
    url: String,
    supports_authenticated_extended_card: bool,
    preferred_transport: String,
    additional_interfaces: Vec<AgentInterface>,
    protocol_version: String,
}

message! {
    Configuration { accepted_output_modes 1, push_notification 2, history_length 3, blocking 4, }
    Config { id 1, url 2, token 3, authentication 4, }
    Authentication { schemes 1, credentials 2, }
    NamedConfig { name 1, push_notification_config 2, }
    NewConfig { parent 1, config_id 2, config 3, }
    ConfigName { name 1, }
    Endpoints {
        url 3, supports_authenticated_extended_card 13, preferred_transport 14,
        additional_interfaces 15, protocol_version 16,
    }
}

impl From<&SendMessageConfiguration> for Configuration {
    fn from(wishes: &SendMessageConfiguration) -> Self {
        Self {
            accepted_output_modes: wishes.accepted_output_modes.clone(),
            push_notification: wishes.task_push_notification_config.as_ref().map(Config::from),
            history_length: wishes.history_length,
            blocking: !wishes.return_immediately,
        }
    }
}

impl TryFrom<Configuration> for SendMessageConfiguration {
    type Error = Wrong;

    /// Whether the answer is waited for is the business of the caller, see `blocking`.
    fn try_from(wishes: Configuration) -> Result<Self, Wrong> {
        Ok(Self {
            accepted_output_modes: wishes.accepted_output_modes,
            task_push_notification_config: wishes.push_notification.map(Into::into),
            history_length: wishes.history_length,
            return_immediately: false,
            if_generation_match: None,
        })
    }
}

impl From<&TaskPushNotificationConfig> for Config {
    fn from(config: &TaskPushNotificationConfig) -> Self {
        let authentication = config.authentication.as_ref();
        Self {
            id: config.id.clone(),
            url: config.url.clone(),
            token: config.token.clone(),
            authentication: authentication.map(|known| Authentication {
                schemes: vec![known.scheme.clone()],
                credentials: known.credentials.clone(),
            }),
        }
    }
}

impl From<Config> for TaskPushNotificationConfig {
    fn from(config: Config) -> Self {
        // One header can carry one scheme; the first is the sender's preference.
        let authentication = config.authentication.and_then(|known| {
            let scheme = known.schemes.into_iter().next()?;
            Some(AuthenticationInfo { scheme, credentials: known.credentials })
        });
        Self {
            tenant: None,
            id: config.id,
            task_id: None,
            url: config.url,
            token: config.token,
            authentication,
        }
    }
}

impl From<&TaskPushNotificationConfig> for NamedConfig {
    fn from(config: &TaskPushNotificationConfig) -> Self {
        let task_id = config.task_id.as_ref().map_or("", |id| id.as_str());
        Self {
            name: config_name(task_id, config.id.as_deref().unwrap_or_default()),
            push_notification_config: Some(config.into()),
        }
    }
}

impl TryFrom<NamedConfig> for TaskPushNotificationConfig {
    type Error = Wrong;

    fn try_from(named: NamedConfig) -> Result<Self, Wrong> {
        let required = || Wrong::required("pushNotificationConfig");
        let config = Self::from(named.push_notification_config.ok_or_else(required)?);
        let (task_id, id) = ids("name", &named.name)?;
        let id = config.id.or(Some(id).filter(|id| !id.is_empty()));
        Ok(Self { task_id: Some(task_id), id, ..config })
    }
}

impl From<&TaskPushNotificationConfig> for NewConfig {
    fn from(config: &TaskPushNotificationConfig) -> Self {
        let task_id = config.task_id.as_ref().map_or("", |id| id.as_str());
        Self {
            parent: format!("{TASKS}{task_id}"),
            config_id: config.id.clone(),
            config: Some(config.into()),
        }
    }
}

impl TryFrom<NewConfig> for TaskPushNotificationConfig {
    type Error = Wrong;

    /// The config's id stands in up to three places; the name of the config inside is not needed.
    fn try_from(new: NewConfig) -> Result<Self, Wrong> {
        let required = || Wrong::required("config.pushNotificationConfig");
        let config = new.config.and_then(|named| named.push_notification_config);
        let config = Self::from(config.ok_or_else(required)?);
        let (task_id, _) = ids("parent", &new.parent)?;
        Ok(Self { task_id: Some(task_id), id: config.id.or(new.config_id), ..config })
    }
}

macro_rules! named {
    ($($request:ident)*) => {$(
        impl From<&$request> for ConfigName {
            fn from(request: &$request) -> Self {
                Self { name: config_name(request.task_id.as_str(), &request.id) }
            }
        }

        impl TryFrom<ConfigName> for $request {
            type Error = Wrong;

            fn try_from(ConfigName { name }: ConfigName) -> Result<Self, Wrong> {
                let (task_id, id) = ids("name", &name)?;
                Ok(Self { tenant: None, task_id, id })
            }
        }
    )*};
}

named! { GetTaskPushNotificationConfigRequest DeleteTaskPushNotificationConfigRequest }

// === the card ===

/// Writes a card; its fields are not in order, which readers do not mind.
pub(super) fn put_card(known: &AgentCard, out: &mut Vec<u8>) {
    // Which interfaces a v0.3 client may use is decided where the JSON form is made.
    let view = card::v0_3(known);
    let word = |of: &Value, name: &str| of[name].as_str().unwrap_or_default().to_owned();
    let others = view["additionalInterfaces"].as_array().into_iter().flatten();
    let other = |other: &Value| AgentInterface {
        url: word(other, "url"),
        protocol_binding: word(other, "transport"),
        tenant: None,
        protocol_version: String::new(),
    };
    let endpoints = Endpoints {
        url: word(&view, "url"),
        supports_authenticated_extended_card: known.capabilities.extended_agent_card == Some(true),
        preferred_transport: word(&view, "preferredTransport"),
        additional_interfaces: others.map(other).collect(),
        protocol_version: word(&view, "protocolVersion"),
    };
    // The signatures are over the JSON of v1.0 and would be wrong here.
    AgentCard { signatures: Vec::new(), ..known.clone() }.put(Dialect::V0_3, out);
    endpoints.put(Dialect::V0_3, out);
}

/// Reads a card as a client does: two messages from the same bytes, each skips the other's fields.
pub(super) fn take_card(body: &[u8]) -> Result<AgentCard, Wrong> {
    let known = AgentCard::take(body, Dialect::V0_3)?;
    let endpoints = Endpoints::take(body, Dialect::V0_3)?;
    let preferred = Some(endpoints.preferred_transport).filter(|binding| !binding.is_empty());
    let main = AgentInterface {
        url: endpoints.url,
        protocol_binding: preferred.unwrap_or_else(|| card::JSONRPC.to_owned()),
        tenant: None,
        protocol_version: String::new(),
    };
    let mut interfaces = endpoints.additional_interfaces;
    interfaces.retain(|other| *other != main);
    if !main.url.is_empty() {
        interfaces.insert(0, main);
    }
    let version: Vec<&str> = endpoints.protocol_version.splitn(3, '.').take(2).collect();
    let version = if version.len() == 2 { version.join(".") } else { "0.3".to_owned() };
    for interface in &mut interfaces {
        interface.protocol_version.clone_from(&version);
    }
    let extended = endpoints.supports_authenticated_extended_card.then_some(true);
    Ok(AgentCard {
        supported_interfaces: interfaces,
        capabilities: AgentCapabilities { extended_agent_card: extended, ..known.capabilities },
        ..known
    })
}
