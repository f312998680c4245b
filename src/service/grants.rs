//! Standing permissions of a caller: what is granted, and how it is revoked.

use super::{Client, Service};
use crate::clock;
use crate::store::{self, CallerFilter, Durability, GrantRow, GrantWrite, Write};
use pilothouse_a2a::error::{Error, ErrorKind};

impl Service {
    /// What the listed callers have granted and what can still be used, the oldest first.
    pub async fn grants(&self, client: &Client) -> Result<Vec<GrantRow>, Error> {
        self.read_grants(client, &client.caller.listed).await
    }

    async fn read_grants(
        &self,
        client: &Client,
        callers: &CallerFilter,
    ) -> Result<Vec<GrantRow>, Error> {
        let grants = self.store.grants_of(callers, clock::now()).await;
        let mut grants = grants.map_err(store::Error::incident)?;
        grants.retain(|grant| client.caller.grant.serves(&grant.scope.agent));
        Ok(grants)
    }

    /// Revokes a grant of the caller, or for an admin of anybody, by its id or its short id: it is used no more.
    ///
    /// # Errors
    ///
    /// `NotFound` where the caller has no such grant; when the store fails.
    pub async fn revoke_grant(&self, client: &Client, name: &str) -> Result<GrantRow, Error> {
        let callers = match client.caller.is_admin() {
            true => CallerFilter::All,
            false => CallerFilter::One(client.caller.name.clone()),
        };
        let grants = self.read_grants(client, &callers).await?;
        let mut named = grants.into_iter().filter(|one| *one.id == *name || *one.short == *name);
        let grant = named.next_back();
        let grant = grant.ok_or_else(|| Error::new(ErrorKind::NotFound, "no such grant"))?;
        let revoked = Write::Grant(GrantWrite::Revoked { id: grant.id.clone() });
        let written = self.store.commit(vec![revoked], Durability::Synced).await;
        written.map_err(store::Error::incident)?;
        Ok(grant)
    }
}
