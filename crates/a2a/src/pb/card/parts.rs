//! The parts of a card that both packages number alike.

use crate::card as model;
use crate::pb::known::Struct;
use crate::pb::security::Requirement;
use crate::pb::{Under, Wire, Wrong, given, list, lists, said};

/// v0.3 has the first two members.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Interface {
    #[prost(string, tag = "1")]
    pub(super) url: String,
    #[prost(string, tag = "2")]
    pub(super) binding: String,
    #[prost(string, tag = "3")]
    pub(super) tenant: String,
    #[prost(string, tag = "4")]
    pub(super) version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Provider {
    #[prost(string, tag = "1")]
    url: String,
    #[prost(string, tag = "2")]
    organization: String,
}

/// v0.3 has the first three members.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Capabilities {
    #[prost(bool, optional, tag = "1")]
    pub(super) streaming: Option<bool>,
    #[prost(bool, optional, tag = "2")]
    pub(super) push_notifications: Option<bool>,
    #[prost(message, repeated, tag = "3")]
    pub(super) extensions: Vec<Extension>,
    #[prost(bool, optional, tag = "4")]
    pub(super) extended_agent_card: Option<bool>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Extension {
    #[prost(string, tag = "1")]
    uri: String,
    #[prost(string, tag = "2")]
    description: String,
    #[prost(bool, tag = "3")]
    required: bool,
    #[prost(message, optional, tag = "4")]
    params: Option<Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Skill {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    description: String,
    #[prost(string, repeated, tag = "4")]
    tags: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    examples: Vec<String>,
    #[prost(string, repeated, tag = "6")]
    input_modes: Vec<String>,
    #[prost(string, repeated, tag = "7")]
    output_modes: Vec<String>,
    #[prost(message, repeated, tag = "8")]
    security_requirements: Vec<Requirement>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Signature {
    #[prost(string, tag = "1")]
    protected: String,
    #[prost(string, tag = "2")]
    signature: String,
    #[prost(message, optional, tag = "3")]
    header: Option<Struct>,
}

pub(super) fn requirements(models: &[model::SecurityRequirement]) -> Vec<Requirement> {
    models.iter().map(Requirement::of).collect()
}

pub(super) fn read_requirements(wires: Vec<Requirement>) -> Vec<model::SecurityRequirement> {
    wires.into_iter().map(Requirement::read).collect()
}

impl Provider {
    pub(super) fn of(model: &model::AgentProvider) -> Self {
        Self { url: model.url.clone(), organization: model.organization.clone() }
    }

    pub(super) fn read(self) -> model::AgentProvider {
        model::AgentProvider { url: self.url, organization: self.organization }
    }
}

impl Wire for Interface {
    type Model = model::AgentInterface;

    fn of(model: &Self::Model) -> Self {
        Self {
            url: model.url.clone(),
            binding: model.protocol_binding.clone(),
            tenant: said(model.tenant.as_ref()),
            version: model.protocol_version.clone(),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        Ok(model::AgentInterface {
            url: self.url,
            protocol_binding: self.binding,
            tenant: given(self.tenant),
            protocol_version: self.version,
        })
    }
}

impl Wire for Capabilities {
    type Model = model::AgentCapabilities;

    fn of(model: &Self::Model) -> Self {
        Self {
            streaming: model.streaming,
            push_notifications: model.push_notifications,
            extensions: lists(&model.extensions),
            extended_agent_card: model.extended_agent_card,
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        Ok(model::AgentCapabilities {
            streaming: self.streaming,
            push_notifications: self.push_notifications,
            extensions: list("extensions", self.extensions)?,
            extended_agent_card: self.extended_agent_card,
        })
    }
}

impl Wire for Extension {
    type Model = model::AgentExtension;

    fn of(model: &Self::Model) -> Self {
        Self {
            uri: model.uri.clone(),
            description: said(model.description.as_ref()),
            required: model.required,
            params: model.params.clone().map(|members| Struct::of(&members.into())),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        Ok(model::AgentExtension {
            uri: self.uri,
            description: given(self.description),
            required: self.required,
            params: self
                .params
                .map(Struct::read)
                .transpose()
                .under("params")?
                .map(|members| members.to_map()),
        })
    }
}

impl Wire for Skill {
    type Model = model::AgentSkill;

    fn of(model: &Self::Model) -> Self {
        Self {
            id: model.id.clone(),
            name: model.name.clone(),
            description: model.description.clone(),
            tags: model.tags.clone(),
            examples: model.examples.clone(),
            input_modes: model.input_modes.clone(),
            output_modes: model.output_modes.clone(),
            security_requirements: requirements(&model.security_requirements),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        Ok(model::AgentSkill {
            id: self.id,
            name: self.name,
            description: self.description,
            tags: self.tags,
            examples: self.examples,
            input_modes: self.input_modes,
            output_modes: self.output_modes,
            security_requirements: read_requirements(self.security_requirements),
        })
    }
}

impl Wire for Signature {
    type Model = model::AgentCardSignature;

    fn of(model: &Self::Model) -> Self {
        Self {
            protected: model.protected.clone(),
            signature: model.signature.clone(),
            header: model.header.clone().map(|members| Struct::of(&members.into())),
        }
    }

    fn read(self) -> Result<Self::Model, Wrong> {
        Ok(model::AgentCardSignature {
            protected: self.protected,
            signature: self.signature,
            header: self
                .header
                .map(Struct::read)
                .transpose()
                .under("header")?
                .map(|members| members.to_map()),
        })
    }
}
