//! Users, capabilities and privileges: the container's security context over the pod's over the image's.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Capabilities, Container, Pod, SeccompProfile};

use super::{ImageConfig, Rejection};

/// What a container may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Security {
    pub user: String,
    pub supplementary_gids: Vec<u32>,
    pub read_only_root: bool,
    pub privileged: bool,
    pub no_new_privileges: bool,
    pub capabilities: Vec<String>,
    pub seccomp: String,
    pub run_as_non_root: bool,
}

/// The set that container runtimes give by default.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Every capability of Linux (include/uapi/linux/capability.h).
const ALL_CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// Merges the contexts.
///
/// # Errors
/// `runAsNonRoot` and a user that is, or may be, root.
pub fn merge(pod: &Pod, container: &Container, image: &ImageConfig) -> Result<Security, Rejection> {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.clone());
    let of_pod = of_pod.unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let privileged = own.privileged.unwrap_or(false);
    let user = own.run_as_user.or(of_pod.run_as_user);
    let group = own.run_as_group.or(of_pod.run_as_group);
    let run_as_non_root = own.run_as_non_root.or(of_pod.run_as_non_root).unwrap_or(false);
    if run_as_non_root {
        check_non_root(user, image)?;
    }
    let gids = of_pod.supplemental_groups.iter().flatten().copied().chain(of_pod.fs_group);
    let gids: BTreeSet<u32> = gids.filter_map(|gid| u32::try_from(gid).ok()).collect();
    let escalation = own.allow_privilege_escalation.unwrap_or(true);
    Ok(Security {
        user: user_text(user, group, image),
        supplementary_gids: gids.into_iter().collect(),
        read_only_root: own.read_only_root_filesystem.unwrap_or(false),
        privileged,
        no_new_privileges: !escalation && !privileged,
        capabilities: capabilities(own.capabilities.as_ref(), privileged),
        seccomp: seccomp(own.seccomp_profile.or(of_pod.seccomp_profile).as_ref(), privileged),
        run_as_non_root,
    })
}

/// As `verifyRunAsNonRoot` in `pkg/kubelet/kuberuntime/security_context.go`.
fn check_non_root(user: Option<i64>, image: &ImageConfig) -> Result<(), Rejection> {
    let refuse = |message: String| Err(Rejection::config(message));
    let of_image = image.user.split(':').next().unwrap_or_default();
    match user {
        Some(0) => refuse("container's runAsUser breaks non-root policy".into()),
        Some(_) => Ok(()),
        None if of_image.is_empty() || of_image == "0" => {
            refuse("container has runAsNonRoot and image will run as root".into())
        }
        None if of_image.parse::<u32>().is_err() => refuse(format!(
            "container has runAsNonRoot and image has non-numeric user ({of_image}), cannot verify user is non-root"
        )),
        None => Ok(()),
    }
}

fn user_text(user: Option<i64>, group: Option<i64>, image: &ImageConfig) -> String {
    let (image_user, image_group) = match image.user.split_once(':') {
        Some((user, group)) => (user, Some(group.to_owned())),
        None => (image.user.as_str(), None),
    };
    // A user given by the pod does not inherit the image's group.
    let inherited = if user.is_none() { image_group } else { None };
    let name = user.map_or_else(|| image_user.to_owned(), |user| user.to_string());
    match group.map(|group| group.to_string()).or(inherited) {
        Some(group) if name.is_empty() => format!("0:{group}"),
        Some(group) => format!("{name}:{group}"),
        None => name,
    }
}

fn capabilities(change: Option<&Capabilities>, privileged: bool) -> Vec<String> {
    let all = || ALL_CAPABILITIES.iter().map(ToString::to_string);
    let mut set: BTreeSet<String> = if privileged {
        all().collect()
    } else {
        DEFAULT_CAPABILITIES.iter().map(ToString::to_string).collect()
    };
    if let Some(change) = change.filter(|_| !privileged) {
        let plain = |name: &String| name.to_uppercase().trim_start_matches("CAP_").to_owned();
        let add: Vec<String> = change.add.iter().flatten().map(plain).collect();
        let drop: Vec<String> = change.drop.iter().flatten().map(plain).collect();
        if add.iter().any(|name| name == "ALL") {
            set = all().collect();
        }
        if drop.iter().any(|name| name == "ALL") {
            set.clear();
        }
        set.extend(add.into_iter().filter(|name| ALL_CAPABILITIES.contains(&name.as_str())));
        for name in drop {
            set.remove(&name);
        }
    }
    set.into_iter().map(|name| format!("CAP_{name}")).collect()
}

fn seccomp(profile: Option<&SeccompProfile>, privileged: bool) -> String {
    match profile.map(|profile| profile.type_.as_str()) {
        Some("RuntimeDefault") if !privileged => String::new(),
        // No profile is unconfined, as with a kubelet without SeccompDefault.
        Some(_) | None => "unconfined".into(),
    }
}
