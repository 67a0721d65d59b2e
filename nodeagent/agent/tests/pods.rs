//! Whole pods through the agent: a small API server in this process, guests of the fake VM host.

mod api;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use agent::logs::Logs;
use agent::pods::{Pods, Supervisor};
use agent::ports::{Images, Links, LocalImage, Login};
use agent::recorder::Recorder;
use agent::services::Services;
use agent::shared::Shared;
use api::FakeApi;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use podloop::event::PullFailure;
use podloop::spec::sandbox::Card;
use podloop::spec::sizing::Policy;
use podloop::spec::{ImageConfig, NodeFacts};
use serde_json::{Value, json};
use std::os::fd::OwnedFd;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vmhost::fake;
use volume::{Objects, Token, TokenRef, TokenSource};

struct FakeImages;

#[async_trait]
impl Images for FakeImages {
    fn lookup(&self, _reference: &str) -> Option<LocalImage> {
        None
    }

    async fn pull(
        &self,
        reference: &str,
        _login: Option<Login>,
    ) -> Result<LocalImage, PullFailure> {
        if reference.contains("missing") {
            return Err(PullFailure { reason: "ErrImagePull".into(), message: "not found".into() });
        }
        Ok(LocalImage {
            id: "sha256:1".into(),
            digest: format!("{reference}@sha256:2"),
            size_bytes: 1,
            layers: vec!["/layer".into()],
            config: ImageConfig { cmd: vec!["run".into()], ..ImageConfig::default() },
            stop_signal: None,
        })
    }
}

struct FakeLinks;

fn card() -> Card {
    Card {
        mac: [2, 0, 0, 0, 0, 1],
        address: "10.244.0.5".into(),
        prefix_length: 24,
        gateway: "10.244.0.1".into(),
        mtu: 1450,
    }
}

#[async_trait]
impl Links for FakeLinks {
    async fn attach(&self, _uid: &str) -> Result<(Card, Option<OwnedFd>), String> {
        Ok((card(), None))
    }
    async fn adopt(&self, _uid: &str) -> Result<Card, String> {
        Ok(card())
    }
    async fn detach(&self, _uid: &str) -> Result<(), String> {
        Ok(())
    }
}

struct FakeTokens;

#[async_trait]
impl TokenSource for FakeTokens {
    async fn issue(&self, _pod: &Pod, _reference: &TokenRef) -> Result<Token, String> {
        let refresh_at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
        Ok(Token { text: "jwt".into(), refresh_at })
    }
}

