//! Who calls, and what its token allows.

use super::{CALLER_HEADER, Denied, Grant};
use crate::config::TokenScope;
use crate::store::{CallerFilter, Scope, TraceContext};
use axum::http::{HeaderMap, Uri};
use pilothouse_a2a::rest::unescaped;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// Somebody who may call.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The name by which tasks and sessions are told apart.
    pub name: Arc<str>,
    /// What the caller's token allows.
    pub grant: Arc<Grant>,
    /// Whose tasks, sessions and asks this request lists.
    pub listed: CallerFilter,
    /// From which address.
    pub peer: Option<IpAddr>,
    /// Where the request stands in a trace; none where the caller names none and no traces are exported.
    pub trace: Option<TraceContext>,
}

impl Caller {
    /// The caller of this name with what its token allows.
    pub fn new(name: Arc<str>, grant: Arc<Grant>) -> Self {
        let listed = CallerFilter::One(name.clone());
        Self { name, grant, listed, peer: None, trace: None }
    }

    /// What this caller may see of an agent.
    pub fn scope(&self, agent: &str) -> Scope {
        Scope { caller: self.name.clone(), agent: Arc::from(agent) }
    }

    /// Whether this caller sees and answers everything of all callers.
    pub fn is_admin(&self) -> bool {
        self.grant.has(TokenScope::Admin)
    }

    /// Whether what this request lists is of this caller alone.
    pub fn lists_own(&self) -> bool {
        matches!(&self.listed, CallerFilter::One(name) if *name == self.name)
    }

    /// Whether this caller is shown what lies in a scope.
    pub fn sees(&self, scope: &Scope) -> bool {
        self.grant.serves(&scope.agent) && (self.name == scope.caller || self.is_admin())
    }

    /// Whether a request of this caller lists what lies in a scope.
    pub fn lists(&self, scope: &Scope) -> bool {
        let is_listed = match &self.listed {
            CallerFilter::One(caller) => *caller == scope.caller,
            CallerFilter::All => true,
        };
        is_listed && self.grant.serves(&scope.agent)
    }

    /// Refuses what the token does not allow. What concerns the server itself asks for a token of all agents.
    pub fn require(&self, scope: TokenScope) -> Result<(), Denied> {
        match self.grant.has(scope) && (scope != TokenScope::Admin || self.grant.serves_all()) {
            true => Ok(()),
            false => Err(Denied::Scope { token: self.grant.id.clone(), scope }),
        }
    }

    /// Refuses an agent that the token does not name.
    pub fn require_agent(&self, agent: &str) -> Result<(), Denied> {
        match self.grant.serves(agent) {
            true => Ok(()),
            false => Err(Denied::Agent { token: self.grant.id.clone(), agent: agent.to_owned() }),
        }
    }
}

/// The caller that a request names in its query or header. An empty name is none.
pub(super) fn wanted_caller(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let pairs = uri.query().into_iter().flat_map(|query| query.split('&'));
    let mut named = pairs.filter_map(|pair| pair.strip_prefix("caller="));
    let query = named.next().and_then(unescaped).map(Cow::into_owned);
    let header = || headers.get(CALLER_HEADER)?.to_str().ok().map(|name| name.trim().to_owned());
    query.or_else(header).filter(|name| !name.is_empty())
}
