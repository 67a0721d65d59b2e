//! How a client finds the API server and proves who it is.

use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to read the kubeconfig {path}")]
    ReadKubeconfig { path: PathBuf, source: Box<kube::config::KubeconfigError> },
    #[error("failed to find a cluster: no kubeconfig and not inside a pod")]
    Infer(#[source] Box<kube::config::InferConfigError>),
    #[error("failed to use the kubeconfig")]
    UseKubeconfig(#[source] Box<kube::config::KubeconfigError>),
    #[error("failed to describe the server {server}")]
    Describe { server: String, source: serde_json::Error },
    #[error("failed to prepare the connection")]
    Prepare(#[source] Box<kube::Error>),
}

/// Who the client is.
#[derive(Clone)]
pub enum Credentials {
    Anonymous,
    /// A client certificate and its key, PEM.
    Certificate {
        certificate: Vec<u8>,
        key: Vec<u8>,
    },
    /// A bearer token: a service account's or a bootstrap token.
    Token(String),
    /// A bearer token that is read again when the file changes.
    TokenFile(PathBuf),
}

/// A server that is known without a kubeconfig.
#[derive(Clone)]
pub struct Endpoint {
    /// `https://host:port`
    pub server: String,
    /// The authorities that may sign the server's certificate, PEM; `None` trusts the system's.
    pub authority: Option<Vec<u8>>,
    pub credentials: Credentials,
}

/// A client by kubeconfig: the given file, else `$KUBECONFIG`, `~/.kube/config` or the pod's service account.
///
/// # Errors
/// When no configuration is found or it cannot be used. Nothing is sent to the server.
pub async fn load(kubeconfig: Option<&Path>) -> Result<Client, Error> {
    client(load_config(kubeconfig, &KubeConfigOptions::default()).await?)
}

/// Like [`load`], up to the configuration, for callers that override parts of it.
///
/// # Errors
/// When no configuration is found or it is broken.
pub async fn load_config(
    kubeconfig: Option<&Path>,
    options: &KubeConfigOptions,
) -> Result<Config, Error> {
    let use_kubeconfig = |error| Error::UseKubeconfig(Box::new(error));
    if let Some(path) = kubeconfig {
        let kubeconfig = Kubeconfig::read_from(path).map_err(|source| Error::ReadKubeconfig {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        return Config::from_custom_kubeconfig(kubeconfig, options).await.map_err(use_kubeconfig);
    }
    // A file that was named must be there: falling back would blame something else.
    let is_named = std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty());
    if is_named || options.context.is_some() || options.cluster.is_some() || options.user.is_some()
    {
        return Config::from_kubeconfig(options).await.map_err(use_kubeconfig);
    }
    Config::infer().await.map_err(|error| Error::Infer(Box::new(error)))
}

/// A client for a server that is known without a kubeconfig.
///
/// # Errors
/// When certificates or the address cannot be parsed. Nothing is sent to the server.
pub async fn connect(endpoint: &Endpoint) -> Result<Client, Error> {
    let describe = |source| Error::Describe { server: endpoint.server.clone(), source };
    let kubeconfig: Kubeconfig =
        serde_json::from_value(kubeconfig_of(endpoint)).map_err(describe)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| Error::UseKubeconfig(Box::new(error)))?;
    client(config)
}

/// A client for a configuration.
///
/// # Errors
/// When certificates cannot be used.
pub fn client(config: Config) -> Result<Client, Error> {
    Client::try_from(config).map_err(|error| Error::Prepare(Box::new(error)))
}

/// The endpoint as a kubeconfig, self-contained: also what a node or an administrator is given as a file.
#[must_use]
pub fn kubeconfig_of(endpoint: &Endpoint) -> Value {
    let Endpoint { server, authority, credentials } = endpoint;
    let mut cluster = json!({ "server": server });
    if let Some(authority) = authority {
        cluster["certificate-authority-data"] = STANDARD.encode(authority).into();
    }
    let user = match credentials {
        Credentials::Anonymous => json!({}),
        Credentials::Certificate { certificate, key } => json!({
            "client-certificate-data": STANDARD.encode(certificate),
            "client-key-data": STANDARD.encode(key),
        }),
        Credentials::Token(token) => json!({ "token": token }),
        Credentials::TokenFile(path) => json!({ "tokenFile": path }),
    };
    let name = "bulkhead";
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{ "name": name, "cluster": cluster }],
        "users": [{ "name": name, "user": user }],
        "contexts": [{ "name": name, "context": { "cluster": name, "user": name } }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_endpoint_becomes_a_configuration() {
        let endpoint = Endpoint {
            server: "https://10.88.0.1:6443".to_owned(),
            authority: None,
            credentials: Credentials::Token("abc.def".to_owned()),
        };
        let kubeconfig = serde_json::from_value(kubeconfig_of(&endpoint)).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .unwrap();
        assert_eq!(config.cluster_url.to_string(), "https://10.88.0.1:6443/");
        assert_eq!(config.default_namespace, "default");
        assert!(config.auth_info.token.is_some());
    }
}
