//! TLS configurations of the API server and of clients inside the cluster.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

use super::{Error, Identity, Pki};

const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// TLS of the API server: its certificate, optional client certificates of our CA, ALPN h2 and http/1.1.
/// A certificate that is presented must be valid: authentication trusts its subject.
pub fn server_tls_config(pki: &Pki) -> Result<ServerConfig, Error> {
    let roots = Arc::new(root_store(pki.ca_pem())?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| Error::ParseTls { reason: error.to_string() })?;
    let (chain, key) = parse_identity(pki.server())?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(build_failed)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(build_failed)?;
    config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
    Ok(config)
}

/// TLS of a client that trusts `ca_pem` and presents `identity`. Without ALPN: set `alpn_protocols` where HTTP/2 is
/// wanted (streaming connections to kubelets need HTTP/1.1).
pub fn client_tls_config(ca_pem: &str, identity: Option<&Identity>) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(build_failed)?
        .with_root_certificates(root_store(ca_pem)?);
    match identity {
        None => Ok(builder.with_no_client_auth()),
        Some(identity) => {
            let (chain, key) = parse_identity(identity)?;
            builder.with_client_auth_cert(chain, key).map_err(build_failed)
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn build_failed(source: rustls::Error) -> Error {
    Error::BuildTls { source }
}

fn parse_certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| Error::ParseTls { reason: error.to_string() })
}

fn root_store(ca_pem: &str) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in parse_certificates(ca_pem)? {
        roots.add(certificate).map_err(build_failed)?;
    }
    Ok(roots)
}

fn parse_identity(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())
        .map_err(|error| Error::ParseTls { reason: error.to_string() })?;
    Ok((parse_certificates(&identity.cert_pem)?, key))
}
