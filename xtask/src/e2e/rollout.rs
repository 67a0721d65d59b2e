//! Deployments: rolling update, rollback, scaling.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::{
    http::{self, Tally, Traffic},
    kubectl::Kubectl,
    manifests::{container, deployment, script, service, versioned_nginx},
    scene::Scene,
    waiting::{POD_READY, PODS_GONE, PROPAGATION, ROLLOUT, holds, until},
};

const REPLICAS: u32 = 3;
/// Requests that must have been answered before, between and after.
const REQUESTS_MIN: u64 = 50;
/// Rounds of the client inside the cluster, at most: a bound for a check that hangs.
const CLIENT_ROUNDS: u32 = 20_000;

/// Requests by the NodePorts of all nodes, and by the Service's name in the cluster, go on throughout; none fails.
pub fn update_and_undo(scene: &Scene<'_>) -> Result<()> {
    let (first, last) = (scene.kubectl(), scene.kubectls().last().context("no kubectl")?);
    let mut web = deployment("web", REPLICAS, versioned_nginx("v1"));
    // The time that its preStop hook needs is part of the grace period.
    web["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = serde_json::json!(30);
    first.apply(&web)?;
    first.apply(&service("web", 80))?;
    first.rollout("web", ROLLOUT)?;
    let addresses = node_ports(scene, &first)?;
    for address in &addresses {
        until("the NodePort answers", PROPAGATION, || http::get(address, "/version.txt"))?;
    }
    let inside = format!(
        "i=0; while [ $i -lt {CLIENT_ROUNDS} ]; do timeout 15 wget -q -O - http://web/version.txt || echo FAILED; i=$((i+1)); done"
    );
    scene.start_pod(&script("client", &inside))?;
    let traffic = Traffic::start(addresses.clone(), "/version.txt");
    let outcome = change(scene, &first, &last, &traffic, &addresses);
    let tally = traffic.stop()?;
    outcome?;
    judge_outside(scene, &tally)?;
    judge_inside(scene, &first.run(&["logs", "client"])?)
}

fn node_ports(scene: &Scene<'_>, kubectl: &Kubectl) -> Result<Vec<String>> {
    let object = kubectl.json(&["get", "service", "web", "-o", "json"])?;
    let port = object["spec"]["ports"][0]["nodePort"].as_u64().context("no node port")?;
    let machines = scene.world.machines.iter();
    Ok(machines.map(|machine| format!("{}:{port}", machine.address())).collect())
}

/// Update by the first kubectl, rollback by the last.
fn change(
    scene: &Scene<'_>,
    first: &Kubectl,
    last: &Kubectl,
    traffic: &Traffic,
    addresses: &[String],
) -> Result<()> {
    requests(traffic, REQUESTS_MIN)?;
    let start = Instant::now();
    first.run(&["set", "env", "deployment/web", "VERSION=v2"])?;
    first.rollout("web", ROLLOUT)?;
    all_say(addresses, "v2")?;
    scene.proves(format!(
        "kubectl {} set env VERSION=v2: rolled out in {:.1} s, every node's port says v2",
        first.version,
        start.elapsed().as_secs_f64()
    ));
    requests(traffic, REQUESTS_MIN)?;
    let start = Instant::now();
    last.run(&["rollout", "undo", "deployment/web"])?;
    last.rollout("web", ROLLOUT)?;
    all_say(addresses, "v1")?;
    scene.proves(format!(
        "kubectl {} rollout undo: back in {:.1} s, every node's port says v1",
        last.version,
        start.elapsed().as_secs_f64()
    ));
    requests(traffic, REQUESTS_MIN)?;
    let history = last.run(&["rollout", "history", "deployment/web"])?;
    let revisions: Vec<&str> = history
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.parse::<u32>().is_ok())
        .collect();
    ensure!(revisions == ["2", "3"], "rollout history shows {history}");
    scene.proves(format!("rollout history: revisions {}", revisions.join(", ")));
    Ok(())
}

/// Waits for so many further answers.
fn requests(traffic: &Traffic, count: u64) -> Result<()> {
    let goal = traffic.answered() + count;
    until("requests are answered", ROLLOUT, || {
        holds(traffic.answered() >= goal, || format!("{} of {goal}", traffic.answered()))
    })
}

