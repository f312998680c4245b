//! Standing permissions of a caller: what is granted, and how it is revoked.

use super::{Client, Service};
use crate::clock;
use crate::store::{self, Durability, GrantRow, GrantWrite, Write};
use pilothouse_a2a::error::{Error, ErrorKind};

impl Service {
    /// What a caller has granted and what can still be used, the oldest first.
    pub async fn grants(&self, client: &Client) -> Result<Vec<GrantRow>, Error> {
        let grants = self.store.grants_of(&client.caller.name, clock::now()).await;
        let mut grants = grants.map_err(store::Error::incident)?;
        grants.retain(|grant| client.caller.grant.serves(&grant.scope.agent));
        Ok(grants)
    }

    /// Revokes a grant of a caller by its id or its short id: it is used no more.
    ///
    /// # Errors
    ///
    /// `NotFound` where the caller has no such grant; when the store fails.
    pub async fn revoke_grant(&self, client: &Client, name: &str) -> Result<GrantRow, Error> {
        let grants = self.grants(client).await?;
        let mut named = grants.into_iter().filter(|one| *one.id == *name || *one.short == *name);
        let grant = named.next_back();
        let grant = grant.ok_or_else(|| Error::new(ErrorKind::NotFound, "no such grant"))?;
        let revoked = Write::Grant(GrantWrite::Revoked { id: grant.id.clone() });
        let written = self.store.commit(vec![revoked], Durability::Synced).await;
        written.map_err(store::Error::incident)?;
        Ok(grant)
    }
}
