//! What is to be reached, and the `clientConfig` of webhooks and conversions. Pure.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;
use url::Url;

use super::{Error, Tls};

/// The port of a service reference that names none.
const SERVICE_PORT: u16 = 443;

/// Something with a byte stream to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A port of a service by number or name ("" is its only or first port); any ready endpoint.
    Service { namespace: String, name: String, port: String },
    /// A port inside a pod.
    Pod { namespace: String, name: String, port: u16 },
    /// An address that is dialed from here.
    Host { host: String, port: u16 },
}

/// A `clientConfig` (`admissionregistration.k8s.io/v1 WebhookClientConfig`, and the same in CRD conversion), read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookConfig {
    pub target: Target,
    /// `None`: plain HTTP, which upstream allows for a URL in no case but we do for loopback tests of the dialing.
    pub tls: Option<Tls>,
    /// `Host` of the request.
    pub authority: String,
    /// Path and query, beginning with a slash.
    pub path: String,
}

impl WebhookConfig {
    /// Reads `{url | service{namespace,name,path,port}, caBundle}`.
    pub fn parse(config: &Value) -> Result<Self, Error> {
        let ca = ca_bundle(&config["caBundle"])?;
        match (config["url"].as_str(), config["service"].as_object()) {
            (Some(url), None) => Self::from_url(url, ca),
            (None, Some(_)) => Ok(Self::from_service(&config["service"], ca)),
            _ => Err(Error::Config("exactly one of url or service is required".into())),
        }
    }

    fn from_url(text: &str, ca: Option<String>) -> Result<Self, Error> {
        let bad = |why: &str| Error::Config(format!("url {text:?}: {why}"));
        let url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
        let host = url.host_str().ok_or_else(|| bad("no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port_or_known_default().ok_or_else(|| bad("no port"))?;
        let tls = match url.scheme() {
            "https" => Some(Tls { ca, server_name: host.clone(), ..Tls::default() }),
            "http" => None,
            other => return Err(bad(&format!("unknown scheme {other}"))),
        };
        let mut path = url.path().to_owned();
        if let Some(query) = url.query() {
            path = format!("{path}?{query}");
        }
        let authority = url.authority().rsplit('@').next().unwrap_or_default().to_owned();
        let target = in_cluster(&host, port).unwrap_or(Target::Host { host, port });
        Ok(Self { target, tls, authority, path })
    }

    fn from_service(service: &Value, ca: Option<String>) -> Self {
        let text = |field: &str| service[field].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        let port = service["port"].as_u64().unwrap_or(u64::from(SERVICE_PORT));
        let host = format!("{name}.{namespace}.svc");
        let path = text("path");
        let path = if path.starts_with('/') { path } else { format!("/{path}") };
        Self {
            authority: format!("{host}:{port}"),
            tls: Some(Tls { ca, server_name: host, ..Tls::default() }),
            target: Target::Service { namespace, name, port: port.to_string() },
            path,
        }
    }

    /// The URL for messages, as upstream prints it.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, self.path)
    }
}

/// A cluster-internal name in a URL: this server asks no cluster DNS, it knows the services.
fn in_cluster(host: &str, port: u16) -> Option<Target> {
    let name = host.strip_suffix(".svc.cluster.local").or_else(|| host.strip_suffix(".svc"))?;
    let (name, namespace) = name.split_once('.')?;
    (!namespace.contains('.')).then(|| Target::Service {
        namespace: namespace.into(),
        name: name.into(),
        port: port.to_string(),
    })
}

/// PEM text of a `caBundle` (base64 in JSON); `None` where there is none: the machine's own roots are trusted.
pub fn ca_bundle(value: &Value) -> Result<Option<String>, Error> {
    let Some(text) = value.as_str().filter(|text| !text.is_empty()) else { return Ok(None) };
    let bytes = BASE64_STANDARD
        .decode(text)
        .map_err(|error| Error::Config(format!("caBundle: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| Error::Config("caBundle is not PEM".into()))?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(config: &Value) -> String {
        match WebhookConfig::parse(config) {
            Ok(read) => {
                let name = read.tls.as_ref().map_or("plain", |tls| &tls.server_name);
                format!("{:?} {name} {}", read.target, read.url())
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn client_configs_are_read_as_upstream_does() {
        for (config, expect) in [
            (
                json!({"service": {"namespace": "a", "name": "b", "path": "/x"}}),
                r#"Service { namespace: "a", name: "b", port: "443" } b.a.svc https://b.a.svc:443/x"#,
            ),
            (
                json!({"service": {"namespace": "a", "name": "b", "port": 8443}}),
                r#"Service { namespace: "a", name: "b", port: "8443" } b.a.svc https://b.a.svc:8443/"#,
            ),
            (
                json!({"url": "https://127.0.0.1:9443/y?z=1"}),
                r#"Host { host: "127.0.0.1", port: 9443 } 127.0.0.1 https://127.0.0.1:9443/y?z=1"#,
            ),
            (
                json!({"url": "https://[::1]/y"}),
                r#"Host { host: "::1", port: 443 } ::1 https://[::1]/y"#,
            ),
            (
                json!({"url": "https://b.a.svc/y"}),
                r#"Service { namespace: "a", name: "b", port: "443" } b.a.svc https://b.a.svc/y"#,
            ),
            (
                json!({"url": "ftp://x/y"}),
                "invalid client configuration: url \"ftp://x/y\": unknown scheme ftp",
            ),
            (json!({}), "invalid client configuration: exactly one of url or service is required"),
        ] {
            assert_eq!(shown(&config), expect, "{config}");
        }
    }
}
