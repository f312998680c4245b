//! The key of the dashboard.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the dashboard at `/ui/` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Dashboard {
    /// Served; what a person can do there depends on their token.
    On,
    /// Served, and it offers nothing that changes something.
    ReadOnly,
    /// Not served.
    Off,
}
