//! Signed cards: JWS over a canonical form of the card (specification 8.4), and the public key for it.
//!
//! # How it works
//! The v1.0 card is signed as the specification says. Clients of v0.3 have the member `signatures` but no
//! text on what is signed; there it is what their one SDK with a verifier reads (`form`). The hybrid
//! carries the signatures of both: the members of v0.3 are unknown fields to a reader of v1.0, which
//! drops them before it verifies, and the other way round.
//!
//! The SDKs' verifiers leave out every empty value, where the specification keeps required ones and
//! the names of required security schemes. A card for which that makes a difference has a further
//! signature over the smaller form; its protected header says so (`form`), so that our own verifier
//! never takes it for one over the whole card. (To be removed when a2a-python and a2a-js follow 8.4.1.)
//!
//! ES256 makes another signature each time; so signatures are kept, or the card's `ETag` would never
//! come twice.

mod form;
mod verify;

pub use form::Form;
pub use verify::{Keys, Verdict, key_places, verify};

use crate::config::Signing;
use crate::plain_file;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use parking_lot::Mutex;
use pilothouse_a2a::card::{self, AgentCard, AgentCardSignature};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Where the public key lies below the server's address.
pub const JWKS_PATH: &str = "/.well-known/jwks.json";

/// Signatures that are remembered: a few for each agent and each address that clients use.
const REMEMBERED: usize = 512;

/// Bytes of the file of a key.
const LARGEST: u64 = 1024 * 1024;

/// Why cards cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("`card.signing.key`: {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Everybody may read the key.
    #[error(
        "`card.signing.key`: everybody on this machine can read {0}; take that away with `chmod o= FILE`"
    )]
    Open(PathBuf),
    /// It is not a key that can be used.
    #[error(
        "`card.signing.key`: {0} holds no private key of the curve P-256 or Ed25519 in a PEM block `PRIVATE KEY` \
         (PKCS #8); make one with `openssl genpkey -algorithm ed25519`, or convert an older one with \
         `openssl pkcs8 -topk8 -nocrypt`"
    )]
    Unusable(PathBuf),
}

/// Signs cards with the operator's key.
pub struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
    kid: String,
    public: Value,
    remembered: Mutex<Remembered>,
}

/// Signatures by the hash of what they sign; the oldest goes first.
#[derive(Default)]
struct Remembered {
    known: HashMap<[u8; 32], String>,
    order: VecDeque<[u8; 32]>,
}

impl Signer {
    /// The signer that the configuration describes, if it does.
    pub fn load(config: &Signing) -> Result<Option<Self>, Error> {
        let Some(path) = &config.key else {
            return Ok(None);
        };
        let unreadable = |source| Error::Unreadable { path: path.clone(), source };
        let mut file = plain_file::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.mode() & 0o004 != 0 {
            return Err(Error::Open(path.clone()));
        }
        let mut pem = Vec::new();
        file.by_ref().take(LARGEST).read_to_end(&mut pem).map_err(unreadable)?;
        Self::new(&pem, config.kid.clone()).map(Some).ok_or_else(|| Error::Unusable(path.clone()))
    }

    /// A signer with this key; the key's id is its thumbprint unless another is named.
    fn new(pem: &[u8], kid: Option<String>) -> Option<Self> {
        let ec = || Some((EncodingKey::from_ec_pem(pem).ok()?, Algorithm::ES256));
        let ed = || Some((EncodingKey::from_ed_pem(pem).ok()?, Algorithm::EdDSA));
        let (key, algorithm) = ec().or_else(ed)?;
        // This refuses every other curve.
        let mut public = Jwk::from_encoding_key(&key, algorithm).ok()?;
        let kid = kid
            .filter(|kid| !kid.is_empty())
            .or_else(|| public.thumbprint(ThumbprintHash::SHA256).ok())?;
        public.common.key_id = Some(kid.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        let usable = match &public.algorithm {
            AlgorithmParameters::EllipticCurve(key) => key.curve == EllipticCurve::P256,
            AlgorithmParameters::OctetKeyPair(key) => key.curve == EllipticCurve::Ed25519,
            _ => false,
        };
        let public = serde_json::to_value(public).ok().filter(|_| usable)?;
        // A key whose halves do not belong together would fail here and not at the first request.
        crypto::sign(b"", &key, algorithm).ok()?;
        Some(Self { key, algorithm, kid, public, remembered: Mutex::default() })
    }

    /// The public half as a JSON Web Key Set (RFC 7517).
    pub fn jwks(&self) -> Value {
        json!({"keys": [self.public]})
    }

    /// The algorithm and the key's id, for the start.
    pub fn describe(&self) -> String {
        format!("{:?}, kid {}", self.algorithm, self.kid)
    }

    /// Puts the signatures for clients of v1.0 on a card; `base` is the server's address without a `/`
    /// at its end.
    pub fn sign(&self, card: &mut AgentCard, base: &str) {
        card.signatures.clear();
        let whole = card::v1(card);
        let exact = form::payload(&whole, Form::Exact);
        let smaller =
            form::payload(&whole, Form::NonEmpty).filter(|smaller| Some(smaller) != exact.as_ref());
        let forms = [(Form::Exact, exact), (Form::NonEmpty, smaller)];
        let signed =
            forms.into_iter().filter_map(|(form, payload)| self.signature(form, &payload?, base));
        card.signatures = signed.collect();
    }

    /// Adds the signature for clients of v0.3 to a card in a shape that has its members.
    pub fn sign_v0_3(&self, view: &mut Value, base: &str) {
        let signature = form::payload(view, Form::V0_3)
            .and_then(|payload| self.signature(Form::V0_3, &payload, base))
            .and_then(|signature| serde_json::to_value(signature).ok());
        if let (Some(signature), Some(view)) = (signature, view.as_object_mut()) {
            let signatures = view.entry("signatures").or_insert_with(|| json!([]));
            if let Some(signatures) = signatures.as_array_mut() {
                signatures.push(signature);
            }
        }
    }

    fn signature(&self, form: Form, payload: &str, base: &str) -> Option<AgentCardSignature> {
        let mut header = json!({
            "alg": self.algorithm, "kid": self.kid, "typ": "JOSE", "jku": format!("{base}{JWKS_PATH}"),
        });
        if let Some(name) = form.name() {
            header["form"] = name.into();
        }
        let protected = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
        let input = format!("{protected}.{}", BASE64_URL_SAFE_NO_PAD.encode(payload));
        let key: [u8; 32] = Sha256::digest(&input).into();
        let mut remembered = self.remembered.lock();
        let signature = match remembered.known.get(&key) {
            Some(signature) => signature.clone(),
            None => {
                let signature = crypto::sign(input.as_bytes(), &self.key, self.algorithm).ok()?;
                remembered.keep(key, signature.clone());
                signature
            }
        };
        Some(AgentCardSignature { protected, signature, header: None })
    }
}

impl Remembered {
    fn keep(&mut self, key: [u8; 32], signature: String) {
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(key);
        self.known.insert(key, signature);
    }
}

#[cfg(test)]
mod tests;
