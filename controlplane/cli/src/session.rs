//! One connection to one cluster: flags that all commands share, and requests on plain JSON.

use std::path::PathBuf;

use anyhow::{Context, Result};
use futures::{AsyncBufReadExt, Stream, StreamExt, TryStreamExt};
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use k8s_openapi::jiff::Timestamp;
use kube::{Client, Config, client::Body, config::KubeConfigOptions, core::Status};
use serde_json::Value;

/// Flags of every command.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct Globals {
    /// If present, the namespace scope for this CLI request
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// Path to the kubeconfig file to use for CLI requests
    #[arg(long, global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// The name of the kubeconfig context to use
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// The name of the kubeconfig cluster to use
    #[arg(long, global = true)]
    pub cluster: Option<String>,
    /// The name of the kubeconfig user to use
    #[arg(long, global = true)]
    pub user: Option<String>,
    /// The address and port of the Kubernetes API server
    #[arg(short, long, global = true)]
    pub server: Option<String>,
    /// Path to a cert file for the certificate authority
    #[arg(long, global = true)]
    pub certificate_authority: Option<PathBuf>,
    /// Bearer token for authentication to the API server
    #[arg(long, global = true, hide_env_values = true)]
    pub token: Option<String>,
    /// The server's certificate will not be checked for validity
    #[arg(long, global = true)]
    pub insecure_skip_tls_verify: bool,
    /// Username to impersonate for the operation
    #[arg(long = "as", global = true)]
    pub impersonate: Option<String>,
    /// Group to impersonate for the operation; can be repeated
    #[arg(long = "as-group", global = true)]
    pub impersonate_groups: Vec<String>,
}

/// The content types of bodies.
pub const JSON: &str = "application/json";
pub const APPLY: &str = "application/apply-patch+yaml";
pub const MERGE: &str = "application/merge-patch+json";
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub const JSON_PATCH: &str = "application/json-patch+json";

/// What lists and watches for the terminal ask for.
pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// A cluster, who we are there, and the namespace that is meant when none is named.
pub struct Session {
    pub client: Client,
    pub namespace: String,
    /// `host:port`, for messages.
    pub server: String,
    /// The URL as configured.
    pub url: String,
}

/// An answer of the server.
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Session {
    /// Reads the configuration; sends nothing.
    ///
    /// # Errors
    /// When there is no configuration or it cannot be used.
    pub async fn open(globals: &Globals) -> Result<Self> {
        let config = load_config(globals).await?;
        let namespace =
            globals.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let url = config.cluster_url.to_string();
        let server = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
        let client = client::config::client(config)?;
        Ok(Self { client, namespace, server, url })
    }

    /// Reads one path as JSON.
    ///
    /// # Errors
    /// What the server answers, or why it did not.
    pub async fn get(&self, path: &str) -> Result<Value, kube::Error> {
        Ok(self.request(Method::GET, path, JSON, None).await?.body)
    }

    /// Reads one path as a table.
    ///
    /// # Errors
    /// As [`Session::get`].
    pub async fn get_table(&self, path: &str) -> Result<Value, kube::Error> {
        Ok(self.request(Method::GET, path, TABLE, None).await?.body)
    }

    /// Reads every page of a list as one list.
    ///
    /// # Errors
    /// As [`Session::get`].
    pub async fn list(&self, path: &str) -> Result<Value, kube::Error> {
        let mut whole = self.get(&with_query(path, &[("limit", "500")])).await?;
        let mut next = crate::json::text_at(&whole, "/metadata/continue").to_owned();
        while !next.is_empty() {
            let page =
                self.get(&with_query(path, &[("limit", "500"), ("continue", &next)])).await?;
            next = crate::json::text_at(&page, "/metadata/continue").to_owned();
            let items: Vec<_> = crate::json::items_at(&page, "/items").cloned().collect();
            if let Some(all) = whole.get_mut("items").and_then(Value::as_array_mut) {
                all.extend(items);
            }
        }
        Ok(whole)
    }

    /// Sends a body; prints the server's warnings.
    ///
    /// # Errors
    /// As [`Session::get`].
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Answer, kube::Error> {
        self.request(method, path, JSON, Some((content_type, body))).await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Answer, kube::Error> {
        let mut request =
            Request::builder().method(method).uri(path).header(header::ACCEPT, accept);
        let mut bytes = Vec::new();
        if let Some((content_type, body)) = body {
            request = request.header(header::CONTENT_TYPE, content_type);
            bytes = serde_json::to_vec(body).map_err(kube::Error::SerdeError)?;
        }
        let request = request.body(Body::from(bytes)).map_err(kube::Error::HttpError)?;
        let response = self.client.send(request).await?;
        print_warnings(response.headers());
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        if status.is_client_error() || status.is_server_error() {
            return Err(kube::Error::Api(failure(status, &bytes).boxed()));
        }
        let body = serde_json::from_slice(&bytes).map_err(kube::Error::SerdeError)?;
        Ok(Answer { status, body })
    }

    /// Reads a path as a stream of lines, such as a log.
    ///
    /// # Errors
    /// As [`Session::get`].
    pub async fn stream(
        &self,
        path: &str,
        accept: &str,
    ) -> Result<impl futures::AsyncBufRead + use<>, kube::Error> {
        let request = Request::get(path)
            .header(header::ACCEPT, accept)
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        self.client.request_stream(request).await
    }

    /// Watches a collection: each item is a watch event as JSON. Ends when the server ends it.
    ///
    /// # Errors
    /// As [`Session::get`].
    pub async fn watch(
        &self,
        path: &str,
        accept: &str,
    ) -> Result<impl Stream<Item = Result<Value>> + Unpin + use<>, kube::Error> {
        let lines = Box::pin(self.stream(path, accept).await?).lines();
        Ok(lines
            .map_err(anyhow::Error::from)
            .and_then(|line| async move { parse_event(&line) })
            .boxed())
    }
}

fn parse_event(line: &str) -> Result<Value> {
    let event: Value = serde_json::from_str(line).context("the watch sent what is not JSON")?;
    if event.get("type").and_then(Value::as_str) == Some("ERROR") {
        let status: Status = serde_json::from_value(event["object"].clone())?;
        return Err(kube::Error::Api(status.boxed()).into());
    }
    Ok(event)
}

/// The server's reasons; made up from the code where a proxy answered in its place.
fn failure(status: StatusCode, body: &[u8]) -> Status {
    serde_json::from_slice(body).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(body).trim().to_owned();
        let message = if text.is_empty() {
            status.canonical_reason().unwrap_or("unknown").to_owned()
        } else {
            text
        };
        Status { code: status.as_u16(), message, ..Status::default() }
    })
}

