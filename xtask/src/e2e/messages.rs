//! What users read when something is wrong: the words that Kubernetes uses.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{
    manifests::{image, script, sleeper},
    scene::Scene,
    waiting::{LINE, RECOVERY, until},
};

/// ErrImagePull, then ImagePullBackOff, with an event that names the image.
pub fn bad_image(scene: &Scene<'_>) -> Result<()> {
    let missing = image("not-there");
    let mut pod = script("bad", "true");
    pod["spec"]["containers"][0]["image"] = json!(missing);
    scene.kubectl().apply(&pod)?;
    let waiting = "jsonpath={.status.containerStatuses[0].state.waiting.reason}";
    scene.kubectl().wait("pod/bad", &format!("{waiting}=ImagePullBackOff"), RECOVERY)?;
    // Each further try shows ErrImagePull for a moment.
    let (message, phase) = until("the message of the back-off", RECOVERY, || {
        let pod = scene.pod("bad")?;
        let message = pod.text("/status/containerStatuses/0/state/waiting/message").to_owned();
        let expected = format!("Back-off pulling image \"{missing}\"");
        ensure!(message.starts_with(&expected), "the message is {message:?}");
        Ok((message, pod.text("/status/phase").to_owned()))
    })?;
    scene.proves(format!("waiting, ImagePullBackOff: {message}"));
    ensure!(phase == "Pending", "the pod is {phase}");
    for kubectl in scene.kubectls() {
        let line = kubectl.run(&["get", "pod", "bad", "--no-headers"])?;
        ensure!(
            line.contains("ImagePullBackOff") || line.contains("ErrImagePull"),
            "kubectl get: {line}"
        );
        scene.proves(format!(
            "kubectl {} get pod: {}",
            kubectl.version,
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        ));
    }
    let described = until("events tell of the image", LINE, || {
        let text = scene.kubectl().run(&["describe", "pod", "bad"])?;
        for part in ["Failed to pull image", "Error: ErrImagePull", "Error: ImagePullBackOff"] {
            ensure!(text.contains(part), "describe does not say {part:?}:\n{text}");
        }
        Ok(text)
    })?;
    // The registry's answer, not some other trouble, is the reason.
    let failed = described.lines().find(|line| line.contains("Failed to pull image"));
    let failed = failed.unwrap_or_default();
    let answers = ["not found", "manifest unknown", "name unknown"];
    ensure!(answers.iter().any(|answer| failed.contains(answer)), "the pull failed for: {failed}");
    for line in described.lines().filter(|line| line.contains("Failed") || line.contains("BackOff"))
    {
        scene.proves(format!("event: {}", line.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    Ok(())
}

/// Strict field validation names the field; nothing is created.
pub fn unknown_field(scene: &Scene<'_>) -> Result<()> {
    let mut pod = sleeper("typo");
    pod["spec"]["containers"][0]["imagePullPolicyy"] = json!("Always");
    pod["spec"]["colour"] = json!("red");
    for kubectl in scene.kubectls() {
        for verb in ["create", "apply"] {
            let said = kubectl.refused(&[verb, "-f", "-"], pod.to_string().as_bytes())?;
            for part in [
                "Error from server (BadRequest)",
                "strict decoding error",
                "unknown field \"spec.colour\"",
                "unknown field \"spec.containers[0].imagePullPolicyy\"",
            ] {
                ensure!(said.contains(part), "kubectl {verb} does not say {part:?}: {said}");
            }
            scene.proves(format!("kubectl {} {verb}: {said}", kubectl.version));
        }
        let none = kubectl.refused(&["get", "pod", "typo"], b"")?;
        ensure!(
            none == "Error from server (NotFound): pods \"typo\" not found",
            "kubectl get: {none}"
        );
        scene.proves(format!("kubectl {} get pod typo: {none}", kubectl.version));
    }
    Ok(())
}

/// A token that nobody issued, and an identity without rights.
pub fn wrong_token(scene: &Scene<'_>) -> Result<()> {
    for kubectl in scene.kubectls() {
        let stranger = Stranger::new(
            &scene.kubectl().json(&["config", "view", "--raw", "--minify", "-o", "json"])?,
        )?;
        let with = |token: &str| {
            let mut words = stranger.words();
            words.extend(["--token", token, "get", "pods"].map(str::to_owned));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            kubectl.refused(&words, b"")
        };
        let said = with("not.a.token")?;
        ensure!(
            said.contains("You must be logged in to the server (Unauthorized)"),
            "kubectl said {said}"
        );
        scene.proves(format!("kubectl {} with a wrong token: {said}", kubectl.version));
        let token = kubectl.run(&["create", "token", "default"])?;
        let said = with(&token)?;
        let user = format!("system:serviceaccount:{}:default", scene.namespace);
        let expected = format!(
            "Error from server (Forbidden): pods is forbidden: User \"{user}\" cannot list resource \"pods\" in API group \"\" in the namespace \"{}\"",
            scene.namespace
        );
        ensure!(said.starts_with(&expected), "kubectl said {said}");
        scene.proves(format!("kubectl {} with a token without rights: {said}", kubectl.version));
    }
    Ok(())
}

/// A client that has the server's address and CA, and nothing else.
struct Stranger {
    server: String,
    ca: tempfile::NamedTempFile,
}

impl Stranger {
    fn new(config: &serde_json::Value) -> Result<Self> {
        let cluster = &config["clusters"][0]["cluster"];
        let server = cluster["server"].as_str().context("no server in the kubeconfig")?.to_owned();
        let ca = tempfile::NamedTempFile::new()?;
        let encoded = cluster["certificate-authority-data"].as_str().context("no CA")?;
        let mut decode = std::process::Command::new("base64");
        decode.arg("-d");
        let decoded = crate::kube::feed(decode, encoded)?;
        fs::write(ca.path(), decoded.stdout)?;
        Ok(Self { server, ca })
    }

    fn words(&self) -> Vec<String> {
        let ca = self.ca.path().to_string_lossy().into_owned();
        let fixed =
            ["--kubeconfig", "/dev/null", "--server", &self.server, "--certificate-authority", &ca];
        fixed.map(str::to_owned).to_vec()
    }
}
