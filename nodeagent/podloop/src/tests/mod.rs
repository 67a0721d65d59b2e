//! Table and script tests of the machine, the status and the spec.

mod lifecycle;
mod spec;
mod status;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::container::Exit;
use crate::event::{Action, Event, PulledImage};
use crate::{Machine, PodPlan, Role};

/// A pod whose spec is `spec` over one container `web`.
pub fn pod(spec: Value) -> Pod {
    let mut object = json!({
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1},
        "spec": {"containers": [{"name": "web", "image": "nginx:1"}], "terminationGracePeriodSeconds": 30},
    });
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

/// Drives a machine in virtual time and answers routine actions by itself.
pub struct Driver {
    pub machine: Machine,
    pub pod: Pod,
    pub now: Timestamp,
    pub log: Vec<Action>,
}

impl Driver {
    pub fn new(spec: Value) -> Self {
        let pod = pod(spec);
        let now = Timestamp::from_second(1_000_000).unwrap();
        let machine = Machine::new(PodPlan::new(&pod), now);
        Self { machine, pod, now, log: Vec::new() }
    }

    /// Feeds one event; returns the actions, records left out.
    pub fn feed(&mut self, event: Event) -> Vec<Action> {
        let actions = self.machine.step(event, self.now);
        self.log.extend(actions.clone());
        actions.into_iter().filter(|action| !matches!(action, Action::Record(_))).collect()
    }

    pub fn image(&mut self, container: usize) -> Vec<Action> {
        let image = PulledImage {
            id: "sha256:1".into(),
            digest: "nginx@sha256:2".into(),
            pull_millis: Some(5),
            size_bytes: 9,
            stop_signal: None,
        };
        self.feed(Event::ImageReady { container, image })
    }

    /// To a configured VM; returns the actions of the last step.
    pub fn boot(&mut self) -> Vec<Action> {
        self.feed(Event::Tick);
        for container in 0..self.machine.plan.containers.len() {
            self.image(container);
        }
        self.feed(Event::NetworkReady { address: "10.244.0.2".into() });
        let actions = self.feed(Event::VolumesReady);
        assert_eq!(actions, [Action::LaunchVm]);
        assert_eq!(self.feed(Event::VmReady), [Action::Configure]);
        self.feed(Event::Configured { boot_id: "b".into() })
    }

    pub fn running(&mut self, container: usize) -> Vec<Action> {
        let attempt = self.machine.state.containers[container].attempt();
        self.feed(Event::ContainerRunning { container, attempt, at: self.now })
    }

    pub fn exited(&mut self, container: usize, code: i32) -> Vec<Action> {
        let attempt = self.machine.state.containers[container].attempt();
        let reason = if code == 0 { "Completed" } else { "Error" }.to_owned();
        let (message, started, finished) = (String::new(), Some(self.now), self.now);
        let exit = Exit { code, signal: 0, reason, message, started, finished, attempt };
        self.feed(Event::ContainerExited { container, attempt, exit })
    }

    pub fn pass(&mut self, seconds: i64) -> Vec<Action> {
        self.now += SignedDuration::from_secs(seconds);
        self.feed(Event::Tick)
    }

    pub fn status(&self) -> Value {
        let status = crate::status::pod_status(&self.machine, &self.pod, "10.88.0.11", self.now);
        serde_json::to_value(status).unwrap()
    }

    /// "phase web=Waiting/Reason"-style summary.
    pub fn summary(&self) -> String {
        let status = self.status();
        let mut text = status["phase"].as_str().unwrap().to_owned();
        for list in ["initContainerStatuses", "containerStatuses"] {
            for one in status[list].as_array().into_iter().flatten() {
                let (kind, state) = one["state"].as_object().unwrap().iter().next().unwrap();
                let reason = state["reason"].as_str().unwrap_or_default();
                text += &format!(
                    " {}={kind}/{reason}#{}",
                    one["name"].as_str().unwrap(),
                    one["restartCount"]
                );
            }
        }
        text
    }

    pub fn reasons(&self) -> Vec<&'static str> {
        let records = self.log.iter().filter_map(|action| match action {
            Action::Record(record) => Some(record.reason),
            _ => None,
        });
        records.collect()
    }
}

#[test]
fn roles_and_policies() {
    let plan = PodPlan::new(&pod(json!({
        "restartPolicy": "Never",
        "initContainers": [
            {"name": "i", "image": "x"},
            {"name": "s", "image": "x@sha256:0", "restartPolicy": "Always"},
        ],
    })));
    let roles: Vec<Role> = plan.containers.iter().map(|container| container.role).collect();
    assert_eq!(roles, [Role::Init, Role::Sidecar, Role::Main]);
    assert_eq!(plan.containers[0].pull_policy, crate::PullPolicy::Always);
    assert_eq!(plan.containers[1].pull_policy, crate::PullPolicy::IfNotPresent);
    assert!(!plan.containers[0].restarts_after(1));
    assert!(plan.containers[1].restarts_after(0));
    assert!(!plan.containers[2].restarts_after(1));
}
