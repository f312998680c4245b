//! The eleven operations: what each asks for, what it answers, and by which names it is reached.

use crate::card::AgentCard;
use crate::error::Error;
use crate::message::Message;
use crate::push::TaskPushNotificationConfig;
use crate::task::Task;

mod check;
mod request;

pub use request::{
    CancelTaskRequest, DeleteTaskPushNotificationConfigRequest, GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest, GetTaskRequest, ListTaskPushNotificationConfigsRequest,
    ListTaskPushNotificationConfigsResponse, ListTasksRequest, ListTasksResponse,
    SendMessageConfiguration, SendMessageRequest, SendMessageResponse, SubscribeToTaskRequest,
};

/// What a client can ask of an agent (specification 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Say something and wait for the answer.
    SendMessage,
    /// Say something and watch what happens.
    SendStreamingMessage,
    /// Read a task.
    GetTask,
    /// Read many tasks, page by page.
    ListTasks,
    /// End a task before its end.
    CancelTask,
    /// Watch a task that runs already.
    SubscribeToTask,
    /// Have a task's events posted somewhere.
    CreateTaskPushNotificationConfig,
    /// Read one push notification config.
    GetTaskPushNotificationConfig,
    /// Read all push notification configs of a task.
    ListTaskPushNotificationConfigs,
    /// Remove a push notification config.
    DeleteTaskPushNotificationConfig,
    /// Read the card that only known callers see.
    GetExtendedAgentCard,
}

/// By which names an operation is reached in the three bindings of v1.0 (specification 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// The operation.
    pub operation: Operation,
    /// The method in JSON-RPC; the rpc of `lf.a2a.v1.A2AService` in gRPC has the same name.
    pub method: &'static str,
    /// The HTTP method of the REST binding.
    pub verb: &'static str,
    /// The path of the REST binding; `{id}` and `{configId}` are parameters.
    pub route: &'static str,
    /// The path of the gRPC method.
    pub grpc: &'static str,
}

macro_rules! names {
    ($($operation:ident $verb:literal $route:literal,)*) => {
        /// The one table of names.
        pub const OPERATIONS: [Names; 11] = [$(Names {
            operation: Operation::$operation,
            method: stringify!($operation),
            verb: $verb,
            route: $route,
            grpc: concat!("/lf.a2a.v1.A2AService/", stringify!($operation)),
        },)*];
    };
}

// In the order of the enum: `Operation::names` counts on it, and a test holds it to that.
names! {
    SendMessage                      "POST"   "/message:send",
    SendStreamingMessage             "POST"   "/message:stream",
    GetTask                          "GET"    "/tasks/{id}",
    ListTasks                        "GET"    "/tasks",
    CancelTask                       "POST"   "/tasks/{id}:cancel",
    SubscribeToTask                  "POST"   "/tasks/{id}:subscribe",
    CreateTaskPushNotificationConfig "POST"   "/tasks/{id}/pushNotificationConfigs",
    GetTaskPushNotificationConfig    "GET"    "/tasks/{id}/pushNotificationConfigs/{configId}",
    ListTaskPushNotificationConfigs  "GET"    "/tasks/{id}/pushNotificationConfigs",
    DeleteTaskPushNotificationConfig "DELETE" "/tasks/{id}/pushNotificationConfigs/{configId}",
    GetExtendedAgentCard             "GET"    "/extendedAgentCard",
}

/// An operation with its request, as every binding and every dialect hands it on.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// See [`Operation::SendMessage`].
    SendMessage(SendMessageRequest),
    /// See [`Operation::SendStreamingMessage`].
    SendStreamingMessage(SendMessageRequest),
    /// See [`Operation::GetTask`].
    GetTask(GetTaskRequest),
    /// See [`Operation::ListTasks`].
    ListTasks(ListTasksRequest),
    /// See [`Operation::CancelTask`].
    CancelTask(CancelTaskRequest),
    /// See [`Operation::SubscribeToTask`].
    SubscribeToTask(SubscribeToTaskRequest),
    /// See [`Operation::CreateTaskPushNotificationConfig`].
    CreateTaskPushNotificationConfig(TaskPushNotificationConfig),
    /// See [`Operation::GetTaskPushNotificationConfig`].
    GetTaskPushNotificationConfig(GetTaskPushNotificationConfigRequest),
    /// See [`Operation::ListTaskPushNotificationConfigs`].
    ListTaskPushNotificationConfigs(ListTaskPushNotificationConfigsRequest),
    /// See [`Operation::DeleteTaskPushNotificationConfig`].
    DeleteTaskPushNotificationConfig(DeleteTaskPushNotificationConfigRequest),
    /// See [`Operation::GetExtendedAgentCard`].
    GetExtendedAgentCard(GetExtendedAgentCardRequest),
}

