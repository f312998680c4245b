//! In the network of a company: the model behind a proxy, with a certificate of the company's own.

use super::walls::behind;
use crate::reading::{answer, state, words};
use fake_model::Model;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

fn certificate(name: &str) -> PathBuf {
    let folder = "crates/egress/src/tests/certificates";
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder).join(name)
}

/// A proxy that looks into TLS, with the certificate of `https://model.test`; it ends with this.
struct InspectingProxy {
    url: String,
    connections: Arc<AtomicUsize>,
    _runtime: Runtime,
}

impl InspectingProxy {
    fn start(model: &Model) -> Self {
        let model: SocketAddr = model.url.trim_start_matches("http://").parse().unwrap();
        let path = certificate("model.pem");
        let chain = CertificateDer::pem_file_iter(&path).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(&path).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(inspect(socket, acceptor.clone(), model));
            }
        });
        Self { url, connections, _runtime: runtime }
    }
}

async fn inspect(mut socket: TcpStream, acceptor: TlsAcceptor, model: SocketAddr) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = socket.read_u8().await else { return };
        head.push(byte);
    }
    let status: &[u8] = match head.starts_with(b"CONNECT model.test:443 ") {
        true => b"HTTP/1.1 200 OK\r\n\r\n",
        false => b"HTTP/1.1 403 Forbidden\r\n\r\n",
    };
    if socket.write_all(status).await.is_err() {
        return;
    }
    let Ok(mut near) = acceptor.accept(socket).await else { return };
    let mut far = TcpStream::connect(model).await.unwrap();
    let _ = copy_bidirectional(&mut near, &mut far).await;
}

#[test]
fn the_model_is_reached_through_the_companys_proxy_with_the_companys_certificate() {
    let model = Model::start();
    let proxy = InspectingProxy::start(&model);
    let world = behind(&model, "bubblewrap")
        .env("ANTHROPIC_BASE_URL", "https://model.test")
        .env("HTTPS_PROXY", &proxy.url)
        .env("NODE_EXTRA_CA_CERTS", certificate("ca.pem").to_str().unwrap())
        .start();
    let task = world.say("say hello through the proxy");
    assert_eq!((state(&task), answer(&task).as_str()), ("COMPLETED", "hello through the proxy"));
    let told = world.stderr();
    assert!(told.contains("(HTTPS_PROXY)"), "{told}");
}

#[test]
fn a_certificate_that_is_not_trusted_fails_the_task_with_what_the_operator_can_set() {
    let model = Model::start();
    let proxy = InspectingProxy::start(&model);
    let world = behind(&model, "bubblewrap")
        .env("ANTHROPIC_BASE_URL", "https://model.test")
        .env("HTTPS_PROXY", &proxy.url)
        .start();
    let task = world.say("say hello");
    let said = words(&task);
    assert_eq!(state(&task), "FAILED", "{task:#}");
    assert!(said.contains("NODE_EXTRA_CA_CERTS or SSL_CERT_FILE"), "{said}");
    assert!(!said.contains("again later"), "{said}");
    assert_eq!(proxy.connections.load(Ordering::SeqCst), 1, "it was tried again");
}
