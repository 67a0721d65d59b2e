//! `bench pod`: a pod's way from the API to Ready, stage by stage, for pods started one after the other.
//!
//! Three clocks meet here. The API's stages are stamped on this host when a watch shows them; the node's stages are
//! stamped by its agent. The nodes' clocks are compared with this host's before (over a serial line), and the
//! differences are taken out; how far off that may be is printed.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Child, ChildStdin, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::table::{print_head, print_row};
use crate::{
    e2e::{
        kubectl::{self, Kubectl, Staying},
        scene::{Pod, Scene},
        shell::unix_seconds,
        waiting::{POD_READY, PODS_GONE},
        world::World,
    },
    up,
};

/// What to start.
#[derive(Debug, Clone, clap::Args)]
// Several `Options` meet in one command; groups of arguments must have different names.
#[group(skip)]
pub struct Options {
    /// Pods to start, one after the other.
    #[arg(long, default_value_t = 20)]
    pub pods: u32,
    /// Seconds that the last pod idles before its memory is read.
    #[arg(long, default_value_t = 20)]
    pub idle: u64,
}

/// Stages in their order, and what each is from the one before.
const STAGES: [(&str, &str); 8] = [
    ("scheduled", "API create -> scheduled"),
    ("agentSeen", "scheduled -> agent seen"),
    ("imageReady", "agent seen -> image ready"),
    ("vmStarted", "image ready -> VM started"),
    ("guestPid1", "VM started -> guest PID 1"),
    ("containerRunning", "guest PID 1 -> container running"),
    ("ready", "container running -> Ready (agent)"),
    ("watched", "Ready (agent) -> Ready seen by a watch"),
];
const CREATED: &str = "created";

/// More than what kubectl looks at to tell JSON from YAML.
const PEEKED_BYTES: usize = 8192;

/// When one pod passed which stage, in unix seconds of this host.
type Times = BTreeMap<&'static str, f64>;

/// Measures and prints.
pub fn run(options: &Options, rack: &up::Options) -> Result<()> {
    let suites: Vec<String> = kubectl::SUITES.split(',').take(1).map(str::to_owned).collect();
    let world = World::enter(rack, &suites)?;
    let clocks = clocks(&world)?;
    let scene = Scene::open(&world, "bench")?;
    let outcome = measure(&scene, options, &clocks);
    let closed = scene.close();
    outcome.and(closed)
}

fn measure(scene: &Scene<'_>, options: &Options, clocks: &BTreeMap<String, f64>) -> Result<()> {
    let mut writer = Writer::start(&scene.kubectl())?;
    let mut watch = Watch::start(&scene.kubectl(), &scene.namespace)?;
    // Not counted: the first pod of each node may pull the image.
    for machine in &scene.world.machines {
        let name = format!("warm-{}", machine.name);
        start_one(scene, &mut writer, &mut watch, &name, Some(&machine.name), clocks)?;
        remove(scene, &name)?;
    }
    let mut all = Vec::new();
    for number in 1..=options.pods {
        let name = format!("pod-{number}");
        let times = start_one(scene, &mut writer, &mut watch, &name, None, clocks)?;
        let total = times["watched"] - times[CREATED];
        println!("{name}: Ready seen after {total:.3} s");
        all.push(times);
        if number < options.pods {
            remove(scene, &name)?;
        }
    }
    print_stages(&all);
    // interval: the pod shall be idle for a while before its memory is read.
    std::thread::sleep(Duration::from_secs(options.idle));
    print_memory(scene, &format!("pod-{}", options.pods))
}

/// Nodes' clocks minus this host's, in seconds.
fn clocks(world: &World) -> Result<BTreeMap<String, f64>> {
    let mut clocks = BTreeMap::new();
    for machine in &world.machines {
        let (offset, error) = world.shell(&machine.name)?.clock_offset()?;
        println!(
            "clock of {}: {:+.1} ms from this host's, +/- {:.1} ms (taken out)",
            machine.name,
            offset * 1e3,
            error * 1e3
        );
        clocks.insert(machine.name.clone(), offset);
    }
    Ok(clocks)
}

fn start_one(
    scene: &Scene<'_>,
    writer: &mut Writer,
    watch: &mut Watch,
    name: &str,
    node: Option<&str>,
    clocks: &BTreeMap<String, f64>,
) -> Result<Times> {
    let created = writer.create(&manifest(name, node))?;
    let (scheduled, watched, pod) = watch.follow(name)?;
    let mut times =
        Times::from([(CREATED, created), ("scheduled", scheduled), ("watched", watched)]);
    let known = scene.world.debug_pod(pod.node(), pod.uid())?;
    let offset = clocks.get(pod.node()).context("a node without a clock")?;
    for (stage, _) in STAGES {
        if let Some(nanos) = known["stages"][stage].as_i64() {
            times.insert(stage, nanos as f64 / 1e9 - offset);
        }
    }
    Ok(times)
}

