//! Which set-ups of agents are in use.

use super::Sqlite;
use crate::store::Error;

impl Sqlite {
    /// The revisions of set-ups that sessions have, each with its agent.
    pub(crate) async fn setups_in_use(&self) -> Result<Vec<(String, String)>, Error> {
        let query = "SELECT DISTINCT agent, setup FROM sessions WHERE setup IS NOT NULL";
        self.all(query, (), |row| Ok((row.get(0)?, row.get(1)?))).await
    }
}
