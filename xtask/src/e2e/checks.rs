//! The list of checks, in the order in which they run.

use anyhow::Result;

use super::{clients, failures, messages, nodes, pods, rollout, scene::Scene, services, streams};

/// One promise and how it is checked.
#[derive(Debug)]
pub struct Check {
    /// For `--only`; also the namespace's name.
    pub name: &'static str,
    /// What is true when it passes.
    pub proves: &'static str,
    pub run: fn(&Scene<'_>) -> Result<()>,
}

/// All checks; the ones that break things last.
pub const ALL: &[Check] = &[
    Check {
        name: "nodes-ready",
        proves: "machines without disks PXE-booted and their nodes are Ready",
        run: nodes::booted_and_ready,
    },
    Check {
        name: "pods-are-microvms",
        proves: "each pod has its own VMM process and its own kernel",
        run: pods::are_microvms,
    },
    Check { name: "pods-nginx", proves: "nginx serves its page", run: pods::nginx },
    Check {
        name: "pods-redis",
        proves: "redis answers a real client in another pod",
        run: pods::redis,
    },
    Check {
        name: "pods-several-containers",
        proves: "containers of a pod share network, volume and kernel",
        run: pods::several_containers,
    },
    Check {
        name: "streams-logs",
        proves: "logs, --tail, --previous and -f work",
        run: streams::logs,
    },
    Check {
        name: "streams-exec",
        proves: "exec passes input, output and exit codes, over WebSocket and SPDY",
        run: streams::exec,
    },
    Check {
        name: "streams-cp",
        proves: "cp copies files into and out of a pod unchanged",
        run: streams::copy,
    },
    Check {
        name: "streams-port-forward",
        proves: "port-forward reaches a pod and a Service",
        run: streams::port_forward,
    },
    Check {
        name: "services-reachable",
        proves: "a Service answers from another node's pod, from nodes, and by name",
        run: services::reachable,
    },
    Check {
        name: "services-balanced",
        proves: "a Service's requests reach every replica",
        run: services::balanced,
    },
    Check {
        name: "rollout-without-loss",
        proves: "a rolling update and its rollback fail no request",
        run: rollout::update_and_undo,
    },
    Check { name: "rollout-scale", proves: "a Deployment scales 3, 10, 2", run: rollout::scale },
    Check {
        name: "clients-kube-rs",
        proves: "kube-rs' own tests that make pods pass",
        run: clients::kube_rs,
    },
    Check {
        name: "messages-bad-image",
        proves: "an image that is not there is said as Kubernetes says it",
        run: messages::bad_image,
    },
    Check {
        name: "messages-unknown-field",
        proves: "an unknown field is refused by name",
        run: messages::unknown_field,
    },
    Check {
        name: "messages-wrong-token",
        proves: "a wrong token is Unauthorized",
        run: messages::wrong_token,
    },
    Check {
        name: "failures-oom",
        proves: "a pod over its memory limit is OOMKilled and says so",
        run: failures::out_of_memory,
    },
    Check {
        name: "failures-vmm-killed",
        proves: "a killed VMM is replaced and its neighbour is not touched",
        run: failures::vmm_killed,
    },
    Check {
        name: "failures-agent-killed",
        proves: "an agent killed with -9 comes back and its pods never stopped",
        run: failures::agent_killed,
    },
    Check {
        name: "failures-server-killed",
        proves: "a control plane killed with -9 under writes has every acknowledged object",
        run: failures::server_killed,
    },
    Check {
        name: "failures-node-off",
        proves: "a node without power becomes NotReady and its pods move",
        run: failures::node_off,
    },
];