/// One busybox container that is Ready when it runs.
fn manifest(name: &str, node: Option<&str>) -> Value {
    let mut pod = crate::e2e::manifests::sleeper(name);
    pod["spec"]["terminationGracePeriodSeconds"] = json!(0);
    match node {
        Some(node) => crate::e2e::manifests::on_node(pod, node),
        None => pod,
    }
}

fn remove(scene: &Scene<'_>, name: &str) -> Result<()> {
    let timeout = format!("--timeout={}s", PODS_GONE.as_secs());
    scene.kubectl().run(&["delete", "pod", name, "--wait=true", &timeout]).map(drop)
}

fn print_stages(all: &[Times]) {
    println!("\n{} pods, one after the other, image cached:", all.len());
    print_head();
    let mut before = CREATED;
    for (stage, title) in STAGES {
        let took: Vec<f64> =
            all.iter().filter_map(|times| Some(times.get(stage)? - times.get(before)?)).collect();
        print_row(title, &took);
        before = stage;
    }
    let total: Vec<f64> =
        all.iter().filter_map(|times| Some(times.get("watched")? - times.get(CREATED)?)).collect();
    print_row("API create -> Ready seen by a watch", &total);
}

/// The VMM's memory as the kernel counts it, and what the guest has and uses.
fn print_memory(scene: &Scene<'_>, name: &str) -> Result<()> {
    let pod: Pod = scene.pod(name)?;
    let known = scene.world.debug_pod(pod.node(), pod.uid())?;
    let mib = |value: &Value| {
        value.as_f64().map_or_else(
            || "not known".into(),
            |bytes| format!("{:.1} MiB", bytes / f64::from(1 << 20)),
        )
    };
    let (vmm, guest) = (&known["vmmMemory"], &known["guest"]);
    println!("\nmemory of one idle pod ({name}, one sleeping busybox):");
    for (title, value) in [
        ("VMM process without guest memory: private", &vmm["privateBytes"]),
        ("guest memory that was touched", &vmm["guestBytes"]),
        ("VMM process with guest memory: proportional", &vmm["pssBytes"]),
        ("VMM process with guest memory: resident", &vmm["rssBytes"]),
        ("guest: total that its kernel manages", &guest["memoryTotalBytes"]),
        ("guest: available", &guest["memoryAvailableBytes"]),
    ] {
        println!("{title:<44} {:>12}", mib(value));
    }
    Ok(())
}

/// A kubectl that is running already when a pod's time begins: what is written to it goes out at once.
struct Writer {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Writer {
    fn start(kubectl: &Kubectl) -> Result<Self> {
        let mut child = kubectl
            .command(&["create", "--validate=false", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("failed to start kubectl")?;
        let stdin = child.stdin.take();
        let mut writer = Self { child, stdin };
        // kubectl looks at the first 4 KiB of its input before it takes the first object: an object of more than that
        // makes it work, and fetch what it fetches once.
        let text = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "first"},
            "data": {"text": " ".repeat(PEEKED_BYTES)},
        });
        writer.create(&text)?;
        kubectl.wait("configmap/first", "create", Duration::from_secs(60))?;
        Ok(writer)
    }

    /// Returns when the object was handed over.
    fn create(&mut self, object: &Value) -> Result<f64> {
        let stdin = self.stdin.as_mut().context("kubectl's input is closed")?;
        let text = format!("{object}\n");
        let now = unix_seconds();
        stdin.write_all(text.as_bytes())?;
        Ok(now)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A watch on the namespace's pods; each event's time is when its line came.
struct Watch {
    events: Staying,
    zero: (Instant, f64),
}

impl Watch {
    fn start(kubectl: &Kubectl, namespace: &str) -> Result<Self> {
        let path = format!("/api/v1/namespaces/{namespace}/pods?watch=true");
        let events = kubectl.stay(&["get", "--raw", &path])?;
        Ok(Self { events, zero: (Instant::now(), unix_seconds()) })
    }

    /// When the pod was seen scheduled and Ready, and the pod then.
    fn follow(&mut self, name: &str) -> Result<(f64, f64, Pod)> {
        let end = Instant::now() + POD_READY;
        let mut scheduled = None;
        loop {
            let (at, line) = self.events.line(end.saturating_duration_since(Instant::now()))?;
            let event: Value = serde_json::from_str(&line).context("an event is not JSON")?;
            ensure!(event["type"] != "ERROR", "the watch ended: {}", event["object"]);
            let pod = Pod(event["object"].clone());
            if pod.name() != name {
                continue;
            }
            let now = self.zero.1 + (at - self.zero.0).as_secs_f64();
            if scheduled.is_none() && !pod.node().is_empty() {
                scheduled = Some(now);
            }
            if let (Some(scheduled), true) = (scheduled, pod.is_ready()) {
                return Ok((scheduled, now, pod));
            }
        }
    }
}
