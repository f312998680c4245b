//! Networks of companies: a proxy before everything outside, and a certificate authority of their own.

use super::super::*;
use super::models::route;
use super::world::*;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio_rustls::TlsAcceptor;

/// Made for these tests with `openssl ca`: an authority, and certificates of it with their keys.
fn certificate(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/tests/certificates").join(name)
}

fn network(variables: &[(&str, &str)]) -> Network {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Network::of(&variables.iter().map(owned).collect::<BTreeMap<_, _>>()).unwrap()
}

/// An upstream of https with this certificate; it answers everything with `{}`.
async fn secure_upstream(name: &str) -> u16 {
    let path = certificate(name);
    let chain = CertificateDer::pem_file_iter(&path).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&path).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    serve(move |socket| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(socket).await else { return };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
            let _ = stream.write_all(answer).await;
        }
    })
    .await
}

/// A forward proxy that resolves every name to loopback, and the heads of the requests that it got.
struct ForwardProxy {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl ForwardProxy {
    /// Answers `CONNECT` with this status line, and connects where that is 200.
    async fn start(answer: &'static str) -> Self {
        let heads = Arc::new(Mutex::new(Vec::new()));
        let noted = heads.clone();
        let port = serve(move |mut socket| {
            let noted = noted.clone();
            async move {
                let head = head(&mut socket).await;
                noted.lock().push(head.clone());
                if !head.starts_with("CONNECT ") {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nforwarded";
                    return socket.write_all(answer).await.unwrap();
                }
                let status = format!("HTTP/1.1 {answer}\r\nVia: test\r\n\r\n");
                if !answer.starts_with("200") {
                    let _ = socket.write_all(status.as_bytes()).await;
                    return;
                }
                let destination = head.split(' ').nth(1).unwrap();
                let port = destination.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
                let mut far = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
                let _ = socket.write_all(status.as_bytes()).await;
                let _ = copy_bidirectional(&mut socket, &mut far).await;
            }
        })
        .await;
        Self { port, heads }
    }