/// One agent's life.
struct Agent {
    pods: Pods,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl Agent {
    fn start(api: &FakeApi, host: &Arc<fake::Host>, directory: &Path) -> Self {
        let client = api.client();
        let shutdown = CancellationToken::new();
        let shared = Shared {
            facts: NodeFacts {
                node_name: "node-1".into(),
                node_ip: "10.88.0.11".into(),
                cluster_domain: "cluster.local".into(),
                cluster_dns: "10.96.0.10".into(),
                ..NodeFacts::default()
            },
            policy: Policy { unlimited_container_bytes: 1 << 27, unlimited_vcpus: 1, node_cpus: 2 },
            images: Arc::new(FakeImages),
            links: Arc::new(FakeLinks),
            vms: Arc::clone(host) as Arc<dyn vmhost::VmHost>,
            objects: Objects::new(client.clone()),
            tokens: Arc::new(FakeTokens),
            services: Services::fixed(Vec::new()),
            recorder: Recorder::start(client.clone(), "node-1".into()),
            logs: Logs::new(directory.join("logs")),
            pods_dir: directory.join("pods"),
            client,
            shutdown: shutdown.clone(),
        };
        let pods = Pods::default();
        let supervisor = Supervisor::new(Arc::new(shared), pods.clone());
        Self { pods, shutdown, running: tokio::spawn(supervisor.run()) }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap();
    }
}

fn pod(spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n", "uid": "u1", "resourceVersion": "1"},
        "spec": {
            "nodeName": "node-1",
            "containers": [{"name": "web", "image": "nginx:1", "args": ["run", "hello"]}],
            "volumes": [{"name": "v", "projected": {"sources": [
                {"serviceAccountToken": {"path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            ]}}],
        },
    });
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    object
}

fn state_of(status: &Value) -> &Value {
    &status["containerStatuses"][0]
}

fn is_ready(status: &Value) -> bool {
    state_of(status)["ready"] == true
}

#[tokio::test]
async fn a_pod_lives_crashes_comes_back_and_is_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let api = FakeApi::new(pod(json!({})));
    let host = Arc::new(fake::Host::default());
    let agent = Agent::start(&api, &host, directory.path());
    let status = api.wait_for_status(is_ready).await;
    assert_eq!((&status["phase"], &status["podIP"]), (&json!("Running"), &json!("10.244.0.5")));
    let (sandbox, volumes) = host.sandbox("u1").unwrap();
    assert_eq!(sandbox.hostname, "p");
    let files: Vec<&str> = volumes["v"].files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(files, ["ca.crt", "token"]);
    assert_eq!(host.container("u1", "web.0").unwrap().layer_devices, ["/dev/vda"]);
    let log = directory.path().join("logs/n_p_u1/web/0.log");
    api::until(|| std::fs::read_to_string(&log).is_ok_and(|text| text.contains("F run hello")))
        .await;

    let vm = agent.pods.find("n", "p").unwrap().vm.borrow().clone().unwrap();
    let args = vec!["false".to_owned()];
    assert_eq!(agent::pods::guest_exec(&vm, "web.0", args).await.unwrap().0, 1);

    // The container exits, and is started again at once.
    host.end_container("u1", "web.0", 3);
    let status = api.wait_for_status(|s| is_ready(s) && state_of(s)["restartCount"] == 1).await;
    assert_eq!(state_of(&status)["lastState"]["terminated"]["exitCode"], 3);

    // Its VM dies, and is replaced.
    host.crash("u1");
    let status = api.wait_for_status(|s| is_ready(s) && state_of(s)["restartCount"] == 2).await;
    assert_eq!(state_of(&status)["lastState"]["terminated"]["exitCode"], 137);
    assert_eq!(host.launches.load(Ordering::SeqCst), 2);

    api.request_deletion(30);
    api.wait_for_delete().await;
    api::until(|| agent.pods.find("n", "p").is_none()).await;
    assert!(!directory.path().join("logs/n_p_u1").exists());
    assert!(!directory.path().join("pods/u1").exists());
    agent.stop().await;
}

#[tokio::test]
async fn a_restarted_agent_takes_its_pods_up_again() {
    let directory = tempfile::tempdir().unwrap();
    let api = FakeApi::new(pod(json!({})));
    let host = Arc::new(fake::Host::default());
    let agent = Agent::start(&api, &host, directory.path());
    api.wait_for_status(is_ready).await;
    let boot_id = agent.pods.find("n", "p").unwrap().machine.borrow().state.boot_id.clone();
    agent.stop().await;
    assert!(host.sandbox("u1").is_some(), "the VM outlives the agent");

    let agent = Agent::start(&api, &host, directory.path());
    api::until(|| agent.pods.find("n", "p").is_some_and(|pod| pod.vm.borrow().is_some())).await;
    let handle = agent.pods.find("n", "p").unwrap();
    assert_eq!(handle.machine.borrow().state.boot_id, boot_id);
    assert_eq!(host.launches.load(Ordering::SeqCst), 1);
    // It still follows what happens inside.
    host.end_container("u1", "web.0", 1);
    api.wait_for_status(|s| is_ready(s) && state_of(s)["restartCount"] == 1).await;
    // The log was not written twice.
    let log = std::fs::read_to_string(directory.path().join("logs/n_p_u1/web/0.log")).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    agent.stop().await;
}

#[tokio::test]
async fn a_job_succeeds_and_refusals_and_bad_images_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let host = Arc::new(fake::Host::default());
    let job = json!({"restartPolicy": "Never", "containers": [{"name": "web", "image": "x:1", "args": ["exit", "0"]}]});
    let api = FakeApi::new(pod(job));
    let agent = Agent::start(&api, &host, directory.path());
    let status = api.wait_for_status(|status| status["phase"] == "Succeeded").await;
    assert_eq!(state_of(&status)["state"]["terminated"]["reason"], "Completed");
    agent.stop().await;

    let directory = tempfile::tempdir().unwrap();
    let api = FakeApi::new(pod(json!({"hostNetwork": true})));
    let agent = Agent::start(&api, &host, directory.path());
    let status = api.wait_for_status(|status| status["phase"] == "Failed").await;
    assert_eq!(status["reason"], "HostNetworkUnsupported");
    agent.stop().await;

    let directory = tempfile::tempdir().unwrap();
    let missing = json!({"containers": [{"name": "web", "image": "missing:1"}]});
    let api = FakeApi::new(pod(missing));
    let agent = Agent::start(&api, &host, directory.path());
    let reason = |s: &Value| state_of(s)["state"]["waiting"]["reason"].clone();
    api.wait_for_status(|status| reason(status) == "ErrImagePull").await;
    api.wait_for_status(|status| reason(status) == "ImagePullBackOff").await;
    api.request_deletion(0);
    api.wait_for_delete().await;
    agent.stop().await;
}
