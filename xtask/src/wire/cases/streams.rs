//! logs, exec, attach, cp, port-forward, over WebSocket and SPDY.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::bodies::{deployment, pod};
use crate::{
    e2e::{
        http,
        kubectl::{Kubectl, Transport},
    },
    wire::scene::{Scene, has},
};

const LINE: Duration = Duration::from_secs(30);
/// More than one frame of every layer.
const PAYLOAD_BYTES: usize = 300_000;

fn running(s: &Scene<'_>, object: &Value) -> Result<()> {
    s.with("create -f -", &object.to_string())?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    s.becomes("pods", name, "/status/phase", &json!("Running"))
}

pub fn logs(s: &Scene<'_>) -> Result<()> {
    let mut two = pod("p");
    two["spec"]["containers"] =
        json!([{"name": "main", "image": "i"}, {"name": "side", "image": "i"}]);
    running(s, &two)?;
    let whole = s.run("logs p -c main")?;
    ensure!(whole.lines().count() == 100 && whole.ends_with("main line 100"), "{whole}");
    ensure!(s.run("logs p -c side --tail=2")? == "side line 99\nside line 100", "--tail");
    let since = s.run("logs p -c main --since=5s")?.lines().count();
    ensure!((4..=6).contains(&since), "--since=5s shows {since} lines");
    let time = Command::new("date")
        .args(["-u", "-d", "10 seconds ago", "+%Y-%m-%dT%H:%M:%SZ"])
        .output()?
        .stdout;
    let since =
        s.run(&format!("logs p -c main --since-time={}", String::from_utf8_lossy(&time).trim()))?;
    ensure!(
        (9..=12).contains(&since.lines().count()),
        "--since-time shows {}",
        since.lines().count()
    );
    ensure!(s.run("logs p -c main --limit-bytes=8")? == "main lin", "--limit-bytes");
    let stamped = s.run("logs p -c main --timestamps --tail=1")?;
    ensure!(stamped.contains('T') && stamped.ends_with("Z main line 100"), "{stamped}");
    let all = s.run("logs p --all-containers --prefix --tail=1")?;
    has(&all, &["[pod/p/main] main line 100", "[pod/p/side] side line 100"])?;
    let chosen = s.outcome("logs p --tail=1", "")?;
    has(&chosen.err, &["Defaulted container \"main\" out of: main, side"])?;
    let wrong = s.refused("logs p -c none", "")?;
    has(&wrong, &["container none is not valid for pod p"])?;
    let before = s.refused("logs p -c main -p", "")?;
    has(&before, &["previous terminated container \"main\" in pod \"p\" not found"])?;
    let mut follow = s.kubectl.stay(&["logs", "-f", "--tail=1", "p", "-c", "main"])?;
    for number in 100..=105 {
        ensure!(follow.line(LINE)?.1 == format!("main line {number}"), "followed line {number}");
    }
    s.with("create -f -", &deployment("web", 1, "a").to_string())?;
    s.run("rollout status deployment/web --timeout=60s")?;
    ensure!(s.run("logs deployment/web --tail=1")? == "main line 100", "logs deployment");
    ensure!(s.run("logs -l app=web --tail=1")? == "main line 100", "logs -l");
    s.saw("10 options, 6 followed lines, a deployment");
    Ok(())
}

pub fn exec(s: &Scene<'_>) -> Result<()> {
    running(s, &pod("p"))?;
    for transport in Transport::ALL {
        let kubectl = s.over(transport);
        for code in [0, 7, 137] {
            let script = format!("echo out; echo err >&2; exit {code}");
            let done =
                kubectl.call(&["exec", "p", "--", "sh", "-c", &script], b"", Duration::ZERO)?;
            ensure!(
                done.code == code && done.out == "out\n" && done.err.starts_with("err\n"),
                "{done:?}"
            );
        }
        let payload = payload();
        let done =
            kubectl.call(&["exec", "-i", "p", "--", "wc", "-c"], &payload, Duration::ZERO)?;
        ensure!(done.out.trim() == PAYLOAD_BYTES.to_string(), "{done:?}");
        let script = format!("head -c {PAYLOAD_BYTES} /dev/zero | tr '\\0' x");
        let many = kubectl.run(&["exec", "p", "--", "sh", "-c", &script])?;
        ensure!(many.len() == PAYLOAD_BYTES, "{} bytes came", many.len());
        let none = kubectl.call(&["exec", "p", "--", "/no/such/program"], b"", Duration::ZERO)?;
        ensure!(none.code != 0, "{none:?}");
    }
    let seen = s.agent.seen(&format!("/exec/{}/p/", s.namespace));
    let with = |start: &str| seen.iter().filter(|line| line.starts_with(start)).count();
    let (sockets, spdy) = (with("GET websocket"), with("POST SPDY/3.1"));
    ensure!(sockets == 6 && spdy == 6, "{sockets} by WebSocket, {spdy} by SPDY: {seen:?}");
    let by_type = s.run("exec pod/p -c main -- pwd")?;
    ensure!(by_type == s.agent.pod_folder(&s.namespace, "p").to_string_lossy(), "{by_type}");
    s.saw(format!("{sockets} by WebSocket, {spdy} by SPDY, {PAYLOAD_BYTES} bytes each way"));
    Ok(())
}

