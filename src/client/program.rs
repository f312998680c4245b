//! The program's own name, in a command that a person copies.

use super::terminal::clean_line;
use crate::config::Environment;
use std::sync::OnceLock;

/// As a shell finds it by `PATH`.
const NAME: &str = "pilothouse";

static CALLED: OnceLock<String> = OnceLock::new();

/// Remembers how this process was called.
pub(crate) fn remember_program(environment: &Environment) {
    let called = std::env::args_os().next().and_then(|called| called.into_string().ok());
    let path = environment.get("PATH").unwrap_or_default();
    let _ = CALLED.set(choose(&called.unwrap_or_default(), path));
}

/// The program, for a shell: its name, or its path as it was called where the name alone is not found.
pub(super) fn program() -> &'static str {
    CALLED.get().map_or(NAME, String::as_str)
}

fn choose(called: &str, path: &str) -> String {
    let is_found = std::env::split_paths(path).any(|folder| folder.join(NAME).is_file());
    match called.contains('/') && !path.is_empty() && !is_found {
        true => shell_words::quote(&clean_line(called)).into_owned(),
        false => NAME.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_on_path_is_named_as_it_was_called() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        assert_eq!(choose("target/release/pilothouse", path), "target/release/pilothouse");
        assert_eq!(choose("/a b/pilothouse", path), "'/a b/pilothouse'");
        assert_eq!(choose("pilothouse", path), "pilothouse");
        std::fs::write(folder.path().join("pilothouse"), "").unwrap();
        assert_eq!(choose("target/release/pilothouse", path), "pilothouse");
    }
}
