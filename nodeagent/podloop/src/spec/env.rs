//! The environment of a container: image, service links, `envFrom`, `env`, in that order of precedence.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, Pod};

use super::{ContainerInput, Rejection, command::expand, fields};

/// Keys and values of one configMap or secret.
pub type Data = Arc<BTreeMap<String, Vec<u8>>>;

/// The configMaps and secrets that a pod refers to and that exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objects {
    pub config_maps: BTreeMap<String, Data>,
    pub secrets: BTreeMap<String, Data>,
}

/// A Service as containers see it in their environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFact {
    pub namespace: String,
    pub name: String,
    pub cluster_ip: String,
    /// Name (may be empty), port, protocol.
    pub ports: Vec<(String, u16, String)>,
}

/// The names of the configMaps and secrets in a pod's environment.
#[must_use]
pub fn references(pod: &Pod) -> (Vec<String>, Vec<String>) {
    let (mut config_maps, mut secrets) = (Vec::new(), Vec::new());
    let Some(spec) = &pod.spec else { return (config_maps, secrets) };
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    for container in containers {
        for source in container.env_from.iter().flatten() {
            config_maps.extend(source.config_map_ref.iter().map(|r| r.name.clone()));
            secrets.extend(source.secret_ref.iter().map(|r| r.name.clone()));
        }
        for from in container.env.iter().flatten().filter_map(|env| env.value_from.as_ref()) {
            config_maps.extend(from.config_map_key_ref.iter().map(|r| r.name.clone()));
            secrets.extend(from.secret_key_ref.iter().map(|r| r.name.clone()));
        }
    }
    (config_maps, secrets)
}

/// The whole environment, each name once, in a stable order.
///
/// # Errors
/// A required configMap, secret or key is missing, or a field path is unknown.
pub fn environment(input: &ContainerInput<'_>) -> Result<Vec<(String, String)>, Rejection> {
    let mut env = Ordered::default();
    for entry in &input.image.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        env.set(name, value.to_owned());
    }
    env.set("HOSTNAME", super::sandbox::hostname(input.pod));
    let mut own: BTreeMap<String, String> = BTreeMap::new();
    for source in input.container.env_from.iter().flatten() {
        own.extend(from_source(source, input.objects)?);
    }
    // `$(VAR)` sees earlier entries of `env`, `envFrom` and service variables, not those of the image.
    let services = service_variables(input);
    for (name, value) in &services {
        env.set(name, value.clone());
    }
    for (name, value) in &own {
        env.set(name, value.clone());
    }
    for variable in input.container.env.iter().flatten() {
        let value = variable_value(variable, input, &own, &services)?;
        if let Some(value) = value {
            own.insert(variable.name.clone(), value.clone());
            env.set(&variable.name, value);
        }
    }
    Ok(env.entries)
}

#[derive(Default)]
struct Ordered {
    entries: Vec<(String, String)>,
}

impl Ordered {
    fn set(&mut self, name: &str, value: String) {
        match self.entries.iter_mut().find(|(known, _)| known == name) {
            Some(entry) => entry.1 = value,
            None => self.entries.push((name.to_owned(), value)),
        }
    }
}

fn from_source(
    source: &EnvFromSource,
    objects: &Objects,
) -> Result<Vec<(String, String)>, Rejection> {
    let prefix = source.prefix.as_deref().unwrap_or_default();
    let (kind, name, optional, data) = if let Some(reference) = &source.config_map_ref {
        let data = objects.config_maps.get(&reference.name);
        ("configmap", &reference.name, reference.optional, data)
    } else if let Some(reference) = &source.secret_ref {
        ("secret", &reference.name, reference.optional, objects.secrets.get(&reference.name))
    } else {
        return Ok(Vec::new());
    };
    let Some(data) = data else {
        return missing_object(kind, name, optional).map(|()| Vec::new());
    };
    let entries = data.iter().map(|(key, value)| (format!("{prefix}{key}"), text(value)));
    Ok(entries.filter(|(name, _)| is_variable_name(name)).collect())
}

