//! A container over its memory limit.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::e2e::{
    manifests::{container, pod},
    scene::Scene,
    waiting::RECOVERY,
};

const LIMIT_MIB: u32 = 32;
/// Fills an array until it is killed: small steps, so that it is the limit that stops it.
const GROW: &str = "BEGIN { s = sprintf(\"%1024s\", \"x\"); for (i = 0; ; i++) a[i] = s i }";

/// OOMKilled with exit code 137 in the status, in `get` and in `describe`; a neighbour in the pod goes on.
pub fn out_of_memory(scene: &Scene<'_>) -> Result<()> {
    let mut greedy = container("greedy", "busybox", &["awk", GROW]);
    greedy["resources"] =
        json!({"requests": {"memory": "16Mi"}, "limits": {"memory": format!("{LIMIT_MIB}Mi")}});
    let mut object =
        pod("greedy", vec![greedy, container("neighbour", "busybox", &["sleep", "86400"])]);
    object["spec"]["restartPolicy"] = json!("Never");
    scene.kubectl().apply(&object)?;
    let reason = r#"jsonpath={.status.containerStatuses[?(@.name=="greedy")].state.terminated.reason}=OOMKilled"#;
    scene.kubectl().wait("pod/greedy", reason, RECOVERY)?;
    let pod = scene.pod("greedy")?;
    let statuses = pod.0["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
    let of = |name: &str| {
        statuses.iter().find(|status| status["name"] == name).cloned().unwrap_or_default()
    };
    let (ended, neighbour) =
        (&of("greedy")["state"]["terminated"], &of("neighbour")["state"]["running"]);
    ensure!(ended["exitCode"] == 137, "the container ended with {ended}");
    ensure!(neighbour.is_object(), "the neighbour does not run: {}", of("neighbour")["state"]);
    scene.proves(format!(
        "limit {LIMIT_MIB}Mi: reason {}, exit code {}; the other container runs on",
        ended["reason"], ended["exitCode"]
    ));
    for kubectl in scene.kubectls() {
        let line = kubectl.run(&["get", "pod", "greedy", "--no-headers"])?;
        ensure!(line.contains("OOMKilled"), "kubectl get: {line}");
        let text = kubectl.run_with(&["describe", "pod", "greedy"], b"", Duration::ZERO)?;
        let said: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| line.contains("OOMKilled") || line.contains("137"))
            .collect();
        ensure!(said.len() >= 2, "describe does not say why:\n{text}");
        let shown = line.split_whitespace().collect::<Vec<_>>().join(" ");
        scene.proves(format!(
            "kubectl {} get: {shown}; describe: {}",
            kubectl.version,
            said.join(", ")
        ));
    }
    Ok(())
}
