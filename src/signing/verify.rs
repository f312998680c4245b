//! Whether a card is what its signer signed (specification 8.4.3).
//!
//! The algorithm is the key's: a signature that names another one is refused, whatever it says, and
//! secrets (`oct`) and `none` are no keys at all.

use super::form::{self, Form};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::Value;

/// Signatures of one card that are looked at.
const SIGNATURES: usize = 16;
/// Keys of one set that are read.
const KEYS: usize = 64;

/// Public keys to verify with.
#[derive(Debug, Clone, Default)]
pub struct Keys(Vec<Jwk>);

/// What the signatures of a card come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It has none.
    Unsigned,
    /// One of them is good.
    Valid {
        /// The algorithm.
        alg: String,
        /// The id of the key.
        kid: Option<String>,
        /// What it is over.
        form: Form,
    },
    /// None is good that could be checked.
    Invalid(String),
    /// None could be checked: the keys are not among those that are known.
    NoKey(Vec<String>),
}

/// One signature, read.
struct Signature<'a> {
    protected: &'a str,
    value: &'a str,
    header: Value,
}

impl Keys {
    /// Reads a JSON Web Key Set, or a single key; keys of a kind that is not known are passed over.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        let value: Value =
            serde_json::from_slice(json).map_err(|error| format!("no JSON: {error}"))?;
        let keys = match (value.get("keys").and_then(Value::as_array), value.get("kty")) {
            (Some(keys), _) => keys.iter().take(KEYS).cloned().collect(),
            (None, Some(_)) => vec![value],
            (None, None) => return Err("no JSON Web Key Set: `keys` is missing".to_owned()),
        };
        let keys = keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
        Ok(Self(keys.collect()))
    }

    /// All keys of both.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The keys that a signature may mean: those with its `kid`; without one, the only key.
    fn named(&self, kid: Option<&str>) -> Vec<&Jwk> {
        let keys = self.0.iter().filter(|key| {
            key.common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature)
        });
        match kid {
            Some(_) => keys.filter(|key| key.common.key_id.as_deref() == kid).collect(),
            None => keys.collect(),
        }
    }
}

/// Where the signatures of a card say that their keys lie, each place once.
pub fn key_places(card: &Value) -> Vec<String> {
    let mut places = Vec::new();
    for signature in signatures(card).into_iter().flatten() {
        if let Some(place) = signature.header.get("jku").and_then(Value::as_str)
            && !places.iter().any(|known| known == place)
        {
            places.push(place.to_owned());
        }
    }
    places
}

/// Checks the signatures of a card in any shape against these keys; one good signature is enough.
pub fn verify(card: &Value, keys: &Keys) -> Verdict {
    let (mut wrong, mut unknown, mut best) = (None, Vec::new(), None);
    let all = signatures(card);
    if all.is_empty() {
        return Verdict::Unsigned;
    }
    for signature in all {
        let checked = signature.and_then(|signature| check(card, &signature, keys));
        match checked {
            Ok(Verdict::NoKey(kids)) => unknown.extend(kids),
            Ok(valid @ Verdict::Valid { form: Form::Exact, .. }) => return valid,
            Ok(valid) => best = best.or(Some(valid)),
            Err(reason) => wrong = wrong.or(Some(reason)),
        }
    }
    match (best, wrong) {
        (Some(valid), _) => valid,
        (None, Some(reason)) => Verdict::Invalid(reason),
        (None, None) => Verdict::NoKey(unknown),
    }
}

fn signatures(card: &Value) -> Vec<Result<Signature<'_>, String>> {
    let all = card.get("signatures").and_then(Value::as_array);
    all.into_iter().flatten().take(SIGNATURES).map(read).collect()
}

fn read(signature: &Value) -> Result<Signature<'_>, String> {
    let text = |name: &str| {
        let value = signature.get(name).and_then(Value::as_str);
        value.ok_or_else(|| format!("a signature has no `{name}`"))
    };
    let (protected, value) = (text("protected")?, text("signature")?);
    let header = BASE64_URL_SAFE_NO_PAD.decode(protected).ok();
    let header = header.and_then(|header| serde_json::from_slice::<Value>(&header).ok());
    let header = header.filter(Value::is_object).ok_or("a protected header cannot be read")?;
    Ok(Signature { protected, value, header })
}

fn check(card: &Value, signature: &Signature<'_>, keys: &Keys) -> Result<Verdict, String> {
    let text = |name: &str| signature.header.get(name).and_then(Value::as_str);
    if signature.header.get("crit").is_some() || signature.header.get("b64").is_some() {
        return Err("a protected header asks for what is not known here (`crit`)".to_owned());
    }
    let alg = text("alg").unwrap_or("none");
    let asked: Algorithm =
        alg.parse().map_err(|_| format!("the algorithm `{alg}` is not accepted"))?;
    let kid = text("kid");
    let candidates = keys.named(kid);
    if candidates.is_empty() {
        return Ok(Verdict::NoKey(vec![kid.unwrap_or("without a kid").to_owned()]));
    }
    let fitting: Vec<&Jwk> =
        candidates.into_iter().filter(|key| algorithms(key).contains(&asked)).collect();
    if fitting.is_empty() {
        return Err(format!("the algorithm `{alg}` is not that of the key"));
    }
    let forms = [Form::Exact, Form::NonEmpty, Form::V0_3];
    // A signature over a smaller form says so where it is ours; those of others may be over any.
    let named =
        text("form").and_then(|name| forms.into_iter().find(|form| form.name() == Some(name)));
    for form in forms.into_iter().filter(|form| named.is_none_or(|named| named == *form)) {
        let Some(payload) = form::payload(card, form) else {
            continue;
        };
        let input = format!("{}.{}", signature.protected, BASE64_URL_SAFE_NO_PAD.encode(payload));
        let good = fitting.iter().any(|key| {
            DecodingKey::from_jwk(key)
                .and_then(|key| crypto::verify(signature.value, input.as_bytes(), &key, asked))
                .unwrap_or(false)
        });
        if good {
            return Ok(Verdict::Valid {
                alg: alg.to_owned(),
                kid: kid.map(ToOwned::to_owned),
                form,
            });
        }
    }
    Err("the card is not what was signed, or the key is another one".to_owned())
}

/// What a key may be used for.
fn algorithms(key: &Jwk) -> Vec<Algorithm> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let of_kind: &[Algorithm] = match &key.algorithm {
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => &[ES256],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => &[ES384],
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[EdDSA],
        AlgorithmParameters::RSA(_) => &[RS256, RS384, RS512, PS256, PS384, PS512],
        // A secret is no public key, and the rest is not known.
        _ => &[],
    };
    let fits = |algorithm: &&Algorithm| {
        key.common.key_algorithm.is_none_or(|own| own == KeyAlgorithm::from(**algorithm))
    };
    of_kind.iter().filter(fits).copied().collect()
}
