//! The client of a container engine: what it is asked, and what its containers are called.

use super::{ANSWER, CLIENT, LABEL, USUAL, is_root};
use crate::isolation::{ContainerSettings, EngineKind};
use crate::process::{Ended, Launcher, tree};
use crate::supervisor::{Confined, Spec};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A client of an engine.
pub(super) struct Engine {
    pub(super) kind: EngineKind,
    pub(super) program: PathBuf,
    pub(super) env: Vec<(String, String)>,
    pub(super) users: UserMap,
}
/// Who a user inside of a container is outside.
#[derive(Debug, Clone, Copy)]
pub(super) enum UserMap {
    /// The one of the same number.
    Same,
    /// The same, by this value of `--userns`.
    Namespace(&'static str),
    /// Root is whoever runs the engine, with no more rights than that.
    Engine,
}
impl UserMap {
    /// The user inside who is this one outside.
    pub(super) fn inside(self, user: u32, group: u32) -> (u32, u32) {
        match self {
            Self::Same | Self::Namespace(_) => (user, group),
            Self::Engine => (0, 0),
        }
    }
}
impl Engine {
    /// The engine that is set, or the first that has the image.
    pub(super) async fn find(
        settings: &ContainerSettings,
        image: &str,
        environment: &BTreeMap<String, String>,
        host: &Launcher,
    ) -> Result<(Self, Vec<(String, String)>), String> {
        let kinds: &[EngineKind] = match settings.engine {
            EngineKind::Auto => &[EngineKind::Podman, EngineKind::Docker],
            EngineKind::Docker => &[EngineKind::Docker],
            EngineKind::Podman => &[EngineKind::Podman],
        };
        let mut causes = Vec::new();
        for &kind in kinds {
            match Self::with(kind, image, environment, host).await {
                Ok(found) => return Ok(found),
                Err(cause) => causes.push(cause),
            }
        }
        Err(causes.join("; "))
    }

    pub(super) async fn with(
        kind: EngineKind,
        image: &str,
        environment: &BTreeMap<String, String>,
        host: &Launcher,
    ) -> Result<(Self, Vec<(String, String)>), String> {
        let name = name_of(kind);
        let path = environment.get("PATH").map_or("", String::as_str);
        let program = std::env::split_paths(path)
            .chain(std::env::split_paths(USUAL))
            .map(|folder| folder.join(name))
            .find(|candidate| candidate.is_absolute() && candidate.is_file())
            .ok_or_else(|| format!("the program `{name}` is not there; install it"))?;
        let mut env: Vec<(String, String)> = Vec::new();
        for one in CLIENT {
            if let Some(value) = environment.get(one) {
                env.push((one.to_owned(), value.clone()));
            }
        }
        if let (EngineKind::Docker, Some(address)) = (kind, environment.get("DOCKER_HOST"))
            && !address.starts_with("unix://")
        {
            return Err(format!(
                "`docker` is told by DOCKER_HOST ({address}) to use an engine that may be on another machine; a \
                 session's folders and its socket must be on this one"
            ));
        }
        let mut engine = Self { kind, program, env, users: UserMap::Same };
        let format = "{{json .Config.Env}}";
        let asked = ["image", "inspect", "--format", format, image];
        let told = engine.says(host, &asked).await.map_err(|words| {
            let lower = words.to_lowercase();
            if lower.contains("no such image") || lower.contains("image not known") {
                format!(
                    "{name} does not have the image `{image}`, and none is fetched while a caller waits: get it with \
                     `{name} pull {image}`, or build it, or correct `isolation.container.image`"
                )
            } else {
                format!("`{name} image inspect {image}` said: {words}")
            }
        })?;
        engine.users = engine.user_map(host).await?;
        Ok((engine, variables(&told)))
    }

    async fn user_map(&self, host: &Launcher) -> Result<UserMap, String> {
        match self.kind {
            EngineKind::Podman if is_root() => Ok(UserMap::Same),
            EngineKind::Podman => Ok(UserMap::Namespace("keep-id")),
            EngineKind::Docker | EngineKind::Auto => {
                let asked = ["info", "--format", "{{json .SecurityOptions}}"];
                let told = self.says(host, &asked).await;
                let told = told.map_err(|words| format!("`docker info` said: {words}"))?;
                Ok(if told.contains("name=rootless") {
                    UserMap::Engine
                } else if told.contains("name=userns") {
                    UserMap::Namespace("host")
                } else {
                    UserMap::Same
                })
            }
        }
    }

