//! The files that a new HOME begins with.

use std::path::PathBuf;

/// The files that a new HOME begins with.
#[derive(Debug, Clone)]
pub struct HomeDefaults {
    /// The folder that holds them.
    pub folder: PathBuf,
    /// Where they are put: a folder below HOME, or nothing for HOME itself.
    pub below: &'static str,
    /// Whether links stay links, because an agent may have made them; they are followed otherwise.
    pub keeps_links: bool,
    /// The key that names them.
    pub key: &'static str,
}
