//! Routes: ways to a fixed upstream with a credential that stays in the server.
//!
//! [`take_keys`] takes the real keys and addresses out of an agent's environment. What the session gets
//! in their place names this proxy and the session's own token ([`super::EgressCredential::env`]); the proxy puts the
//! real key in where the token stood.

use super::key::ChangingKey;
use super::provider::{PROVIDERS, Provider, ProviderKind, Slot, secret, unwrapped};
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use parking_lot::RwLock;
use reqwest::Url;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Lines of headers that Claude Code adds to its requests; they may be secrets.
const CUSTOM_HEADERS: &str = "ANTHROPIC_CUSTOM_HEADERS";

/// The name of a resource in Microsoft Foundry, from which its address follows.
const FOUNDRY_RESOURCE: &str = "ANTHROPIC_FOUNDRY_RESOURCE";

/// Headers of a transport, which nobody sets by hand.
const OF_TRANSPORT: [&str; 5] =
    ["host", "content-length", "connection", "transfer-encoding", "upgrade"];

/// A way to a fixed upstream.
#[derive(Debug)]
pub enum Route {
    /// To a provider of models.
    Model(ModelRoute),
    /// To repositories.
    Git(super::git::GitRoute),
}

/// A way to a provider of models. It holds secrets and shows none.
pub struct ModelRoute {
    kind: ProviderKind,
    secrets: RwLock<Arc<Secrets>>,
    /// The key that is sent instead of them, where a command prints it.
    pub(super) changing: Option<ChangingKey>,
}

