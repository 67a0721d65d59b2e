//! Pods: microVMs with kernels of their own, and the programs that people run in them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{
    manifests::{container, deployment, nginx as nginx_container, on_node, pod, service, sleeper},
    scene::{Pod, Scene},
    waiting::{POD_READY, PROPAGATION, ROLLOUT, until},
};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The boot id of a pod's kernel, read inside it.
pub fn boot_id(scene: &Scene<'_>, pod: &str) -> Result<String> {
    let text = scene.kubectl().exec(pod, &["cat", BOOT_ID])?;
    ensure!(text.len() == 36, "{pod}: {text:?} is no boot id");
    Ok(text)
}

/// Two pods per node: as many kernels and VMM processes as pods, none of them the node's.
pub fn are_microvms(scene: &Scene<'_>) -> Result<()> {
    let mut names = Vec::new();
    for machine in &scene.world.machines {
        for number in 1..=2 {
            let name = format!("{}-pod-{number}", machine.name);
            scene.kubectl().apply(&on_node(sleeper(&name), &machine.name))?;
            names.push(name);
        }
    }
    let mut kernels = BTreeMap::new();
    for node in scene.world.kubectl().list(&["nodes"])? {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        let boot_id =
            node["status"]["nodeInfo"]["bootID"].as_str().context("a node without a boot id")?;
        kernels.insert(boot_id.to_owned(), format!("node {name}"));
    }
    for name in &names {
        let pod = scene.ready_pod(name)?;
        let boot_id = boot_id(scene, name)?;
        let (pid, process) = vmm(scene, &pod, &boot_id)?;
        let release = scene.kubectl().exec(name, &["uname", "-r"])?;
        scene.proves(format!(
            "pod {name} on {}: kernel {release}, boot id {boot_id}; VMM process {pid} ({process})",
            pod.node()
        ));
        if let Some(other) = kernels.insert(boot_id, format!("pod {name}")) {
            anyhow::bail!("{name} shares its kernel with {other}");
        }
    }
    scene.proves(format!(
        "{} different boot ids for {} pods and {} nodes",
        kernels.len(),
        names.len(),
        kernels.len() - names.len()
    ));
    Ok(())
}

/// The pod's VMM: what the agent says, checked on the node itself.
fn vmm(scene: &Scene<'_>, pod: &Pod, boot_id: &str) -> Result<(u64, String)> {
    let known = scene.world.debug_pod(pod.node(), pod.uid())?;
    ensure!(
        known["bootId"] == *boot_id,
        "the agent thinks {} has boot id {}",
        pod.name(),
        known["bootId"]
    );
    let pid = known["vmmPid"].as_u64().context("the agent names no VMM process")?;
    let mut shell = scene.world.shell(pod.node())?;
    let look = format!(
        "busybox cat /proc/{pid}/comm; busybox grep -E '^(Uid|Threads|Seccomp):' /proc/{pid}/status"
    );
    let said = shell.run(&look)?;
    let process = said.split_whitespace().collect::<Vec<_>>().join(" ");
    ensure!(process.starts_with("microvm"), "process {pid} is {process}");
    Ok((pid, process))
}

/// nginx, asked by a neighbour on its pod address.
pub fn nginx(scene: &Scene<'_>) -> Result<()> {
    scene.kubectl().apply(&pod("nginx", vec![nginx_container()]))?;
    scene.kubectl().apply(&sleeper("client"))?;
    let nginx = scene.ready_pod("nginx")?;
    scene.ready_pod("client")?;
    let page = scene
        .kubectl()
        .exec("client", &["wget", "-q", "-O", "-", &format!("http://{}/", nginx.address())])?;
    let title = page.lines().find(|line| line.contains("<h1>")).context("not the page")?;
    scene.proves(format!("http://{}/ says {title}", nginx.address()));
    let version = scene.kubectl().exec("nginx", &["sh", "-c", "/usr/sbin/nginx -v 2>&1"])?;
    scene.proves(version);
    Ok(())
}

