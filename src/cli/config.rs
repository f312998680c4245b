//! `pilothouse config`: what holds and why, whether a file is right, and the schema for editors.

use crate::client::{complete, exit};
use crate::config::guess::nearest;
use crate::config::load::check;
use crate::config::{
    Config, EXAMPLE, Environment, Flags, Loaded, MASK, keys_of, load, load_trusted, masked,
};
use clap::Subcommand;
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The exit code for a configuration that cannot be used (`EX_CONFIG`).
const CANNOT_USE: u8 = 78;

/// What to do with the configuration.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum ConfigCommand {
    /// Show each value and where it comes from; secrets are masked
    Show {
        /// Only this key, or the keys below it (`server`, `limits.rate`)
        #[arg(add = complete::keys())]
        key: Option<String>,
        /// Print a JSON object: key, value, origin
        #[arg(long)]
        json: bool,
    },
    /// Check a file (without one: everything that `serve` would read); exit code 78 when it is wrong
    Check {
        /// The file
        file: Option<PathBuf>,
    },
    /// Print the JSON schema of the file, for editors
    Schema,
    /// Print a file with every key, its default and its reason, to start from
    Example,
}

/// Carries out the command on `out`; errors go to standard error, those that `check` looks for to
/// `out`. Returns the exit code.
pub(super) fn run(
    command: ConfigCommand,
    flags: &Flags,
    environment: &Environment,
    cwd: &Path,
    out: &mut dyn Write,
) -> u8 {
    let printed = match command {
        ConfigCommand::Show { key, json } => match load(flags, environment, cwd) {
            Ok(loaded) => {
                let config = serde_json::to_value(&loaded.config).unwrap_or_default();
                let mut rows = keys_of(&config);
                if let Some(key) = key {
                    let is_below = |row: &str| {
                        row.strip_prefix(&key)
                            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                    };
                    let known: Vec<String> = rows.iter().map(|(row, _)| row.clone()).collect();
                    rows.retain(|(row, _)| is_below(row));
                    if rows.is_empty() {
                        let meant = nearest(&key, known.iter().map(String::as_str));
                        let meant = meant.map(|meant| format!("; did you mean `{meant}`?"));
                        let meant = meant.unwrap_or_default();
                        let _ =
                            writeln!(io::stderr(), "pilothouse: there is no key `{key}`{meant}");
                        return exit::USAGE;
                    }
                }
                show(&loaded, rows, json, out)
            }
            Err(error) => {
                // Nobody is left to tell when standard error is closed.
                let _ = writeln!(io::stderr(), "{error}");
                return CANNOT_USE;
            }
        },
        ConfigCommand::Check { file } => {
            let checked = match file {
                Some(file) => check(&file),
                None => load_trusted(flags, environment, cwd).map(|loaded| loaded.notes),
            };
            match checked {
                Ok(notes) => notes
                    .iter()
                    .try_for_each(|note| writeln!(out, "note: {note}"))
                    .and_then(|()| writeln!(out, "ok")),
                Err(error) => match writeln!(out, "{error}") {
                    Ok(()) => return CANNOT_USE,
                    Err(error) => Err(error),
                },
            }
        }
        ConfigCommand::Example => out.write_all(EXAMPLE.as_bytes()),
        ConfigCommand::Schema => {
            let schema = schemars::schema_for!(Config);
            serde_json::to_writer_pretty(&mut *out, &schema)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(out))
        }
    };
    // A reader that went away (`| head`) has what it wanted.
    u8::from(printed.is_err_and(|error| error.kind() != io::ErrorKind::BrokenPipe))
}