/// `Warning: 299 - "text"` headers, as kubectl shows them.
fn print_warnings(headers: &http::HeaderMap<HeaderValue>) {
    for warning in headers.get_all(header::WARNING) {
        if let Some(text) = warning.to_str().ok().and_then(warning_text) {
            eprintln!("Warning: {text}");
        }
    }
}

fn warning_text(header: &str) -> Option<String> {
    let start = header.find('"')?;
    let text = header[start + 1..].strip_suffix('"')?;
    Some(text.replace("\\\"", "\"").replace("\\\\", "\\"))
}

async fn load_config(globals: &Globals) -> Result<Config> {
    let options = KubeConfigOptions {
        context: globals.context.clone(),
        cluster: globals.cluster.clone(),
        user: globals.user.clone(),
    };
    let loaded = client::config::load_config(globals.kubeconfig.as_deref(), &options).await;
    let mut config = match (&globals.server, loaded) {
        (None, loaded) => loaded?,
        (Some(_), Ok(config)) => config,
        (Some(server), Err(_)) => Config::new(server.parse()?),
    };
    if let Some(server) = &globals.server {
        let server =
            if server.contains("://") { server.clone() } else { format!("https://{server}") };
        config.cluster_url = server.parse().context("the server is not a URL")?;
    }
    if let Some(token) = &globals.token {
        config.auth_info.token = Some(token.clone().into());
    }
    config.root_cert_file = globals.certificate_authority.clone().or(config.root_cert_file);
    config.accept_invalid_certs |= globals.insecure_skip_tls_verify;
    config.auth_info.impersonate = globals.impersonate.clone().or(config.auth_info.impersonate);
    if !globals.impersonate_groups.is_empty() {
        config.auth_info.impersonate_groups = Some(globals.impersonate_groups.clone());
    }
    Ok(config)
}

/// Adds parameters to a path that may have some; empty values are left out.
#[must_use]
pub fn with_query(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
        query.append_pair(name, value);
    }
    let query = query.finish();
    match (query.is_empty(), path.contains('?')) {
        (true, _) => path.to_owned(),
        (false, true) => format!("{path}&{query}"),
        (false, false) => format!("{path}?{query}"),
    }
}

/// The present moment, for ages.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        let path =
            with_query("/api/v1/pods", &[("labelSelector", "a=b,c"), ("x", ""), ("limit", "5")]);
        assert_eq!(path, "/api/v1/pods?labelSelector=a%3Db%2Cc&limit=5");
        assert_eq!(with_query("/a?x=1", &[("y", "2")]), "/a?x=1&y=2");
        assert_eq!(with_query("/a", &[]), "/a");
    }

    #[test]
    fn warnings_are_unquoted() {
        assert_eq!(warning_text(r#"299 - "unknown field \"x\"""#).unwrap(), r#"unknown field "x""#);
        assert_eq!(warning_text("299 -"), None);
    }

    #[test]
    fn failures_without_a_status_keep_their_text() {
        let made_up = failure(StatusCode::BAD_GATEWAY, b"upstream is down\n");
        assert_eq!((made_up.code, made_up.message.as_str()), (502, "upstream is down"));
        assert_eq!(failure(StatusCode::NOT_FOUND, b"").message, "Not Found");
    }
}
