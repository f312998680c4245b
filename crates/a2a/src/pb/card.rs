//! The agent card in both packages.

use super::security::{Requirement, Scheme};
use super::{Under, Wire, Wrong, given, list, lists, said};
use crate::card::{self as model, JSONRPC};
use serde_json::Value;
use std::collections::BTreeMap;

mod parts;

use parts::{Capabilities, Interface, Provider, Signature, Skill, read_requirements, requirements};

/// The card of v1.0.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Card {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    description: String,
    #[prost(message, repeated, tag = "3")]
    supported_interfaces: Vec<Interface>,
    #[prost(message, optional, tag = "4")]
    provider: Option<Provider>,
    #[prost(string, tag = "5")]
    version: String,
    #[prost(string, optional, tag = "6")]
    documentation_url: Option<String>,
    #[prost(message, optional, tag = "7")]
    capabilities: Option<Capabilities>,
    #[prost(btree_map = "string, message", tag = "8")]
    security_schemes: BTreeMap<String, Scheme>,
    #[prost(message, repeated, tag = "9")]
    security_requirements: Vec<Requirement>,
    #[prost(string, repeated, tag = "10")]
    default_input_modes: Vec<String>,
    #[prost(string, repeated, tag = "11")]
    default_output_modes: Vec<String>,
    #[prost(message, repeated, tag = "12")]
    skills: Vec<Skill>,
    #[prost(message, repeated, tag = "13")]
    signatures: Vec<Signature>,
    #[prost(string, optional, tag = "14")]
    icon_url: Option<String>,
}

/// The card of v0.3: one endpoint, and others beside it.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OldCard {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    description: String,
    #[prost(string, tag = "3")]
    url: String,
    #[prost(message, optional, tag = "4")]
    provider: Option<Provider>,
    #[prost(string, tag = "5")]
    version: String,
    #[prost(string, tag = "6")]
    documentation_url: String,
    #[prost(message, optional, tag = "7")]
    capabilities: Option<Capabilities>,
    #[prost(btree_map = "string, message", tag = "8")]
    security_schemes: BTreeMap<String, Scheme>,
    #[prost(message, repeated, tag = "9")]
    security: Vec<Requirement>,
    #[prost(string, repeated, tag = "10")]
    default_input_modes: Vec<String>,
    #[prost(string, repeated, tag = "11")]
    default_output_modes: Vec<String>,
    #[prost(message, repeated, tag = "12")]
    skills: Vec<Skill>,
    #[prost(bool, tag = "13")]
    supports_authenticated_extended_card: bool,
    #[prost(string, tag = "14")]
    preferred_transport: String,
    #[prost(message, repeated, tag = "15")]
    additional_interfaces: Vec<Interface>,
    #[prost(string, tag = "16")]
    protocol_version: String,
    #[prost(message, repeated, tag = "17")]
    signatures: Vec<Signature>,
    /// Came to v0.3 after its first release.
    #[prost(string, tag = "18")]
    icon_url: String,
}

impl Wire for Card {
    type Model = model::AgentCard;

    fn of(model: &Self::Model) -> Self {
        Self {
            name: model.name.clone(),
            description: model.description.clone(),
            supported_interfaces: lists(&model.supported_interfaces),
            provider: model.provider.as_ref().map(Provider::of),
            version: model.version.clone(),
            documentation_url: model.documentation_url.clone(),
            capabilities: Some(Capabilities::of(&model.capabilities)),
            security_schemes: schemes(model),
            security_requirements: requirements(&model.security_requirements),
            default_input_modes: model.default_input_modes.clone(),
            default_output_modes: model.default_output_modes.clone(),
            skills: lists(&model.skills),
            signatures: lists(&model.signatures),
            icon_url: model.icon_url.clone(),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        let capabilities = self.capabilities.unwrap_or_default().read();
        Ok(model::AgentCard {
            name: self.name,
            description: self.description,
            supported_interfaces: list("supportedInterfaces", self.supported_interfaces)?,
            provider: self.provider.map(Provider::read),
            version: self.version,
            documentation_url: self.documentation_url.and_then(given),
            capabilities: capabilities.under("capabilities")?,
            security_schemes: read_schemes(self.security_schemes),
            security_requirements: read_requirements(self.security_requirements),
            default_input_modes: self.default_input_modes,
            default_output_modes: self.default_output_modes,
            skills: list("skills", self.skills)?,
            signatures: list("signatures", self.signatures)?,
            icon_url: self.icon_url.and_then(given),
        })
    }
}

impl Wire for OldCard {
    type Model = model::AgentCard;

