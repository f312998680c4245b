//! Addresses on a card, and what caches are told.

use super::*;

fn told(base: &str, name: Option<&str>) -> Vec<String> {
    let each = |one: &AgentInterface| {
        let tenant =
            one.tenant.as_deref().map_or(String::new(), |tenant| format!(" tenant {tenant}"));
        format!("{} {} {}{tenant}", one.protocol_version, one.protocol_binding, one.url)
    };
    let bindings = [Binding::JsonRpc, Binding::HttpJson, Binding::Grpc];
    interfaces(base, name, &bindings, false).iter().map(each).collect()
}

#[test]
fn every_binding_stands_in_both_versions_the_newer_first() {
    let expected = [
        "1.0 JSONRPC https://a.example/",
        "1.0 HTTP+JSON https://a.example",
        "1.0 GRPC a.example:443",
        "0.3 JSONRPC https://a.example/",
        "0.3 HTTP+JSON https://a.example",
        "0.3 GRPC a.example:443",
    ];
    assert_eq!(told("https://a.example", None), expected);
}

#[test]
fn a_named_agent_has_its_path_and_in_grpc_its_tenant() {
    let expected = [
        "1.0 JSONRPC http://[::1]:80/agents/b/",
        "1.0 HTTP+JSON http://[::1]:80/agents/b",
        "1.0 GRPC [::1]:80 tenant b",
        "0.3 JSONRPC http://[::1]:80/agents/b/",
        "0.3 HTTP+JSON http://[::1]:80/agents/b",
    ];
    assert_eq!(told("http://[::1]:80", Some("b")), expected);
}

#[test]
fn grpc_has_a_port_and_no_path() {
    assert_eq!(grpc_address("http://[::1]").as_deref(), Some("[::1]:80"));
    assert_eq!(grpc_address("http://127.0.0.1:2222").as_deref(), Some("127.0.0.1:2222"));
    assert_eq!(grpc_address("https://a.example/pilot"), None);
}

#[test]
fn the_unspecified_address_is_not_told() {
    let direct = Forwarded::direct([127, 0, 0, 1].into(), "http");
    let told = |host| address(&direct, host, 7);
    assert_eq!(told("0.0.0.0:7"), "http://127.0.0.1:7");
    assert_eq!(told("[::]:7"), "http://127.0.0.1:7");
    assert_eq!(told(""), "http://127.0.0.1:7");
    assert_eq!(told("a.example"), "http://a.example");
}

fn known(name: header::HeaderName, value: &str) -> bool {
    let mut asked = HeaderMap::new();
    asked.insert(name, value.parse().unwrap());
    // Fri, 20 Nov 2026 12:00:00.5
    is_known(&asked, "\"ab\"", "2026-11-20T12:00:00.5Z".parse().unwrap())
}

#[test]
fn a_tag_is_found_in_a_list_weak_or_not() {
    for value in ["\"ab\"", "W/\"ab\"", "\"x\", W/\"ab\"", "*"] {
        assert!(known(header::IF_NONE_MATCH, value), "{value}");
    }
    for value in ["\"abc\"", "ab", "W/\"x\"", ""] {
        assert!(!known(header::IF_NONE_MATCH, value), "{value}");
    }
}

#[test]
fn a_date_counts_to_the_second() {
    assert!(known(header::IF_MODIFIED_SINCE, "Fri, 20 Nov 2026 12:00:00 GMT"));
    assert!(known(header::IF_MODIFIED_SINCE, "Fri, 20 Nov 2026 13:00:00 GMT"));
    assert!(!known(header::IF_MODIFIED_SINCE, "Fri, 20 Nov 2026 11:59:59 GMT"));
    assert!(!known(header::IF_MODIFIED_SINCE, "yesterday"));
}

#[test]
fn a_tag_wins_over_a_date() {
    let mut asked = HeaderMap::new();
    asked.insert(header::IF_NONE_MATCH, "\"other\"".parse().unwrap());
    asked.insert(header::IF_MODIFIED_SINCE, "Fri, 20 Nov 2099 12:00:00 GMT".parse().unwrap());
    assert!(!is_known(&asked, "\"ab\"", Timestamp::now()));
}

#[test]
fn a_public_address_with_plain_http_is_warned_of_unless_it_is_this_machine() {
    let warns = |host: &str, public: Option<&str>| {
        let mut config = Config::default();
        config.server.host = host.to_owned();
        config.server.public_url = public.map(ToOwned::to_owned);
        Cards::note_plain_http(&config).is_some()
    };
    assert!(warns("0.0.0.0", None));
    assert!(warns("127.0.0.1", Some("http://agents.example.com")));
    for quiet in [
        "https://agents.example.com",
        "http://127.0.0.1:8080/",
        "http://[::1]:1",
        "http://localhost",
    ] {
        assert!(!warns("0.0.0.0", Some(quiet)), "{quiet}");
    }
    assert!(!warns("127.0.0.1", None));
}