/// redis-server behind a Service; redis-cli in another pod writes, reads and counts.
pub fn redis(scene: &Scene<'_>) -> Result<()> {
    let mut server = container("redis", "redis", &[]);
    server["ports"] = json!([{"containerPort": 6379}]);
    server["readinessProbe"] =
        json!({"tcpSocket": {"port": 6379}, "periodSeconds": 1, "timeoutSeconds": 5});
    scene.kubectl().apply(&deployment("redis", 1, server))?;
    scene.kubectl().apply(&service("redis", 6379))?;
    scene.start_pod(&pod("client", vec![container("main", "redis", &["sleep", "86400"])]))?;
    scene.kubectl().rollout("redis", ROLLOUT)?;
    let ask = |words: &[&str]| {
        let command: Vec<&str> =
            ["redis-cli", "-h", "redis"].iter().chain(words).copied().collect();
        scene.kubectl().exec("client", &command)
    };
    let pong = until("redis answers by its Service's name", PROPAGATION, || {
        let said = ask(&["ping"])?;
        ensure!(said == "PONG", "redis said {said}");
        Ok(said)
    })?;
    for (words, expected) in [
        (&["set", "ship", "dry"][..], "OK"),
        (&["get", "ship"], "dry"),
        (&["incr", "bulkheads"], "1"),
        (&["incr", "bulkheads"], "2"),
    ] {
        let said = ask(words)?;
        ensure!(said == expected, "redis-cli {} said {said}, not {expected}", words.join(" "));
    }
    let server = ask(&["info", "server"])?;
    let version = server.lines().find(|line| line.starts_with("redis_version")).unwrap_or_default();
    scene.proves(format!(
        "redis-cli -h redis: ping {pong}, set OK, get dry, incr 1, incr 2; {}",
        version.trim()
    ));
    Ok(())
}

/// An init container and two containers: one writes what the other serves; both see one loopback and one kernel.
pub fn several_containers(scene: &Scene<'_>) -> Result<()> {
    let page = json!([{"name": "page", "mountPath": "/page"}]);
    let mut before =
        container("before", "busybox", &["sh", "-c", "echo from init > /page/init.txt"]);
    let mut writer = container(
        "writer",
        "busybox",
        &["sh", "-c", "echo from writer > /page/index.html; exec sleep 86400"],
    );
    before["volumeMounts"] = page.clone();
    writer["volumeMounts"] = page;
    let mut server = nginx_container();
    server["volumeMounts"] = json!([{"name": "page", "mountPath": "/usr/share/nginx/html"}]);
    let mut several = pod("several", vec![server, writer]);
    several["spec"]["initContainers"] = json!([before]);
    several["spec"]["volumes"] = json!([{"name": "page", "emptyDir": {}}]);
    scene.kubectl().apply(&several)?;
    scene.kubectl().wait("pod/several", "condition=Ready", POD_READY)?;
    let within = |name: &str, command: &[&str]| {
        let words: Vec<&str> =
            ["exec", "several", "-c", name, "--"].iter().chain(command).copied().collect();
        scene.kubectl().run(&words)
    };
    for (path, expected) in [("index.html", "from writer"), ("init.txt", "from init")] {
        let said =
            within("writer", &["wget", "-q", "-O", "-", &format!("http://127.0.0.1/{path}")])?;
        ensure!(said == expected, "127.0.0.1/{path} says {said:?}");
        scene.proves(format!("container writer reads \"{said}\" of container nginx at 127.0.0.1/{path}, out of the shared emptyDir"));
    }
    let (one, other) = (within("nginx", &["cat", BOOT_ID])?, within("writer", &["cat", BOOT_ID])?);
    ensure!(one == other, "the containers have kernels {one} and {other}");
    let (one, other) =
        (within("nginx", &["cat", "/etc/passwd"])?, within("writer", &["ls", "/usr/sbin"])?);
    ensure!(one.contains("www-data") && !other.contains("nginx"), "the containers share a root");
    scene.proves(
        "both containers have the same boot id and roots of their own (no nginx in the writer's)",
    );
    Ok(())
}
