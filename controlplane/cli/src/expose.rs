//! `expose`: a Service in front of what has pods.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::{
    discovery::{Kind, Kinds},
    json::{entries_at, items_at, name, text_at},
    select,
    send::{self, Writing},
    session::Session,
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// TYPE NAME or TYPE/NAME
    #[arg(required = true)]
    pub resources: Vec<String>,
    /// The port that the service should serve on; copied from the resource being exposed, if unspecified
    #[arg(long)]
    pub port: Option<u16>,
    /// Name or number for the port on the container that the service should direct traffic to
    #[arg(long)]
    pub target_port: Option<String>,
    /// The network protocol for the service to be created
    #[arg(long, default_value = "TCP")]
    pub protocol: String,
    /// Type for this service: ClusterIP, NodePort, LoadBalancer, or ExternalName
    #[arg(long = "type")]
    pub service_type: Option<String>,
    /// The name for the newly created object
    #[arg(long)]
    pub name: Option<String>,
    /// A label selector to use for this service: key=value,...
    #[arg(long)]
    pub selector: Option<String>,
    /// Labels to apply to the service created by this call
    #[arg(short, long)]
    pub labels: Option<String>,
    /// ClusterIP to be assigned to the service; "None" makes it headless
    #[arg(long)]
    pub cluster_ip: Option<String>,
    #[command(flatten)]
    pub writing: Writing,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

/// Creates the services.
///
/// # Errors
/// What the server answers, or when neither selector nor port can be found.
pub async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    let kinds = Kinds::discover(session).await?;
    let services = Kind::built_in("", "v1", "Service", "services", true);
    for (kind, target) in select::parse_named(&kinds, &arguments.resources)? {
        let object = session.get(&kind.object(&session.namespace, &target)).await?;
        let mut service = plan(&object, &arguments)?;
        service["metadata"]["namespace"] = session.namespace.clone().into();
        if arguments.writing.stays_here() {
            arguments.writing.report(&services, "exposed", &service)?;
            continue;
        }
        let query = arguments.writing.path("", "kubectl-expose");
        let created = send::post(session, &services, &service, &query).await?;
        arguments.writing.report(&services, "exposed", &created)?;
    }
    Ok(())
}

fn plan(object: &Value, arguments: &Arguments) -> Result<Value> {
    let selector = match &arguments.selector {
        Some(text) => pairs(text)?,
        None => selector_of(object)?,
    };
    let ports = ports(object, arguments)?;
    let name = arguments.name.as_deref().unwrap_or_else(|| name(object));
    let mut service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name },
        "spec": { "ports": ports, "selector": selector },
    });
    let labels = match &arguments.labels {
        Some(text) => pairs(text)?,
        None => object.pointer("/metadata/labels").cloned().unwrap_or(Value::Null),
    };
    if !labels.is_null() {
        service["metadata"]["labels"] = labels;
    }
    if let Some(kind) = &arguments.service_type {
        service["spec"]["type"] = kind.clone().into();
    }
    if let Some(address) = &arguments.cluster_ip {
        service["spec"]["clusterIP"] = address.clone().into();
    }
    Ok(service)
}

/// `key=value,...` as a map.
pub(crate) fn pairs(text: &str) -> Result<Value> {
    let mut map = serde_json::Map::new();
    for pair in text.split(',').filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            bail!("unexpected label spec: {pair}");
        };
        map.insert(key.to_owned(), value.into());
    }
    Ok(Value::Object(map))
}

fn selector_of(object: &Value) -> Result<Value> {
    let found = match text_at(object, "/kind") {
        "Pod" => object.pointer("/metadata/labels"),
        "Service" | "ReplicationController" => object.pointer("/spec/selector"),
        _ => object.pointer("/spec/selector/matchLabels"),
    };
    match found {
        Some(Value::Object(labels)) if !labels.is_empty() => Ok(Value::Object(labels.clone())),
        _ => bail!(
            "couldn't retrieve selectors via --selector flag or introspection: invalid deployment: no selectors, therefore cannot be exposed"
        ),
    }
}

fn ports(object: &Value, arguments: &Arguments) -> Result<Vec<Value>> {
    let numbers: Vec<(i64, String)> = match arguments.port {
        Some(port) => vec![(i64::from(port), arguments.protocol.clone())],
        None => declared_ports(object),
    };
    if numbers.is_empty() {
        bail!("couldn't find port via --port flag or introspection");
    }
    let many = numbers.len() > 1;
    let port = |(index, (number, protocol)): (usize, (i64, String))| {
        let target = arguments.target_port.as_deref().map_or(json!(number), |target| {
            target.parse::<u16>().map_or_else(|_| json!(target), |number| json!(number))
        });
        let mut port = json!({ "port": number, "protocol": protocol, "targetPort": target });
        if many {
            port["name"] = format!("port-{}", index + 1).into();
        }
        port
    };
    Ok(numbers.into_iter().enumerate().map(port).collect())
}

fn declared_ports(object: &Value) -> Vec<(i64, String)> {
    let protocol = |port: &Value| match text_at(port, "/protocol") {
        "" => "TCP".to_owned(),
        protocol => protocol.to_owned(),
    };
    let of = |list: &Value, pointer: &str, field: &str| -> Vec<(i64, String)> {
        items_at(list, pointer)
            .filter_map(|port| Some((port.get(field)?.as_i64()?, protocol(port))))
            .collect()
    };
    if text_at(object, "/kind") == "Service" {
        return of(object, "/spec/ports", "port");
    }
    let spec = if text_at(object, "/kind") == "Pod" { "/spec" } else { "/spec/template/spec" };
    items_at(object, &format!("{spec}/containers"))
        .flat_map(|container| of(container, "/ports", "containerPort"))
        .collect()
}

/// The labels of a map as `key=value,...`, for selectors in queries.
#[must_use]
pub(crate) fn selector_text(object: &Value, pointer: &str) -> String {
    let pairs = entries_at(object, pointer).into_iter();
    pairs
        .map(|(key, value)| format!("{key}={}", crate::json::scalar(value)))
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Tool {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn plan_of(line: &str, object: &Value) -> Result<Value> {
        plan(object, &Tool::parse_from(line.split_whitespace()).arguments)
    }

    #[test]
    fn ports_and_selector_come_from_the_object() {
        let deployment = json!({
            "kind": "Deployment",
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"spec": {"containers": [{"ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]}]}},
            },
        });
        let service = plan_of(
            "expose deploy/web --port=8080 --target-port http --type=NodePort",
            &deployment,
        )
        .unwrap();
        assert_eq!(
            service["spec"]["ports"],
            json!([{"port": 8080, "protocol": "TCP", "targetPort": "http"}])
        );
        assert_eq!(service["spec"]["selector"], json!({"app": "web"}));
        assert_eq!(service["spec"]["type"], "NodePort");
        let service = plan_of("expose deploy/web", &deployment).unwrap();
        assert_eq!(
            service["spec"]["ports"][1],
            json!({"name": "port-2", "port": 53, "protocol": "UDP", "targetPort": 53})
        );
        let pod = json!({"kind": "Pod", "metadata": {"name": "a"}, "spec": {}});
        assert!(plan_of("expose pod/a --port=1", &pod).is_err());
        assert!(plan_of("expose pod/a --selector=a=b", &pod).is_err());
    }
}