/// What the operator's environment says of a provider; replaced as a whole where that changes.
pub(super) struct Secrets {
    /// Where requests go.
    pub(super) upstream: Url,
    /// The real keys, by the variables that they came from.
    keys: Vec<(&'static str, Slot, HeaderValue)>,
    /// Further headers that the operator wants to be sent.
    custom: HeaderMap,
}

/// A variable that no route can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the variable `{variable}` {what}")]
pub struct BadVariable {
    variable: &'static str,
    what: &'static str,
}

impl BadVariable {
    pub(super) fn new(variable: &'static str, what: &'static str) -> Self {
        Self { variable, what }
    }
}

/// Takes the keys and addresses of these providers out of an agent's environment and makes routes of
/// them. A provider of which neither is set has no route, and neither has one whose clients are sent to a
/// service that is not in the table (Vertex AI): its keys stay.
///
/// # Errors
///
/// When an address or a key cannot be used; the environment is then as it was.
pub fn take_keys(
    env: &mut BTreeMap<String, String>,
    kinds: &[ProviderKind],
) -> Result<Vec<Route>, BadVariable> {
    take_keys_beside(env, kinds, None)
}

/// The same, with a provider whose key is read from elsewhere; it has a route in any case.
///
/// # Errors
///
/// As those of [`take_keys`].
pub fn take_keys_beside(
    env: &mut BTreeMap<String, String>,
    kinds: &[ProviderKind],
    changing: Option<(ProviderKind, ChangingKey)>,
) -> Result<Vec<Route>, BadVariable> {
    let elsewhere = |provider: &Provider| {
        let switch = provider.elsewhere.and_then(|variable| env.get(variable));
        switch.is_some_and(|switch| matches!(switch.trim(), "1" | "true"))
    };
    let wanted: Vec<_> =
        PROVIDERS.iter().filter(|known| kinds.contains(&known.kind) && !elsewhere(known)).collect();
    let is_changing =
        |kind: ProviderKind| changing.as_ref().is_some_and(|(changing, _)| *changing == kind);
    let routes: Result<Vec<_>, _> = wanted
        .iter()
        .filter_map(|known| ModelRoute::of(known, env, is_changing(known.kind)).transpose())
        .collect();
    let mut routes = routes?;
    if let Some((kind, key)) = changing
        && let Some(route) = routes.iter_mut().find(|route| route.kind == kind)
    {
        route.changing = Some(key);
    }
    for provider in routes.iter().map(ModelRoute::provider) {
        if let Some(variable) = provider.base {
            env.remove(variable);
        }
        for (variable, _) in provider.keys {
            env.remove(*variable);
        }
        if provider.kind == ProviderKind::Anthropic {
            env.remove(CUSTOM_HEADERS);
        }
        if provider.kind == ProviderKind::Foundry {
            env.remove(FOUNDRY_RESOURCE);
        }
    }
    Ok(routes.into_iter().map(Route::Model).collect())
}

impl ModelRoute {
    fn of(
        provider: &'static Provider,
        env: &BTreeMap<String, String>,
        is_changing: bool,
    ) -> Result<Option<Self>, BadVariable> {
        let set = |variable: &str| {
            env.get(variable).map(|text| text.trim()).filter(|text| !text.is_empty())
        };
        let mut keys = Vec::new();
        for (variable, slot) in provider.keys {
            if let Some(key) = set(variable) {
                let header = slot.header(key).ok_or(BadVariable {
                    variable,
                    what: "is not a key that fits into a header; correct it",
                })?;
                keys.push((*variable, *slot, header));
            }
        }
        let custom = match provider.kind {
            ProviderKind::Anthropic => set(CUSTOM_HEADERS).map(custom_headers).transpose()?,
            ProviderKind::Foundry
            | ProviderKind::OpenAi
            | ProviderKind::Gemini
            | ProviderKind::OpenCode
            | ProviderKind::Copilot
            | ProviderKind::GitHub => None,
        };
        let resource = set(FOUNDRY_RESOURCE).filter(|_| provider.kind == ProviderKind::Foundry);
        let resource =
            resource.map(|name| format!("https://{name}.services.ai.azure.com/anthropic"));
        let base = provider.base.and_then(|variable| Some((variable, set(variable)?)));
        let base = base.or(resource.as_deref().map(|address| (FOUNDRY_RESOURCE, address)));
        // Without a key the client signs in to Microsoft by itself, and asks GitHub as nobody.
        let needs_key = matches!(provider.kind, ProviderKind::Foundry | ProviderKind::GitHub);
        let has_more = base.is_some() && !needs_key || custom.is_some();
        if keys.is_empty() && !is_changing && !has_more {
            return Ok(None);
        }
        let Some((variable, base)) = base.or(provider.default.map(|own| ("", own))) else {
            return Ok(None);
        };
        let secrets = Secrets {
            upstream: base_url(base).map_err(|what| BadVariable { variable, what })?,
            keys,
            custom: custom.unwrap_or_default(),
        };
        Ok(Some(Self {
            kind: provider.kind,
            secrets: RwLock::new(Arc::new(secrets)),
            changing: None,
        }))
    }

    /// The keys and the address as they are now.
    pub(super) fn secrets(&self) -> Arc<Secrets> {
        self.secrets.read().clone()
    }

    /// Whether it leads to this provider.
    pub(super) fn leads_to(&self, kind: ProviderKind) -> bool {
        self.kind == kind
    }

    /// Whether models answer there.
    pub(super) fn is_model(&self) -> bool {
        self.kind.is_model()
    }

    /// What it leads to, for people.
    pub(super) fn describe(&self) -> String {
        let name = self.provider().name;
        match self.is_model() {
            true => format!("the model's server ({name})"),
            false => format!("the API of {name}"),
        }
    }