/// The call of an operation: each has its own type of request, which the expression has to give.
macro_rules! read_call {
    ($operation:expr, $request:expr) => {{
        use crate::operation::{Call, Operation};
        match $operation {
            Operation::SendMessage => Call::SendMessage($request),
            Operation::SendStreamingMessage => Call::SendStreamingMessage($request),
            Operation::GetTask => Call::GetTask($request),
            Operation::ListTasks => Call::ListTasks($request),
            Operation::CancelTask => Call::CancelTask($request),
            Operation::SubscribeToTask => Call::SubscribeToTask($request),
            Operation::CreateTaskPushNotificationConfig => {
                Call::CreateTaskPushNotificationConfig($request)
            }
            Operation::GetTaskPushNotificationConfig => {
                Call::GetTaskPushNotificationConfig($request)
            }
            Operation::ListTaskPushNotificationConfigs => {
                Call::ListTaskPushNotificationConfigs($request)
            }
            Operation::DeleteTaskPushNotificationConfig => {
                Call::DeleteTaskPushNotificationConfig($request)
            }
            Operation::GetExtendedAgentCard => Call::GetExtendedAgentCard($request),
        }
    }};
}

/// An expression over the request of a call, whichever type it has.
macro_rules! of_request {
    ($call:expr, $request:ident => $result:expr) => {{
        use crate::operation::Call;
        match $call {
            Call::SendMessage($request) | Call::SendStreamingMessage($request) => $result,
            Call::GetTask($request) => $result,
            Call::ListTasks($request) => $result,
            Call::CancelTask($request) => $result,
            Call::SubscribeToTask($request) => $result,
            Call::CreateTaskPushNotificationConfig($request) => $result,
            Call::GetTaskPushNotificationConfig($request) => $result,
            Call::ListTaskPushNotificationConfigs($request) => $result,
            Call::DeleteTaskPushNotificationConfig($request) => $result,
            Call::GetExtendedAgentCard($request) => $result,
        }
    }};
}

#[cfg(feature = "grpc")]
pub(crate) use of_request;
pub(crate) use read_call;

/// What an operation that does not stream answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A task.
    Task(Task),
    /// The answer of an agent that made no task.
    Message(Message),
    /// A page of tasks.
    Tasks(ListTasksResponse),
    /// A push notification config.
    PushConfig(TaskPushNotificationConfig),
    /// The push notification configs of a task.
    PushConfigs(ListTaskPushNotificationConfigsResponse),
    /// The extended card.
    Card(Box<AgentCard>),
    /// Done, and nothing to say.
    Empty,
}

impl Operation {
    /// All names of this operation.
    pub fn names(self) -> &'static Names {
        &OPERATIONS[self as usize]
    }

    /// The JSON-RPC method of v1.0.
    pub fn method(self) -> &'static str {
        self.names().method
    }

    /// It answers with a stream of events.
    pub fn streams(self) -> bool {
        matches!(self, Self::SendStreamingMessage | Self::SubscribeToTask)
    }
}

impl Call {
    /// Which operation this is.
    pub fn operation(&self) -> Operation {
        match self {
            Self::SendMessage(_) => Operation::SendMessage,
            Self::SendStreamingMessage(_) => Operation::SendStreamingMessage,
            Self::GetTask(_) => Operation::GetTask,
            Self::ListTasks(_) => Operation::ListTasks,
            Self::CancelTask(_) => Operation::CancelTask,
            Self::SubscribeToTask(_) => Operation::SubscribeToTask,
            Self::CreateTaskPushNotificationConfig(_) => {
                Operation::CreateTaskPushNotificationConfig
            }
            Self::GetTaskPushNotificationConfig(_) => Operation::GetTaskPushNotificationConfig,
            Self::ListTaskPushNotificationConfigs(_) => Operation::ListTaskPushNotificationConfigs,
            Self::DeleteTaskPushNotificationConfig(_) => {
                Operation::DeleteTaskPushNotificationConfig
            }
            Self::GetExtendedAgentCard(_) => Operation::GetExtendedAgentCard,
        }
    }

    /// The tenant that the request names.
    pub fn tenant(&self) -> Option<&str> {
        of_request!(self, request => request.tenant.as_deref())
    }

    /// The call of a message, to be streamed if the operation says so.
    pub(crate) fn of_message(operation: Operation, request: SendMessageRequest) -> Self {
        if operation == Operation::SendMessage {
            Self::SendMessage(request)
        } else {
            Self::SendStreamingMessage(request)
        }
    }

    /// Refuses what the types alone cannot: empty ids and parts, numbers out of range, values
    /// nested so deeply that an answer with them could not be read again.
    ///
    /// # Errors
    /// `InvalidParams` with one violation for each wrong field.
    pub fn check(&self) -> Result<(), Error> {
        let violations = check::call(self);
        if violations.is_empty() { Ok(()) } else { Err(Error::invalid_fields(violations)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_in_the_order_of_the_enum() {
        for (place, names) in OPERATIONS.iter().enumerate() {
            assert_eq!(names.operation as usize, place);
        }
    }
}