    fn url(&self) -> String {
        format!("http://user:pass@127.0.0.1:{}", self.port)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().clone()
    }
}

/// The status and the message of a request to the model at this address.
async fn ask_model(network: Network, base: &str) -> (u16, Option<String>, String) {
    let world = World::start_in(network, 8, TIMES).await;
    let routes =
        route(ProviderKind::Anthropic, ("ANTHROPIC_BASE_URL", base), &[("ANTHROPIC_API_KEY", "k")]);
    let session = world.credential_with(&[], routes);
    let headers = [("x-api-key", session.token())];
    let uri = "/model/anthropic/v1/messages";
    let (status, head, body) = ask(world.port, "POST", uri, &headers, "").await;
    let again = head.get("x-should-retry").map(|value| value.to_str().unwrap().to_owned());
    (status, again, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn a_model_with_a_certificate_of_the_company_is_reached_where_its_authority_is_named() {
    let port = secure_upstream("model.pem").await;
    let base = format!("https://localhost:{port}");
    let authority = certificate("ca.pem");
    for variable in ["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"] {
        let network = network(&[(variable, authority.to_str().unwrap())]);
        let (status, _, body) = ask_model(network, &base).await;
        assert_eq!((status, body.as_str()), (200, "{}"), "{variable}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(&authority, folder.path().join("ours.pem")).unwrap();
    let network = network(&[("SSL_CERT_DIR", folder.path().to_str().unwrap())]);
    assert_eq!(ask_model(network, &base).await.0, 200);
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_names_what_the_operator_can_set_and_is_not_tried_again()
{
    let authority = certificate("ca.pem");
    let trusting = [("NODE_EXTRA_CA_CERTS", authority.to_str().unwrap())];
    for (name, variables, words) in [
        ("model.pem", &[][..], "NODE_EXTRA_CA_CERTS or SSL_CERT_FILE"),
        ("other.pem", &trusting[..], "check the address of the model"),
        ("expired.pem", &trusting[..], "check the clock"),
    ] {
        let port = secure_upstream(name).await;
        let base = format!("https://localhost:{port}");
        let (status, again, body) = ask_model(network(variables), &base).await;
        assert_eq!((status, again.as_deref()), (502, Some("false")), "{body}");
        assert!(body.contains(words) && body.contains("the server's operator"), "{body}");
    }
}

#[tokio::test]
async fn an_address_that_speaks_no_tls_is_told_so() {
    let fake = Fake::start(|_| full(200, "application/json", "{}")).await;
    let base = fake.url().replace("http://", "https://");
    let (status, again, body) = ask_model(Network::default(), &base).await;
    assert_eq!((status, again.as_deref()), (502, Some("false")), "{body}");
    assert!(body.contains("begins with https or http"), "{body}");
}

#[tokio::test]
async fn a_model_is_reached_through_the_proxy_with_its_credential_and_a_name_that_only_it_resolves()
{
    let proxy = ForwardProxy::start("200 Connection established").await;
    let port = secure_upstream("model.pem").await;
    let network = network(&[
        ("HTTPS_PROXY", &proxy.url()),
        ("NODE_EXTRA_CA_CERTS", certificate("ca.pem").to_str().unwrap()),
    ]);
    let base = format!("https://model.test:{port}");
    let (status, _, body) = ask_model(network, &base).await;
    assert_eq!((status, body.as_str()), (200, "{}"));
    let heads = proxy.heads();
    assert!(heads[0].starts_with(&format!("CONNECT model.test:{port} HTTP/1.1\r\n")), "{heads:?}");
    assert!(heads[0].contains("Proxy-Authorization: Basic dXNlcjpwYXNz\r\n"), "{heads:?}");
}

#[tokio::test]
async fn a_model_over_http_is_asked_through_the_proxy_with_its_whole_url() {
    let proxy = ForwardProxy::start("200 OK").await;
    let network = network(&[("HTTP_PROXY", &proxy.url())]);
    let (status, _, body) = ask_model(network, "http://model.test/base").await;
    assert_eq!((status, body.as_str()), (200, "forwarded"));
    let head = proxy.heads()[0].to_ascii_lowercase();
    assert!(head.starts_with("post http://model.test/base/v1/messages http/1.1\r\n"), "{head}");
    assert!(head.contains("proxy-authorization: basic dxnlcjpwyxnz\r\n"), "{head}");
}

#[tokio::test]
async fn a_proxy_that_refuses_says_what_the_operator_can_do() {
    for (answer, words, again) in [
        ("407 Proxy Authentication Required", "http://USER:PASSWORD@HOST:PORT", Some("false")),
        ("403 Forbidden", "name it in NO_PROXY", Some("false")),
        ("503 Service Unavailable", "check HTTPS_PROXY", None),
    ] {
        let proxy = ForwardProxy::start(answer).await;
        let network = network(&[("HTTPS_PROXY", &proxy.url())]);
        let (status, told, body) = ask_model(network, "https://model.test").await;
        assert_eq!((status, told.as_deref()), (502, again), "{body}");
        assert!(body.contains(words), "{body}");
        assert!(!body.contains(&proxy.port.to_string()) && !body.contains("pass@"), "{body}");
    }
    let closed = closed_url();
    let network = network(&[("HTTPS_PROXY", &closed)]);
    let (_, _, body) = ask_model(network, "https://model.test").await;
    assert!(body.contains("no connection to the proxy of this network"), "{body}");
}

#[tokio::test]
async fn a_tunnel_goes_through_the_proxy_and_loses_no_byte_of_a_server_that_speaks_first() {
    // The first words come in one piece with the proxy's answer.
    let proxy = serve(|mut socket| async move {
        assert!(head(&mut socket).await.starts_with("CONNECT outside.test:22 HTTP/1.1\r\n"));
        let answer = b"HTTP/1.1 200 OK\r\nVia: test\r\n\r\nSSH-2.0-test\r\n";
        socket.write_all(answer).await.unwrap();
        ends(&mut socket).await;
    })
    .await;
    let network = network(&[("ALL_PROXY", &format!("http://127.0.0.1:{proxy}"))]);
    let world = World::start_in(network, 8, TIMES).await;
    // The name has no address here.
    let target = "outside.test:22";
    let session = world.credential(&[target]);
    let (status, line, mut socket) = tunnel(world.port, target, Some(session.token())).await;
    assert_eq!(status, 200, "{line}");
    let mut said = [0; 14];
    socket.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"SSH-2.0-test\r\n");
}

#[tokio::test]
async fn a_forwarded_request_goes_through_the_proxy_without_what_the_session_said_of_itself() {
    let proxy = ForwardProxy::start("200 OK").await;
    let network = network(&[("HTTP_PROXY", &proxy.url())]);
    let world = World::start_in(network, 8, TIMES).await;
    let session = world.credential(&["outside.test"]);
    let credential = basic(session.token());
    let headers = [("proxy-authorization", credential.as_str())];
    let (status, _, body) =
        ask(world.port, "GET", "http://outside.test/path?a=b", &headers, "").await;
    assert_eq!((status, &body[..]), (200, &b"forwarded"[..]));
    let head = proxy.heads()[0].to_ascii_lowercase();
    assert!(head.starts_with("get http://outside.test/path?a=b http/1.1\r\n"), "{head}");
    assert!(head.contains("proxy-authorization: basic dxnlcjpwyxnz\r\n"), "{head}");
    assert_eq!(head.matches("proxy-authorization").count(), 1, "{head}");
}

#[tokio::test]
async fn behind_a_proxy_no_rule_leads_inward_and_a_star_does_not_permit_a_name_that_is_unknown_here()
 {
    let proxy = ForwardProxy::start("200 OK").await;
    let network = network(&[("HTTPS_PROXY", &proxy.url())]);
    let world = World::start_in(network, 8, TIMES).await;
    let session = world.credential(&["*", "inner.test"]);
    for target in ["inner.test:443", "10.0.0.1:443", "mixed.test:443"] {
        let (status, line, _) = tunnel(world.port, target, Some(session.token())).await;
        assert_eq!(status, 403, "{line}");
    }
    let target = "unknown.test:443";
    let (status, line, _) = tunnel(world.port, target, Some(session.token())).await;
    assert_eq!(status, 502, "{line}");
    assert!(proxy.heads().is_empty(), "{:?}", proxy.heads());
}

#[tokio::test]
async fn what_no_proxy_names_is_connected_to_itself() {
    let proxy = ForwardProxy::start("200 OK").await;
    let network = network(&[("HTTPS_PROXY", &proxy.url()), ("NO_PROXY", "*.here.test")]);
    let world = World::start_in(network, 8, TIMES).await;
    let echo = echo().await;
    let target = format!("sub.here.test:{echo}");
    let session = world.credential(&[&target]);
    let (status, _, mut socket) = tunnel(world.port, &target, Some(session.token())).await;
    assert_eq!(status, 200);
    echoes(&mut socket).await;
    assert!(proxy.heads().is_empty(), "{:?}", proxy.heads());
}
