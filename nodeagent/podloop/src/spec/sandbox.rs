//! The guest's `Sandbox`: names, network, volumes.

use k8s_openapi::api::core::v1::{Pod, Volume};
use proto::guest;

use super::{NodeFacts, resolv};
use crate::quantity;

/// The pod's network card, as attached on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    pub mac: [u8; 6],
    pub address: String,
    pub prefix_length: u8,
    pub gateway: String,
    pub mtu: u32,
}

/// Longest host name of Linux.
const HOSTNAME_MAX: usize = 63;

/// Makes the `Sandbox` of a pod. `scratch_device` is empty when the VM has no scratch disk.
#[must_use]
pub fn sandbox(pod: &Pod, facts: &NodeFacts, card: &Card, scratch_device: &str) -> guest::Sandbox {
    let spec = pod.spec.clone().unwrap_or_default();
    let fqdn = fully_qualified(pod, &facts.cluster_domain);
    let name = hostname(pod);
    let as_fqdn = spec.set_hostname_as_fqdn == Some(true);
    let kernel_name = fqdn.clone().filter(|fqdn| as_fqdn && fqdn.len() <= HOSTNAME_MAX);
    let context = spec.security_context.clone().unwrap_or_default();
    let gid = context.fs_group.and_then(|gid| u32::try_from(gid).ok());
    guest::Sandbox {
        hosts: resolv::hosts(pod, &name, fqdn.as_deref(), &card.address),
        hostname: kernel_name.unwrap_or(name),
        interfaces: vec![guest::Interface {
            mac: card.mac.to_vec().into(),
            name: "eth0".into(),
            addresses: vec![format!("{}/{}", card.address, card.prefix_length)],
            mtu: card.mtu,
        }],
        routes: vec![guest::Route {
            destination: "0.0.0.0/0".into(),
            gateway: card.gateway.clone(),
            interface: "eth0".into(),
        }],
        resolv_conf: resolv::resolv_conf(pod, facts),
        volumes: spec.volumes.iter().flatten().map(|volume| guest_volume(volume, gid)).collect(),
        sysctls: context.sysctls.into_iter().flatten().map(|s| (s.name, s.value)).collect(),
        scratch_device: scratch_device.to_owned(),
        share_process_namespace: spec.share_process_namespace.unwrap_or(false),
    }
}

/// `spec.hostnameOverride`, `spec.hostname`, or the pod's name, cut to what Linux takes.
#[must_use]
pub fn hostname(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    let given =
        spec.and_then(|spec| spec.hostname_override.clone().or_else(|| spec.hostname.clone()));
    let name = given.filter(|name| !name.is_empty()).or_else(|| pod.metadata.name.clone());
    let mut name = name.unwrap_or_default();
    name.truncate(HOSTNAME_MAX);
    name.trim_end_matches(['-', '.']).to_owned()
}

fn fully_qualified(pod: &Pod, domain: &str) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let subdomain = spec.subdomain.as_deref().filter(|text| !text.is_empty())?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    Some(format!("{}.{subdomain}.{namespace}.svc.{domain}", hostname(pod)))
}

fn guest_volume(volume: &Volume, gid: Option<u32>) -> guest::Volume {
    use guest::volume::Source;
    let source = match &volume.empty_dir {
        Some(dir) => {
            let limit = dir.size_limit.as_ref().and_then(|limit| quantity::whole(&limit.0));
            Source::EmptyDir(guest::EmptyDir {
                memory: dir.medium.as_deref() == Some("Memory"),
                size_limit_bytes: limit.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
                gid,
            })
        }
        None => Source::Files(guest::Files {}),
    };
    guest::Volume { name: volume.name.clone(), source: Some(source) }
}

/// The guest's name of its n-th disk: /dev/vda, ..., /dev/vdz, /dev/vdaa.
#[must_use]
pub fn disk_name(index: usize) -> String {
    let letter = |at: usize| char::from(b'a' + u8::try_from(at % 26).expect("below 26"));
    let mut suffix = letter(index).to_string();
    let mut rest = index / 26;
    while rest > 0 {
        suffix.insert(0, letter(rest - 1));
        rest = (rest - 1) / 26;
    }
    format!("/dev/vd{suffix}")
}

#[cfg(test)]
mod tests {
    use super::disk_name;

    #[test]
    fn disk_names() {
        for (index, expect) in
            [(0, "a"), (25, "z"), (26, "aa"), (51, "az"), (52, "ba"), (702, "aaa")]
        {
            assert_eq!(disk_name(index), format!("/dev/vd{expect}"));
        }
    }
}
