//! What a good card reads like, and which mistakes are named.

use super::*;

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
    insta::assert_snapshot!(format!("{}\n{}", summary(&sample()), checked(&sample()).lines(false)), @r"
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
    insta::assert_snapshot!(checked(&card).lines(false), @r"
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
    assert!(report.is_good(), "{}", report.lines(false));
    assert_eq!(interfaces(&card).len(), 2);
}

#[test]
fn a_version_that_is_offered_must_be_served() {
    let fetched = |card: Value| {
        Ok(FetchedCard {
            url: String::new(),
            headers: Default::default(),
            card,
        })
    };
    let mut report = Report::default();
    check_version(&sample(), "1.0", fetched(sample()), &mut report);
    check_version(&sample(), "0.3", fetched(sample()), &mut report);
    assert!(report.is_good());
    check_version(&sample(), "1.0", fetched(json!({"url": "x"})), &mut report);
    insta::assert_snapshot!(report.lines(false), @r"
✓ A2A-Version 1.0  a client of this version can read it
• A2A-Version 0.3  not offered
✗ A2A-Version 1.0  offered, but its card is not of that shape → serve the card of the version asked for
");
}