/// `IsEnvVarName` with relaxed validation: printable ASCII without "=".
fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=')
}

fn missing_object(kind: &str, name: &str, optional: Option<bool>) -> Result<(), Rejection> {
    if optional == Some(true) {
        return Ok(());
    }
    Err(Rejection::config(format!("{kind} \"{name}\" not found")))
}

fn variable_value(
    variable: &EnvVar,
    input: &ContainerInput<'_>,
    own: &BTreeMap<String, String>,
    services: &BTreeMap<String, String>,
) -> Result<Option<String>, Rejection> {
    let Some(from) = &variable.value_from else {
        let known: BTreeMap<&str, &str> = services
            .iter()
            .chain(own)
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        return Ok(Some(expand(variable.value.as_deref().unwrap_or_default(), &known)));
    };
    if let Some(field) = &from.field_ref {
        return fields::field(input.pod, &field.field_path, input.facts).map(Some);
    }
    if let Some(resource) = &from.resource_field_ref {
        return fields::resource(input.pod, resource, &input.container.name, input.facts).map(Some);
    }
    let objects = input.objects;
    let (kind, name, key, optional, data) = if let Some(r) = &from.config_map_key_ref {
        ("configmap", &r.name, &r.key, r.optional, objects.config_maps.get(&r.name))
    } else if let Some(r) = &from.secret_key_ref {
        ("secret", &r.name, &r.key, r.optional, objects.secrets.get(&r.name))
    } else {
        let message = format!("env \"{}\": unsupported valueFrom", variable.name);
        return Err(Rejection::config(message));
    };
    let Some(data) = data else { return missing_object(kind, name, optional).map(|()| None) };
    match data.get(key) {
        Some(value) => Ok(Some(text(value))),
        None if optional == Some(true) => Ok(None),
        None => Err(missing_key(kind, name, key, input.pod)),
    }
}

fn missing_key(kind: &str, name: &str, key: &str, pod: &Pod) -> Rejection {
    let kind = if kind == "secret" { "Secret" } else { "ConfigMap" };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    Rejection::config(format!("couldn't find key {key} in {kind} {namespace}/{name}"))
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// Docker-link style variables of the namespace's Services; those of `kubernetes` always.
fn service_variables(input: &ContainerInput<'_>) -> BTreeMap<String, String> {
    let namespace = input.pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = input.pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let mut variables = BTreeMap::new();
    for service in input.services {
        let master = service.namespace == "default" && service.name == "kubernetes";
        let has_address = service.cluster_ip.contains(['.', ':']);
        if has_address && (master || links && service.namespace == namespace) {
            variables.extend(variables_of(service));
        }
    }
    variables
}

fn variables_of(service: &ServiceFact) -> Vec<(String, String)> {
    let prefix = service.name.to_uppercase().replace('-', "_");
    let ip = &service.cluster_ip;
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
    let mut out = vec![(format!("{prefix}_SERVICE_HOST"), ip.clone())];
    for (index, (name, port, protocol)) in service.ports.iter().enumerate() {
        let scheme = protocol.to_lowercase();
        let link = format!("{prefix}_PORT_{port}_{protocol}");
        let url = format!("{scheme}://{host}:{port}");
        if index == 0 {
            out.push((format!("{prefix}_SERVICE_PORT"), port.to_string()));
            out.push((format!("{prefix}_PORT"), url.clone()));
        }
        if !name.is_empty() {
            let name = name.to_uppercase().replace('-', "_");
            out.push((format!("{prefix}_SERVICE_PORT_{name}"), port.to_string()));
        }
        out.push((link.clone(), url));
        out.push((format!("{link}_PROTO"), scheme));
        out.push((format!("{link}_PORT"), port.to_string()));
        out.push((format!("{link}_ADDR"), ip.clone()));
    }
    out
}
