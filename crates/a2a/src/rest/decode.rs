//! Path, query and body into one request.

use super::body::{self, Members};
use super::{Form, Request, Route, proto, query, sends};
use crate::dialect::{Decoded, Dialect};
use crate::error::Error;
use crate::operation::Operation;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// What of a `message:send` tells the two spellings of v0.3 apart.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Hint<'a> {
    request: Option<IgnoredAny>,
    #[serde(borrow)]
    message: Option<MessageHint<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MessageHint<'a> {
    content: Option<IgnoredAny>,
    #[serde(borrow)]
    role: Option<&'a RawValue>,
}

/// The task, as bodies may name it beside the path.
const TASK_NAMES: [&str; 3] = ["id", "taskId", "task_id"];

impl Route {
    /// The form of an answer when the request could not be read.
    pub fn form(&self) -> Form {
        Form::of(self.dialect)
    }

    /// One request from path, query and body. What the path says, the body may repeat and may not
    /// contradict.
    ///
    /// # Errors
    /// `Parse` when a body is not JSON; `InvalidParams` naming the field or the parameter that is
    /// wrong; `MethodNotFound` for an operation that the dialect does not have.
    pub fn decode(&self, query: Option<&str>, body: &[u8]) -> Result<Request, Error> {
        match self.operation {
            operation if sends(operation) => self.send(body),
            Operation::CreateTaskPushNotificationConfig => self.create(body),
            Operation::CancelTask | Operation::SubscribeToTask => {
                let mut members = Members::read(body::json(body)?)?;
                query::read(self.operation, query, &mut members)?;
                self.about(members)
            }
            _ => {
                let mut members = Members::default();
                query::read(self.operation, query, &mut members)?;
                self.about(members)
            }
        }
    }

    fn send(&self, body: &[u8]) -> Result<Request, Error> {
        let body = body::json(body)?;
        match (self.dialect, &self.tenant) {
            (Dialect::V1_0, Some(tenant)) if body.is_some() => {
                let mut members = Members::read(body)?;
                members.bind(&["tenant"], tenant)?;
                self.read(&members.object()?)
            }
            (Dialect::V0_3, _) if body.is_some_and(is_proto) => Ok(Request {
                decoded: proto::send(self.operation, body)?,
                form: Form::Proto,
                told: true,
            }),
            _ => {
                let decoded = self.dialect.decode(self.operation, body)?;
                Ok(self.request(decoded, body.map(|_| Form::Kind)))
            }
        }
    }

    fn create(&self, body: &[u8]) -> Result<Request, Error> {
        let body = body::json(body)?;
        let id = self.id.as_deref().unwrap_or_default();
        if self.dialect != Dialect::V1_0 {
            let (decoded, told) = proto::create(id, body)?;
            return Ok(self.request(decoded, told));
        }
        let mut members = Members::read(body)?;
        members.bind(&["taskId", "task_id"], id)?;
        self.bind_tenant(&mut members)?;
        self.read(&members.object()?)
    }

    /// A request about what the path names.
    fn about<'a>(&'a self, mut members: Members<'a>) -> Result<Request, Error> {
        let id = self.id.as_deref();
        let config = self.config_id.as_deref();
        let mut told = None;
        if self.dialect == Dialect::V1_0 {
            self.bind_tenant(&mut members)?;
        } else {
            // Only the JSON types have the id in the body; the resource name is in both spellings.
            told = members.given("id").map(|_| Form::Kind);
            if let Some(id) = id {
                members.take(&["name"], &format!("tasks/{id}"))?;
            }
        }
        let (task_names, config_names): (&[&str], &[&str]) =
            match (self.dialect, config, self.operation) {
                (Dialect::V1_0, _, Operation::ListTaskPushNotificationConfigs)
                | (Dialect::V1_0, Some(_), _) => (&["taskId", "task_id"], &["id"]),
                _ => (&TASK_NAMES, &["pushNotificationConfigId", "push_notification_config_id"]),
            };
        if let Some(id) = id {
            members.bind(task_names, id)?;
        }
        if let Some(config) = config {
            members.bind(config_names, config)?;
        }
        let decoded = self.dialect.decode(self.operation, Some(&members.object()?))?;
        Ok(self.request(decoded, told))
    }

    fn bind_tenant(&self, members: &mut Members<'_>) -> Result<(), Error> {
        match &self.tenant {
            Some(tenant) => members.bind(&["tenant"], tenant),
            None => Ok(()),
        }
    }

    fn read(&self, params: &RawValue) -> Result<Request, Error> {
        let decoded = self.dialect.decode(self.operation, Some(params))?;
        Ok(self.request(decoded, None))
    }

    /// The request, in the form that a v0.3 client showed.
    fn request(&self, decoded: Decoded, shown: Option<Form>) -> Request {
        let older = self.dialect != Dialect::V1_0;
        Request {
            decoded,
            form: shown.filter(|_| older).unwrap_or_else(|| self.form()),
            told: !older || shown.is_some(),
        }
    }
}

/// A message in the spelling of protobuf; what fits neither is read, and refused, by the JSON types.
fn is_proto(body: &RawValue) -> bool {
    let hint: Hint<'_> = serde_json::from_str(body.get()).unwrap_or_default();
    let message = hint.message.unwrap_or_default();
    let upper = |role: &RawValue| role.get().starts_with("\"ROLE_");
    hint.request.is_some() || message.content.is_some() || message.role.is_some_and(upper)
}