    fn of(model: &Self::Model) -> Self {
        // Which interfaces a v0.3 client may use is decided where the JSON form is made.
        let view = model::v0_3(model);
        let word = |of: &Value, name: &str| of[name].as_str().unwrap_or_default().to_owned();
        let interfaces = view["additionalInterfaces"].as_array();
        let interface = |known: &Value| Interface {
            url: word(known, "url"),
            binding: word(known, "transport"),
            ..Interface::default()
        };
        Self {
            name: model.name.clone(),
            description: model.description.clone(),
            url: word(&view, "url"),
            provider: model.provider.as_ref().map(Provider::of),
            version: model.version.clone(),
            documentation_url: said(model.documentation_url.as_ref()),
            capabilities: Some(Capabilities {
                extended_agent_card: None,
                ..Capabilities::of(&model.capabilities)
            }),
            security_schemes: schemes(model),
            security: requirements(&model.security_requirements),
            default_input_modes: model.default_input_modes.clone(),
            default_output_modes: model.default_output_modes.clone(),
            skills: lists(&model.skills),
            supports_authenticated_extended_card: model.capabilities.extended_agent_card
                == Some(true),
            preferred_transport: word(&view, "preferredTransport"),
            additional_interfaces: interfaces.into_iter().flatten().map(interface).collect(),
            protocol_version: word(&view, "protocolVersion"),
            // They are over the JSON of v1.0 and would be wrong here.
            signatures: Vec::new(),
            icon_url: said(model.icon_url.as_ref()),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        let mut numbers = self.protocol_version.split('.');
        let version = match (numbers.next(), numbers.next()) {
            (Some(major), Some(minor)) => format!("{major}.{minor}"),
            _ => "0.3".to_owned(),
        };
        let main = Interface {
            url: self.url,
            binding: given(self.preferred_transport).unwrap_or_else(|| JSONRPC.to_owned()),
            ..Interface::default()
        };
        let others = self.additional_interfaces.into_iter();
        let others =
            others.filter(|other| (&other.url, &other.binding) != (&main.url, &main.binding));
        let mut interfaces: Vec<Interface> = others.collect();
        if !main.url.is_empty() {
            interfaces.insert(0, main);
        }
        for interface in &mut interfaces {
            interface.version.clone_from(&version);
        }
        let capabilities = self.capabilities.unwrap_or_default().read();
        Ok(model::AgentCard {
            name: self.name,
            description: self.description,
            supported_interfaces: list("additionalInterfaces", interfaces)?,
            provider: self.provider.map(Provider::read),
            version: self.version,
            documentation_url: given(self.documentation_url),
            capabilities: model::AgentCapabilities {
                extended_agent_card: self.supports_authenticated_extended_card.then_some(true),
                ..capabilities.under("capabilities")?
            },
            security_schemes: read_schemes(self.security_schemes),
            security_requirements: read_requirements(self.security),
            default_input_modes: self.default_input_modes,
            default_output_modes: self.default_output_modes,
            skills: list("skills", self.skills)?,
            signatures: list("signatures", self.signatures)?,
            icon_url: given(self.icon_url),
        })
    }
}

fn schemes(card: &model::AgentCard) -> BTreeMap<String, Scheme> {
    let schemes = card.security_schemes.iter();
    schemes.map(|(name, scheme)| (name.clone(), Scheme::of(scheme))).collect()
}

fn read_schemes(schemes: BTreeMap<String, Scheme>) -> BTreeMap<String, model::SecurityScheme> {
    let schemes = schemes.into_iter();
    schemes.filter_map(|(name, scheme)| Some((name, scheme.read()?))).collect()
}
