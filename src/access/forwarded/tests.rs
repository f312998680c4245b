//! Who is believed, and how far.

use super::*;

const PROXY: &str = "10.0.0.1";

fn told(peer: &str, headers: &[(&str, &str)]) -> Forwarded {
    let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = header::HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, value.parse().unwrap());
    }
    forwarded(&trusted, (peer.parse().unwrap(), "http"), &map)
}

fn direct(peer: &str) -> Forwarded {
    Forwarded::direct(peer.parse().unwrap(), "http")
}

fn client(headers: &[(&str, &str)]) -> String {
    told(PROXY, headers).client.to_string()
}

#[test]
fn a_trusted_proxy_is_believed() {
    let headers = [
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "Agents.Example.com"),
        ("x-forwarded-prefix", "/pilot/"),
    ];
    let expected = Forwarded {
        client: "192.0.2.7".parse().unwrap(),
        scheme: "https",
        host: Some("agents.example.com".into()),
        prefix: "/pilot".into(),
    };
    assert_eq!(told(PROXY, &headers), expected);
}

#[test]
fn nobody_else_is() {
    let headers = [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "for=127.0.0.1;host=evil.example;proto=https"),
    ];
    assert_eq!(told("192.0.2.7", &headers), direct("192.0.2.7"));
}

#[test]
fn without_headers_a_proxy_is_the_client() {
    assert_eq!(told(PROXY, &[]), direct(PROXY));
}

#[test]
fn the_chain_is_walked_from_the_right_to_the_first_that_is_not_trusted() {
    assert_eq!(client(&[("x-forwarded-for", "1.1.1.1, 192.0.2.7, 10.0.0.2")]), "192.0.2.7");
    assert_eq!(client(&[("forwarded", "for=1.1.1.1, for=192.0.2.7, for=10.0.0.2")]), "192.0.2.7");
}

#[test]
fn lines_of_one_header_are_one_list() {
    let lines = [("x-forwarded-for", "192.0.2.7"), ("x-forwarded-for", "10.0.0.2")];
    assert_eq!(client(&lines), "192.0.2.7");
}

#[test]
fn a_chain_of_trusted_proxies_alone_begins_with_the_client() {
    assert_eq!(client(&[("x-forwarded-for", "10.0.0.9, 10.0.0.2")]), "10.0.0.9");
}

#[test]
fn what_a_client_put_before_the_chain_names_no_host() {
    let forged =
        "for=9.9.9.9;host=evil.example;proto=http, for=192.0.2.7;host=good.example;proto=https";
    let told = told(PROXY, &[("forwarded", forged)]);
    assert_eq!((told.host.as_deref(), told.scheme), (Some("good.example"), "https"));
}

#[test]
fn lists_beside_the_chain_are_read_as_deep_as_the_chain_is_trusted() {
    let headers = [
        ("x-forwarded-for", "9.9.9.9, 192.0.2.7, 10.0.0.2"),
        ("x-forwarded-proto", "gopher, https, http"),
        ("x-forwarded-host", "evil.example, good.example, inner.example"),
    ];
    let told = told(PROXY, &headers);
    assert_eq!((told.host.as_deref(), told.scheme), (Some("good.example"), "https"));
}

#[test]
fn the_farther_trusted_proxy_knows_the_clients_host_better() {
    let chain =
        "for=192.0.2.7;host=outer.example;proto=https, for=10.0.0.2;host=inner.example;proto=http";
    let told = told(PROXY, &[("forwarded", chain)]);
    assert_eq!((told.host.as_deref(), told.scheme), (Some("outer.example"), "https"));
}