/// Old pods drain for a while; then ten answers in a row of each node are the expected ones.
fn all_say(addresses: &[String], version: &str) -> Result<()> {
    for address in addresses {
        until("only the new version answers", PROPAGATION, || {
            for _ in 0..10 {
                let said = http::get(address, "/version.txt")?;
                ensure!(said.trim() == version, "{address} says {said:?}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn judge_outside(scene: &Scene<'_>, tally: &Tally) -> Result<()> {
    let Tally { answered, failed, failures, bodies, slowest } = tally;
    ensure!(
        *failed == 0,
        "{failed} of {} requests failed: {}",
        answered + failed,
        failures.join("; ")
    );
    let known = bodies.keys().all(|body| body == "v1" || body == "v2");
    ensure!(known && bodies.len() == 2, "the answers were {bodies:?}");
    scene.proves(format!("from outside, by the nodes' ports: {answered} requests, 0 failed, answers {bodies:?}, slowest {:.2} s", slowest.as_secs_f64()));
    Ok(())
}

fn judge_inside(scene: &Scene<'_>, log: &str) -> Result<()> {
    let count = |text: &str| log.lines().filter(|line| *line == text).count();
    let (old, new, all) = (count("v1"), count("v2"), log.lines().count());
    let other = log.lines().find(|line| *line != "v1" && *line != "v2").unwrap_or_default();
    ensure!(
        old + new == all,
        "{} of {all} requests inside the cluster failed: {other}",
        all - old - new
    );
    ensure!(old > 0 && new > 0, "the client inside saw v1 {old} and v2 {new} times");
    scene.proves(format!(
        "from a pod, by the Service's name: {all} requests, 0 failed, v1 {old} and v2 {new}"
    ));
    Ok(())
}

/// 3, 10, 2, with the VMM processes counted on the nodes.
pub fn scale(scene: &Scene<'_>) -> Result<()> {
    let kubectls: Vec<Kubectl> = scene.kubectls().collect();
    let idle = container("main", "busybox", &["sleep", "86400"]);
    scene.kubectl().apply(&deployment("many", 3, idle))?;
    reach(scene, &kubectls[0], 3)?;
    for (kubectl, replicas) in kubectls.iter().cycle().zip([10, 2]) {
        kubectl.run(&["scale", "deployment/many", &format!("--replicas={replicas}")])?;
        reach(scene, kubectl, replicas)?;
    }
    Ok(())
}

fn reach(scene: &Scene<'_>, kubectl: &Kubectl, replicas: usize) -> Result<()> {
    let start = Instant::now();
    kubectl.rollout("many", ROLLOUT)?;
    let ready = format!("jsonpath={{.status.readyReplicas}}={replicas}");
    kubectl.wait("deployment/many", &ready, POD_READY)?;
    let pods = until("as many pods as replicas", PODS_GONE, || {
        let pods = kubectl.list(&["pods", "-l", "app=many"])?;
        holds(pods.len() == replicas, || format!("{} pods", pods.len()))?;
        Ok(pods)
    })?;
    let uids: Vec<&str> = pods.iter().filter_map(|pod| pod["metadata"]["uid"].as_str()).collect();
    let per_node = until("as many VMs as pods", PODS_GONE, || {
        let mut per_node = Vec::new();
        for machine in &scene.world.machines {
            let known = scene.world.debug_pods(&machine.name)?;
            let ours = known.iter().filter(|pod| pod["namespace"] == *scene.namespace);
            let running = ours.filter(|pod| {
                pod["uid"].as_str().is_some_and(|uid| uids.contains(&uid)) && pod["vmmPid"].is_u64()
            });
            per_node.push(format!("{} {}", machine.name, running.count()));
        }
        let sum: usize =
            per_node.iter().filter_map(|text| text.rsplit(' ').next()?.parse::<usize>().ok()).sum();
        holds(sum == replicas, || format!("VMs: {}", per_node.join(", ")))?;
        Ok(per_node)
    })?;
    scene.proves(format!(
        "kubectl {}: {replicas} replicas Ready after {:.1} s; VMs: {}",
        kubectl.version,
        start.elapsed().as_secs_f64(),
        per_node.join(", ")
    ));
    Ok(())
}
