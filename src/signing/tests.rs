//! Signing and verifying against each other; foreign verifiers are a matter of the conformance runs.

use super::*;
use pilothouse_a2a::card::{AgentInterface, AgentSkill, SecurityRequirement, SecurityScheme};
use std::os::unix::fs::PermissionsExt;

/// Made for these tests with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`.
const P256: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgTRpFCIDW9XpIRth1
7Ckj+HPRwxgEpmO+AM45mtlZ//+hRANCAASCboSNqRGIRNKP1ofPNXEDv5Cg6UyK
PJMsZuoxNBMSladc7iplEjZ4OpXkDNSZn8dsKkiEOjJRJnv8SNl8EfdW
-----END PRIVATE KEY-----
";
/// The same with `-algorithm ed25519`.
const ED25519: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIHN/et6N2ZRTuD4Ce5q1lqbv2iaS0IF/0cUI+KBoC06i
-----END PRIVATE KEY-----
";
/// The same with the curve P-384, which is not taken.
const P384: &str = "-----BEGIN PRIVATE KEY-----
MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDAz9kSLntfNnefPBJYC
+dhLbU128JT1fDc0OUnF6KpycWXBIvuzmhMJRQV8wxciZa6hZANiAATg6JKNSTaV
7t1YGs6IV22KFB7Iuj9O6AEEdA+/jJFwyiaUI35aG8oNcMomFlKqDQl0/kTrAOpm
wvT22j56Fr2AUsa7Ct6FcG5NrGNygGBbZr6NC9UBzGJrkxkO5QmNbXE=
-----END PRIVATE KEY-----
";
const BASE: &str = "https://agents.example.com";

fn signer(pem: &str) -> Signer {
    Signer::new(pem.as_bytes(), None).unwrap()
}

fn keys(signer: &Signer) -> Keys {
    Keys::read(signer.jwks().to_string().as_bytes()).unwrap()
}

fn sample() -> AgentCard {
    let mut card = AgentCard {
        name: "helfer".into(),
        description: "räumt auf".into(),
        version: "1".into(),
        supported_interfaces: vec![
            AgentInterface {
                url: format!("{BASE}/"),
                protocol_binding: card::JSONRPC.into(),
                tenant: None,
                protocol_version: "1.0".into(),
            },
            AgentInterface {
                url: format!("{BASE}/"),
                protocol_binding: card::JSONRPC.into(),
                tenant: None,
                protocol_version: "0.3".into(),
            },
        ],
        default_input_modes: vec!["text/plain".into()],
        default_output_modes: vec!["text/plain".into()],
        skills: vec![AgentSkill {
            id: "s".into(),
            name: "S".into(),
            description: "does s".into(),
            tags: vec!["x".into()],
            ..AgentSkill::default()
        }],
        ..AgentCard::default()
    };
    card.security_schemes.insert("bearer".into(), SecurityScheme::bearer("a token"));
    card.security_requirements.push(SecurityRequirement::of("bearer"));
    card
}

fn signed(signer: &Signer) -> AgentCard {
    let mut card = sample();
    signer.sign(&mut card, BASE);
    card
}

fn form_of(verdict: &Verdict) -> Option<Form> {
    match verdict {
        Verdict::Valid { form, .. } => Some(*form),
        _ => None,
    }
}

fn header(signature: &Value) -> Value {
    let protected = signature["protected"].as_str().unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(protected).unwrap()).unwrap()
}

#[test]
fn both_kinds_of_keys_sign_what_their_public_half_verifies() {
    for (pem, alg) in [(P256, "ES256"), (ED25519, "EdDSA")] {
        let signer = signer(pem);
        let expected =
            Verdict::Valid { alg: alg.into(), kid: Some(signer.kid.clone()), form: Form::Exact };
        assert_eq!(verify(&card::v1(&signed(&signer)), &keys(&signer)), expected);
    }
}

#[test]
fn the_header_says_how_to_find_the_key() {
    let signer = signer(P256);
    let expected = json!({
        "alg": "ES256", "kid": signer.kid, "typ": "JOSE", "jku": "https://agents.example.com/.well-known/jwks.json",
    });
    assert_eq!(header(&card::v1(&signed(&signer))["signatures"][0]), expected);
    assert_eq!(
        key_places(&card::v1(&signed(&signer))),
        ["https://agents.example.com/.well-known/jwks.json"]
    );
}