fn show(
    loaded: &Loaded,
    rows: Vec<(String, &Value)>,
    as_json: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    // A map that was set as a whole has its origin at its own key.
    let origin = |key: &str| {
        let parents = std::iter::successors(Some(key), |key| Some(key.rsplit_once('.')?.0));
        let origin = parents.into_iter().find_map(|key| loaded.origins.get(key));
        origin.map_or_else(|| "default".to_owned(), ToString::to_string)
    };
    if as_json {
        let object: Map<String, Value> = rows
            .into_iter()
            .map(|(key, value)| {
                let entry = json!({ "value": masked(&key, value), "origin": origin(&key) });
                (key, entry)
            })
            .collect();
        serde_json::to_writer_pretty(&mut *out, &object)?;
        return writeln!(out);
    }
    let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    for (key, value) in rows {
        let value = match masked(&key, value) {
            Value::Null => "-".to_owned(),
            Value::String(text) if text == MASK => text,
            Value::String(text) if text.is_empty() || text.contains(char::is_control) => {
                Value::String(text).to_string()
            }
            Value::String(text) => text,
            other => other.to_string(),
        };
        match origin(&key).as_str() {
            "default" => writeln!(out, "{key:width$}  {value}")?,
            origin => writeln!(out, "{key:width$}  {value}  ({origin})")?,
        }
    }
    loaded.notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(command: ConfigCommand, environment: &Environment) -> (u8, String) {
        let mut out = Vec::new();
        let folder = tempfile::tempdir().unwrap();
        let code = run(command, &Flags::default(), environment, folder.path(), &mut out);
        (code, String::from_utf8(out).unwrap())
    }

    fn environment() -> Environment {
        Environment::from([("HOME", "/home/me"), ("API_TOKEN", "hunter2"), ("PORT", "3000")])
    }

    #[test]
    fn show_names_each_value_and_its_origin_and_no_secret() {
        let (code, text) = printed(ConfigCommand::Show { key: None, json: false }, &environment());
        let lines: Vec<_> = text
            .lines()
            .filter(|line| {
                ["auth.token ", "server.port", "limits.rate ", "note"]
                    .iter()
                    .any(|start| line.starts_with(start))
            })
            .collect();
        assert_eq!(code, 0);
        insta::assert_snapshot!(lines.join("\n"), @r"
server.port                               3000  (environment PORT)
auth.token                                ***  (environment API_TOKEN)
limits.rate                               600
note: older variable names in use: environment PORT → server.port, environment API_TOKEN → auth.token
");
        assert!(!text.contains("hunter2"));
    }

    #[test]
    fn show_names_the_origin_of_each_value_of_a_map() {
        let mut out = Vec::new();
        let folder = tempfile::tempdir().unwrap();
        let text = "auth:\n  tokens: {ci: a-token-of-ci}\n  priorities: {ci: 3}\n";
        std::fs::write(folder.path().join("pilothouse.yaml"), text).unwrap();
        let command = ConfigCommand::Show { key: None, json: true };
        run(command, &Flags::default(), &environment(), folder.path(), &mut out);
        let shown: Value = serde_json::from_slice(&out).unwrap();
        for key in ["auth.priorities.ci", "auth.tokens.ci"] {
            let origin = shown[key]["origin"].as_str().unwrap_or_default();
            assert!(origin.contains("pilothouse.yaml:"), "{key}: {}", shown[key]);
        }
    }

    #[test]
    fn show_as_json_has_value_and_origin_of_each_key() {
        let (_, text) = printed(ConfigCommand::Show { key: None, json: true }, &environment());
        let shown: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(shown["server.port"], json!({ "value": 3000, "origin": "environment PORT" }));
        assert_eq!(
            shown["auth.token"],
            json!({ "value": "***", "origin": "environment API_TOKEN" })
        );
    }

    #[test]
    fn check_tells_right_from_wrong_by_its_exit_code() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p.yaml");
        let check = |text: &str| {
            std::fs::write(&file, text).unwrap();
            printed(ConfigCommand::Check { file: Some(file.clone()) }, &environment())
        };
        let (_, example) = printed(ConfigCommand::Example, &environment());
        assert_eq!(check(&example), (0, "ok\n".to_owned()));
        let (code, text) = check("server: {port: x}");
        assert_eq!(
            (code, text.lines().next()),
            (78, Some("`server.port` wants a whole number from 0 to 65535"))
        );
        assert_eq!(check("processes: {max: 0}").0, 78);
    }

    #[test]
    fn a_file_that_is_not_there_is_told_with_its_cause() {
        let (code, text) =
            printed(ConfigCommand::Check { file: Some("/gone.yaml".into()) }, &environment());
        assert_eq!(code, 78);
        insta::assert_snapshot!(text, @"could not read `/gone.yaml`, named by the command line: No such file or directory (os error 2); correct the name or the permissions");
    }

    #[test]
    fn the_schema_knows_every_section() {
        let (_, text) = printed(ConfigCommand::Schema, &environment());
        let schema: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(schema["properties"].as_object().unwrap().len(), 27);
    }
}
