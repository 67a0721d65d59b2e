//! TLS towards webhooks, aggregated servers and proxied backends.

use std::sync::{Arc, OnceLock};

use access::pki::Identity;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};

use super::Error;

/// How a backend proves who it is, and we to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM; `None`: the machine's own roots.
    pub ca: Option<String>,
    /// The name the certificate must be for, also sent as SNI.
    pub server_name: String,
    /// Our client certificate.
    pub identity: Option<Identity>,
    /// `insecureSkipTLSVerify`, and the `https:` prefix of the proxy subresources.
    pub skip_verify: bool,
}

impl std::hash::Hash for Tls {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.ca.hash(state);
        self.server_name.hash(state);
        self.skip_verify.hash(state);
        self.identity.as_ref().map(|identity| &identity.cert_pem).hash(state);
    }
}

/// The rustls configuration; without ALPN, so that the peer speaks HTTP/1.1 and upgrades work.
pub fn client_config(tls: &Tls) -> Result<Arc<ClientConfig>, Error> {
    let failed = |error: rustls::Error| Error::Tls(error.to_string());
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let builder = if tls.skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
    } else {
        builder.with_root_certificates(roots(tls.ca.as_deref())?)
    };
    let config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())
                .map_err(|error| Error::Tls(error.to_string()))?;
            builder.with_client_auth_cert(certificates(&identity.cert_pem)?, key).map_err(failed)?
        }
    };
    Ok(Arc::new(config))
}

/// The name to verify.
pub fn server_name(tls: &Tls) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(tls.server_name.clone())
        .map_err(|_| Error::Config(format!("{:?} is no server name", tls.server_name)))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| Error::Tls(error.to_string()))
}

fn roots(ca: Option<&str>) -> Result<Arc<RootCertStore>, Error> {
    let Some(ca) = ca else { return Ok(system_roots()) };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| Error::Tls(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(Error::Config("caBundle holds no certificate".into()));
    }
    Ok(Arc::new(roots))
}

/// Read once: they are many.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let load = || {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::debug!(%error, "a root certificate of this machine was not read");
        }
        roots.add_parsable_certificates(found.certs);
        Arc::new(roots)
    };
    ROOTS.get_or_init(load).clone()
}

/// Accepts every certificate, as the caller asked; signatures are still checked.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
