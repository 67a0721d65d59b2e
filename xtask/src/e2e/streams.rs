//! Streams into pods: logs, exec, cp, port-forward, with every kubectl and both transports.

use std::{fs, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::{
    http,
    kubectl::{Kubectl, Transport},
    manifests::{container, nginx, pod, script, service, sleeper},
    scene::Scene,
    waiting::{LINE, POD_READY, PROPAGATION, RECOVERY, until},
};

/// Bytes that go through exec and cp: more than one frame of every layer.
const PAYLOAD_BYTES: usize = 200_000;
/// Lines that a followed log must show, one second apart.
const FOLLOWED: u64 = 3;

/// Whole, tail, of the run before, and following.
pub fn logs(scene: &Scene<'_>) -> Result<()> {
    scene.kubectl().apply(&script("lines", "seq 1 100; exec sleep 86400"))?;
    scene
        .kubectl()
        .apply(&script("ticker", "n=0; while true; do n=$((n+1)); echo tick $n; sleep 1; done"))?;
    scene.kubectl().apply(&restarted_once())?;
    for name in ["lines", "ticker"] {
        scene.ready_pod(name)?;
    }
    let twice = "jsonpath={.status.containerStatuses[0].restartCount}=1";
    scene.kubectl().wait("pod/again", twice, RECOVERY)?;
    scene.ready_pod("again")?;
    for kubectl in scene.kubectls() {
        let whole = until("all lines are in the log", LINE, || {
            let text = kubectl.run(&["logs", "lines"])?;
            ensure!(text.lines().count() == 100, "logs shows {} lines", text.lines().count());
            Ok(text)
        })?;
        ensure!(
            whole.lines().zip(1..).all(|(line, number)| line == number.to_string()),
            "logs are out of order"
        );
        let tail = kubectl.run(&["logs", "lines", "--tail=3"])?;
        ensure!(tail == "98\n99\n100", "--tail=3 shows {tail:?}");
        let (now, before) =
            (kubectl.run(&["logs", "again"])?, kubectl.run(&["logs", "again", "--previous"])?);
        ensure!(now == "run 2" && before == "run 1", "logs {now:?}, --previous {before:?}");
        let followed = follow(&kubectl)?;
        let version = &kubectl.version;
        scene.proves(format!("kubectl {version}: 100 lines, --tail=3 98 99 100, log \"{now}\" and --previous \"{before}\", -f {followed}"));
    }
    Ok(())
}

/// Ends with an error in its first run, stays in its second.
fn restarted_once() -> serde_json::Value {
    let text = "n=$(cat /state/n 2>/dev/null || echo 0); n=$((n+1)); echo $n > /state/n; echo run $n; [ $n -lt 2 ] && exit 1; exec sleep 86400";
    let mut main = container("main", "busybox", &["sh", "-c", text]);
    main["volumeMounts"] = json!([{"name": "state", "mountPath": "/state"}]);
    let mut again = pod("again", vec![main]);
    again["spec"]["volumes"] = json!([{"name": "state", "emptyDir": {}}]);
    again
}

/// New lines must come while the program runs, in order.
fn follow(kubectl: &Kubectl) -> Result<String> {
    let mut log = kubectl.stay(&["logs", "-f", "--tail=1", "ticker"])?;
    let number = |line: &str| -> Result<u64> {
        line.strip_prefix("tick ")
            .and_then(|n| n.parse().ok())
            .with_context(|| format!("not a tick: {line:?}"))
    };
    let (begin, line) = log.line(LINE)?;
    let first = number(&line)?;
    let mut end = begin;
    for step in 1..=FOLLOWED {
        let (at, line) = log.line(LINE)?;
        ensure!(number(&line)? == first + step, "after tick {first} + {step} came {line:?}");
        end = at;
    }
    let seconds = (end - begin).as_secs_f64();
    ensure!(seconds > 1.0, "{FOLLOWED} ticks came at once: the log was not followed");
    Ok(format!("ticks {first} to {} over {seconds:.1} s", first + FOLLOWED))
}

/// Output, input, both channels, exit codes; and that the transport was the one that was asked for.
pub fn exec(scene: &Scene<'_>) -> Result<()> {
    scene.start_pod(&sleeper("box"))?;
    for kubectl in scene.kubectls() {
        for transport in Transport::ALL {
            let kubectl = kubectl.over(transport);
            for code in [0, 7, 137] {
                let script = format!("echo out; echo err >&2; exit {code}");
                let done = kubectl.call(
                    &["exec", "box", "--", "sh", "-c", &script],
                    b"",
                    Duration::ZERO,
                )?;
                ensure!(
                    done.code == code && done.out == "out\n" && done.err.starts_with("err\n"),
                    "exit {code} gave {done:?}"
                );
                let said = format!("command terminated with exit code {code}");
                ensure!(code == 0 || done.err.contains(&said), "kubectl said {:?}", done.err);
            }
            let sum = sum_through(&kubectl)?;
            let opened = opened_with(&kubectl)?;
            ensure!(
                opened.starts_with(transport.method()),
                "{transport:?} was asked for: {opened}"
            );
            let version = &kubectl.version;
            scene.proves(format!("kubectl {version} over {transport:?} ({opened}): exit codes 0, 7, 137; stdout and stderr apart; {PAYLOAD_BYTES} bytes in, sum {sum} back"));
        }
        let missing =
            kubectl.call(&["exec", "box", "--", "no-such-program"], b"", Duration::ZERO)?;
        ensure!(missing.code != 0, "a program that is not there ended with 0");
        let said = missing.err.lines().last().unwrap_or_default();
        scene.proves(format!("no-such-program: exit code {}, {said}", missing.code));
    }
    Ok(())
}

fn sum_through(kubectl: &Kubectl) -> Result<String> {
    let payload = payload();
    let sum = kubectl.run_with(&["exec", "-i", "box", "--", "md5sum"], &payload, Duration::ZERO)?;
    let expected = sum_here(&payload)?;
    ensure!(sum.starts_with(&expected), "md5sum in the pod {sum}, here {expected}");
    Ok(expected)
}

/// How kubectl's own log says that it opened the stream: `GET` (WebSocket) or `POST` (SPDY), and the answer.
fn opened_with(kubectl: &Kubectl) -> Result<String> {
    let done = kubectl.call(&["-v=6", "exec", "box", "--", "true"], b"", Duration::ZERO)?;
    let lines = done.err.lines().filter(|line| line.contains("/exec?"));
    let shown = lines
        .filter(|line| line.contains("101"))
        .find_map(|line| ["GET", "POST"].into_iter().find(|method| line.contains(method)));
    let method = shown.with_context(|| format!("kubectl's log shows no stream: {}", done.err))?;
    Ok(format!("{method}, 101 Switching Protocols"))
}

/// Bytes that no text conversion leaves alone.
fn payload() -> Vec<u8> {
    let mut state: u32 = 0x9e37_79b9;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..PAYLOAD_BYTES).map(|_| byte()).collect()
}

