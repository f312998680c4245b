//! The scope that each call needs.

use crate::access::Denied;
use crate::config::TokenScope;
use crate::service::Client;
use pilothouse_a2a::operation::Call;

/// Refuses a call that the caller's token does not allow.
pub(super) fn check_caller(client: &Client, call: &Call) -> Result<(), Denied> {
    client.caller.require_agent(&client.agent.key)?;
    if has_webhook(call) {
        client.caller.require(TokenScope::Read)?;
    }
    scope_of(call).map_or(Ok(()), |scope| client.caller.require(scope))
}

/// Whether a message brings a webhook for its task.
fn has_webhook(call: &Call) -> bool {
    let (Call::SendMessage(request) | Call::SendStreamingMessage(request)) = call else {
        return false;
    };
    let configuration = request.configuration.as_ref();
    configuration.is_some_and(|given| given.task_push_notification_config.is_some())
}

/// The scope that a call needs. A message needs one by what it does, which is known later (`Service::accept`). Webhooks are
/// a way to read.
fn scope_of(call: &Call) -> Option<TokenScope> {
    match call {
        Call::SendMessage(_) | Call::SendStreamingMessage(_) | Call::GetExtendedAgentCard(_) => {
            None
        }
        Call::CancelTask(_) => Some(TokenScope::Send),
        Call::GetTask(_)
        | Call::ListTasks(_)
        | Call::SubscribeToTask(_)
        | Call::CreateTaskPushNotificationConfig(_)
        | Call::GetTaskPushNotificationConfig(_)
        | Call::ListTaskPushNotificationConfigs(_)
        | Call::DeleteTaskPushNotificationConfig(_) => Some(TokenScope::Read),
    }
}
