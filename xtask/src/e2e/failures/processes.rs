//! Processes of a node, killed with -9: a pod's VMM, the agent.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::e2e::{
    manifests::{container, deployment, on_node, script, sleeper},
    pods::boot_id,
    scene::{Pod, Scene},
    waiting::{LINE, RECOVERY, ROLLOUT, holds, until},
};

/// A VMM dies: its pod gets a new one (or a successor), on its own; the pod beside it keeps its kernel.
pub fn vmm_killed(scene: &Scene<'_>) -> Result<()> {
    let node = &scene.world.machines[0].name;
    let idle = container("main", "busybox", &["sleep", "86400"]);
    let mut victims = deployment("victim", 1, idle);
    victims["spec"]["template"]["spec"]["nodeSelector"] =
        serde_json::json!({"kubernetes.io/hostname": node});
    scene.kubectl().apply(&victims)?;
    let neighbour = scene.start_pod(&on_node(sleeper("neighbour"), node))?;
    scene.kubectl().rollout("victim", ROLLOUT)?;
    let victim = scene.pods("app=victim")?.into_iter().next().context("no victim")?;
    let (before, beside) = (boot_id(scene, victim.name())?, boot_id(scene, "neighbour")?);
    let pid = vmm_pid(scene, &victim)?;
    let start = Instant::now();
    scene.world.shell(node)?.run(&format!("kill -9 {pid}"))?;
    let (after, name) = until("a new kernel runs in the pod's place", RECOVERY, || {
        let pods = scene.pods("app=victim")?;
        let pod = pods.iter().find(|pod| pod.is_ready()).context("no pod is Ready")?;
        let now = boot_id(scene, pod.name())?;
        holds(now != before, || "the old kernel still answers".into())?;
        Ok((now, pod.name().to_owned()))
    })?;
    let how = if name == victim.name() { "the same pod, restarted" } else { "a new pod" };
    scene.proves(format!("VMM {pid} of {} on {node} killed: kernel {before} gone, {after} runs after {:.1} s ({how})", victim.name(), start.elapsed().as_secs_f64()));
    let replaced = scene.pod(&name)?;
    ensure!(
        name != victim.name() || replaced.restarts() > victim.restarts(),
        "the restart was not counted"
    );
    ensure!(boot_id(scene, "neighbour")? == beside, "the neighbour has a new kernel");
    let later = scene.pod("neighbour")?;
    ensure!(later.restarts() == neighbour.restarts(), "the neighbour was restarted");
    scene.proves(format!(
        "neighbour on {node}: still kernel {beside}, {} restarts",
        later.restarts()
    ));
    Ok(())
}

fn vmm_pid(scene: &Scene<'_>, pod: &Pod) -> Result<u64> {
    let known = scene.world.debug_pod(pod.node(), pod.uid())?;
    known["vmmPid"].as_u64().context("the agent names no VMM process")
}

/// What must stay the same while the agent is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Life {
    boot_id: String,
    vmm_pid: u64,
    restarts: u64,
    started_at: String,
    uid: String,
}

impl Life {
    fn of(scene: &Scene<'_>, name: &str) -> Result<Self> {
        let pod = scene.pod(name)?;
        ensure!(pod.is_ready(), "{name} is not Ready");
        Ok(Self {
            boot_id: boot_id(scene, name)?,
            vmm_pid: vmm_pid(scene, &pod)?,
            restarts: pod.restarts(),
            started_at: pod.started_at().to_owned(),
            uid: pod.uid().to_owned(),
        })
    }
}

/// The agent dies: nodeinit starts it again, it finds its VMs, and the pods' programs never noticed.
pub fn agent_killed(scene: &Scene<'_>) -> Result<()> {
    let node = &scene.world.machines[0].name;
    let ticks = "n=0; while true; do n=$((n+1)); echo $n > /tmp/n; echo tick $n; sleep 1; done";
    scene.start_pod(&on_node(script("ticker", ticks), node))?;
    scene.start_pod(&on_node(sleeper("quiet"), node))?;
    let names = ["ticker", "quiet"];
    let before: Vec<Life> =
        names.iter().map(|name| Life::of(scene, name)).collect::<Result<_>>()?;
    let count = |what: &str| -> Result<u64> {
        let text = scene.kubectl().exec("ticker", &["cat", "/tmp/n"])?;
        text.parse().with_context(|| format!("{what}: {text:?}"))
    };
    let ticks_before = count("before")?;
    let mut shell = scene.world.shell(node)?;
    let old = *shell.pids_of("agent")?.first().context("no agent runs")?;
    let start = Instant::now();
    shell.run(&format!("kill -9 {old}"))?;
    let new = until("another agent runs and answers", RECOVERY, || {
        let pid = *shell.pids_of("agent")?.first().context("no agent runs")?;
        holds(pid != old, || "the old agent is still there".into())?;
        count("after")?;
        Ok(pid)
    })?;
    // The line takes one user at a time.
    drop(shell);
    scene.proves(format!(
        "agent {old} on {node} killed with -9; agent {new} answers after {:.1} s",
        start.elapsed().as_secs_f64()
    ));
    for (name, before) in names.iter().zip(&before) {
        let after = until("the pod is known again", RECOVERY, || Life::of(scene, name))?;
        ensure!(after == *before, "{name} was {before:?} and is {after:?}");
        scene.proves(format!(
            "{name}: boot id {}, VMM {}, {} restarts, started {}: unchanged",
            after.boot_id, after.vmm_pid, after.restarts, after.started_at
        ));
    }
    let ticks_after = count("after")?;
    ensure!(ticks_after > ticks_before, "the ticker stood still at {ticks_before}");
    logs_go_on(scene, ticks_after)?;
    scene.proves(format!(
        "the ticker counted on, {ticks_before} to {ticks_after}, and its log follows"
    ));
    still_managed(scene)
}

/// The log has lines from before and after.
fn logs_go_on(scene: &Scene<'_>, at_least: u64) -> Result<()> {
    until("the log has caught up", LINE, || {
        let log = scene.kubectl().run(&["logs", "ticker"])?;
        let last = log.lines().last().unwrap_or_default();
        let number: u64 = last.trim_start_matches("tick ").parse().unwrap_or(0);
        holds(log.starts_with("tick 1\n") && number >= at_least, || {
            format!("the log ends with {last:?}")
        })
    })
}

/// The new agent also ends what the old one started.
fn still_managed(scene: &Scene<'_>) -> Result<()> {
    let node = &scene.world.machines[0].name;
    let pid = vmm_pid(scene, &scene.pod("quiet")?)?;
    scene.kubectl().run(&["delete", "pod", "quiet", "--wait=true", "--timeout=120s"])?;
    let mut shell = scene.world.shell(node)?;
    let (code, _gone) = shell.call(&format!("test -d /proc/{pid}"))?;
    ensure!(code != 0, "VMM {pid} outlived its pod");
    scene.proves(format!("the new agent ended pod quiet and its VMM {pid} on request"));
    Ok(())
}
