//! The control plane, killed with -9 while clients write.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::{
    e2e::{
        http::Traffic,
        kubectl::Kubectl,
        manifests::{deployment, nginx, service, sleeper},
        scene::Scene,
        waiting::{PROPAGATION, ROLLOUT, holds, until},
    },
    up::services,
};

/// Clients that write at the same time, and how often the server is killed.
const WRITERS: usize = 4;
const ROUNDS: usize = 3;
/// Acknowledged writes of a round before the server is killed.
const WRITES_MIN: usize = 150;
/// Time for that many.
const WRITES_DEADLINE: Duration = Duration::from_secs(120);
/// Objects that one writer sends at most: a bound for a check that hangs.
const WRITES_MAX: usize = 20_000;

/// What was acknowledged is there, whole, after every kill; pods' Services answer while the server is gone.
pub fn server_killed(scene: &Scene<'_>) -> Result<()> {
    scene.kubectl().apply(&deployment("web", 2, nginx()))?;
    scene.kubectl().apply(&service("web", 80))?;
    scene.kubectl().rollout("web", ROLLOUT)?;
    let object = scene.kubectl().json(&["get", "service", "web", "-o", "json"])?;
    let port = object["spec"]["ports"][0]["nodePort"].as_u64().context("no node port")?;
    let address = format!("{}:{port}", scene.world.machines[0].address());
    until("the Service answers", PROPAGATION, || crate::e2e::http::get(&address, "/"))?;
    let traffic = Traffic::start(vec![address], "/");
    let outcome = (0..ROUNDS)
        .try_fold(BTreeSet::new(), |acknowledged, round| play(scene, round, acknowledged));
    let tally = traffic.stop()?;
    outcome?;
    ensure!(
        tally.failed == 0 && tally.answered > 0,
        "pods did not answer: {}",
        tally.failures.join("; ")
    );
    scene.proves(format!(
        "meanwhile the pods' Service answered {} requests, 0 failed",
        tally.answered
    ));
    let pod = scene.start_pod(&sleeper("afterwards"))?;
    scene.proves(format!("a pod made afterwards is Ready on {}", pod.node()));
    Ok(())
}

/// Writes, kills, starts, compares. Returns all that was acknowledged so far.
fn play(
    scene: &Scene<'_>,
    round: usize,
    mut acknowledged: BTreeSet<String>,
) -> Result<BTreeSet<String>> {
    let kubectl = scene.kubectl();
    let stop = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicUsize::new(0));
    let writers: Result<Vec<Writer>> = (0..WRITERS)
        .map(|number| Writer::start(&kubectl, &format!("r{round}w{number}"), &stop, &count))
        .collect();
    let writers = writers?;
    until("writes are acknowledged", WRITES_DEADLINE, || {
        let so_far = count.load(Ordering::Relaxed);
        holds(so_far >= WRITES_MIN, || format!("{so_far} of {WRITES_MIN}"))
    })?;
    let pid = services::server_pid().context("the control plane is not running")?;
    services::kill_server()?;
    stop.store(true, Ordering::Relaxed);
    let mut fresh = BTreeSet::new();
    for writer in writers {
        fresh.extend(writer.finish()?);
    }
    let start = Instant::now();
    services::start_server(&ProgressBar::hidden())?;
    let ready = start.elapsed();
    let written = fresh.len();
    acknowledged.extend(fresh);
    let kept = compare(&kubectl, &acknowledged)?;
    scene.proves(format!(
        "round {}: {WRITERS} writers, {written} writes acknowledged, server {pid} killed with -9, ready again after {:.2} s; all {} acknowledged objects are there and whole, {} more were written but not acknowledged",
        round + 1,
        ready.as_secs_f64(),
        acknowledged.len(),
        kept - acknowledged.len()
    ));
    Ok(acknowledged)
}

/// Every acknowledged object exists, and every object has the contents that belong to its name.
fn compare(kubectl: &Kubectl, acknowledged: &BTreeSet<String>) -> Result<usize> {
    let items = until("the server lists its objects", PROPAGATION, || {
        kubectl.list(&["configmaps", "-l", "e2e=writes"])
    })?;
    let found: BTreeMap<&str, &Value> = items
        .iter()
        .filter_map(|item| Some((item["metadata"]["name"].as_str()?, &item["data"])))
        .collect();
    let lost: Vec<&str> =
        acknowledged.iter().map(String::as_str).filter(|name| !found.contains_key(name)).collect();
    ensure!(lost.is_empty(), "{} acknowledged objects are lost: {}", lost.len(), lost.join(" "));
    let torn = found.iter().find(|(name, data)| ***data != contents(name));
    ensure!(torn.is_none(), "an object is not what was written: {torn:?}");
    Ok(found.len())
}

fn contents(name: &str) -> Value {
    json!({"name": name, "text": name.repeat(64)})
}

fn object(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"e2e": "writes"}}, "data": contents(name),
    })
}

/// One kubectl that creates objects from an endless stream, and names each when it was acknowledged.
struct Writer {
    child: Child,
    feeder: JoinHandle<()>,
    reader: JoinHandle<Vec<String>>,
}

impl Writer {
    fn start(
        kubectl: &Kubectl,
        prefix: &str,
        stop: &Arc<AtomicBool>,
        count: &Arc<AtomicUsize>,
    ) -> Result<Self> {
        let mut child = kubectl
            .command(&["create", "--validate=false", "-o", "name", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("failed to start kubectl")?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let (prefix, stop, count) = (prefix.to_owned(), Arc::clone(stop), Arc::clone(count));
        let feeder = std::thread::spawn(move || {
            for number in 0..WRITES_MAX {
                let line = format!("{}\n", object(&format!("{prefix}-{number}")));
                if stop.load(Ordering::Relaxed) || stdin.write_all(line.as_bytes()).is_err() {
                    return;
                }
            }
        });
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            let names = lines.filter_map(|line| line.strip_prefix("configmap/").map(str::to_owned));
            let mut acknowledged = Vec::new();
            for name in names {
                acknowledged.push(name);
                count.fetch_add(1, Ordering::Relaxed);
            }
            acknowledged
        });
        Ok(Self { child, feeder, reader })
    }

    /// What was acknowledged. kubectl goes through the rest of its input, each write refused, and ends; that takes
    /// time, so it is killed: what it has printed is in the pipe.
    fn finish(mut self) -> Result<Vec<String>> {
        self.child.kill()?;
        self.child.wait()?;
        let panicked = |_| anyhow!("a writer's thread panicked");
        self.feeder.join().map_err(panicked)?;
        self.reader.join().map_err(|_panic| anyhow!("a reader's thread panicked"))
    }
}
