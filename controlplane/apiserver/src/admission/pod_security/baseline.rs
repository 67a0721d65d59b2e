//! The checks of the baseline standard. Upstream: `pod-security-admission/policy/check_*.go`.

use serde_json::Value;

use super::view::{Finding, View, containers, name, plural, quoted, set};

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Safe sysctls with the version that added them.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];
const SE_LINUX_TYPES: [&str; 4] = ["", "container_t", "container_init_t", "container_kvm_t"];
/// Allowed since 1.31.
const SE_LINUX_ENGINE: &str = "container_engine_t";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

pub fn app_armor(view: &View<'_>) -> Option<Finding> {
    let is_bad =
        |owner: &Value| owner["securityContext"]["appArmorProfile"]["type"] == "Unconfined";
    let mut details = Vec::new();
    if is_bad(view.spec) {
        details.push("pod must not set AppArmor profile type to \"Unconfined\"".to_owned());
    }
    let names = view.names(is_bad);
    if !names.is_empty() {
        let names = containers(&names);
        details.push(format!("{names} must not set AppArmor profile type to \"Unconfined\""));
    }
    let annotations = view.metadata["annotations"].as_object().into_iter().flatten();
    let bad: Vec<String> = annotations
        .filter(|(key, value)| {
            let value = value.as_str().unwrap_or_default();
            let fine =
                value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
            key.starts_with(APP_ARMOR) && !fine
        })
        .map(|(key, value)| format!("{key:?}={value}"))
        .collect();
    if !bad.is_empty() {
        let what = plural("annotation", "annotations", bad.len());
        details.push(format!("{what} {}", set(bad).join(", ")));
    }
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", details.len());
    (!details.is_empty()).then(|| Finding::new(reason, details.join("; ")))
}

/// Containers that add capabilities outside of `allowed`, and which.
pub fn added<'a>(view: &View<'a>, allowed: &[&str]) -> (Vec<&'a str>, Vec<String>) {
    let mut bad = Vec::new();
    let names = view.containers().filter(|container| {
        let before = bad.len();
        let adds = texts(&container["securityContext"]["capabilities"]["add"]);
        bad.extend(adds.filter(|one| !allowed.contains(one)).map(str::to_owned));
        bad.len() > before
    });
    let names = names.map(name).collect();
    (names, set(bad))
}

pub fn capabilities(view: &View<'_>) -> Option<Finding> {
    let (names, bad) = added(view, &CAPABILITIES);
    (!names.is_empty()).then(|| {
        let names = containers(&names);
        Finding::new(
            "non-default capabilities",
            format!(
                "{names} must not include {} in securityContext.capabilities.add",
                quoted(&bad)
            ),
        )
    })
}

