//! cordon, taint, drain, top.

use anyhow::{Result, ensure};
use serde_json::json;

use super::bodies::{deployment, pod};
use crate::{
    e2e::waiting::until,
    wire::scene::{SOON, Scene, has},
};

const NODE: &str = "/api/v1/nodes/wire-2";

pub fn cordon(s: &Scene<'_>) -> Result<()> {
    s.run("cordon wire-2")?;
    let node = s.raw_json(NODE)?;
    ensure!(node["spec"]["unschedulable"] == true, "{}", node["spec"]);
    until("the taint of a cordoned node", SOON, || {
        let taints = s.raw_json(NODE)?["spec"]["taints"].to_string();
        has(&taints, &["node.kubernetes.io/unschedulable"])
    })?;
    has(&s.run("get nodes")?, &["SchedulingDisabled"])?;
    s.run("uncordon wire-2")?;
    ensure!(s.raw_json(NODE)?["spec"]["unschedulable"].is_null(), "still cordoned");
    s.run("taint nodes wire-2 key=value:NoSchedule")?;
    has(&s.raw_json(NODE)?["spec"]["taints"].to_string(), &["\"key\":\"key\""])?;
    let refused = s.refused("taint nodes wire-2 key=other:NoSchedule", "")?;
    has(&refused, &["overwrite"])?;
    s.run("taint nodes wire-2 key-")?;
    ensure!(
        !s.raw_json(NODE)?["spec"]["taints"].to_string().contains("\"key\":\"key\""),
        "still tainted"
    );
    s.saw("cordoned, tainted, and back");
    Ok(())
}

pub fn drain(s: &Scene<'_>) -> Result<()> {
    let mut web = deployment("web", 2, "a");
    web["spec"]["template"]["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "wire-2"});
    s.with("create -f -", &web.to_string())?;
    s.run("rollout status deployment/web --timeout=60s")?;
    s.run("create pdb web --selector=app=web --min-available=2")?;
    budget(s, 0)?;
    let selector = "--pod-selector=app=web";
    let blocked = s.refused(&format!("drain wire-2 {selector} --timeout=8s"), "")?;
    has(&blocked, &["Cannot evict pod as it would violate the pod's disruption budget"])?;
    ensure!(s.kubectl.list(&["pods", "-l", "app=web"])?.len() == 2, "the budget was ignored");
    s.run("patch pdb web --type=merge -p {\"spec\":{\"minAvailable\":0}}")?;
    budget(s, 2)?;
    let before = names(s)?;
    let said = s.run(&format!("drain wire-2 {selector} --timeout=60s"))?;
    has(&said, &["evicting pod", "drained"])?;
    let after = names(s)?;
    ensure!(before.iter().all(|name| !after.contains(name)), "{before:?} are still there");
    s.run("uncordon wire-2")?;
    let mut alone = pod("alone");
    alone["spec"]["nodeName"] = json!("wire-2");
    s.with("create -f -", &alone.to_string())?;
    s.becomes("pods", "alone", "/status/phase", &json!("Running"))?;
    let refused = s.refused("drain wire-2 --pod-selector=app=alone", "")?;
    has(&refused, &["cannot delete"])?;
    s.run("drain wire-2 --pod-selector=app=alone --force --timeout=60s")?;
    s.gone("pods", "alone")?;
    s.run("uncordon wire-2")?;
    s.saw("blocked by the budget, then evicted; a bare pod by force");
    Ok(())
}

/// The budget allows so many disruptions.
fn budget(s: &Scene<'_>, allowed: u32) -> Result<()> {
    s.becomes(
        "policy/v1/poddisruptionbudgets",
        "web",
        "/status/disruptionsAllowed",
        &json!(allowed),
    )
}

fn names(s: &Scene<'_>) -> Result<Vec<String>> {
    let pods = s.kubectl.list(&["pods", "-l", "app=web"])?;
    Ok(pods.iter().filter_map(|p| p["metadata"]["name"].as_str().map(str::to_owned)).collect())
}

pub fn top(s: &Scene<'_>) -> Result<()> {
    let served = s.run("api-versions")?.contains("metrics.k8s.io/v1beta1");
    if !served {
        let said = s.refused("top nodes", "")?;
        has(&said, &["Metrics API not available"])?;
        s.saw("skipped: this server has no metrics.k8s.io");
        return Ok(());
    }
    s.with("create -f -", &pod("p").to_string())?;
    s.becomes("pods", "p", "/status/phase", &json!("Running"))?;
    until("figures of the nodes", SOON, || {
        has(&s.run("top nodes")?, &["wire-1", "CPU", "MEMORY"])
    })?;
    until("figures of the pod", SOON, || has(&s.run("top pods")?, &["p ", "MEMORY"]))?;
    s.saw("nodes and pods");
    Ok(())
}
