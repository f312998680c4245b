use super::*;
use crate::config::Age;
use futures_util::FutureExt;
use jsonwebtoken::{EncodingKey, encode};
use rcgen::KeyPair;
use serde_json::json;

/// A key of the issuer, with its secret half.
struct Pair(EncodingKey);

impl Pair {
    fn new() -> Self {
        let pem = KeyPair::generate().unwrap().serialize_pem();
        Self(EncodingKey::from_ec_pem(pem.as_bytes()).unwrap())
    }

    /// As it is read from the issuer, anew each time.
    fn read(&self) -> IssuerKey {
        let jwk = Jwk::from_encoding_key(&self.0, Algorithm::ES256).unwrap();
        IssuerKey::read(&serde_json::to_value(jwk).unwrap()).unwrap()
    }

    fn sign(&self, caller: &str) -> String {
        let exp = Timestamp::now().as_millisecond() / 1000 + 600;
        let claims = json!({"iss": "https://issuer.example.com", "aud": "pilothouse", "sub": caller,
            "exp": exp});
        encode(&Header::new(Algorithm::ES256), &claims, &self.0).unwrap()
    }
}

/// The tokens of an issuer with these keys, of which `known` are remembered.
fn issuer(known: usize, keys: &[&Pair]) -> Arc<Oidc> {
    let config = config::Oidc {
        issuer: Some("https://issuer.example.com".to_owned()),
        audience: Some("pilothouse".to_owned()),
        retry: "1h".parse::<Age>().unwrap(),
        known,
        ..config::Oidc::default()
    };
    let oidc = Oidc::new(&config).unwrap();
    show(&oidc, keys);
    oidc
}

fn show(oidc: &Oidc, keys: &[&Pair]) {
    oidc.take(Ok(keys.iter().map(|key| key.read()).collect()));
}

#[test]
fn a_key_that_is_withdrawn_ends_every_grant_of_its_tokens_also_of_those_that_were_forgotten() {
    let (kept, gone) = (Pair::new(), Pair::new());
    let oidc = issuer(2, &[&gone]);
    let tokens = ["a", "b", "c", "d"].map(|caller| gone.sign(caller));
    let callers: Vec<_> = tokens.iter().map(|token| oidc.recognize(token).unwrap()).collect();
    show(&oidc, &[&gone]);
    assert!(callers.iter().all(|caller| caller.grant.check().is_ok()));
    show(&oidc, &[&kept]);
    assert!(callers.iter().all(|caller| caller.grant.check() == Err(Denied::Revoked)));
    assert!(oidc.recognize(&tokens[3]).is_none());
    // It comes back: its tokens hold again, what they had opened does not.
    show(&oidc, &[&kept, &gone]);
    assert!(callers[3].grant.check().is_err() && oidc.recognize(&kept.sign("a")).is_none());
    oidc.take(Ok(vec![gone.read()]));
    assert!(oidc.recognize(&tokens[3]).is_some());
}

#[test]
fn a_token_that_is_verified_while_its_key_is_withdrawn_is_refused_and_not_remembered() {
    let (kept, gone) = (Pair::new(), Pair::new());
    let oidc = issuer(2, &[&gone]);
    let before = oidc.keys.borrow().clone();
    show(&oidc, &[&kept]);
    let token = gone.sign("a");
    let refused = oidc.verify_with(&token, &before);
    assert!(matches!(refused, Err(Unverified::Denied(Denied::Revoked))));
    show(&oidc, &[&gone]);
    assert!(oidc.recognize(&token).is_some());
}

#[test]
fn a_full_table_forgets_its_oldest_token_and_all_requests_of_a_known_one_share_a_grant() {
    let key = Pair::new();
    let oidc = issuer(2, &[&key]);
    let tokens = ["a", "b", "c"].map(|caller| key.sign(caller));
    let first = tokens.each_ref().map(|token| oidc.recognize(token).unwrap().grant);
    for shared in [1, 2] {
        let again = oidc.recognize(&tokens[shared]).unwrap().grant;
        assert!(Arc::ptr_eq(&first[shared], &again));
    }
    assert!(!Arc::ptr_eq(&first[0], &oidc.recognize(&tokens[0]).unwrap().grant));
    // Two requests that verify one token side by side.
    let known = |grant: &Arc<Grant>| KnownJwt { caller: "a".into(), grant: grant.clone() };
    let latter = oidc.recognize(&tokens[2]).unwrap().grant;
    let added = oidc.known.add(digest(&tokens[2]), known(&first[0]));
    assert!(Arc::ptr_eq(&latter, &added.grant));
}

#[tokio::test]
async fn a_look_for_keys_answers_all_who_asked_for_it_so_nothing_asks_for_another() {
    let key = Pair::new();
    let oidc = issuer(2, &[]);
    let before = oidc.keys.borrow().clone();
    oidc.ask_for_look(&before);
    show(&oidc, &[&key]);
    assert!(oidc.wanted.notified().now_or_never().is_none());
    // A request that has not seen the new keys yet.
    oidc.ask_for_look(&before);
    assert!(oidc.wanted.notified().now_or_never().is_none());
    let now = oidc.keys.borrow().clone();
    oidc.ask_for_look(&now);
    assert!(oidc.wanted.notified().now_or_never().is_some());
}
