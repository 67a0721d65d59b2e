//! Host ports that are taken.

use k8s_openapi::api::core::v1::Pod;

use crate::framework::{Misfit, NodeInfo, Plugin, Snapshot, spec};

#[derive(Debug)]
pub(super) struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn filter(&self, pod: &Pod, node: &NodeInfo, _all: &Snapshot) -> Result<(), Misfit> {
        let wanted = host_ports(pod);
        let taken = node.pods.iter().flat_map(|other| host_ports(other));
        for (ip, protocol, port) in taken {
            let clash = wanted.iter().any(|(own_ip, own_protocol, own_port)| {
                *own_port == port
                    && *own_protocol == protocol
                    && (*own_ip == ip || is_any(own_ip) || is_any(ip))
            });
            if clash {
                return Err(Misfit::now(
                    "node(s) didn't have free ports for the requested pod ports",
                ));
            }
        }
        Ok(())
    }
}

fn is_any(ip: &str) -> bool {
    matches!(ip, "" | "0.0.0.0" | "::")
}

fn host_ports(pod: &Pod) -> Vec<(&str, &str, i32)> {
    let ports = spec(pod).containers.iter().flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number != 0)?;
            Some((
                port.host_ip.as_deref().unwrap_or(""),
                port.protocol.as_deref().unwrap_or("TCP"),
                number,
            ))
        })
        .collect()
}