    pub(super) fn spec(&self, args: Vec<String>) -> Spec {
        Spec {
            program: self.program.to_string_lossy().into_owned(),
            args,
            env: self.env.clone(),
            cwd: "/".to_owned(),
        }
    }

    /// What a command prints, or why it failed.
    async fn says(&self, host: &Launcher, args: &[&str]) -> Result<String, String> {
        let args = args.iter().map(|&word| word.to_owned()).collect();
        let heard = async {
            let started = host.spawn(&Confined::from(self.spec(args))).await;
            let mut process = started.map_err(|error| error.to_string())?;
            process.stdin = None;
            let printed = process.printed().await;
            match process.control.ended().await {
                Ended::Code(0) => Ok(printed),
                Ended::Code(_) | Ended::Signal(_) | Ended::Unclear => {
                    Err(process.last_words().await)
                }
            }
        };
        match tokio::time::timeout(ANSWER, heard).await {
            Ok(said) => said,
            Err(_) => Err(format!("nothing within {} s", ANSWER.as_secs())),
        }
    }

    /// Removes containers, whatever they do.
    pub(super) async fn remove(&self, host: &Launcher, names: &[String]) {
        let mut args = vec!["rm", "-f"];
        args.extend(names.iter().map(String::as_str));
        if let Err(words) = self.says(host, &args).await {
            tracing::warn!("containers {} could not be removed: {words}", names.join(", "));
        }
    }

    /// Removes what servers that were killed have left of this state folder.
    pub(super) async fn sweep(&self, host: &Launcher, state: &str) {
        let label = format!("label={LABEL}={state}");
        let asked = ["ps", "-a", "--filter", &label, "--format", "{{.Names}}"];
        let names = self.says(host, &asked).await.unwrap_or_default();
        let left: Vec<String> = names
            .split_whitespace()
            .filter(|name| !is_served(name))
            .map(ToOwned::to_owned)
            .collect();
        if !left.is_empty() {
            tracing::info!("removing containers of a server that was killed: {}", left.join(", "));
            self.remove(host, &left).await;
        }
    }
}
pub(super) const fn name_of(kind: EngineKind) -> &'static str {
    match kind {
        EngineKind::Podman => "podman",
        EngineKind::Docker | EngineKind::Auto => "docker",
    }
}
/// The variables that an image sets, as the engine prints them.
fn variables(json: &str) -> Vec<(String, String)> {
    let list: Option<Vec<String>> = serde_json::from_str(json.trim()).unwrap_or_default();
    let split = |text: String| {
        let (name, value) = text.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    list.unwrap_or_default().into_iter().filter_map(split).collect()
}
/// A name that tells which server a container is of: its process and when that began.
pub(super) fn new_name() -> String {
    let pid = std::process::id().cast_signed();
    let began = tree::began(pid).unwrap_or_default();
    let id = uuid::Uuid::new_v4().simple().to_string();
    format!("pilothouse-{pid}-{began}-{}", &id[..12])
}
/// Whether the server that a container is named after still runs.
pub(super) fn is_served(name: &str) -> bool {
    let mut parts = name.split('-').skip(1);
    let mut number = || parts.next()?.parse::<i64>().ok();
    let (Some(pid), Some(began)) = (number(), number()) else {
        return false;
    };
    i32::try_from(pid).is_ok_and(|pid| tree::began(pid) == Some(began))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_an_image_are_read_as_the_engine_prints_them() {
        let told = "[\"PATH=/usr/bin:/bin\",\"EMPTY=\",\"A=b=c\"]\n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [pair("PATH", "/usr/bin:/bin"), pair("EMPTY", ""), pair("A", "b=c")];
        assert_eq!(variables(told), expected);
        assert_eq!(variables("null"), []);
    }

    #[test]
    fn a_container_is_left_over_when_its_server_is_gone() {
        assert!(is_served(&new_name()));
        // The same number, but another process.
        let pid = std::process::id();
        assert!(!is_served(&format!("pilothouse-{pid}-1-abc")));
        assert!(!is_served("pilothouse-abc"));
        assert!(!is_served("other"));
    }
}
