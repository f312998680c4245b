//! Which servers a client trusts over TLS, and which certificate it shows them.

use reqwest::{Certificate, ClientBuilder, Identity};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use sha2::{Digest, Sha256};
use std::sync::Arc;

use super::error::ClientError;

/// Which servers are trusted, and which certificate they are shown. The usual one trusts the authorities of the system.
#[derive(Clone, Default)]
pub struct ClientTls {
    authorities: Vec<Certificate>,
    identity: Option<Vec<u8>>,
    known: Option<String>,
}

impl ClientTls {
    /// Trusts the authorities of a PEM file beside those of the system.
    ///
    /// # Errors
    /// When there is no certificate in it.
    pub fn trust(mut self, pem: &[u8]) -> Result<Self, ClientError> {
        let read = Certificate::from_pem_bundle(pem).unwrap_or_default();
        if read.is_empty() {
            let why = "no certificate in a PEM block `CERTIFICATE`";
            return Err(ClientError::Input(why.to_owned()));
        }
        self.authorities = read;
        Ok(self)
    }

    /// Shows the certificate of a PEM file, in which its private key stands too.
    ///
    /// # Errors
    /// When one of the two is missing.
    pub fn show(mut self, pem: Vec<u8>) -> Result<Self, ClientError> {
        Identity::from_pem(&pem).map_err(|_| {
            let why = "it must hold a certificate and its private key, both in PEM blocks";
            ClientError::Input(why.to_owned())
        })?;
        self.identity = Some(pem);
        Ok(self)
    }

    /// Trusts the one server that has the certificate with this SHA-256, whatever its name, and no other.
    #[must_use]
    pub fn know(mut self, fingerprint: &str) -> Self {
        self.known = Some(fingerprint.to_owned());
        self
    }

    /// Whether authorities were named.
    pub fn names_authorities(&self) -> bool {
        !self.authorities.is_empty()
    }

    /// A connector that goes by this.
    ///
    /// # Errors
    /// When the certificate cannot be used.
    pub fn apply(&self, builder: ClientBuilder) -> Result<ClientBuilder, ClientError> {
        if let Some(known) = &self.known {
            let config = self.knowing(known).map_err(|error| {
                ClientError::Input(format!("the certificate cannot be used: {error}"))
            })?;
            return Ok(builder.tls_backend_preconfigured(config));
        }
        let builder = match &self.identity {
            Some(pem) => builder.identity(Identity::from_pem(pem)?),
            None => builder,
        };
        Ok(match self.authorities.is_empty() {
            true => builder,
            false => builder.tls_certs_merge(self.authorities.iter().cloned()),
        })
    }

    fn knowing(&self, fingerprint: &str) -> Result<ClientConfig, rustls::Error> {
        let provider = Arc::new(default_provider());
        let verifier =
            KnownServer { fingerprint: fingerprint.to_owned(), provider: provider.clone() };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
                let unreadable = |error| rustls::Error::General(format!("{error:?}"));
                let key = PrivateKeyDer::from_pem_slice(pem).map_err(unreadable)?;
                builder.with_client_auth_cert(chain.map_err(unreadable)?, key)?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// Trusts one certificate, which somebody who is trusted has told of.
#[derive(Debug)]
struct KnownServer {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for KnownServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let digits: String =
            Sha256::digest(end_entity).iter().map(|byte| format!("{byte:02x}")).collect();
        match digits == self.fingerprint {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