pub fn host_namespaces(view: &View<'_>) -> Option<Finding> {
    let set: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|field| view.spec[**field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    (!set.is_empty()).then(|| Finding::new("host namespaces", set.join(", ")))
}

pub fn host_path_volumes(view: &View<'_>) -> Option<Finding> {
    let volumes = view.spec["volumes"].as_array().into_iter().flatten();
    let names: Vec<&str> =
        volumes.filter(|volume| volume["hostPath"].is_object()).map(name).collect();
    let what = plural("volume", "volumes", names.len());
    (!names.is_empty())
        .then(|| Finding::new("hostPath volumes", format!("{what} {}", quoted(&names))))
}

pub fn host_ports(view: &View<'_>) -> Option<Finding> {
    let mut ports = Vec::new();
    let names: Vec<&str> = view
        .containers()
        .filter(|container| {
            let all = container["ports"].as_array().into_iter().flatten();
            let own: Vec<String> = all
                .filter_map(|port| port["hostPort"].as_u64().filter(|port| *port > 0))
                .map(|port| port.to_string())
                .collect();
            let any = !own.is_empty();
            ports.extend(own);
            any
        })
        .map(name)
        .collect();
    if names.is_empty() {
        return None;
    }
    let ports = set(ports);
    let detail = format!(
        "{} {} {} {}",
        containers(&names),
        plural("uses", "use", names.len()),
        plural("hostPort", "hostPorts", ports.len()),
        ports.join(", ")
    );
    Some(Finding::new("hostPort", detail))
}

/// Hosts that a container's probes and hooks name.
fn hosts(container: &Value) -> Vec<String> {
    let handlers = [
        &container["livenessProbe"],
        &container["readinessProbe"],
        &container["startupProbe"],
        &container["lifecycle"]["postStart"],
        &container["lifecycle"]["preStop"],
    ];
    let named = handlers.iter().flat_map(|handler| [&handler["httpGet"], &handler["tcpSocket"]]);
    named
        .filter_map(|action| action["host"].as_str())
        .filter(|host| !matches!(*host, "" | "127.0.0.1" | "::1"))
        .map(str::to_owned)
        .collect()
}

pub fn probe_hosts(view: &View<'_>) -> Option<Finding> {
    let names = view.names(|container| !hosts(container).is_empty());
    if names.is_empty() {
        return None;
    }
    let bad = set(view.containers().flat_map(hosts).collect());
    let detail = format!(
        "{} {} probe or lifecycle {} {}",
        containers(&names),
        plural("uses", "use", names.len()),
        plural("host", "hosts", bad.len()),
        quoted(&bad)
    );
    Some(Finding::new("probe or lifecycle host", detail))
}

pub fn privileged(view: &View<'_>) -> Option<Finding> {
    let names = view.names(|container| container["securityContext"]["privileged"] == true);
    (!names.is_empty()).then(|| {
        let names = containers(&names);
        Finding::new("privileged", format!("{names} must not set securityContext.privileged=true"))
    })
}

pub fn proc_mount(view: &View<'_>) -> Option<Finding> {
    let kind = |container: &Value| {
        let mount = container["securityContext"]["procMount"].as_str().unwrap_or("Default");
        mount.to_owned()
    };
    let names = view.names(|container| kind(container) != "Default");
    let kinds = set(view.containers().map(kind).filter(|kind| kind != "Default").collect());
    (!names.is_empty()).then(|| {
        let (names, kinds) = (containers(&names), quoted(&kinds));
        Finding::new(
            "procMount",
            format!("{names} must not set securityContext.procMount to {kinds}"),
        )
    })
}

pub fn se_linux(view: &View<'_>) -> Option<Finding> {
    let engine = view.version.is_at_least(31);
    let mut kinds = Vec::new();
    let (mut user, mut role) = (false, false);
    let mut is_bad = |owner: &Value| {
        let options = &owner["securityContext"]["seLinuxOptions"];
        let text = |field: &str| options[field].as_str().unwrap_or_default();
        let kind = text("type");
        let fine = SE_LINUX_TYPES.contains(&kind) || (engine && kind == SE_LINUX_ENGINE);
        let bad_kind = !fine;
        if bad_kind {
            kinds.push(kind.to_owned());
        }
        user |= !text("user").is_empty();
        role |= !text("role").is_empty();
        bad_kind || !text("user").is_empty() || !text("role").is_empty()
    };
    let mut setters = Vec::new();
    if is_bad(view.spec) {
        setters.push("pod".to_owned());
    }
    let names: Vec<&str> = view.containers().filter(|one| is_bad(one)).map(name).collect();
    if !names.is_empty() {
        setters.push(containers(&names));
    }
    if setters.is_empty() {
        return None;
    }
    let mut data = Vec::new();
    if !kinds.is_empty() {
        let kinds = set(kinds);
        data.push(format!("{} {}", plural("type", "types", kinds.len()), quoted(&kinds)));
    }
    data.extend(user.then(|| "user may not be set".to_owned()));
    data.extend(role.then(|| "role may not be set".to_owned()));
    let detail = format!(
        "{} set forbidden securityContext.seLinuxOptions: {}",
        setters.join(" and "),
        data.join("; ")
    );
    Some(Finding::new("seLinuxOptions", detail))
}

pub fn seccomp(view: &View<'_>) -> Option<Finding> {
    let is_bad = |owner: &Value| owner["securityContext"]["seccompProfile"]["type"] == "Unconfined";
    let who = setters(view, is_bad)?;
    let detail =
        format!("{who} must not set securityContext.seccompProfile.type to \"Unconfined\"");
    Some(Finding::new("seccompProfile", detail))
}

/// Who does what is forbidden: the pod, containers by name, or both; `None` when nobody does.
fn setters(view: &View<'_>, is_bad: impl Fn(&Value) -> bool) -> Option<String> {
    let mut setters = Vec::new();
    if is_bad(view.spec) {
        setters.push("pod".to_owned());
    }
    let names = view.names(is_bad);
    if !names.is_empty() {
        setters.push(containers(&names));
    }
    (!setters.is_empty()).then(|| setters.join(" and "))
}

pub fn sysctls(view: &View<'_>) -> Option<Finding> {
    let list = view.spec["securityContext"]["sysctls"].as_array().into_iter().flatten();
    let safe = |wanted: &str| {
        SYSCTLS.iter().any(|(name, since)| *name == wanted && view.version.is_at_least(*since))
    };
    let bad: Vec<&str> = list.map(name).filter(|name| !safe(name)).collect();
    (!bad.is_empty()).then(|| Finding::new("forbidden sysctls", bad.join(", ")))
}

pub fn host_process(view: &View<'_>) -> Option<Finding> {
    let is_bad = |owner: &Value| owner["securityContext"]["windowsOptions"]["hostProcess"] == true;
    let who = setters(view, is_bad)?;
    let detail = format!("{who} must not set securityContext.windowsOptions.hostProcess=true");
    Some(Finding::new("hostProcess", detail))
}
