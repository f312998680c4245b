//! Failures on the way to a model: certificates, names and proxies, in the words of all agents' libraries.

/// How Pilothouse's own proxy says what has to change (`crates/egress`).
const OPERATOR: &str = "the server's operator can";

const UNKNOWN_AUTHORITY: &str = "the agent does not trust the certificate of the model API; in a network that inspects TLS set \
     NODE_EXTRA_CA_CERTS in Pilothouse's environment or `.env` to the file of its certificate authority, and start it again";

const OTHER_NAME: &str = "the certificate of the model API is for another name; check its address, and the proxy between";

const OTHER_TIME: &str =
    "the certificate of the model API is not valid today; check the clock of this machine";

const PROXY: &str = "the proxy of this network does not let the agent through; check HTTPS_PROXY, its user name and its password";

/// Words of Node, Bun, OpenSSL, Go and rustls, and what can be done.
const HINTS: [(&[&str], &str); 4] = [
    (
        &[
            "SELF_SIGNED_CERT",
            "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
            "UNABLE_TO_GET_ISSUER_CERT",
            "self signed certificate",
            "self-signed certificate",
            "unable to get local issuer certificate",
            "certificate signed by unknown authority",
            "UnknownIssuer",
        ],
        UNKNOWN_AUTHORITY,
    ),
    (&["ERR_TLS_CERT_ALTNAME_INVALID", "HOSTNAME_MISMATCH", "not valid for name"], OTHER_NAME),
    (&["CERT_HAS_EXPIRED", "CERT_NOT_YET_VALID", "certificate has expired"], OTHER_TIME),
    (&["Proxy Authentication Required", "ERR_PROXY_"], PROXY),
];

/// Whether these words say already what has to change, so that no hint after them is needed.
pub(crate) fn carries_advice(words: &str) -> bool {
    words.contains(OPERATOR)
}

/// What can be done about a failure of the network that these words report.
pub(crate) fn hint(words: &str) -> Option<&'static str> {
    let found = HINTS.iter().find(|(parts, _)| parts.iter().any(|part| words.contains(part)));
    found.map(|(_, hint)| *hint)
}