    /// Whether a process that knows the one route can use the other: it has the same stand-ins in its environment.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let variables = |route: &Self| -> Vec<_> {
            route.secrets().keys.iter().map(|(variable, _, _)| *variable).collect()
        };
        self.kind == other.kind && variables(self) == variables(other)
    }

    /// Takes the keys and the address of a route that was made of a newer environment.
    pub(super) fn replace_secrets(&self, newer: &Self) {
        *self.secrets.write() = newer.secrets();
    }

    pub(super) fn provider(&self) -> &'static Provider {
        let mut providers = PROVIDERS.iter();
        let found = providers.find(|provider| provider.kind == self.kind);
        found.expect("every kind is in the table")
    }

    /// The variables that take the session here: the address, and the token in the place of each key.
    pub(super) fn variables(&self, address: &str, token: &str) -> Vec<(String, String)> {
        let provider = self.provider();
        let base = provider.base.map(|variable| (variable.to_owned(), address.to_owned()));
        let mut variables: Vec<_> = base.into_iter().collect();
        let named = |(variable, _, _): &(&'static str, Slot, HeaderValue)| *variable;
        let mut keys: Vec<_> = self.secrets().keys.iter().map(named).collect();
        if keys.is_empty() {
            // Nothing is sent without a key, so there is one also where the upstream wants none.
            keys.extend(provider.keys.iter().take(1).map(|(variable, _)| *variable));
        }
        variables.extend(keys.into_iter().map(|variable| (variable.to_owned(), token.to_owned())));
        variables
    }

    /// Puts in what stood outside: the key that changes, else the one for where the token stood, else the first one.
    pub(super) fn sign(
        &self,
        secrets: &Secrets,
        headers: &mut HeaderMap,
        slot: Slot,
        changing: Option<&str>,
    ) {
        let mut keys = secrets.keys.iter();
        let key = keys.find(|(_, own, _)| *own == slot).or(secrets.keys.first());
        if let Some(key) = changing {
            // What a command prints is sent in both places to Anthropic, as the CLI does with its own helper.
            let slots: &[Slot] = match self.provider() {
                Provider { kind: ProviderKind::Anthropic, .. } => &[Slot::ApiKey, Slot::Bearer],
                Provider { any_slot: true, .. } => &[slot],
                Provider { keys, .. } => &[keys[0].1],
            };
            let values = slots.iter().filter_map(|slot| Some((slot.name(), slot.header(key)?)));
            headers.extend(values);
        } else if let Some((_, own, value)) = key {
            // A provider that takes its one key in several places gets it where its client put it.
            let (name, value) = match (secrets.keys.len(), own) {
                (1, Slot::Bearer) if self.provider().any_slot && slot != Slot::Bearer => {
                    (slot.name(), unwrapped(value))
                }
                _ => (own.name(), value.clone()),
            };
            headers.insert(name, value);
        }
        for (name, value) in &secrets.custom {
            // Switches of features add up; everything else is the operator's word alone.
            if name == "anthropic-beta"
                && let Some(inside) = headers.get(name).and_then(|inside| inside.to_str().ok())
                && let Ok(outside) = value.to_str()
                && let Ok(both) = HeaderValue::try_from(format!("{inside},{outside}"))
            {
                headers.insert(name, both);
            } else {
                headers.insert(name, value.clone());
            }
        }
    }
}

/// `name: value` lines, as Claude Code reads them.
fn custom_headers(text: &str) -> Result<HeaderMap, BadVariable> {
    let bad =
        BadVariable { variable: CUSTOM_HEADERS, what: "is not lines of `name: value`; correct it" };
    let mut headers = HeaderMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or_else(|| bad.clone())?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| bad.clone())?;
        if OF_TRANSPORT.contains(&name.as_str()) {
            return Err(BadVariable {
                variable: CUSTOM_HEADERS,
                what: "sets a header of the transport; take that line out",
            });
        }
        headers.append(name, secret(value.trim()).ok_or_else(|| bad.clone())?);
    }
    Ok(headers)
}

/// An upstream's address, without a slash at its end.
pub(super) fn base_url(text: &str) -> Result<Url, &'static str> {
    const WHAT: &str = "is not an address that requests can be sent to; give a http or https URL";
    let url = Url::parse(text.trim_end_matches('/')).map_err(|_| WHAT)?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(WHAT);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a user name or password in it; give the credential in its own variable");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has more than a path after the host; give the URL that paths are appended to");
    }
    Ok(url)
}