#[test]
fn the_public_key_says_what_it_is_for_and_holds_nothing_private() {
    let key = &signer(ED25519).jwks()["keys"][0];
    let told = ["kty", "crv", "alg", "use"].map(|name| key[name].as_str().unwrap());
    assert_eq!(told, ["OKP", "Ed25519", "EdDSA", "sig"]);
    assert!(key.get("d").is_none());
}

#[test]
fn the_id_of_a_key_is_its_thumbprint_unless_another_is_named() {
    let signer = signer(P256);
    let key = &signer.jwks()["keys"][0];
    let pre = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, key["x"], key["y"]);
    assert_eq!(key["kid"], BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(pre)));
    let named = Signer::new(P256.as_bytes(), Some("ours".into())).unwrap();
    assert_eq!(named.jwks()["keys"][0]["kid"], "ours");
}

#[test]
fn the_same_card_has_the_same_signature_each_time() {
    let signer = signer(P256);
    assert_eq!(signed(&signer), signed(&signer));
}

#[test]
fn not_more_signatures_are_remembered_than_the_bound() {
    let signer = signer(ED25519);
    for number in 0..REMEMBERED {
        signer.sign(&mut sample(), &format!("https://{number}.example.com"));
    }
    let remembered = signer.remembered.lock();
    assert_eq!((remembered.known.len(), remembered.order.len()), (REMEMBERED, REMEMBERED));
}

