//! Paths as the process uses them: absolute, whatever directory it is in later.

use super::Config;
use super::error::Error;
use std::path::{Path, PathBuf};

/// Makes each path absolute, `~` being `home`; `store.path` stays, it belongs under `state_dir`.
pub(super) fn make_absolute(
    config: &mut Config,
    home: Option<&str>,
    cwd: &Path,
) -> Result<(), Error> {
    utf8("the working directory", cwd)?;
    let absolute = |key: &str, path: &mut PathBuf| match (path.strip_prefix("~"), home) {
        (Ok(_), None) => Err(Error::NoHome { key: key.to_owned() }),
        (Ok(rest), Some(home)) => {
            *path = Path::new(home).join(rest).components().collect();
            Ok(())
        }
        (Err(_), _) => {
            *path = cwd.join(&*path).components().collect();
            Ok(())
        }
    };
    absolute("state_dir", &mut config.state_dir)?;
    absolute("workspace.path", &mut config.workspace.path)?;
    if let Some(path) = &mut config.workspace.template {
        absolute("workspace.template", path)?;
    }
    let repository = &mut config.workspace.repository;
    repository.map_path(|path| absolute("workspace.repository.url", path))?;
    absolute("env_file.path", &mut config.env_file.path)?;
    config.sessions.init.as_mut().map_or(Ok(()), |path| absolute("sessions.init", path))?;
    config.log.path.as_mut().map_or(Ok(()), |path| absolute("log.path", path))?;
    if let Some(path) = config.audit_path() {
        let mut path = path.to_owned();
        absolute("audit", &mut path)?;
        config.audit = path.to_string_lossy().into_owned();
    }
    if let Some(path) = &mut config.card.signing.key {
        absolute("card.signing.key", path)?;
    }
    for (key, path) in config.server.tls.files_mut() {
        absolute(key, path)?;
    }
    for path in &mut config.isolation.read {
        absolute("isolation.read", path)?;
    }
    for path in &mut config.isolation.write {
        absolute("isolation.write", path)?;
    }
    for (name, agent) in &mut config.agents {
        let one = [
            ("defaults_dir", agent.defaults_dir.as_mut()),
            ("init", agent.init.as_mut()),
            ("workspace.path", agent.workspace.path.as_mut()),
            ("workspace.template", agent.workspace.template.as_mut()),
        ];
        let many = agent.skills_from.iter_mut();
        let many = many.map(|path| ("skills_from", Some(path)));
        for (field, path) in one.into_iter().chain(many).chain(agent.setup.paths()) {
            if let Some(path) = path {
                absolute(&format!("agents.{name}.{field}"), path)?;
            }
        }
        agent.setup.make_plugins_absolute(|path| {
            absolute(&format!("agents.{name}.setup.plugins"), path)
        })?;
        let key = format!("agents.{name}.workspace.repository.url");
        agent.workspace.repository.map_path(|path| absolute(&key, path))?;
    }
    Ok(())
}

/// The text of a path.
pub(super) fn utf8<'a>(what: &'static str, path: &'a Path) -> Result<&'a str, Error> {
    path.to_str().ok_or_else(|| Error::NotUtf8 { what, path: path.to_owned() })
}
