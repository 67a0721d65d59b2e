//! Services: reachable from everywhere in the cluster, by address and by name, balanced over their replicas.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::{
    http,
    manifests::{deployment, nginx, on_node, service, sleeper},
    scene::Scene,
    waiting::{PROPAGATION, ROLLOUT, until},
};

const REPLICAS: u32 = 3;
/// Requests by which each of three replicas is reached but for one run in 100,000.
const REQUESTS: u32 = 30;

/// Fetches a page. (Debian's static busybox crashes with wget's own `-T`.)
const FETCH: [&str; 6] = ["timeout", "15", "wget", "-q", "-O", "-"];

struct Stage {
    cluster_ip: String,
    node_port: u64,
    /// The replicas' host names.
    names: Vec<String>,
}

/// Three replicas behind a Service, and a client pod on every node.
fn set(scene: &Scene<'_>) -> Result<Stage> {
    scene.kubectl().apply(&deployment("web", REPLICAS, nginx()))?;
    scene.kubectl().apply(&service("web", 80))?;
    for machine in &scene.world.machines {
        scene.kubectl().apply(&on_node(sleeper(&client(&machine.name)), &machine.name))?;
    }
    scene.kubectl().rollout("web", ROLLOUT)?;
    for machine in &scene.world.machines {
        scene.ready_pod(&client(&machine.name))?;
    }
    let object = scene.kubectl().json(&["get", "service", "web", "-o", "json"])?;
    let cluster_ip = object["spec"]["clusterIP"].as_str().context("no cluster IP")?.to_owned();
    let node_port = object["spec"]["ports"][0]["nodePort"].as_u64().context("no node port")?;
    let names: Vec<String> =
        scene.pods("app=web")?.iter().map(|pod| pod.name().to_owned()).collect();
    Ok(Stage { cluster_ip, node_port, names })
}

fn client(node: &str) -> String {
    format!("client-{node}")
}

/// From pods on each node, from the nodes, from outside; by address and by three forms of the name.
pub fn reachable(scene: &Scene<'_>) -> Result<()> {
    let stage = set(scene)?;
    let namespace = &scene.namespace;
    let hosts = [
        stage.cluster_ip.clone(),
        "web".into(),
        format!("web.{namespace}.svc"),
        format!("web.{namespace}.svc.cluster.local"),
    ];
    let known = |said: &str| {
        ensure!(
            stage.names.iter().any(|name| name == said.trim()),
            "{said:?} is none of {:?}",
            stage.names
        );
        Ok(said.trim().to_owned())
    };
    for machine in &scene.world.machines {
        let pod = client(&machine.name);
        for host in &hosts {
            let url = format!("http://{host}/hostname");
            let said = until("the Service answers a pod", PROPAGATION, || {
                known(&scene.kubectl().exec(&pod, &[&FETCH[..], &[&url]].concat())?)
            })?;
            scene.proves(format!("pod on {}: {url} reached {said}", machine.name));
        }
        let mut shell = scene.world.shell(&machine.name)?;
        let url = format!("http://{}/hostname", stage.cluster_ip);
        let said = until("the Service answers a node", PROPAGATION, || {
            known(&shell.run(&format!("busybox timeout 15 busybox wget -q -O - {url}"))?)
        })?;
        scene.proves(format!("node {} itself: {url} reached {said}", machine.name));
        let address = format!("{}:{}", machine.address(), stage.node_port);
        let said = until("the NodePort answers", PROPAGATION, || {
            known(&http::get(&address, "/hostname")?)
        })?;
        scene.proves(format!("from outside: http://{address}/hostname reached {said}"));
    }
    across_nodes(scene, &stage)
}

/// Every client reaches every replica by its pod address, so also those on other nodes.
fn across_nodes(scene: &Scene<'_>, stage: &Stage) -> Result<()> {
    let replicas = scene.pods("app=web")?;
    let mut crossed = 0;
    for machine in &scene.world.machines {
        for replica in &replicas {
            let url = format!("http://{}/hostname", replica.address());
            let said =
                scene.kubectl().exec(&client(&machine.name), &[&FETCH[..], &[&url]].concat())?;
            ensure!(said == replica.name(), "{url} is {said}, not {}", replica.name());
            crossed += usize::from(replica.node() != machine.name);
        }
    }
    ensure!(scene.world.machines.len() == 1 || crossed > 0, "no replica was on another node");
    scene.proves(format!(
        "pod to pod by address: all {} replicas from every node, {crossed} times across nodes",
        stage.names.len()
    ));
    Ok(())
}

/// Every replica gets a part of the requests, from every node and from outside.
pub fn balanced(scene: &Scene<'_>) -> Result<()> {
    let stage = set(scene)?;
    for machine in &scene.world.machines {
        let script = format!(
            "i=0; while [ $i -lt {REQUESTS} ]; do timeout 15 wget -q -O - http://{}/hostname || echo FAILED; i=$((i+1)); done",
            stage.cluster_ip
        );
        let said = scene.kubectl().exec(&client(&machine.name), &["sh", "-c", &script])?;
        judge(scene, &stage, &format!("pod on {}", machine.name), said.lines())?;
        let address = format!("{}:{}", machine.address(), stage.node_port);
        let said: Result<Vec<String>> =
            (0..REQUESTS).map(|_| http::get(&address, "/hostname")).collect();
        judge(
            scene,
            &stage,
            &format!("outside, by {address}"),
            said?.iter().map(|line| line.trim()),
        )?;
    }
    Ok(())
}

fn judge<'a>(
    scene: &Scene<'_>,
    stage: &Stage,
    from: &str,
    answers: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer).or_default() += 1;
    }
    let shown: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    ensure!(
        counts.keys().all(|name| stage.names.iter().any(|known| known == name)),
        "answers: {}",
        shown.join(", ")
    );
    ensure!(
        counts.len() == stage.names.len(),
        "only {} of {} replicas answered: {}",
        counts.len(),
        stage.names.len(),
        shown.join(", ")
    );
    scene.proves(format!("{REQUESTS} requests from {from}: {}", shown.join(", ")));
    Ok(())
}
