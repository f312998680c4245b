//! The numbers of every member of the model, in `lf.a2a.v1` and, where it differs, in `a2a.v1`.

use super::v0_3::{ConfigName, NamedConfig, parent, task_name};
use super::wire::{Field, Fields, message, one_of};
use super::{Wrong, v0_3};
use crate::card::{
    AgentCapabilities, AgentCard, AgentCardSignature, AgentExtension, AgentInterface,
    AgentProvider, AgentSkill, ApiKeySecurityScheme, AuthorizationCodeFlow, ClientCredentialsFlow,
    DeviceCodeFlow, HttpAuthSecurityScheme, ImplicitFlow, MutualTlsSecurityScheme,
    OAuth2SecurityScheme, OAuthFlows, OpenIdConnectSecurityScheme, PasswordFlow,
    SecurityRequirement, SecurityScheme, StringList,
};
use crate::dialect::Dialect;
use crate::dialect::v0_3::is_final;
use crate::operation::{
    CancelTaskRequest, DeleteTaskPushNotificationConfigRequest, GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest, GetTaskRequest, ListTaskPushNotificationConfigsRequest,
    ListTaskPushNotificationConfigsResponse, ListTasksRequest, ListTasksResponse,
    SendMessageConfiguration, SendMessageRequest, SubscribeToTaskRequest,
};
use crate::push::{AuthenticationInfo, TaskPushNotificationConfig};
use crate::{
    Artifact, Message, Metadata, StreamResponse, Task, TaskArtifactUpdateEvent, TaskState,
    TaskStatus, TaskStatusUpdateEvent,
};

// === what is spoken about ===

message! {
    Task { id 1, context_id 2, status 3, artifacts 4, history 5, metadata 6, generation 7 0, }
    TaskStatus { state 1, message 2, timestamp 3, }
    Message {
        message_id 1, context_id 2, task_id 3, role 4, parts 5, metadata 6, extensions 7,
        reference_task_ids 8 0,
    }
    Artifact {
        artifact_id 1, name 2 3, description 3 4, parts 4 5, metadata 5 6, extensions 6 7,
    }
    TaskStatusUpdateEvent {
        task_id 1, context_id 2, status 3 as status_and_final, metadata 4 5, generation 5 0,
    }
    TaskArtifactUpdateEvent {
        task_id 1, context_id 2, artifact 3, append 4, last_chunk 5, metadata 6, generation 7 0,
    }
}

one_of! {
    StreamResponse { Task 1, Message 2, StatusUpdate 3, ArtifactUpdate 4, }
        else "an event has one of task, message, statusUpdate or artifactUpdate";
}

/// The number of a task in an event, and in the answer to a message.
pub(super) const SENT_TASK: u32 = 1;
/// The number of a message there.
pub(super) const SENT_MESSAGE: u32 = 2;

/// In v0.3 a flag beside the status says that the stream ends with it.
mod status_and_final {
    use super::{Dialect, Field, Fields, TaskStatus, Wrong, is_final};

    pub(super) fn write(status: &TaskStatus, dialect: Dialect, number: u32, out: &mut Vec<u8>) {
        status.write(dialect, number, out);
        if dialect != Dialect::V1_0 {
            is_final(status.state).write(dialect, number + 1, out);
        }
    }

    pub(super) fn read(fields: &Fields<'_>, number: u32, name: &str) -> Result<TaskStatus, Wrong> {
        Field::read(fields, number, name)
    }
}

// === requests and what answers them ===

message! {
    SendMessageRequest { tenant 1 0, message 2 1, configuration 3 2, metadata 4 3, }
    SendMessageConfiguration, in v0_3 as v0_3::Configuration {
        accepted_output_modes 1, task_push_notification_config 2, history_length 3,
        return_immediately 4, if_generation_match 5,
    }
    GetTaskRequest {
        tenant 1 0, id 2 1 as task_name, history_length 3 2, current_generation 4 0,
    }
    ListTasksRequest {
        tenant 1, context_id 2, status 3 as filter, page_size 4, page_token 5, history_length 6,
        status_timestamp_after 7, include_artifacts 8,
    }
    ListTasksResponse { tasks 1, next_page_token 2, page_size 3, total_size 4, }
    CancelTaskRequest { tenant 1 0, id 2 1 as task_name, metadata 3 0, }
    SubscribeToTaskRequest { tenant 1 0, id 2 1 as task_name, }
    TaskPushNotificationConfig, in v0_3 as NamedConfig {
        tenant 1, id 2, task_id 3, url 4, token 5, authentication 6,
    }
    AuthenticationInfo { scheme 1, credentials 2, }
    GetTaskPushNotificationConfigRequest, in v0_3 as ConfigName { tenant 1, task_id 2, id 3, }
    DeleteTaskPushNotificationConfigRequest, in v0_3 as ConfigName { tenant 1, task_id 2, id 3, }
    ListTaskPushNotificationConfigsRequest {
        task_id 1 as parent, page_size 2 as zero_is_absent, page_token 3, tenant 4 0,
    }
    ListTaskPushNotificationConfigsResponse { configs 1, next_page_token 2, }
    GetExtendedAgentCardRequest { tenant 1 0, }
}

