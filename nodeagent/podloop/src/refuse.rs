//! Pods that a microVM cannot or must not run. They fail at once, and the message says what to do instead.

use k8s_openapi::api::core::v1::{Pod, PodSpec, Volume};

use crate::machine::Failure;

/// Why this node will not run the pod; `None` when it will.
#[must_use]
pub fn refuse(pod: &Pod) -> Option<Failure> {
    let spec = pod.spec.as_ref()?;
    refuse_host_access(spec)
        .or_else(|| spec.volumes.iter().flatten().find_map(refuse_volume))
        .or_else(|| refuse_containers(spec))
}

fn refuse_host_access(spec: &PodSpec) -> Option<Failure> {
    let advice = "every pod has its own kernel here, so there is no host namespace to join";
    if spec.host_network == Some(true) {
        let text = format!(
            "hostNetwork is not supported: {advice}; remove spec.hostNetwork and use a Service of type NodePort"
        );
        return Some(failure("HostNetworkUnsupported", text));
    }
    if spec.host_pid == Some(true) {
        let text = format!("hostPID is not supported: {advice}; remove spec.hostPID");
        return Some(failure("HostPIDUnsupported", text));
    }
    if spec.host_ipc == Some(true) {
        let text = format!("hostIPC is not supported: {advice}; remove spec.hostIPC");
        return Some(failure("HostIPCUnsupported", text));
    }
    if spec.os.as_ref().is_some_and(|os| os.name != "linux") {
        let text = "only pods with spec.os.name linux run on this node".to_owned();
        return Some(failure("PodOSNotSupported", text));
    }
    None
}

fn refuse_volume(volume: &Volume) -> Option<Failure> {
    if volume.host_path.is_some() {
        let text = format!(
            "volume \"{}\": hostPath is not supported: a pod cannot see the node's files; use emptyDir, configMap, secret or projected",
            volume.name
        );
        return Some(failure("HostPathUnsupported", text));
    }
    let known = volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.projected.is_some()
        || volume.downward_api.is_some();
    let empty_dir = volume.empty_dir.as_ref();
    let memory_or_disk =
        empty_dir.is_some_and(|dir| matches!(dir.medium.as_deref(), None | Some("" | "Memory")));
    if known || memory_or_disk {
        return None;
    }
    let text = format!(
        "volume \"{}\": this kind of volume is not supported; use emptyDir (medium \"\" or Memory), configMap, secret, projected or downwardAPI",
        volume.name
    );
    Some(failure("VolumeUnsupported", text))
}

fn refuse_containers(spec: &PodSpec) -> Option<Failure> {
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    for container in inits.iter().chain(&spec.containers) {
        let ports = container.ports.as_deref().unwrap_or_default();
        if let Some(port) = ports.iter().find_map(|port| port.host_port.filter(|port| *port != 0)) {
            let text = format!(
                "container \"{}\": hostPort {port} is not supported; use a Service of type NodePort",
                container.name
            );
            return Some(failure("HostPortUnsupported", text));
        }
        if container.volume_devices.as_ref().is_some_and(|devices| !devices.is_empty()) {
            let text = format!("container \"{}\": volumeDevices are not supported", container.name);
            return Some(failure("VolumeUnsupported", text));
        }
    }
    None
}

fn failure(reason: &str, message: String) -> Failure {
    Failure { reason: reason.to_owned(), message }
}
