//! A node without power.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rack::machine::Machine;
use serde_json::json;

use crate::{
    e2e::{
        manifests::{container, deployment},
        pods::boot_id,
        scene::Scene,
        waiting::{NODE_BOOT, NODE_LOST, PODS_GONE, ROLLOUT, holds, until},
    },
    paths,
};

const REPLICAS: u32 = 4;
/// Seconds that the pods tolerate a node that does not answer (Kubernetes' default is 300).
const TOLERATION_SECONDS: u32 = 10;

/// The plug is pulled: NotReady, then the pods run elsewhere. Power comes back: the machine boots and joins again.
pub fn node_off(scene: &Scene<'_>) -> Result<()> {
    let machine = scene.world.machines.last().context("no machine")?;
    ensure!(scene.world.machines.len() > 1, "there is no other node to move to");
    spread(scene, machine)?;
    let lost = scene.pods("app=moving")?.iter().filter(|pod| pod.node() == machine.name).count();
    ensure!(lost > 0, "no pod is on {}", machine.name);
    machine.power_off(&paths::state())?;
    let moved = move_away(scene, machine, lost);
    machine.power_on(&paths::state(), scene.world.accelerator)?;
    moved?;
    come_back(scene, machine)
}

fn spread(scene: &Scene<'_>, machine: &Machine) -> Result<()> {
    let mut moving =
        deployment("moving", REPLICAS, container("main", "busybox", &["sleep", "86400"]));
    let spec = &mut moving["spec"]["template"]["spec"];
    let tolerate = |taint: &str| json!({"key": format!("node.kubernetes.io/{taint}"), "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS});
    spec["tolerations"] = json!([tolerate("not-ready"), tolerate("unreachable")]);
    spec["topologySpreadConstraints"] = json!([{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app": "moving"}},
    }]);
    scene.kubectl().apply(&moving)?;
    scene.kubectl().rollout("moving", ROLLOUT)?;
    let nodes: Vec<String> =
        scene.pods("app=moving")?.iter().map(|pod| pod.node().to_owned()).collect();
    scene.proves(format!(
        "{REPLICAS} pods on {}; then the power of {} goes off",
        nodes.join(", "),
        machine.name
    ));
    Ok(())
}

fn move_away(scene: &Scene<'_>, machine: &Machine, lost: usize) -> Result<()> {
    let (name, start) = (&machine.name, Instant::now());
    let kubectl = scene.world.kubectl();
    kubectl.wait(&format!("node/{name}"), "condition=Ready=Unknown", NODE_LOST)?;
    let line = kubectl.run(&["get", "node", name, "--no-headers"])?;
    ensure!(line.contains("NotReady"), "kubectl get node: {line}");
    let shown = line.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    scene.proves(format!("after {:.1} s: {shown}", start.elapsed().as_secs_f64()));
    let pods = until("all replicas are Ready on other nodes", ROLLOUT, || {
        let pods = scene.pods("app=moving")?;
        let good = pods.iter().filter(|pod| pod.is_ready() && pod.node() != name).count();
        holds(good == REPLICAS as usize, || format!("{good} of {REPLICAS}"))?;
        Ok(pods)
    })?;
    for pod in &pods {
        boot_id(scene, pod.name())?;
    }
    let node = kubectl.json(&["get", "node", name, "-o", "json"])?;
    let taints: Vec<&str> = node["spec"]["taints"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|taint| taint["key"].as_str())
        .collect();
    scene.proves(format!("after {:.1} s: {lost} pods moved, all {REPLICAS} answer on other nodes; taints of {name}: {}", start.elapsed().as_secs_f64(), taints.join(", ")));
    Ok(())
}

fn come_back(scene: &Scene<'_>, machine: &Machine) -> Result<()> {
    let (name, start) = (&machine.name, Instant::now());
    let kubectl = scene.world.kubectl();
    kubectl.wait(&format!("node/{name}"), "condition=Ready", NODE_BOOT)?;
    kubectl.wait(&format!("machine/{name}"), "jsonpath={.status.phase}=Ready", NODE_BOOT)?;
    scene.proves(format!(
        "power on: {name} PXE-booted, joined and is Ready after {:.1} s",
        start.elapsed().as_secs_f64()
    ));
    until("the lost pods are gone", PODS_GONE, || {
        let all = scene.kubectl().list(&["pods", "-l", "app=moving"])?;
        holds(all.len() == REPLICAS as usize, || format!("{} pods", all.len()))
    })?;
    scene.proves("the pods that the node had lost are gone from the API");
    Ok(())
}