/// A state to filter by has to be known.
mod filter {
    use super::{Dialect, Field, Fields, TaskState, Wrong};

    pub(super) fn write(state: &TaskState, dialect: Dialect, number: u32, out: &mut Vec<u8>) {
        state.write(dialect, number, out);
    }

    pub(super) fn read(fields: &Fields<'_>, number: u32, name: &str) -> Result<TaskState, Wrong> {
        let given = i32::read(fields, number, name)?;
        let state = TaskState::read(fields, number, name)?;
        if state as i32 == given {
            Ok(state)
        } else {
            Err(Wrong::new(name, format!("{given} is no task state")))
        }
    }
}

mod zero_is_absent {
    use super::{Dialect, Field, Fields, Wrong};

    pub(super) fn write(value: &Option<i32>, dialect: Dialect, number: u32, out: &mut Vec<u8>) {
        value.unwrap_or_default().write(dialect, number, out);
    }

    pub(super) fn read(fields: &Fields<'_>, number: u32, name: &str) -> Result<Option<i32>, Wrong> {
        Ok(Some(i32::read(fields, number, name)?).filter(|value| *value != 0))
    }
}

// === the agent card ===

message! {
    // What v0.3 has in place of the interfaces is `v0_3::Endpoints`.
    AgentCard {
        name 1, description 2, supported_interfaces 3 0, provider 4, version 5,
        documentation_url 6, capabilities 7 as capabilities, security_schemes 8,
        security_requirements 9, default_input_modes 10, default_output_modes 11, skills 12,
        signatures 13 17, icon_url 14 18,
    }
    AgentInterface { url 1, protocol_binding 2, tenant 3 0, protocol_version 4 0, }
    AgentProvider { url 1, organization 2, }
    AgentCapabilities {
        streaming 1, push_notifications 2, extensions 3, extended_agent_card 4 0,
    }
    AgentExtension { uri 1, description 2, required 3, params 4 as object, }
    AgentSkill {
        id 1, name 2, description 3, tags 4, examples 5, input_modes 6, output_modes 7,
        security_requirements 8,
    }
    AgentCardSignature { protected 1, signature 2, header 3 as object, }
    SecurityRequirement { schemes 1, }
    StringList { list 1, }
    ApiKeySecurityScheme { description 1, location 2, name 3, }
    HttpAuthSecurityScheme { description 1, scheme 2, bearer_format 3, }
    OAuth2SecurityScheme { description 1, flows 2, metadata_url 3, }
    OpenIdConnectSecurityScheme { description 1, open_id_connect_url 2, }
    MutualTlsSecurityScheme { description 1, }
    AuthorizationCodeFlow {
        authorization_url 1, token_url 2, refresh_url 3, scopes 4, pkce_required 5,
    }
    ClientCredentialsFlow { token_url 1, refresh_url 2, scopes 3, }
    ImplicitFlow { authorization_url 1, refresh_url 2, scopes 3, }
    PasswordFlow { token_url 1, refresh_url 2, scopes 3, }
    DeviceCodeFlow { device_authorization_url 1, token_url 2, refresh_url 3, scopes 4, }
}

one_of! {
    SecurityScheme { ApiKey 1, HttpAuth 2, OAuth2 3, OpenIdConnect 4, MutualTls 5, }
        else "a security scheme of no known kind";
    OAuthFlows {
        AuthorizationCode 1, ClientCredentials 2, Implicit 3, Password 4, DeviceCode 5,
    } else "an OAuth flow of no known kind";
}

mod capabilities {
    use super::{AgentCapabilities, Dialect, Field, Fields, Wrong};

    pub(super) fn write(
        known: &AgentCapabilities,
        dialect: Dialect,
        number: u32,
        out: &mut Vec<u8>,
    ) {
        known.write(dialect, number, out);
    }

    pub(super) fn read(
        fields: &Fields<'_>,
        number: u32,
        name: &str,
    ) -> Result<AgentCapabilities, Wrong> {
        Ok(Option::read(fields, number, name)?.unwrap_or_default())
    }
}

/// An object that the model has as a tree.
mod object {
    use super::{Dialect, Field, Fields, Metadata, Wrong};
    use serde_json::{Map, Value};

    type Object = Option<Map<String, Value>>;

    pub(super) fn write(members: &Object, dialect: Dialect, number: u32, out: &mut Vec<u8>) {
        members.clone().map(Metadata::from).write(dialect, number, out);
    }

    pub(super) fn read(fields: &Fields<'_>, number: u32, name: &str) -> Result<Object, Wrong> {
        let members: Option<Metadata> = Field::read(fields, number, name)?;
        Ok(members.map(|members| members.to_map()))
    }
}