#[test]
fn the_standard_header_wins_and_the_others_are_not_mixed_in() {
    let headers = [
        ("forwarded", "for=192.0.2.7"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-for", "9.9.9.9"),
    ];
    let told = told(PROXY, &headers);
    assert_eq!(
        (told.client.to_string().as_str(), told.host, told.prefix.as_str()),
        ("192.0.2.7", None, "")
    );
}

#[test]
fn addresses_of_version_6_and_ports_are_understood() {
    assert_eq!(client(&[("forwarded", "For=\"[2001:db8::17]:4711\"")]), "2001:db8::17");
    assert_eq!(client(&[("forwarded", "for=\"[2001:db8::17]\"")]), "2001:db8::17");
    assert_eq!(client(&[("x-forwarded-for", "2001:db8::17")]), "2001:db8::17");
    assert_eq!(client(&[("x-forwarded-for", "192.0.2.7:4711")]), "192.0.2.7");
    assert_eq!(client(&[("x-forwarded-for", "::ffff:192.0.2.7")]), "192.0.2.7");
}

#[test]
fn a_peer_in_mapped_form_is_the_same_peer() {
    assert_eq!(
        told("::ffff:10.0.0.1", &[("x-forwarded-for", "192.0.2.7")]).client.to_string(),
        "192.0.2.7"
    );
}

#[test]
fn behind_a_hidden_client_the_last_known_address_counts() {
    assert_eq!(client(&[("forwarded", "for=9.9.9.9, for=_hidden, for=10.0.0.2")]), "10.0.0.2");
    assert_eq!(client(&[("forwarded", "for=unknown")]), PROXY);
}

#[test]
fn a_port_of_its_own_is_added_to_the_host_unless_it_is_the_usual_one() {
    let host = |headers: &[(&str, &str)]| told(PROXY, headers).host.unwrap();
    let named = ("x-forwarded-host", "a.example");
    assert_eq!(host(&[named, ("x-forwarded-port", "8443")]), "a.example:8443");
    assert_eq!(
        host(&[named, ("x-forwarded-port", "443"), ("x-forwarded-proto", "https")]),
        "a.example"
    );
    assert_eq!(
        host(&[("x-forwarded-host", "a.example:1"), ("x-forwarded-port", "2")]),
        "a.example:1"
    );
    assert_eq!(host(&[("x-forwarded-host", "[::1]"), ("x-forwarded-port", "2")]), "[::1]:2");
}

#[test]
fn one_wrong_header_spoils_all_of_them() {
    let good = [("x-forwarded-for", "192.0.2.7"), ("x-forwarded-proto", "https")];
    let wrong = [
        ("x-forwarded-host", "a b"),
        ("x-forwarded-host", "user@evil.example"),
        ("x-forwarded-host", "evil.example/path"),
        ("x-forwarded-host", "a.example:0"),
        ("x-forwarded-host", "a.example:"),
        ("x-forwarded-host", "a\"b"),
        ("x-forwarded-port", "none"),
        ("x-forwarded-prefix", "pilot"),
        ("x-forwarded-prefix", "/a/../b"),
        ("x-forwarded-prefix", "//evil.example"),
        ("x-forwarded-prefix", "/a?b"),
    ];
    for header in wrong {
        assert_eq!(told(PROXY, &[good[0], good[1], header]), direct(PROXY), "{header:?}");
    }
    assert_eq!(told(PROXY, &[("x-forwarded-for", "nonsense here")]), direct(PROXY));
    assert_eq!(told(PROXY, &[("x-forwarded-proto", "gopher")]), direct(PROXY));
}

#[test]
fn a_wrong_standard_header_is_not_replaced_by_the_others() {
    let wrong = [
        "for",
        "for=",
        "for=1.2.3.4;for=5.6.7.8",
        "for=\"1.2.3.4",
        "host=\"a b\"",
        "host=\"u@h\"",
        "proto=gopher",
        "for=1.2.3.4 5.6.7.8",
        "=x",
    ];
    for text in wrong {
        let headers = [("forwarded", text), ("x-forwarded-for", "192.0.2.7")];
        assert_eq!(told(PROXY, &headers), direct(PROXY), "{text}");
    }
}

#[test]
fn quotes_hide_separators() {
    let told =
        told(PROXY, &[("forwarded", r#"by="a,b;c\"d";for=192.0.2.7;host="a.example:8080""#)]);
    assert_eq!(
        (told.client.to_string().as_str(), told.host.as_deref()),
        ("192.0.2.7", Some("a.example:8080"))
    );
}

#[test]
fn what_is_too_long_is_wrong() {
    let entries = vec!["10.0.0.2"; ENTRIES + 1].join(",");
    assert_eq!(told(PROXY, &[("x-forwarded-for", &entries)]), direct(PROXY));
    let long = format!("/{}", "a".repeat(PREFIX));
    assert_eq!(told(PROXY, &[("x-forwarded-prefix", &long)]), direct(PROXY));
}