pub fn attach(s: &Scene<'_>) -> Result<()> {
    let mut object = pod("p");
    object["spec"]["containers"][0]["stdin"] = json!(true);
    running(s, &object)?;
    for transport in Transport::ALL {
        let done = s.over(transport).call(
            &["attach", "-i", "p", "-c", "main"],
            b"hello\n",
            Duration::ZERO,
        )?;
        ensure!(done.code == 0 && done.out == "attached\nhello\n", "{done:?}");
    }
    let run = s.kubectl.call(
        &["run", "once", "--rm", "-i", "--restart=Never", "--image=i"],
        b"typed\n",
        Duration::ZERO,
    )?;
    ensure!(run.out.contains("typed"), "{run:?}");
    s.gone("pods", "once")?;
    s.saw("both transports, and run --rm -i");
    Ok(())
}

pub fn copy(s: &Scene<'_>) -> Result<()> {
    running(s, &pod("p"))?;
    for transport in Transport::ALL {
        let kubectl = s.over(transport);
        let payload = payload();
        fs::create_dir_all(s.path("folder/below"))?;
        fs::write(s.path("folder/below/payload"), &payload)?;
        fs::write(s.path("folder/name with space"), "x\n")?;
        kubectl.run(&["cp", &s.path("folder/below/payload"), "p:file"])?;
        let inside = s.agent.pod_folder(&s.namespace, "p");
        ensure!(fs::read(inside.join("file"))? == payload, "the file arrived changed");
        kubectl.run(&["cp", "p:file", &s.path("back")])?;
        ensure!(fs::read(s.path("back"))? == payload, "the file came back changed");
        kubectl.run(&["cp", &s.path("folder"), "p:folder"])?;
        kubectl.run(&["cp", "p:folder", &s.path("folder-back")])?;
        ensure!(
            fs::read(s.path("folder-back/below/payload"))? == payload,
            "the folder came back changed"
        );
        ensure!(fs::read(s.path("folder-back/name with space"))? == b"x\n", "a name with a space");
        for name in ["file", "folder"] {
            let path = inside.join(name);
            if path.is_dir() {
                fs::remove_dir_all(&path)?
            } else {
                fs::remove_file(&path)?
            }
            let here = s.path(&format!("{name}-back"));
            let _absent = fs::remove_dir_all(&here);
        }
    }
    s.saw(format!("a file of {PAYLOAD_BYTES} bytes and a folder, in and out, twice"));
    Ok(())
}

pub fn port_forward(s: &Scene<'_>) -> Result<()> {
    running(s, &pod("p"))?;
    s.run("expose pod p --port=8000 --target-port=80")?;
    s.run("get pod p -o name")?;
    for transport in Transport::ALL {
        let kubectl = s.over(transport);
        for (target, port) in [("pod/p", 80), ("service/p", 8000)] {
            forward(&kubectl, target, port)?;
        }
        refused(&kubectl)?;
    }
    let seen = s.agent.seen(&format!("/portForward/{}/p", s.namespace));
    let with = |start: &str| seen.iter().filter(|line| line.starts_with(start)).count();
    ensure!(with("GET websocket") == 3 && with("POST SPDY/3.1") == 3, "{seen:?}");
    s.saw("pod and service, 4 requests each, a closed port; both transports");
    Ok(())
}

fn forward(kubectl: &Kubectl, target: &str, port: u16) -> Result<()> {
    let ports = format!(":{port}");
    let mut forward = kubectl.stay(&["port-forward", "--address", "127.0.0.1", target, &ports])?;
    let (_, line) = forward.line(LINE)?;
    let address = line
        .strip_prefix("Forwarding from ")
        .and_then(|rest| rest.split_whitespace().next())
        .with_context(|| format!("kubectl said {line:?}"))?
        .to_owned();
    let ask = |address: &str| -> Result<()> {
        let body = http::get(address, "/x")?;
        has(&body, &["p:80 GET /x"])
    };
    ask(&address)?;
    ask(&address)?;
    std::thread::scope(|scope| {
        let both: Vec<_> = (0..2).map(|_| scope.spawn(|| ask(&address))).collect();
        both.into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("panicked")))
    })
}

/// The error stream's text reaches the user.
fn refused(kubectl: &Kubectl) -> Result<()> {
    let mut forward = kubectl.stay(&["port-forward", "--address", "127.0.0.1", "pod/p", ":9"])?;
    let (_, line) = forward.line(LINE)?;
    let address = line.split_whitespace().nth(2).context("no address")?.to_owned();
    ensure!(http::get(&address, "/").is_err(), "a closed port answered");
    has(&forward.errors(), &["connection refused"])
}

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
