//! What a token allows its holder, and for how long.

use super::Denied;
use crate::config::{CallerToken, TokenScope};
use crate::store::TokenRow;
use pilothouse_a2a::time::Timestamp;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The longest wait before the time is looked at again: timers do not count what the machine is suspended.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What a token allows; whoever was admitted by it shares this.
#[derive(Debug)]
pub struct Grant {
    /// What the token is called in lists and in the audit log; never the token itself.
    pub id: Arc<str>,
    /// What is stored of the token with what it has begun: its name, and a fingerprint, so that another token of this
    /// name is known for another one. A token that can be guessed has its name alone: it could be guessed by the rest.
    pub mark: Arc<str>,
    scopes: Vec<TokenScope>,
    /// Empty for all.
    agents: Vec<String>,
    expires: Option<Timestamp>,
    revoked: CancellationToken,
}

impl Grant {
    /// A grant for every agent without an end.
    pub fn of(id: &str, scopes: &[TokenScope]) -> Self {
        Self {
            id: Arc::from(id),
            mark: Arc::from(id),
            scopes: scopes.to_vec(),
            agents: Vec::new(),
            expires: None,
            revoked: CancellationToken::new(),
        }
    }

    /// The grant of a caller's token in the configuration.
    pub(super) fn of_caller(name: &str, token: &CallerToken) -> Self {
        Self {
            agents: token.agents().to_vec(),
            expires: token.expires(),
            ..Self::of(&format!("auth.tokens.{name}"), token.scopes())
        }
    }

    /// The grant of a link that answers an ask of this agent.
    pub(super) fn of_link(agent: &str) -> Self {
        Self { agents: vec![agent.to_owned()], ..Self::of("link", &[TokenScope::Answer]) }
    }

    /// The grant of a token that an identity provider has signed, until `revoked`.
    pub(super) fn of_issued(
        id: &str,
        scopes: &[TokenScope],
        agents: Vec<String>,
        expires: Timestamp,
        revoked: CancellationToken,
    ) -> Self {
        Self { agents, expires: Some(expires), revoked, ..Self::of(id, scopes) }
    }

    /// The grant of a token in the store.
    pub(super) fn of_row(row: &TokenRow) -> Self {
        let (agents, expires) = (row.agents.clone(), row.expires);
        Self { agents, expires, ..Self::of(&row.id, &row.scopes) }
    }

    /// The grant of the token with this hash.
    pub(super) fn with_fingerprint(self, hash: &[u8; 32]) -> Self {
        let print = Sha256::digest([b"mark ".as_slice(), hash].concat());
        let print: String = print.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { mark: Arc::from(format!("{} {print}", self.id)), ..self }
    }

    /// Whether another grant says the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.id, &self.scopes, &self.agents, self.expires)
            == (&other.id, &other.scopes, &other.agents, other.expires)
    }

    /// Ends it for everybody who was admitted by it.
    pub fn revoke(&self) {
        self.revoked.cancel();
    }

    /// Whether it still holds.
    pub fn check(&self) -> Result<(), Denied> {
        if self.revoked.is_cancelled() {
            return Err(Denied::Revoked);
        }
        match self.left() {
            Some(Duration::ZERO) => Err(Denied::Expired),
            _ => Ok(()),
        }
    }

    /// Waits until it holds no longer; says why.
    pub async fn ended(&self) -> Denied {
        let expired = async {
            match self.expires {
                None => std::future::pending().await,
                Some(_) => {
                    while let Some(left) = self.left().filter(|left| !left.is_zero()) {
                        tokio::time::sleep(left.min(LOOK_AGAIN)).await;
                    }
                }
            }
        };
        tokio::select! {
            biased;
            () = self.revoked.cancelled() => Denied::Revoked,
            () = expired => Denied::Expired,
        }
    }

    /// The time until it expires.
    fn left(&self) -> Option<Duration> {
        let left = self.expires?.as_millisecond() - Timestamp::now().as_millisecond();
        Some(Duration::from_millis(left.max(0).unsigned_abs()))
    }

    /// Whether it has this scope; `admin` has all.
    pub fn has(&self, scope: TokenScope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&TokenScope::Admin)
    }

    /// Whether it holds for this agent.
    pub fn serves(&self, agent: &str) -> bool {
        self.agents.is_empty() || self.agents.iter().any(|name| name == agent)
    }

    /// The agents that it names; none where it holds for all.
    pub fn agents(&self) -> &[String] {
        &self.agents
    }

    /// Whether it holds for all agents.
    pub(super) fn serves_all(&self) -> bool {
        self.agents.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn until(milliseconds: i64) -> Grant {
        let at = Timestamp::now().as_millisecond() + milliseconds;
        let expires = Some(Timestamp::from_millisecond(at));
        Grant { expires, ..Grant::of("x", &TokenScope::USUAL) }
    }

    #[tokio::test]
    async fn a_grant_ends_when_its_time_is_over_and_when_it_is_revoked() {
        assert_eq!(until(-1).ended().await, Denied::Expired);
        assert_eq!(until(5).ended().await, Denied::Expired);
        let grant = until(60_000);
        assert_eq!(grant.ended().now_or_never(), None);
        assert_eq!(grant.check(), Ok(()));
        grant.revoke();
        assert_eq!((grant.check(), grant.ended().await), (Err(Denied::Revoked), Denied::Revoked));
    }

    #[test]
    fn admin_has_every_scope_and_others_their_own() {
        let admin = Grant::of("x", &[TokenScope::Admin]);
        let reader = Grant::of("x", &[TokenScope::Read]);
        for scope in [TokenScope::Send, TokenScope::Read, TokenScope::Answer, TokenScope::Admin] {
            assert!(admin.has(scope));
            assert_eq!(reader.has(scope), scope == TokenScope::Read);
        }
    }
}