fn sum_here(bytes: &[u8]) -> Result<String> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), bytes)?;
    let said = builder::exec::text(builder::exec::command("md5sum", &[]).arg(file.path()))?;
    said.split_whitespace().next().map(str::to_owned).context("md5sum said nothing")
}

/// Files and folders in both directions.
pub fn copy(scene: &Scene<'_>) -> Result<()> {
    scene.start_pod(&sleeper("box"))?;
    for kubectl in scene.kubectls() {
        for transport in Transport::ALL {
            let kubectl = kubectl.over(transport);
            let work = tempfile::tempdir()?;
            let here = |name: &str| work.path().join(name).to_string_lossy().into_owned();
            let payload = payload();
            fs::create_dir_all(here("folder/below"))?;
            fs::write(here("folder/below/payload"), &payload)?;
            fs::write(here("folder/name with space"), "x\n")?;
            kubectl.run(&["cp", &here("folder/below/payload"), "box:/tmp/payload"])?;
            let sum = kubectl.exec("box", &["md5sum", "/tmp/payload"])?;
            ensure!(sum.starts_with(&sum_here(&payload)?), "the file arrived as {sum}");
            kubectl.run(&["cp", "box:/tmp/payload", &here("back")])?;
            ensure!(fs::read(here("back"))? == payload, "the file came back changed");
            kubectl.run(&["cp", &here("folder"), "box:/tmp/folder"])?;
            kubectl.run(&["cp", "box:/tmp/folder", &here("folder-back")])?;
            ensure!(
                fs::read(here("folder-back/below/payload"))? == payload,
                "the folder came back changed"
            );
            ensure!(
                fs::read(here("folder-back/name with space"))? == b"x\n",
                "a file came back changed"
            );
            kubectl.exec("box", &["rm", "-r", "/tmp/payload", "/tmp/folder"])?;
            scene.proves(format!("kubectl {} over {transport:?}: file of {PAYLOAD_BYTES} bytes and folder in and out, equal", kubectl.version));
        }
    }
    Ok(())
}

/// Several requests through one forward, also two at a time; then through a Service's name.
pub fn port_forward(scene: &Scene<'_>) -> Result<()> {
    let mut web = pod("web", vec![nginx()]);
    web["spec"]["hostname"] = json!("web");
    scene.kubectl().apply(&web)?;
    scene.kubectl().apply(&service("web", 80))?;
    scene.kubectl().wait("pod/web", "condition=Ready", POD_READY)?;
    for kubectl in scene.kubectls() {
        for transport in Transport::ALL {
            let kubectl = kubectl.over(transport);
            for target in ["pod/web", "service/web"] {
                let said = forward(&kubectl, target)?;
                scene.proves(format!("kubectl {} over {transport:?}: {said}", kubectl.version));
            }
        }
    }
    Ok(())
}

fn forward(kubectl: &Kubectl, target: &str) -> Result<String> {
    // kubectl looks for the Service's endpoints itself; they may be a moment behind the pod.
    let mut forward = until("kubectl forwards", PROPAGATION, || {
        let mut forward =
            kubectl.stay(&["port-forward", "--address", "127.0.0.1", target, ":80"])?;
        let (_at, line) = forward.line(LINE)?;
        Ok((forward, line))
    })?;
    let address =
        forward.1.strip_prefix("Forwarding from ").and_then(|rest| rest.split_whitespace().next());
    let address = address.with_context(|| format!("kubectl said {:?}", forward.1))?.to_owned();
    for _ in 0..2 {
        ask(&address)?;
    }
    let both: Vec<_> = (0..2)
        .map(|_| {
            let address = address.clone();
            std::thread::spawn(move || ask(&address))
        })
        .collect();
    for one in both {
        match one.join() {
            Ok(answer) => answer?,
            Err(_panic) => bail!("a request's thread panicked"),
        }
    }
    let errors = forward.0.errors();
    ensure!(!errors.contains("error"), "kubectl said {errors}");
    Ok(format!("{target} at {address} answered 4 requests, 2 of them at once"))
}

fn ask(address: &str) -> Result<()> {
    let name = http::get(address, "/hostname")?;
    ensure!(name.trim() == "web", "the forward reached {name:?}");
    Ok(())
}