impl fmt::Debug for ModelRoute {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secrets = self.secrets();
        let keys: Vec<_> = secrets.keys.iter().map(|(variable, _, _)| variable).collect();
        out.debug_struct("ModelRoute")
            .field("kind", &self.kind)
            .field("upstream", &secrets.upstream.host_str())
            .field("keys", &keys)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn one(pairs: &[(&str, &str)], kind: ProviderKind) -> ModelRoute {
        let mut env = env(pairs);
        match take_keys(&mut env, &[kind]).unwrap().remove(0) {
            Route::Model(route) => route,
            Route::Git(_) => unreachable!(),
        }
    }

    #[test]
    fn keys_and_addresses_leave_the_environment_and_nothing_else_does() {
        let mut env = env(&[
            ("ANTHROPIC_API_KEY", "real"),
            ("ANTHROPIC_BASE_URL", "https://gateway.test/claude/"),
            ("ANTHROPIC_CUSTOM_HEADERS", "x-team: a"),
            ("ANTHROPIC_MODEL", "opus"),
            ("OPENAI_API_KEY", "other"),
        ]);
        let routes = take_keys(&mut env, &[ProviderKind::Anthropic, ProviderKind::Gemini]).unwrap();
        assert_eq!(routes.len(), 1);
        let left: Vec<_> = env.keys().map(String::as_str).collect();
        assert_eq!(left, ["ANTHROPIC_MODEL", "OPENAI_API_KEY"]);
    }

    #[test]
    fn keys_of_a_service_that_is_not_in_the_table_stay() {
        let mut env = env(&[("GOOGLE_API_KEY", "real"), ("GOOGLE_GENAI_USE_VERTEXAI", "true")]);
        let routes = take_keys(&mut env, &[ProviderKind::Gemini]).unwrap();
        assert!(routes.is_empty());
        assert_eq!(env.len(), 2);
    }

    #[test]
    fn copilot_has_a_route_only_to_models_of_the_operators_own() {
        let mut env = env(&[("COPILOT_PROVIDER_API_KEY", "real")]);
        assert!(take_keys(&mut env, &[ProviderKind::Copilot]).unwrap().is_empty());
        assert_eq!(env.len(), 1);
        let address = ("COPILOT_PROVIDER_BASE_URL", "https://gateway.test/v1");
        let route = one(&[address, ("COPILOT_PROVIDER_API_KEY", "real")], ProviderKind::Copilot);
        let variables = route.variables("A", "TOKEN");
        assert_eq!(variables[0].1, "A");
        assert_eq!(variables[1].1, "TOKEN");
    }

