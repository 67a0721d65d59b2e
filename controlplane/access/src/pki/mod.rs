//! The cluster's certificate authority and the identities it issues to the server's own components.

use std::{path::Path, time::Duration};

/// A certificate with its key, both PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    pub cert_pem: String,
    pub key_pem: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {}

/// Keys and certificates of one cluster, kept in one directory. Cheap to clone.
#[derive(Clone)]
pub struct Pki {}

impl Pki {
    /// Reads the directory and creates what is missing; the server certificate is issued again when `sans` (DNS
    /// names and IP addresses beyond the fixed ones) changed or its end is near.
    pub fn load_or_create(_dir: &Path, _sans: &[String]) -> Result<Self, Error> {
        todo!()
    }
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        todo!()
    }
    #[must_use]
    pub fn server(&self) -> &Identity {
        todo!()
    }
    /// CN kube-apiserver-kubelet-client, O system:masters.
    #[must_use]
    pub fn kubelet_client(&self) -> &Identity {
        todo!()
    }
    /// CN kubernetes-admin, O system:masters.
    #[must_use]
    pub fn admin(&self) -> &Identity {
        todo!()
    }
    /// CN system:kube-controller-manager.
    #[must_use]
    pub fn controller_manager(&self) -> &Identity {
        todo!()
    }
    /// CN system:kube-scheduler.
    #[must_use]
    pub fn scheduler(&self) -> &Identity {
        todo!()
    }
    /// The private key that signs service-account tokens (ECDSA P-256, PKCS#8 PEM).
    #[must_use]
    pub fn token_key_pem(&self) -> &str {
        todo!()
    }
    /// A kubeconfig of the administrator.
    #[must_use]
    pub fn admin_kubeconfig(&self, _server_url: &str) -> String {
        todo!()
    }
    /// A kubeconfig of any identity.
    #[must_use]
    pub fn kubeconfig(&self, _server_url: &str, _user: &str, _identity: &Identity) -> String {
        todo!()
    }
    /// Signs a request with the key usages of a CertificateSigningRequest (`client auth`, `digital signature`, ...).
    pub fn sign_csr(
        &self,
        _csr_pem: &str,
        _usages: &[String],
        _ttl: Duration,
    ) -> Result<String, Error> {
        todo!()
    }
}

/// TLS of the API server: its certificate, optional client certificates of our CA, ALPN h2 and http/1.1.
pub fn server_tls_config(_pki: &Pki) -> Result<rustls::ServerConfig, Error> {
    todo!()
}

/// TLS of a client that trusts `ca_pem` and presents `identity`.
pub fn client_tls_config(
    _ca_pem: &str,
    _identity: Option<&Identity>,
) -> Result<rustls::ClientConfig, Error> {
    todo!()
}

/// Why a CertificateSigningRequest may not be signed by the built-in signer it names; `None`: it may.
/// `request` is the whole object.
#[must_use]
pub fn refuse_csr(_request: &serde_json::Value) -> Option<String> {
    todo!()
}
