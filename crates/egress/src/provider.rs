//! What is known about the providers of models, and of other APIs whose credential stays outside: one table.

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};

/// The header of Anthropic's keys.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The header of Google's keys.
const X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

/// Who answers for models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderKind {
    /// `api.anthropic.com` and what speaks like it.
    Anthropic,
    /// Claude in Microsoft Foundry.
    Foundry,
    /// `api.openai.com` and what speaks like it.
    OpenAi,
    /// `generativelanguage.googleapis.com` and what speaks like it.
    Gemini,
    /// The models that OpenCode itself offers.
    OpenCode,
    /// What the operator gives Copilot in the place of its own models.
    Copilot,
    /// The API of GitHub, for programs that know its address by a variable.
    GitHub,
}

impl ProviderKind {
    /// Whether models answer there, which the proxy counts.
    pub(super) fn is_model(self) -> bool {
        match self {
            Self::Anthropic
            | Self::Foundry
            | Self::OpenAi
            | Self::Gemini
            | Self::OpenCode
            | Self::Copilot => true,
            Self::GitHub => false,
        }
    }
}

/// Where a key stands in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// `authorization: Bearer KEY`
    Bearer,
    /// `x-api-key: KEY`
    ApiKey,
    /// `x-goog-api-key: KEY`, or `?key=KEY`
    Google,
}

/// What is known about a provider.
pub(super) struct Provider {
    pub(super) kind: ProviderKind,
    /// Its name in paths.
    pub(super) name: &'static str,
    /// The variable of its address, where its clients know one.
    pub(super) base: Option<&'static str>,
    /// Its address, where it has one of its own.
    pub(super) default: Option<&'static str>,
    /// The variable that sends its clients elsewhere, where the keys here mean nothing.
    pub(super) elsewhere: Option<&'static str>,
    /// Its keys, the one that wins first, and where each stands.
    pub(super) keys: &'static [(&'static str, Slot)],
    /// What its clients append to the address in OpenCode's configuration, and its name there.
    pub(super) opencode: Option<(&'static str, &'static str)>,
    /// Its clients put the one key wherever the model's own protocol wants it.
    pub(super) any_slot: bool,
}

/// All providers.
pub(super) const PROVIDERS: [Provider; 7] = [
    Provider {
        kind: ProviderKind::Anthropic,
        name: "anthropic",
        base: Some("ANTHROPIC_BASE_URL"),
        default: Some("https://api.anthropic.com"),
        elsewhere: None,
        keys: &[
            ("ANTHROPIC_AUTH_TOKEN", Slot::Bearer),
            ("ANTHROPIC_API_KEY", Slot::ApiKey),
            ("CLAUDE_CODE_OAUTH_TOKEN", Slot::Bearer),
        ],
        opencode: Some(("anthropic", "/v1")),
        any_slot: false,
    },
    Provider {
        kind: ProviderKind::Foundry,
        name: "foundry",
        base: Some("ANTHROPIC_FOUNDRY_BASE_URL"),
        default: None,
        elsewhere: None,
        keys: &[
            ("ANTHROPIC_FOUNDRY_API_KEY", Slot::ApiKey),
            ("ANTHROPIC_FOUNDRY_AUTH_TOKEN", Slot::Bearer),
        ],
        opencode: None,
        any_slot: false,
    },
    Provider {
        kind: ProviderKind::OpenAi,
        name: "openai",
        base: Some("OPENAI_BASE_URL"),
        default: Some("https://api.openai.com/v1"),
        elsewhere: None,
        keys: &[("OPENAI_API_KEY", Slot::Bearer), ("CODEX_API_KEY", Slot::Bearer)],
        opencode: Some(("openai", "")),
        any_slot: false,
    },
    Provider {
        kind: ProviderKind::Gemini,
        name: "gemini",
        base: Some("GOOGLE_GEMINI_BASE_URL"),
        default: Some("https://generativelanguage.googleapis.com"),
        elsewhere: Some("GOOGLE_GENAI_USE_VERTEXAI"),
        keys: &[("GEMINI_API_KEY", Slot::Google), ("GOOGLE_API_KEY", Slot::Google)],
        opencode: Some(("google", "/v1beta")),
        any_slot: false,
    },
    Provider {
        kind: ProviderKind::OpenCode,
        name: "opencode",
        base: None,
        default: Some("https://opencode.ai/zen/v1"),
        elsewhere: None,
        keys: &[("OPENCODE_API_KEY", Slot::Bearer)],
        opencode: Some(("opencode", "")),
        any_slot: true,
    },
    Provider {
        kind: ProviderKind::Copilot,
        name: "copilot",
        base: Some("COPILOT_PROVIDER_BASE_URL"),
        default: None,
        elsewhere: None,
        keys: &[("COPILOT_PROVIDER_API_KEY", Slot::Bearer)],
        opencode: None,
        any_slot: true,
    },
    Provider {
        kind: ProviderKind::GitHub,
        name: "github",
        base: Some("GITHUB_API_URL"),
        default: Some("https://api.github.com"),
        elsewhere: None,
        keys: &[("GH_TOKEN", Slot::Bearer), ("GITHUB_TOKEN", Slot::Bearer)],
        opencode: None,
        any_slot: false,
    },
];

impl Slot {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Bearer, Self::ApiKey, Self::Google];

    /// The header.
    pub(super) fn name(self) -> HeaderName {
        match self {
            Self::Bearer => AUTHORIZATION,
            Self::ApiKey => X_API_KEY,
            Self::Google => X_GOOG_API_KEY,
        }
    }

    pub(super) fn header(self, key: &str) -> Option<HeaderValue> {
        let text = match self {
            Self::Bearer => format!("Bearer {key}"),
            Self::ApiKey | Self::Google => key.to_owned(),
        };
        secret(&text)
    }
}

/// The key of a bearer.
pub(super) fn unwrapped(value: &HeaderValue) -> HeaderValue {
    let bare = value.as_bytes().strip_prefix(b"Bearer ").unwrap_or_default();
    let mut bare = HeaderValue::from_bytes(bare).expect("a part of a header's value is one");
    bare.set_sensitive(true);
    bare
}

/// A header's value that never shows in a log.
pub(super) fn secret(text: &str) -> Option<HeaderValue> {
    if text.chars().any(|c| !matches!(c, ' '..='~')) {
        return None;
    }
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