    #[test]
    fn foundry_has_a_route_where_a_key_is_set_and_its_address_follows_from_the_resource() {
        let resource = ("ANTHROPIC_FOUNDRY_RESOURCE", "team");
        let mut env = env(&[resource, ("ANTHROPIC_FOUNDRY_API_KEY", "real")]);
        let mut routes = take_keys(&mut env, &[ProviderKind::Foundry]).unwrap();
        assert!(env.is_empty());
        let Route::Model(route) = routes.remove(0) else { unreachable!() };
        assert_eq!(
            route.secrets().upstream.as_str(),
            "https://team.services.ai.azure.com/anthropic"
        );
        let mut signs_in =
            BTreeMap::from([resource].map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(take_keys(&mut signs_in, &[ProviderKind::Foundry]).unwrap().is_empty());
    }

    #[test]
    fn the_stand_ins_are_the_token_under_the_names_of_the_keys() {
        let route = one(
            &[("CLAUDE_CODE_OAUTH_TOKEN", "real"), ("ANTHROPIC_API_KEY", "other")],
            ProviderKind::Anthropic,
        );
        let variables = route.variables("http://127.0.0.1:1/model/anthropic", "TOKEN");
        let expected = [
            ("ANTHROPIC_BASE_URL", "http://127.0.0.1:1/model/anthropic"),
            ("ANTHROPIC_API_KEY", "TOKEN"),
            ("CLAUDE_CODE_OAUTH_TOKEN", "TOKEN"),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(variables, expected);
    }

    #[test]
    fn an_upstream_without_a_key_has_a_route_too() {
        let route = one(&[("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")], ProviderKind::OpenAi);
        let variables = route.variables("A", "TOKEN");
        assert_eq!(variables[1], ("OPENAI_API_KEY".to_owned(), "TOKEN".to_owned()));
        let mut headers = HeaderMap::new();
        route.sign(&route.secrets(), &mut headers, Slot::Bearer, None);
        assert!(headers.is_empty());
    }

    #[test]
    fn the_key_goes_where_the_token_stood() {
        let route = one(
            &[("ANTHROPIC_API_KEY", "key"), ("ANTHROPIC_AUTH_TOKEN", "bearer")],
            ProviderKind::Anthropic,
        );
        let mut headers = HeaderMap::new();
        route.sign(&route.secrets(), &mut headers, Slot::ApiKey, None);
        assert_eq!(headers["x-api-key"], "key");
        assert_eq!(headers.len(), 1);
        let mut headers = HeaderMap::new();
        route.sign(&route.secrets(), &mut headers, Slot::Bearer, None);
        assert_eq!(headers["authorization"], "Bearer bearer");
        assert_eq!(headers.len(), 1);
        let route = one(&[("OPENCODE_API_KEY", "zen")], ProviderKind::OpenCode);
        let mut headers = HeaderMap::new();
        route.sign(&route.secrets(), &mut headers, Slot::ApiKey, None);
        assert_eq!(headers["x-api-key"], "zen");
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn custom_headers_are_put_in_outside() {
        let lines = "X-Team: secret\nanthropic-beta: two\n\n";
        let route = one(&[("ANTHROPIC_CUSTOM_HEADERS", lines)], ProviderKind::Anthropic);
        let mut headers = HeaderMap::new();
        headers.insert("x-team", HeaderValue::from_static("forged"));
        headers.insert("anthropic-beta", HeaderValue::from_static("one"));
        route.sign(&route.secrets(), &mut headers, Slot::ApiKey, None);
        assert_eq!(headers["x-team"], "secret");
        assert_eq!(headers["anthropic-beta"], "one,two");
    }

    #[test]
    fn what_cannot_be_used_is_named_and_its_value_is_not_told() {
        for (name, value) in [
            ("OPENAI_BASE_URL", "ftp://hidden/v1"),
            ("OPENAI_BASE_URL", "https://user:hidden@gateway.test"),
            ("OPENAI_BASE_URL", "https://gateway.test/?hidden=1"),
            ("OPENAI_API_KEY", "hidden\nkey"),
        ] {
            let mut env = env(&[(name, value)]);
            let error = take_keys(&mut env, &[ProviderKind::OpenAi]).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains("hidden"), "{error}");
            assert_eq!(env.len(), 1);
        }
        for lines in ["no colon", "host: other"] {
            let mut env = env(&[("ANTHROPIC_CUSTOM_HEADERS", lines)]);
            assert!(take_keys(&mut env, &[ProviderKind::Anthropic]).is_err(), "{lines}");
        }
    }

    #[test]
    fn a_route_shows_no_secret() {
        let route = one(
            &[("GEMINI_API_KEY", "hidden"), ("ANTHROPIC_CUSTOM_HEADERS", "x: hidden")],
            ProviderKind::Gemini,
        );
        let shown = format!("{route:?}");
        assert!(shown.contains("GEMINI_API_KEY") && !shown.contains("hidden"), "{shown}");
    }
}
