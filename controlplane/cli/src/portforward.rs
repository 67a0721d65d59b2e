//! `port-forward`: local ports that lead into a pod.

use std::{net::IpAddr, sync::Arc};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    discovery::Kind,
    json::{items_at, name, number_at, text_at},
    pods,
    session::Session,
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// POD or TYPE/NAME
    pub target: String,
    /// [LOCAL_PORT:]REMOTE_PORT; an empty local port is a free one
    #[arg(required = true)]
    pub ports: Vec<String>,
    /// Addresses to listen on (comma separated)
    #[arg(long, value_delimiter = ',', default_value = "localhost")]
    pub address: Vec<String>,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

/// A local port and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mapping {
    local: u16,
    remote: String,
}

/// Forwards until it is interrupted or the pod is lost.
///
/// # Errors
/// What the server answers, or when no port can be listened on.
pub async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    let pod = pods::find(session, &arguments.target).await?;
    if text_at(&pod, "/status/phase") != "Running" {
        bail!(
            "unable to forward port because pod is not running. Current status={}",
            text_at(&pod, "/status/phase")
        );
    }
    let service = service_of(session, &arguments.target).await?;
    let far = Arc::new(Far {
        api: Api::namespaced(session.client.clone(), &session.namespace),
        pod: name(&pod).to_owned(),
    });
    let mut listening = JoinSet::new();
    for word in &arguments.ports {
        let mapping = parse(word)?;
        let remote = resolve(&mapping.remote, service.as_ref(), &pod)?;
        for address in addresses(&arguments.address)? {
            let listener = match TcpListener::bind((address, mapping.local)).await {
                Ok(listener) => listener,
                // A machine may have no IPv6.
                Err(_) if address.is_ipv6() && address.is_loopback() => continue,
                Err(error) => {
                    return Err(error)
                        .context(format!("unable to listen on port {}", mapping.local));
                }
            };
            println!("Forwarding from {} -> {remote}", listener.local_addr()?);
            listening.spawn(accept(listener, remote, Arc::clone(&far)));
        }
    }
    while let Some(ended) = listening.join_next().await {
        ended??;
    }
    Ok(())
}

struct Far {
    api: Api<Pod>,
    pod: String,
}

async fn accept(listener: TcpListener, remote: u16, far: Arc<Far>) -> Result<()> {
    let local = listener.local_addr()?.port();
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        println!("Handling connection for {local}");
        while connections.try_join_next().is_some() {}
        let far = Arc::clone(&far);
        connections.spawn(async move {
            if let Err(error) = forward(stream, remote, &far).await {
                eprintln!("error: an error occurred forwarding {local} -> {remote}: {error:#}");
            }
        });
    }
}

async fn forward(mut near: TcpStream, remote: u16, far: &Far) -> Result<()> {
    let mut forwarder = far.api.portforward(&far.pod, &[remote]).await?;
    let mut stream = forwarder.take_stream(remote).context("the server opened no stream")?;
    let failed = forwarder.take_error(remote);
    let copied = tokio::io::copy_bidirectional(&mut near, &mut stream).await;
    drop(stream);
    let _ = forwarder.join().await;
    if let Some(failed) = failed
        && let Some(text) = failed.await
    {
        bail!(text);
    }
    // Either side may end a connection without ceremony.
    copied.map(drop).or(Ok(()))
}

fn parse(word: &str) -> Result<Mapping> {
    let (local, remote) = match word.split_once(':') {
        Some(("", remote)) => (0, remote),
        Some((local, remote)) => match local.parse() {
            Ok(local) => (local, remote),
            Err(_) => bail!("error parsing local port '{local}'"),
        },
        // A named port has no number to listen on.
        None => (word.parse().unwrap_or(0), word),
    };
    if remote.is_empty() {
        bail!("invalid port format '{word}'");
    }
    Ok(Mapping { local, remote: remote.to_owned() })
}

fn addresses(words: &[String]) -> Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for word in words {
        if word == "localhost" {
            addresses
                .extend([IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]);
        } else {
            addresses.push(word.parse().with_context(|| format!("{word} is not a valid IP"))?);
        }
    }
    Ok(addresses)
}

async fn service_of(session: &Session, target: &str) -> Result<Option<Value>> {
    let Some((word, name)) = target.split_once('/') else { return Ok(None) };
    if !matches!(word, "service" | "services" | "svc") {
        return Ok(None);
    }
    let services = Kind::built_in("", "v1", "Service", "services", true);
    Ok(Some(session.get(&services.object(&session.namespace, name)).await?))
}

/// The container's port for what the user named: a service's port leads to its target port.
fn resolve(word: &str, service: Option<&Value>, pod: &Value) -> Result<u16> {
    let number = |value: Option<i64>| value.and_then(|value| u16::try_from(value).ok());
    if let Some(service) = service {
        let wanted = |port: &&Value| {
            text_at(port, "/name") == word
                || number_at(port, "/port").is_some_and(|n| n.to_string() == word)
        };
        let Some(port) = items_at(service, "/spec/ports").find(wanted) else {
            bail!("Service {} does not have a service port {word}", name(service));
        };
        return match port.get("targetPort") {
            Some(Value::String(named)) => named_port(named, pod),
            target => number(target.and_then(Value::as_i64))
                .or(number(number_at(port, "/port")))
                .context("the service's target port is no port"),
        };
    }
    word.parse().or_else(|_| named_port(word, pod))
}

fn named_port(word: &str, pod: &Value) -> Result<u16> {
    let mut ports =
        items_at(pod, "/spec/containers").flat_map(|container| items_at(container, "/ports"));
    let found = ports.find(|port| text_at(port, "/name") == word);
    found
        .and_then(|port| u16::try_from(number_at(port, "/containerPort")?).ok())
        .with_context(|| format!("Pod '{}' does not have a named port '{word}'", name(pod)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_are_parsed() {
        let mapping = |local, remote: &str| Mapping { local, remote: remote.to_owned() };
        assert_eq!(parse("80").unwrap(), mapping(80, "80"));
        assert_eq!(parse("8080:80").unwrap(), mapping(8080, "80"));
        assert_eq!(parse(":80").unwrap(), mapping(0, "80"));
        assert_eq!(parse("8080:http").unwrap(), mapping(8080, "http"));
        assert!(parse("x:80").is_err() && parse("80:").is_err());
    }

    #[test]
    fn service_ports_lead_to_target_ports() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]}});
        let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [
            {"port": 80, "targetPort": "http"}, {"name": "db", "port": 5432, "targetPort": 5433}, {"port": 9},
        ]}});
        for (word, expected) in [("80", 8080), ("db", 5433), ("5432", 5433), ("9", 9)] {
            assert_eq!(resolve(word, Some(&service), &pod).unwrap(), expected);
        }
        assert!(resolve("81", Some(&service), &pod).is_err());
        assert_eq!(resolve("http", None, &pod).unwrap(), 8080);
        assert_eq!(resolve("7", None, &pod).unwrap(), 7);
        assert!(resolve("nope", None, &pod).is_err());
    }
}
