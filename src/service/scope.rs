//! Whether a caller may send what it sends.

use super::{Client, Service};
use crate::access::{Caller, Denied};
use crate::asks;
use crate::config::TokenScope;
use crate::task::TaskLog;
use pilothouse_a2a::error::{Error, ErrorKind};
use pilothouse_a2a::message::Message;

/// Seconds after which a server that was drained may be there again.
const DRAINED_RETRY_SECONDS: u64 = 30;

/// Refuses a caller whose token allows neither messages nor answers.
pub(super) fn check_sender(caller: &Caller) -> Result<(), Denied> {
    let may_send = caller.require(TokenScope::Send);
    may_send.or_else(|denied| caller.require(TokenScope::Answer).map_err(|_| denied))
}

impl Service {
    /// Refuses a message that the caller's token does not allow, or that comes while the server is drained: an answer to an ask needs another scope than all else.
    /// What is of another caller is answered by an admin, and not talked to.
    pub(super) fn check_scope(
        &self,
        client: &Client,
        continued: Option<&TaskLog>,
        message: &Message,
    ) -> Result<(), Error> {
        let open = continued.filter(|log| !log.state().is_terminal());
        // One that is named and has ended is not answered, whatever else the message says.
        let answers = continued.is_some_and(|log| {
            asks::named(message).is_some() || self.open_ask(log, message).is_some()
        });
        let scope = if answers { TokenScope::Answer } else { TokenScope::Send };
        client.caller.require(scope)?;
        if !answers && self.draining.is_cancelled() {
            let words = "the server accepts no more messages: it ends when its running turns have; send it again after its next start";
            return Err(
                Error::new(ErrorKind::Unavailable, words).retry_after(DRAINED_RETRY_SECONDS)
            );
        }
        match open {
            Some(log) if !answers && log.scope.caller != client.caller.name => {
                let words = "this task is another caller's: an admin answers its asks and cancels it, and sends no messages to it";
                Err(Error::new(ErrorKind::PermissionDenied, words))
            }
            _ => Ok(()),
        }
    }
}
