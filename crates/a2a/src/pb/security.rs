//! How callers authenticate, as both packages write it in a card.
//!
//! Flows with one address and flows with two share a message each: their numbers are the same.
//! v0.3 has neither the device code flow nor `pkceRequired`; its readers skip both.

use super::{given, said};
use crate::card::{self as model, OAuthFlows, Scopes};
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Requirement {
    #[prost(btree_map = "string, message", tag = "1")]
    schemes: BTreeMap<String, List>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct List {
    #[prost(string, repeated, tag = "1")]
    list: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Scheme {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    ApiKey(ApiKey),
    #[prost(message, tag = "2")]
    HttpAuth(HttpAuth),
    #[prost(message, tag = "3")]
    OAuth2(OAuth2),
    #[prost(message, tag = "4")]
    OpenIdConnect(OpenIdConnect),
    #[prost(message, tag = "5")]
    MutualTls(MutualTls),
}

#[derive(Clone, PartialEq, prost::Message)]
struct ApiKey {
    #[prost(string, tag = "1")]
    description: String,
    #[prost(string, tag = "2")]
    location: String,
    #[prost(string, tag = "3")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HttpAuth {
    #[prost(string, tag = "1")]
    description: String,
    #[prost(string, tag = "2")]
    scheme: String,
    #[prost(string, tag = "3")]
    bearer_format: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OAuth2 {
    #[prost(string, tag = "1")]
    description: String,
    #[prost(message, optional, tag = "2")]
    flows: Option<Flows>,
    #[prost(string, tag = "3")]
    metadata_url: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OpenIdConnect {
    #[prost(string, tag = "1")]
    description: String,
    #[prost(string, tag = "2")]
    url: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MutualTls {
    #[prost(string, tag = "1")]
    description: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Flows {
    #[prost(oneof = "Flow", tags = "1, 2, 3, 4, 5")]
    flow: Option<Flow>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Flow {
    #[prost(message, tag = "1")]
    AuthorizationCode(TwoAddresses),
    #[prost(message, tag = "2")]
    ClientCredentials(OneAddress),
    #[prost(message, tag = "3")]
    Implicit(OneAddress),
    #[prost(message, tag = "4")]
    Password(OneAddress),
    #[prost(message, tag = "5")]
    DeviceCode(TwoAddresses),
}

#[derive(Clone, PartialEq, prost::Message)]
struct OneAddress {
    #[prost(string, tag = "1")]
    url: String,
    #[prost(string, tag = "2")]
    refresh_url: String,
    #[prost(btree_map = "string, string", tag = "3")]
    scopes: Scopes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TwoAddresses {
    #[prost(string, tag = "1")]
    authorization_url: String,
    #[prost(string, tag = "2")]
    token_url: String,
    #[prost(string, tag = "3")]
    refresh_url: String,
    #[prost(btree_map = "string, string", tag = "4")]
    scopes: Scopes,
    /// Of the authorization code flow alone.
    #[prost(bool, tag = "5")]
    pkce_required: bool,
}

impl Requirement {
    pub(super) fn of(model: &model::SecurityRequirement) -> Self {
        let schemes = model.schemes.iter();
        let list = |scopes: &model::StringList| List { list: scopes.list.clone() };
        Self { schemes: schemes.map(|(name, scopes)| (name.clone(), list(scopes))).collect() }
    }

    pub(super) fn read(self) -> model::SecurityRequirement {
        let schemes = self.schemes.into_iter();
        model::SecurityRequirement {
            schemes: schemes
                .map(|(name, List { list })| (name, model::StringList { list }))
                .collect(),
        }
    }
}

impl Scheme {
    pub(super) fn of(model: &model::SecurityScheme) -> Self {
        let kind = match model {
            model::SecurityScheme::ApiKey(known) => Kind::ApiKey(ApiKey {
                description: said(known.description.as_ref()),
                location: known.location.clone(),
                name: known.name.clone(),
            }),
            model::SecurityScheme::HttpAuth(known) => Kind::HttpAuth(HttpAuth {
                description: said(known.description.as_ref()),
                scheme: known.scheme.clone(),
                bearer_format: said(known.bearer_format.as_ref()),
            }),
            model::SecurityScheme::OAuth2(known) => Kind::OAuth2(OAuth2 {
                description: said(known.description.as_ref()),
                flows: Some(Flows { flow: Some(Flow::of(&known.flows)) }),
                metadata_url: said(known.metadata_url.as_ref()),
            }),
            model::SecurityScheme::OpenIdConnect(known) => Kind::OpenIdConnect(OpenIdConnect {
                description: said(known.description.as_ref()),
                url: known.open_id_connect_url.clone(),
            }),
            model::SecurityScheme::MutualTls(known) => {
                Kind::MutualTls(MutualTls { description: said(known.description.as_ref()) })
            }
        };
        Self { kind: Some(kind) }
    }

    /// None for a kind of scheme or flow that is not known here; a card stays useful without it.
    pub(super) fn read(self) -> Option<model::SecurityScheme> {
        Some(match self.kind? {
            Kind::ApiKey(known) => model::SecurityScheme::ApiKey(model::ApiKeySecurityScheme {
                description: given(known.description),
                location: known.location,
                name: known.name,
            }),
            Kind::HttpAuth(known) => {
                model::SecurityScheme::HttpAuth(model::HttpAuthSecurityScheme {
                    description: given(known.description),
                    scheme: known.scheme,
                    bearer_format: given(known.bearer_format),
                })
            }
            Kind::OAuth2(known) => model::SecurityScheme::OAuth2(model::OAuth2SecurityScheme {
                description: given(known.description),
                flows: known.flows?.flow?.read(),
                metadata_url: given(known.metadata_url),
            }),
            Kind::OpenIdConnect(known) => {
                model::SecurityScheme::OpenIdConnect(model::OpenIdConnectSecurityScheme {
                    description: given(known.description),
                    open_id_connect_url: known.url,
                })
            }
            Kind::MutualTls(known) => {
                model::SecurityScheme::MutualTls(model::MutualTlsSecurityScheme {
                    description: given(known.description),
                })
            }
        })
    }
}

impl Flow {
    fn of(model: &OAuthFlows) -> Self {
        let one = |url: &String, refresh_url: &Option<String>, scopes: &Scopes| OneAddress {
            url: url.clone(),
            refresh_url: said(refresh_url.as_ref()),
            scopes: scopes.clone(),
        };
        match model {
            OAuthFlows::AuthorizationCode(flow) => Self::AuthorizationCode(TwoAddresses {
                authorization_url: flow.authorization_url.clone(),
                token_url: flow.token_url.clone(),
                refresh_url: said(flow.refresh_url.as_ref()),
                scopes: flow.scopes.clone(),
                pkce_required: flow.pkce_required,
            }),
            OAuthFlows::ClientCredentials(flow) => {
                Self::ClientCredentials(one(&flow.token_url, &flow.refresh_url, &flow.scopes))
            }
            OAuthFlows::Implicit(flow) => {
                Self::Implicit(one(&flow.authorization_url, &flow.refresh_url, &flow.scopes))
            }
            OAuthFlows::Password(flow) => {
                Self::Password(one(&flow.token_url, &flow.refresh_url, &flow.scopes))
            }
            OAuthFlows::DeviceCode(flow) => Self::DeviceCode(TwoAddresses {
                authorization_url: flow.device_authorization_url.clone(),
                token_url: flow.token_url.clone(),
                refresh_url: said(flow.refresh_url.as_ref()),
                scopes: flow.scopes.clone(),
                pkce_required: false,
            }),
        }
    }

    fn read(self) -> OAuthFlows {
        match self {
            Self::AuthorizationCode(flow) => {
                OAuthFlows::AuthorizationCode(model::AuthorizationCodeFlow {
                    authorization_url: flow.authorization_url,
                    token_url: flow.token_url,
                    refresh_url: given(flow.refresh_url),
                    scopes: flow.scopes,
                    pkce_required: flow.pkce_required,
                })
            }
            Self::ClientCredentials(flow) => {
                OAuthFlows::ClientCredentials(model::ClientCredentialsFlow {
                    token_url: flow.url,
                    refresh_url: given(flow.refresh_url),
                    scopes: flow.scopes,
                })
            }
            Self::Implicit(flow) => OAuthFlows::Implicit(model::ImplicitFlow {
                authorization_url: flow.url,
                refresh_url: given(flow.refresh_url),
                scopes: flow.scopes,
            }),
            Self::Password(flow) => OAuthFlows::Password(model::PasswordFlow {
                token_url: flow.url,
                refresh_url: given(flow.refresh_url),
                scopes: flow.scopes,
            }),
            Self::DeviceCode(flow) => OAuthFlows::DeviceCode(model::DeviceCodeFlow {
                device_authorization_url: flow.authorization_url,
                token_url: flow.token_url,
                refresh_url: given(flow.refresh_url),
                scopes: flow.scopes,
            }),
        }
    }
}
