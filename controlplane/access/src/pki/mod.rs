//! The cluster's certificate authority and the identities it issues to the server's own components.
//!
//! One directory holds it all: `ca.{crt,key}`, `server.{crt,key}`, a pair for each component, `front-proxy/` for the
//! aggregation layer, and `sa.key`, which
//! signs service-account tokens. Files are 0600, replaced atomically, and repaired at start: what is missing, does
//! not belong to the CA or nears its end is issued again. A CA key is never replaced.

mod csr;
mod files;
mod issue;
mod kubeconfig;
mod tls;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use csr::{recognize_csr, refuse_csr, refuse_csr_hosts, refuse_csr_subject};
use issue::{Ca, Subject};
pub use tls::{client_tls_config, server_tls_config};

use crate::names;

/// Addresses every server certificate carries (upstream `pki_helpers.go`, with our service CIDR's first address).
const FIXED_SANS: [&str; 7] = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
    "127.0.0.1",
    "10.96.0.1",
];

/// The name that aggregated servers know us by (`requestheader-allowed-names`).
pub const FRONT_PROXY: &str = "front-proxy-client";

/// A certificate with its key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    pub cert_pem: String,
    pub key_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("create directory {path}")]
    CreateDirectory { path: PathBuf, source: std::io::Error },
    #[error("read {path}")]
    ReadFile { path: PathBuf, source: std::io::Error },
    #[error("write {path}")]
    WriteFile { path: PathBuf, source: std::io::Error },
    #[error("generate a key")]
    GenerateKey { source: rcgen::Error },
    #[error("parse the key in {path}")]
    ParseKey { path: PathBuf, source: rcgen::Error },
    #[error("use the certificate authority")]
    UseCa { source: rcgen::Error },
    #[error("the CA certificate in {path} does not belong to the CA key")]
    MismatchedCa { path: PathBuf },
    #[error("issue a certificate to {name}")]
    IssueCertificate { name: String, source: rcgen::Error },
    #[error("parse the certificate request: {reason}")]
    ParseRequest { reason: String },
    #[error("parse a certificate or key for TLS: {reason}")]
    ParseTls { reason: String },
    #[error("build the TLS configuration")]
    BuildTls { source: rustls::Error },
}

/// Keys and certificates of one cluster, kept in one directory. Cheap to clone.
#[derive(Clone)]
pub struct Pki {
    inner: Arc<Inner>,
}

struct Inner {
    ca: Ca,
    server: Identity,
    kubelet_client: Identity,
    admin: Identity,
    controller_manager: Identity,
    scheduler: Identity,
    token_key_pem: String,
    front_proxy_ca: String,
    front_proxy: Identity,
}

impl Pki {
    /// Reads the directory and creates what is missing; the server certificate is issued again when `sans` (DNS
    /// names and IP addresses beyond the fixed ones) changed or its end is near.
    pub fn load_or_create(dir: &Path, sans: &[String]) -> Result<Self, Error> {
        files::create_directory(dir)?;
        let ca = Ca::load_or_create(dir)?;
        let proxy_dir = dir.join("front-proxy");
        files::create_directory(&proxy_dir)?;
        let proxy_ca = Ca::load_or_create(&proxy_dir)?;
        let client = |file: &str, name: &str, group: Option<&str>| {
            ca.load_or_issue(dir, file, &Subject::client(name, group))
        };
        let mut all_sans: Vec<String> = FIXED_SANS.map(str::to_owned).into();
        all_sans.extend_from_slice(sans);
        let inner = Inner {
            server: ca.load_or_issue(
                dir,
                "server",
                &Subject::server("kube-apiserver", all_sans),
            )?,
            kubelet_client: client(
                "kubelet-client",
                "kube-apiserver-kubelet-client",
                Some(names::MASTERS),
            )?,
            admin: client("admin", "kubernetes-admin", Some(names::MASTERS))?,
            controller_manager: client(
                "controller-manager",
                "system:kube-controller-manager",
                None,
            )?,
            scheduler: client("scheduler", "system:kube-scheduler", None)?,
            front_proxy: proxy_ca.load_or_issue(
                &proxy_dir,
                "client",
                &Subject::client(FRONT_PROXY, None),
            )?,
            front_proxy_ca: proxy_ca.cert_pem().to_owned(),
            token_key_pem: issue::load_or_create_key(&dir.join("sa.key"))?.serialize_pem(),
            ca,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.inner.ca.cert_pem()
    }

    #[must_use]
    pub fn server(&self) -> &Identity {
        &self.inner.server
    }

    /// CN kube-apiserver-kubelet-client, O system:masters.
    #[must_use]
    pub fn kubelet_client(&self) -> &Identity {
        &self.inner.kubelet_client
    }

    /// CN front-proxy-client, of a CA of its own: what aggregated servers trust to tell them the user.
    #[must_use]
    pub fn front_proxy(&self) -> &Identity {
        &self.inner.front_proxy
    }

    #[must_use]
    pub fn front_proxy_ca_pem(&self) -> &str {
        &self.inner.front_proxy_ca
    }

    /// CN kubernetes-admin, O system:masters.
    #[must_use]
    pub fn admin(&self) -> &Identity {
        &self.inner.admin
    }

    /// CN system:kube-controller-manager.
    #[must_use]
    pub fn controller_manager(&self) -> &Identity {
        &self.inner.controller_manager
    }

    /// CN system:kube-scheduler.
    #[must_use]
    pub fn scheduler(&self) -> &Identity {
        &self.inner.scheduler
    }

    /// The private key that signs service-account tokens (ECDSA P-256, PKCS#8 PEM).
    #[must_use]
    pub fn token_key_pem(&self) -> &str {
        &self.inner.token_key_pem
    }

    /// A kubeconfig of the administrator.
    #[must_use]
    pub fn admin_kubeconfig(&self, server_url: &str) -> String {
        self.kubeconfig(server_url, "kubernetes-admin", self.admin())
    }

    /// A kubeconfig of any identity.
    #[must_use]
    pub fn kubeconfig(&self, server_url: &str, user: &str, identity: &Identity) -> String {
        kubeconfig::render(server_url, self.ca_pem(), user, identity)
    }

    /// Signs a request with the key usages of a CertificateSigningRequest (`client auth`, `digital signature`, ...).
    /// The end is at most the CA's own. Whether it may be signed at all is [`refuse_csr`]'s question.
    pub fn sign_csr(
        &self,
        csr_pem: &str,
        usages: &[String],
        ttl: Duration,
    ) -> Result<String, Error> {
        csr::sign(&self.inner.ca, csr_pem, usages, ttl)
    }
}

#[cfg(test)]
mod tests;
