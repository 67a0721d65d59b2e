//! Who this node is to the cluster: the CA it believes, its client certificate, its serving certificate.

mod ca;
mod csr;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kube::{Client, Config as KubeConfig};
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::Config;

const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";
/// A certificate with less than this share of its life left is replaced.
const RENEW_PERCENT: i64 = 20;

/// A certificate and its key, PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// What the node joined with.
pub struct Identity {
    pub ca_pem: String,
    pub client: Client,
    /// When the client certificate must be renewed.
    pub renew_at: Timestamp,
}

/// Gets the CA and the client certificate: stored ones, or by the bootstrap token.
pub async fn join(config: &Config) -> anyhow::Result<Identity> {
    let directory = config.state_path("pki");
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    let stored_ca = directory.join("ca.crt");
    let ca_pem = match ca::stored(&config.ca, &stored_ca) {
        Some(pem) => pem,
        None => ca::obtain(&config.ca).await.context("get the cluster's CA")?,
    };
    fs::write(&stored_ca, &ca_pem).with_context(|| format!("write {}", stored_ca.display()))?;
    let pair = match load(&directory, "client") {
        Some(pair) => pair,
        None => {
            let pair = bootstrap(config, &ca_pem).await?;
            store(&directory, "client", &pair)?;
            pair
        }
    };
    let renew_at = renewal_time(&pair.certificate).context("read the client certificate")?;
    let client = with_certificate(config, &ca_pem, &pair)?;
    Ok(Identity { ca_pem, client, renew_at })
}

async fn bootstrap(config: &Config, ca_pem: &str) -> anyhow::Result<Pair> {
    let token = config.token.clone();
    let token = token.context("no certificate yet and no bootstrap token (bulkhead.token)")?;
    let mut kube = base_config(config, ca_pem)?;
    kube.auth_info.token = Some(token.into());
    let client = Client::try_from(kube).context("make a client with the bootstrap token")?;
    tracing::info!(node = config.node_name, "asking for a client certificate");
    request_client(&client, &config.node_name).await
}

async fn request_client(client: &Client, node: &str) -> anyhow::Result<Pair> {
    let params = node_params(node, Vec::new())?;
    csr::request(client, params, CLIENT_SIGNER, &["digital signature", "client auth"]).await
}

/// Renews the client certificate; the next agent process uses it.
pub async fn renew_client(config: &Config, client: &Client) -> anyhow::Result<()> {
    let pair = request_client(client, &config.node_name).await?;
    store(&config.state_path("pki"), "client", &pair)
}

/// The serving certificate for the kubelet API: the stored one, or a new one.
pub async fn serving(config: &Config, client: &Client) -> anyhow::Result<Pair> {
    let directory = config.state_path("pki");
    if let Some(pair) = load(&directory, "serving") {
        return Ok(pair);
    }
    let names = vec![
        SanType::DnsName(config.node_name.clone().try_into()?),
        SanType::IpAddress(Ipv4Addr::into(config.node_ip)),
    ];
    let params = node_params(&config.node_name, names)?;
    let usages = ["digital signature", "server auth"];
    let pair = csr::request(client, params, SERVING_SIGNER, &usages).await?;
    store(&directory, "serving", &pair)?;
    Ok(pair)
}

fn node_params(node: &str, names: Vec<SanType>) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
    params.subject_alt_names = names;
    Ok(params)
}

fn base_config(config: &Config, ca_pem: &str) -> anyhow::Result<KubeConfig> {
    let url = config.server.parse().with_context(|| format!("parse {}", config.server))?;
    let mut kube = KubeConfig::new(url);
    let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes());
    let ca = ca.map_err(|error| anyhow!("the CA is no certificate: {error}"))?;
    kube.root_cert = Some(vec![ca.to_vec()]);
    // Watches may be silent for long; requests are bounded where they are made.
    kube.read_timeout = None;
    Ok(kube)
}

fn with_certificate(config: &Config, ca_pem: &str, pair: &Pair) -> anyhow::Result<Client> {
    let mut kube = base_config(config, ca_pem)?;
    kube.auth_info.client_certificate_data = Some(STANDARD.encode(&pair.certificate));
    kube.auth_info.client_key_data = Some(STANDARD.encode(&pair.key).into());
    Client::try_from(kube).context("make a client with the node's certificate")
}

fn paths(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")))
}

/// A stored pair that is still good.
fn load(directory: &Path, name: &str) -> Option<Pair> {
    let (certificate, key) = paths(directory, name);
    let pair = Pair {
        certificate: fs::read_to_string(certificate).ok()?,
        key: fs::read_to_string(key).ok()?,
    };
    let renew_at = renewal_time(&pair.certificate).ok()?;
    (renew_at > Timestamp::now()).then_some(pair)
}

fn store(directory: &Path, name: &str, pair: &Pair) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let (certificate, key) = paths(directory, name);
    fs::write(&key, &pair.key).with_context(|| format!("write {}", key.display()))?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    fs::write(&certificate, &pair.certificate)
        .with_context(|| format!("write {}", certificate.display()))
}

fn renewal_time(pem: &str) -> anyhow::Result<Timestamp> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| anyhow!("{e}"))?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der)?;
    let from = certificate.validity().not_before.timestamp();
    let to = certificate.validity().not_after.timestamp();
    Ok(Timestamp::from_second(to - (to - from) * RENEW_PERCENT / 100)?)
}

/// A key pair for a request.
fn new_key() -> anyhow::Result<KeyPair> {
    Ok(KeyPair::generate()?)
}
