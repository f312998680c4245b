//! What a good card reads like, and which mistakes are named.

use super::*;
use crate::signing::{Form, Verdict};

fn sample() -> Value {
    json!({
        "name": "helper", "description": "helps", "version": "1.2.3", "capabilities": {"streaming": true},
        "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"],
        "supportedInterfaces": [{"url": "http://127.0.0.1:1/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
        "skills": [{"id": "code", "name": "Code", "description": "writes it", "tags": []}],
        "securitySchemes": {"bearer": {}},
    })
}

fn checked(card: &Value) -> Report {
    let mut report = Report::default();
    check(card, &mut report);
    report
}

#[test]
fn a_good_card_reads_like_this() {
    assert!(checked(&sample()).is_good());
    insta::assert_snapshot!(format!("{}\n{}", summary(&sample()), checked(&sample()).lines(false, None)), @r"
helper 1.2.3
helps
  JSONRPC 1.0 at http://127.0.0.1:1/
  skill code: Code
  can: streaming
  asks for: bearer

✓ required fields        all there
✓ interface JSONRPC 1.0  http://127.0.0.1:1/
✓ skills                 1
");
}

#[test]
fn each_mistake_is_named() {
    let mut card = sample();
    card["description"] = Value::Null;
    card["skills"] = json!([]);
    card["supportedInterfaces"][0]["url"] = "/relative\u{1b}[2J".into();
    insta::assert_snapshot!(checked(&card).lines(false, None), @r"
✗ required fields        missing or empty: description → the agent must add them
✗ interface JSONRPC 1.0  `/relative` is not absolute → give scheme and host
✗ skills                 none → name at least one
");
    card["supportedInterfaces"] = json!([]);
    assert!(!checked(&card).is_good());
}

#[test]
fn a_card_of_v0_3_has_its_interfaces_elsewhere() {
    let mut card = sample();
    card.as_object_mut().unwrap().remove("supportedInterfaces");
    card["url"] = "https://a.example/".into();
    card["protocolVersion"] = "0.3.0".into();
    card["additionalInterfaces"] = json!([
        {"url": "https://a.example/", "transport": "JSONRPC"}, {"url": "a.example:443", "transport": "GRPC"},
    ]);
    let report = checked(&card);
    assert!(report.is_good(), "{}", report.lines(false, None));
    assert_eq!(interfaces(&card).len(), 2);
}

#[test]
fn a_version_that_is_offered_must_be_served() {
    let fetched =
        |card: Value| Ok(FetchedCard { url: String::new(), headers: Default::default(), card });
    let mut report = Report::default();
    check_version(&sample(), "1.0", fetched(sample()), &mut report);
    check_version(&sample(), "0.3", fetched(sample()), &mut report);
    assert!(report.is_good());
    check_version(&sample(), "1.0", fetched(json!({"url": "x"})), &mut report);
    insta::assert_snapshot!(report.lines(false, None), @r"
✓ A2A-Version 1.0  a client of this version can read it
• A2A-Version 0.3  not offered
✗ A2A-Version 1.0  offered, but its card is not of that shape → serve the card of the version asked for
");
}

fn told(verdict: Verdict, unread: &[&str], required: bool) -> String {
    let signature =
        Signature { verdict, unread: unread.iter().map(|&text| text.to_owned()).collect() };
    let mut report = Report::default();
    signature.tell(required, &mut report);
    report.lines(false, None)
}

#[test]
fn what_came_of_a_signature_reads_like_this() {
    let valid = |form| Verdict::Valid { alg: "ES256".into(), kid: Some("k1".into()), form };
    let elsewhere =
        "https://b.example/keys is not where the card is; if you trust it, name it with --jwks";
    let no_key = || Verdict::NoKey(vec!["k1".into()]);
    let all = [
        told(valid(Form::Exact), &[], true),
        told(valid(Form::NonEmpty), &[], false),
        told(Verdict::Invalid("the algorithm `none` is not accepted".into()), &[], false),
        told(no_key(), &[elsewhere], false),
        told(no_key(), &[elsewhere], true),
        told(no_key(), &[], true),
        told(Verdict::Unsigned, &[], false),
        told(Verdict::Unsigned, &[], true),
    ];
    insta::assert_snapshot!(all.concat(), @r"
✓ signature  valid (ES256, kid k1)
✓ signature  valid (ES256, kid k1); it does not cover empty values
✗ signature  invalid: the algorithm `none` is not accepted → do not trust this card; or name the right keys with --jwks
• signature  not checked: no key for k1 (https://b.example/keys is not where the card is; if you trust it, name it with --jwks)
✗ signature  not checked: no key for k1 → https://b.example/keys is not where the card is; if you trust it, name it with --jwks
✗ signature  not checked: no key for k1 → name the keys with --jwks
• signature  unsigned
✗ signature  unsigned → the server's operator can sign it (`card.signing`)
");
}

#[tokio::test]
async fn keys_on_another_origin_are_not_fetched() {
    let header = json!({"alg": "ES256", "kid": "k1", "jku": "http://127.0.0.1:9/keys"}).to_string();
    let protected: String = {
        use base64::Engine;
        base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(header)
    };
    let mut card = sample();
    card["signatures"] = json!([{"protected": protected, "signature": "AAAA"}]);
    let fetched = FetchedCard {
        url: "http://127.0.0.1:8/.well-known/agent-card.json".into(),
        headers: Default::default(),
        card,
    };
    let found = Signature::check(&fetched, None, &ClientTls::default()).await.unwrap();
    assert_eq!(found.verdict, Verdict::NoKey(vec!["k1".into()]));
    assert!(found.unread[0].contains("is not where the card is"), "{:?}", found.unread);
    assert!(
        Signature::check(&fetched, Some("not/there.json"), &ClientTls::default()).await.is_err()
    );
}
