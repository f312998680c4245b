//! How callers authenticate, as a card says it (specification 4.5).

use crate::lenient;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// OAuth scopes with their descriptions.
pub type Scopes = BTreeMap<String, String>;

/// One way to authenticate, tagged by its member name (specification 4.5.1).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum SecurityScheme {
    /// A key in a header, a query parameter or a cookie.
    #[serde(rename = "apiKeySecurityScheme")]
    ApiKey(ApiKeySecurityScheme),
    /// An HTTP authentication scheme (`Bearer`).
    #[serde(rename = "httpAuthSecurityScheme")]
    HttpAuth(HttpAuthSecurityScheme),
    /// OAuth 2.0.
    #[serde(rename = "oauth2SecurityScheme")]
    OAuth2(OAuth2SecurityScheme),
    /// OpenID Connect.
    #[serde(rename = "openIdConnectSecurityScheme")]
    OpenIdConnect(OpenIdConnectSecurityScheme),
    /// A client certificate.
    #[serde(rename = "mtlsSecurityScheme")]
    MutualTls(MutualTlsSecurityScheme),
}

/// Schemes that are needed together, each with its scopes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct SecurityRequirement {
    /// By the scheme's name in the card.
    #[serde(deserialize_with = "lenient::nullable")]
    pub schemes: BTreeMap<String, StringList>,
}

/// A list of strings, in the wrapper that protobuf maps need.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct StringList {
    /// The strings.
    #[serde(deserialize_with = "lenient::nullable")]
    pub list: Vec<String>,
}

/// A key in a header, a query parameter or a cookie (specification 4.5.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ApiKeySecurityScheme {
    /// A sentence for people.
    #[serde(default, deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `header`, `query` or `cookie`.
    pub location: String,
    /// The name of the header, parameter or cookie.
    pub name: String,
}

/// An HTTP authentication scheme (specification 4.5.3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HttpAuthSecurityScheme {
    /// A sentence for people.
    #[serde(default, deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The scheme (`Bearer`).
    pub scheme: String,
    /// What a bearer token looks like (`JWT`).
    #[serde(
        alias = "bearer_format",
        default,
        deserialize_with = "lenient::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub bearer_format: Option<String>,
}

/// OAuth 2.0 (specification 4.5.4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OAuth2SecurityScheme {
    /// A sentence for people.
    #[serde(default, deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The flow that is offered.
    pub flows: OAuthFlows,
    /// Where the authorization server describes itself.
    #[serde(
        rename = "oauth2MetadataUrl",
        alias = "oauth2_metadata_url",
        default,
        deserialize_with = "lenient::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub metadata_url: Option<String>,
}

/// OpenID Connect (specification 4.5.5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct OpenIdConnectSecurityScheme {
    /// A sentence for people.
    #[serde(default, deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The discovery document.
    #[serde(alias = "open_id_connect_url")]
    pub open_id_connect_url: String,
}

/// A client certificate (specification 4.5.6).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MutualTlsSecurityScheme {
    /// A sentence for people.
    #[serde(default, deserialize_with = "lenient::text", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// The flow of an OAuth 2.0 scheme, tagged by its member name (specification 4.5.7).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum OAuthFlows {
    /// A person signs in.
    #[serde(alias = "authorization_code")]
    AuthorizationCode(AuthorizationCodeFlow),
    /// A program signs in.
    #[serde(alias = "client_credentials")]
    ClientCredentials(ClientCredentialsFlow),
    /// Out of use; still read.
    Implicit(ImplicitFlow),
    /// Out of use; still read.
    Password(PasswordFlow),
    /// A person signs in on another device.
    #[serde(alias = "device_code")]
    DeviceCode(DeviceCodeFlow),
}

macro_rules! flow {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident $alias:literal,)* } $($more:tt)*) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $($(#[$field_doc])* #[serde(alias = $alias, deserialize_with = "lenient::nullable")] pub $field: String,)*
            /// Where tokens are renewed.
            #[serde(
                alias = "refresh_url",
                deserialize_with = "lenient::text",
                skip_serializing_if = "Option::is_none"
            )]
            pub refresh_url: Option<String>,
            /// The scopes that exist.
            #[serde(deserialize_with = "lenient::nullable")]
            pub scopes: Scopes,
            $($more)*
        }
    };
}

flow! {
    /// OAuth 2.0's authorization code flow.
    AuthorizationCodeFlow {
        /// Where the person signs in.
        authorization_url "authorization_url",
        /// Where the code is exchanged.
        token_url "token_url",
    }
    /// RFC 7636 is required.
    #[serde(
        alias = "pkce_required",
        deserialize_with = "lenient::flag_or_false",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub pkce_required: bool,
}
flow! {
    /// OAuth 2.0's client credentials flow.
    ClientCredentialsFlow {
        /// Where tokens are issued.
        token_url "token_url",
    }
}
flow! {
    /// OAuth 2.0's implicit flow.
    ImplicitFlow {
        /// Where the person signs in.
        authorization_url "authorization_url",
    }
}
flow! {
    /// OAuth 2.0's password flow.
    PasswordFlow {
        /// Where tokens are issued.
        token_url "token_url",
    }
}
flow! {
    /// OAuth 2.0's device code flow (RFC 8628).
    DeviceCodeFlow {
        /// Where the device asks for a code.
        device_authorization_url "device_authorization_url",
        /// Where tokens are issued.
        token_url "token_url",
    }
}

impl SecurityScheme {
    /// A bearer token in the `Authorization` header.
    pub fn bearer(description: impl Into<String>) -> Self {
        Self::HttpAuth(HttpAuthSecurityScheme {
            description: Some(description.into()),
            scheme: "Bearer".into(),
            bearer_format: None,
        })
    }
}

impl SecurityRequirement {
    /// One scheme, without scopes.
    pub fn of(scheme: impl Into<String>) -> Self {
        Self { schemes: BTreeMap::from([(scheme.into(), StringList::default())]) }
    }
}

impl<'de> Deserialize<'de> for SecurityScheme {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // Unknown members are skipped: a hybrid card carries the v0.3 form beside ours.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        #[derive(Default)]
        struct Wire {
            #[serde(alias = "api_key_security_scheme")]
            api_key_security_scheme: Option<ApiKeySecurityScheme>,
            #[serde(alias = "http_auth_security_scheme")]
            http_auth_security_scheme: Option<HttpAuthSecurityScheme>,
            #[serde(rename = "oauth2SecurityScheme", alias = "oauth2_security_scheme")]
            oauth2: Option<OAuth2SecurityScheme>,
            #[serde(alias = "open_id_connect_security_scheme")]
            open_id_connect_security_scheme: Option<OpenIdConnectSecurityScheme>,
            #[serde(alias = "mtls_security_scheme")]
            mtls_security_scheme: Option<MutualTlsSecurityScheme>,
        }

        let wire = Wire::deserialize(from)?;
        wire.api_key_security_scheme
            .map(Self::ApiKey)
            .or(wire.http_auth_security_scheme.map(Self::HttpAuth))
            .or(wire.oauth2.map(Self::OAuth2))
            .or(wire.open_id_connect_security_scheme.map(Self::OpenIdConnect))
            .or(wire.mtls_security_scheme.map(Self::MutualTls))
            .ok_or_else(|| D::Error::custom("a security scheme of no known kind"))
    }
}
