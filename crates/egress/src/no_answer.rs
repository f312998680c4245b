//! Why an upstream gave no answer, and what the server's operator can do where that is known.

use super::network::ProxyError;
use rustls::CertificateError;
use std::error::Error;
use std::fmt;
use std::io;

/// Why an upstream gave no answer, without its URL.
#[derive(Debug)]
pub(super) struct NoAnswer {
    cause: String,
    advice: Option<&'static str>,
    /// Whether another try ends in the same way until the operator has done something.
    pub(super) is_lasting: bool,
}

const UNKNOWN_ISSUER: &str = "a network that inspects TLS has a certificate authority of its own: the server's operator \
     can name its file in NODE_EXTRA_CA_CERTS or SSL_CERT_FILE and start the server again";

const WRONG_NAME: &str =
    "the server's operator can check the address of the model, and the proxy between";

const WRONG_TIME: &str =
    "the server's operator can check the clock of this machine, and have the certificate renewed";

const NO_TLS: &str =
    "the server's operator can check whether the address begins with https or http";

const UNRESOLVED: &str = "the server's operator can check the address and the name servers of this machine; a network that \
     does not resolve outside names has a proxy, which HTTPS_PROXY names";

const PROXY_CREDENTIAL: &str =
    "the server's operator can put them into HTTPS_PROXY as http://USER:PASSWORD@HOST:PORT";

const PROXY_ADDRESS: &str = "the server's operator can check HTTPS_PROXY";

const PROXY_RULES: &str =
    "the server's operator can have the host permitted there, or name it in NO_PROXY";

impl NoAnswer {
    /// What lies below an error of the client, which itself names the URL.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut cause = None;
        let mut below = error.source();
        while let Some(error) = below {
            if let Some(known) = Self::known(error) {
                return known;
            }
            cause = Some(error);
            below = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        cause.map_or_else(|| "no answer".to_owned(), ToString::to_string).into()
    }

    fn known(error: &(dyn Error + 'static)) -> Option<Self> {
        let lasting =
            |cause: String, advice| Some(Self { cause, advice: Some(advice), is_lasting: true });
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            let advice = match error {
                rustls::Error::InvalidCertificate(why) => of_certificate(why),
                rustls::Error::InvalidMessage(_) => NO_TLS,
                _ => return None,
            };
            return lasting(error.to_string(), advice);
        }
        if let Some(error) = error.downcast_ref::<ProxyError>() {
            let advice = match error {
                ProxyError::Unauthorized => PROXY_CREDENTIAL,
                ProxyError::Refused(500..=599) | ProxyError::Unreached(_) => {
                    let cause = error.to_string();
                    return Some(Self { cause, advice: Some(PROXY_ADDRESS), is_lasting: false });
                }
                ProxyError::Refused(_) => PROXY_RULES,
                ProxyError::NoAnswer => PROXY_ADDRESS,
            };
            return lasting(error.to_string(), advice);
        }
        // A name that is not resolved now may be later.
        let is_unresolved = error.to_string().contains("failed to lookup address information");
        is_unresolved.then(|| Self {
            cause: "its name cannot be resolved".to_owned(),
            advice: Some(UNRESOLVED),
            is_lasting: false,
        })
    }
}

fn of_certificate(why: &CertificateError) -> &'static str {
    match why {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            WRONG_NAME
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => WRONG_TIME,
        _ => UNKNOWN_ISSUER,
    }
}

impl From<String> for NoAnswer {
    fn from(cause: String) -> Self {
        Self { cause, advice: None, is_lasting: false }
    }
}

impl From<&str> for NoAnswer {
    fn from(cause: &str) -> Self {
        cause.to_owned().into()
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.advice {
            Some(advice) => write!(out, "{}; {advice}", self.cause),
            None => out.write_str(&self.cause),
        }
    }
}
