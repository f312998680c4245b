//! The card in the shapes that clients of each version read.

use crate::{fixture, value};
use pilothouse_a2a::card::{self, AgentCard, SecurityScheme};
use pilothouse_a2a::{Dialect, Operation, Reply};
use serde_json::{Value, json};

fn known() -> AgentCard {
    serde_json::from_str(fixture!("v1_0/card")).unwrap()
}

#[test]
fn the_card_of_v1_0_is_the_model() {
    assert_eq!(card::v1(&known()), value(fixture!("v1_0/card")));
}

#[test]
fn the_card_of_v0_3() {
    insta::assert_json_snapshot!(card::v0_3(&known()));
}

#[test]
fn the_hybrid_card() {
    insta::assert_json_snapshot!(card::hybrid(&known()));
}

#[test]
fn the_hybrid_has_every_member_of_both_versions() {
    let hybrid = card::hybrid(&known());
    for (name, member) in card::v1(&known()).as_object().unwrap() {
        assert!(contains(&hybrid[name], member), "{name}");
    }
    for (name, member) in card::v0_3(&known()).as_object().unwrap() {
        assert!(contains(&hybrid[name], member), "{name}");
    }
}

#[test]
fn the_hybrid_is_read_as_the_card_that_it_is() {
    let read: AgentCard = serde_json::from_value(card::hybrid(&known())).unwrap();
    assert_eq!(read, known());
}

#[test]
fn the_legacy_card_names_its_schemes_in_one_word() {
    let legacy = card::legacy(&known());
    assert_eq!(
        legacy["authentication"],
        json!({"schemes": ["Bearer", "OAuth2", "apiKey", "openIdConnect"]})
    );
    assert_eq!(legacy["url"], "https://agents.test/");
    let open = card::legacy(&AgentCard { security_schemes: [].into(), ..known() });
    assert_eq!(open.get("authentication"), None);
}

#[test]
fn interfaces_marked_as_0_3_are_the_ones_that_old_clients_are_told() {
    let mut known = known();
    let mut old = known.supported_interfaces[0].clone();
    (old.url, old.protocol_version) = ("https://agents.test/old".into(), "0.3".into());
    known.supported_interfaces.push(old);
    assert_eq!(card::v0_3(&known)["url"], "https://agents.test/old");
}

#[test]
fn the_extended_card_is_told_in_the_dialect_of_the_caller() {
    let reply = Reply::Card(Box::new(known()));
    let told = |dialect: Dialect| {
        value(&dialect.encode_reply(Operation::GetExtendedAgentCard, &reply, None))
    };
    assert_eq!(told(Dialect::V1_0), card::v1(&known()));
    assert_eq!(told(Dialect::V0_3), card::v0_3(&known()));
}

#[test]
fn a_scheme_of_no_known_kind_is_refused() {
    serde_json::from_value::<SecurityScheme>(json!({"type": "http", "scheme": "x"})).unwrap_err();
}

/// Every member of `part`, at any depth, is in `whole`.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(name, member)| whole.get(name).is_some_and(|known| contains(known, member))),
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(a, b)| contains(a, b))
        }
        (whole, part) => whole == part,
    }
}
