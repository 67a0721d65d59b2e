//! Translates a Kubernetes pod into what the guest is asked: pure functions over already resolved facts.

pub mod command;
pub mod env;
pub mod fields;
pub mod resolv;
pub mod resources;
pub mod sandbox;
pub mod security;
pub mod sizing;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use proto::guest;

pub use env::{Objects, ServiceFact};

/// What the image says about running it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// "NAME=value".
    pub env: Vec<String>,
    pub working_dir: String,
    pub user: String,
}

/// What the node knows and a pod may ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    pub node_name: String,
    pub node_ip: String,
    pub pod_ip: String,
    /// Allocatable CPU in thousandths and memory in bytes: the default of `resourceFieldRef` limits.
    pub cpu_milli: i64,
    pub memory_bytes: i64,
    pub cluster_domain: String,
    pub cluster_dns: String,
    /// The node's own /etc/resolv.conf, for `dnsPolicy: Default`.
    pub resolv_conf: String,
}

/// Why a container cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Rejection {
    /// `CreateContainerConfigError` or `CreateContainerError`.
    pub reason: &'static str,
    pub message: String,
}

impl Rejection {
    #[must_use]
    pub fn config(message: impl Into<String>) -> Self {
        Self { reason: "CreateContainerConfigError", message: message.into() }
    }
}

/// Everything about one container of a pod, resolved.
#[derive(Debug)]
pub struct ContainerInput<'a> {
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub id: String,
    pub image: &'a ImageConfig,
    /// Top first.
    pub layer_devices: Vec<String>,
    pub facts: &'a NodeFacts,
    pub objects: &'a Objects,
    pub services: &'a [ServiceFact],
}

/// The API's default `terminationMessagePath`.
const TERMINATION_MESSAGE_PATH: &str = "/dev/termination-log";

/// Makes the guest's `Container`.
///
/// # Errors
/// A missing configMap, secret or key, an impossible user: shown as the container's waiting reason.
pub fn container(input: &ContainerInput<'_>) -> Result<guest::Container, Rejection> {
    let env = env::environment(input)?;
    let args = command::command_line(input.container, input.image, &env);
    if args.is_empty() {
        let message = "failed to generate container spec: no command specified".to_owned();
        return Err(Rejection { reason: "CreateContainerError", message });
    }
    let security = security::merge(input.pod, input.container, input.image)?;
    let container = input.container;
    let cwd = container.working_dir.clone().filter(|dir| !dir.is_empty());
    Ok(guest::Container {
        id: input.id.clone(),
        layer_devices: input.layer_devices.clone(),
        args,
        cwd: cwd.unwrap_or_else(|| default_dir(&input.image.working_dir)),
        user: security.user,
        supplementary_gids: security.supplementary_gids,
        mounts: mounts(container, &env)?,
        env: env.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
        tty: container.tty.unwrap_or(false),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        read_only_root: security.read_only_root,
        privileged: security.privileged,
        no_new_privileges: security.no_new_privileges,
        capabilities: security.capabilities,
        limits: Some(resources::limits(container)),
        seccomp: security.seccomp,
        termination_message_path: container
            .termination_message_path
            .clone()
            .filter(|path| !path.is_empty())
            .unwrap_or_else(|| TERMINATION_MESSAGE_PATH.into()),
        run_as_non_root: security.run_as_non_root,
    })
}

fn default_dir(image: &str) -> String {
    if image.is_empty() { "/".into() } else { image.to_owned() }
}

fn mounts(container: &Container, env: &[(String, String)]) -> Result<Vec<guest::Mount>, Rejection> {
    let variables: BTreeMap<&str, &str> =
        env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    container.volume_mounts.iter().flatten().map(|mount| one_mount(mount, &variables)).collect()
}

fn one_mount(mount: &VolumeMount, env: &BTreeMap<&str, &str>) -> Result<guest::Mount, Rejection> {
    let expanded = mount.sub_path_expr.as_ref().map(|text| command::expand(text, env));
    let sub_path = expanded.or_else(|| mount.sub_path.clone()).unwrap_or_default();
    if sub_path.starts_with('/') || sub_path.split('/').any(|part| part == "..") {
        let message = format!("subPath \"{sub_path}\" must be relative and hold no \"..\"");
        return Err(Rejection::config(message));
    }
    Ok(guest::Mount {
        volume: mount.name.clone(),
        sub_path,
        destination: mount.mount_path.clone(),
        read_only: mount.read_only.unwrap_or(false),
    })
}
