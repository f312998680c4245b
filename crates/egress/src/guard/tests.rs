use super::*;
use std::sync::Mutex;

/// Answers each question with the next of its answers, the last one again and again.
struct Scripted(Mutex<Vec<Vec<&'static str>>>);

impl Lookup for Scripted {
    fn lookup(&self, _name: &str) -> LookupResult {
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        let found = answer.iter().map(|one| one.parse().unwrap()).collect();
        Box::pin(async move { Ok(found) })
    }
}

fn guard(allow: &[&str], answers: &[&[&'static str]]) -> Guard {
    let allow = allow.iter().map(|one| one.parse().unwrap()).collect();
    let answers = answers.iter().map(|answer| answer.to_vec()).collect();
    Guard::new(allow, Arc::new(Scripted(Mutex::new(answers))))
}

#[test]
fn every_spelling_of_an_inner_address_is_refused() {
    let guard = guard(&[], &[&[]]);
    let spellings = [
        "127.0.0.1",
        "127.1",
        "127.0.0.1.",
        "2130706433",
        "017700000001",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "0",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "0xa9fea9fe",
        "192.0.0.8",
        "192.0.2.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.7",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[::10.0.0.1]",
        "[::7f00:1]",
        "[64:ff9b::10.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::1]",
        "[2002:a00:1::]",
        "[2002:7f00:1::1]",
        "[2001:4860::5efe:10.0.0.1]",
        "[2001::1]",
        "[2001:db8::1]",
        "[3fff::1]",
        "[100::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[febf::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[4000::1]",
        "[e000::1]",
    ];
    for spelling in spellings {
        let refused = guard.check_url(&format!("https://{spelling}/hook")).unwrap_err();
        assert!(matches!(refused, AddressRefusal::Inner { .. }), "{spelling}: {refused}");
    }
}

#[test]
fn public_addresses_are_permitted_over_https() {
    let guard = guard(&[], &[&[]]);
    for address in [
        "1.1.1.1",
        "172.32.0.1",
        "100.128.0.1",
        "198.20.0.1",
        "[2606:4700::1111]",
        "[::ffff:1.1.1.1]",
        "[64:ff9b::1.1.1.1]",
        "[2002:101:101::1]",
    ] {
        guard.check_url(&format!("https://{address}/hook")).unwrap();
    }
}

#[test]
fn what_is_no_address_for_posting_is_refused() {
    let guard = guard(&[], &[&[]]);
    for url in [
        "",
        "hook",
        "//example.com/hook",
        "https://",
        "https://[fe80::1%25eth0]/hook",
        "https://[fe80::1%eth0]/hook",
        "https://999.1.1.1/",
        "https://example.com:99999/",
    ] {
        let refused = guard.check_url(url).unwrap_err();
        assert!(matches!(refused, AddressRefusal::NotAnAddress(_)), "{url}: {refused}");
    }
    for url in ["ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "data:,x"] {
        let refused = guard.check_url(url).unwrap_err();
        assert!(matches!(refused, AddressRefusal::Scheme(_)), "{url}: {refused}");
    }
    for url in ["https://me@example.com/", "https://:secret@example.com/"] {
        assert_eq!(guard.check_url(url).unwrap_err(), AddressRefusal::UserInfo);
    }
}

#[test]
fn an_allowed_network_is_permitted_in_every_spelling_and_over_plain_http() {
    let guard = guard(&["127.0.0.0/8", "10.2.0.0/16"], &[&[]]);
    for url in [
        "http://127.0.0.1:8080/",
        "http://2130706433/",
        "http://[::ffff:127.0.0.1]/",
        "https://10.2.3.4/",
    ] {
        guard.check_url(url).unwrap();
    }
    for url in ["http://10.3.0.1/", "http://[::1]/", "http://[64:ff9b::127.0.0.1]/"] {
        assert!(guard.check_url(url).is_err(), "{url}");
    }
}

#[test]
fn plain_http_goes_to_allowed_networks_alone() {
    let refused = guard(&[], &[&[]]).check_url("http://1.1.1.1/").unwrap_err();
    assert_eq!(refused, AddressRefusal::Plain("1.1.1.1".to_owned()));
}

#[tokio::test]
async fn a_name_that_leads_inward_is_refused() {
    for url in ["https://inner.example.com/", "https://localhost./", "https://localhost/"] {
        let refused = guard(&[], &[&["10.0.0.1"]]).admit(url).await.unwrap_err();
        assert!(matches!(refused, AddressRefusal::LeadsInward(_)), "{url}: {refused}");
        assert!(!refused.to_string().contains("10.0.0.1"));
    }
}

#[tokio::test]
async fn a_name_with_one_inner_address_among_outer_ones_is_refused_whole() {
    let guard = guard(&[], &[&["1.1.1.1", "fd00::1", "1.0.0.1"]]);
    let refused = guard.admit("https://both.example.com/").await.unwrap_err();
    assert!(matches!(refused, AddressRefusal::LeadsInward(_)));
}

#[tokio::test]
async fn a_name_without_an_address_is_refused() {
    let refused = guard(&[], &[&[]]).admit("https://nowhere.example.com/").await.unwrap_err();
    assert_eq!(refused, AddressRefusal::Unresolved("nowhere.example.com".to_owned()));
}

#[tokio::test]
async fn plain_http_to_a_public_name_is_refused_where_the_connection_is_made() {
    let guard = guard(&["127.0.0.0/8"], &[&["1.1.1.1"]]);
    let name = || "hook.example.com".parse::<Name>().unwrap();
    assert!(guard.resolver(Scheme::Plain).resolve(name()).await.is_err());
    assert!(guard.resolver(Scheme::Secure).resolve(name()).await.is_ok());
}

#[tokio::test]
async fn a_name_that_changes_its_mind_after_the_check_is_refused_at_the_connection() {
    let guard = guard(&[], &[&["1.1.1.1"], &["127.0.0.1"]]);
    guard.admit("https://rebinding.example.com/").await.unwrap();
    let name = "rebinding.example.com".parse::<Name>().unwrap();
    assert!(guard.resolver(Scheme::Secure).resolve(name).await.is_err());
}

#[tokio::test]
async fn the_system_knows_this_machine() {
    let found = System::new(1).lookup("localhost").await.unwrap();
    assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback));
}