/// Every place in the card, as a pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members.iter().filter(|(name, _)| *name != "signatures") {
                places(value, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (number, value) in items.iter().enumerate() {
                places(value, &format!("{at}/{number}"), found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}

#[test]
fn tampering_with_any_member_breaks_the_signature() {
    let signer = signer(P256);
    let good = card::v1(&signed(&signer));
    let mut found = Vec::new();
    places(&good, "", &mut found);
    assert!(found.len() > 15, "{found:?}");
    for place in found {
        let mut card = good.clone();
        let value = card.pointer_mut(&place).unwrap();
        *value = match value {
            Value::Bool(flag) => (!*flag).into(),
            _ => "tampered".into(),
        };
        assert!(matches!(verify(&card, &keys(&signer)), Verdict::Invalid(_)), "{place}");
    }
}

#[test]
fn a_member_more_or_less_breaks_the_signature() {
    let signer = signer(P256);
    let good = card::v1(&signed(&signer));
    let mut more = good.clone();
    more["documentationUrl"] = "https://evil.example".into();
    let mut less = good;
    less.as_object_mut().unwrap().remove("securitySchemes");
    for card in [more, less] {
        assert!(matches!(verify(&card, &keys(&signer)), Verdict::Invalid(_)), "{card}");
    }
}

#[test]
fn a_card_without_its_requirement_is_not_taken_for_the_whole_one() {
    let signer = signer(P256);
    let mut card = card::v1(&signed(&signer));
    card.as_object_mut().unwrap().remove("securityRequirements");
    assert_eq!(form_of(&verify(&card, &keys(&signer))), Some(Form::NonEmpty));
}

#[test]
fn the_hybrid_has_the_signatures_of_both_versions() {
    let signer = signer(ED25519);
    let mut hybrid = card::hybrid(&signed(&signer));
    signer.sign_v0_3(&mut hybrid, BASE);
    assert_eq!(form_of(&verify(&hybrid, &keys(&signer))), Some(Form::Exact));
    let forms: Vec<_> = hybrid["signatures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|each| header(each)["form"].clone())
        .collect();
    assert_eq!(forms, [Value::Null, "non-empty".into(), "v0.3".into()]);
}

#[test]
fn a_card_of_v0_3_is_signed_over_its_own_members() {
    let signer = signer(P256);
    let mut old = card::v0_3(&signed(&signer));
    signer.sign_v0_3(&mut old, BASE);
    assert_eq!(form_of(&verify(&old, &keys(&signer))), Some(Form::V0_3));
    old["url"] = "https://evil.example/".into();
    assert!(matches!(verify(&old, &keys(&signer)), Verdict::Invalid(_)));
}

#[test]
fn another_key_with_the_same_id_does_not_verify() {
    let ours = Signer::new(ED25519.as_bytes(), Some("k".into())).unwrap();
    let theirs = Signer::new(P256.as_bytes(), Some("k".into())).unwrap();
    let verdict = verify(&card::v1(&signed(&ours)), &keys(&theirs));
    assert_eq!(verdict, Verdict::Invalid("the algorithm `EdDSA` is not that of the key".into()));
}

#[test]
fn a_key_that_is_not_known_is_said() {
    let ours = signer(ED25519);
    let verdict = verify(&card::v1(&signed(&ours)), &keys(&signer(P256)));
    assert!(matches!(verdict, Verdict::NoKey(kids) if kids[0] == ours.kid));
    assert_eq!(verify(&card::v1(&sample()), &keys(&ours)), Verdict::Unsigned);
}

#[test]
fn the_algorithm_is_the_keys_and_never_the_headers_alone() {
    let signer = signer(P256);
    for alg in ["none", "None", "HS256", "RS256", "EdDSA", "ES384"] {
        let mut card = card::v1(&signed(&signer));
        let forged = json!({"alg": alg, "kid": signer.kid, "typ": "JOSE"}).to_string();
        let signature = if alg.eq_ignore_ascii_case("none") { "" } else { "AAAA" };
        card["signatures"] =
            json!([{"protected": BASE64_URL_SAFE_NO_PAD.encode(forged), "signature": signature}]);
        assert!(matches!(verify(&card, &keys(&signer)), Verdict::Invalid(_)), "{alg}");
    }
}

#[test]
fn a_secret_is_no_key() {
    let secret = json!({"kty": "oct", "kid": "k", "k": BASE64_URL_SAFE_NO_PAD.encode("secret")});
    let mut card = card::v1(&sample());
    let header = BASE64_URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "kid": "k"}).to_string());
    let input = format!(
        "{header}.{}",
        BASE64_URL_SAFE_NO_PAD.encode(form::payload(&card, Form::Exact).unwrap())
    );
    let signature =
        crypto::sign(input.as_bytes(), &EncodingKey::from_secret(b"secret"), Algorithm::HS256)
            .unwrap();
    card["signatures"] = json!([{"protected": header, "signature": signature}]);
    let keys = Keys::read(secret.to_string().as_bytes()).unwrap();
    assert!(matches!(verify(&card, &keys), Verdict::Invalid(_)));
}

#[test]
fn keys_of_strange_kinds_are_passed_over() {
    let mut set = signer(P256).jwks();
    set["keys"].as_array_mut().unwrap().insert(0, json!({"kty": "EC", "crv": "secp256k1", "x": 1}));
    set["keys"].as_array_mut().unwrap().insert(0, json!("nonsense"));
    let keys = Keys::read(set.to_string().as_bytes()).unwrap();
    assert!(form_of(&verify(&card::v1(&signed(&signer(P256))), &keys)).is_some());
    assert!(Keys::read(b"[]").is_err() && Keys::read(b"<html>").is_err());
}

fn load(pem: &str, mode: u32) -> Result<Option<Signer>, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    std::fs::write(&path, pem).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    Signer::load(&Signing { key: Some(path), kid: None })
}

#[test]
fn a_key_that_everybody_can_read_is_refused() {
    assert!(matches!(load(P256, 0o644), Err(Error::Open(_))));
    assert!(load(P256, 0o640).is_ok());
}

#[test]
fn only_private_keys_of_the_two_curves_are_taken() {
    let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    for pem in [P384, public, "", "no key"] {
        assert!(matches!(load(pem, 0o600), Err(Error::Unusable(_))), "{pem}");
    }
}

#[test]
fn a_key_that_is_not_there_is_named() {
    let missing = Signing { key: Some("not/there.pem".into()), kid: None };
    let error = Signer::load(&missing).err().unwrap().to_string();
    assert!(error.contains("not/there.pem"), "{error}");
    assert!(Signer::load(&Signing::default()).unwrap().is_none());
}
