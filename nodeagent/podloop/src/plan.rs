//! The parts of a pod's spec that the state machine decides by, read once.

use k8s_openapi::api::core::v1::{Container, ContainerRestartRule, Pod, Probe};

/// Which part a container plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs to completion before the next starts.
    Init,
    /// An init container with `restartPolicy: Always`.
    Sidecar,
    Main,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// The numbers of one probe, with the API's defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbePlan {
    pub initial_delay_seconds: i64,
    pub period_seconds: i64,
    pub timeout_seconds: i64,
    pub success_threshold: i32,
    pub failure_threshold: i32,
    pub grace_seconds: Option<i64>,
}

/// One container of the pod.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerPlan {
    pub name: String,
    pub role: Role,
    pub image: String,
    pub pull_policy: PullPolicy,
    pub restart: RestartPolicy,
    pub restart_rules: Vec<ContainerRestartRule>,
    pub startup: Option<ProbePlan>,
    pub liveness: Option<ProbePlan>,
    pub readiness: Option<ProbePlan>,
    pub post_start: bool,
    pub pre_stop: bool,
}

/// One pod: init containers and sidecars first, in order, then the main containers.
#[derive(Debug, Clone, PartialEq)]
pub struct PodPlan {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub containers: Vec<ContainerPlan>,
    pub restart: RestartPolicy,
    pub grace_seconds: i64,
    pub active_deadline_seconds: Option<i64>,
}

/// `terminationGracePeriodSeconds` when the pod says nothing (API default).
pub const DEFAULT_GRACE_SECONDS: i64 = 30;

impl PodPlan {
    #[must_use]
    pub fn new(pod: &Pod) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let restart =
            restart_policy(spec.restart_policy.as_deref()).unwrap_or(RestartPolicy::Always);
        let inits = spec.init_containers.as_deref().unwrap_or_default().iter();
        let containers = inits
            .map(|container| plan_init(container, restart))
            .chain(spec.containers.iter().map(|container| plan_main(container, restart)))
            .collect();
        Self {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            containers,
            restart,
            grace_seconds: spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE_SECONDS),
            active_deadline_seconds: spec.active_deadline_seconds,
        }
    }

    /// Position of the container of this name.
    #[must_use]
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.containers.iter().position(|container| container.name == name)
    }

    /// `name_namespace(uid)`, as the kubelet formats pods in messages.
    #[must_use]
    pub fn described(&self) -> String {
        format!("{}_{}({})", self.name, self.namespace, self.uid)
    }
}

impl ContainerPlan {
    /// Whether a container that ended with this code is started again.
    #[must_use]
    pub fn restarts_after(&self, exit_code: i32) -> bool {
        if self.restart_rules.iter().any(|rule| rule_matches(rule, exit_code)) {
            return true;
        }
        match self.restart {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => exit_code != 0,
            RestartPolicy::Never => false,
        }
    }
}

fn plan_init(container: &Container, pod: RestartPolicy) -> ContainerPlan {
    let own = restart_policy(container.restart_policy.as_deref());
    if own == Some(RestartPolicy::Always) {
        return plan_container(container, Role::Sidecar, RestartPolicy::Always);
    }
    // An init container that succeeded is never run again: `Always` means `OnFailure` here.
    let restart = match own.unwrap_or(pod) {
        RestartPolicy::Always | RestartPolicy::OnFailure => RestartPolicy::OnFailure,
        RestartPolicy::Never => RestartPolicy::Never,
    };
    plan_container(container, Role::Init, restart)
}

fn plan_main(container: &Container, pod: RestartPolicy) -> ContainerPlan {
    let own = restart_policy(container.restart_policy.as_deref());
    plan_container(container, Role::Main, own.unwrap_or(pod))
}

fn plan_container(container: &Container, role: Role, restart: RestartPolicy) -> ContainerPlan {
    let image = container.image.clone().unwrap_or_default();
    let lifecycle = container.lifecycle.as_ref();
    ContainerPlan {
        name: container.name.clone(),
        role,
        pull_policy: pull_policy(container.image_pull_policy.as_deref(), &image),
        image,
        restart,
        restart_rules: container.restart_policy_rules.clone().unwrap_or_default(),
        startup: container.startup_probe.as_ref().map(plan_probe),
        liveness: container.liveness_probe.as_ref().map(plan_probe),
        readiness: container.readiness_probe.as_ref().map(plan_probe),
        post_start: lifecycle.is_some_and(|lifecycle| lifecycle.post_start.is_some()),
        pre_stop: lifecycle.is_some_and(|lifecycle| lifecycle.pre_stop.is_some()),
    }
}

fn plan_probe(probe: &Probe) -> ProbePlan {
    let at_least_one = |value: Option<i32>, default: i32| value.unwrap_or(default).max(1);
    ProbePlan {
        initial_delay_seconds: i64::from(probe.initial_delay_seconds.unwrap_or(0).max(0)),
        period_seconds: i64::from(at_least_one(probe.period_seconds, 10)),
        timeout_seconds: i64::from(at_least_one(probe.timeout_seconds, 1)),
        success_threshold: at_least_one(probe.success_threshold, 1),
        failure_threshold: at_least_one(probe.failure_threshold, 3),
        grace_seconds: probe.termination_grace_period_seconds,
    }
}

fn restart_policy(text: Option<&str>) -> Option<RestartPolicy> {
    match text? {
        "Always" => Some(RestartPolicy::Always),
        "OnFailure" => Some(RestartPolicy::OnFailure),
        "Never" => Some(RestartPolicy::Never),
        _ => None,
    }
}

/// The API default: `Always` for the tag `latest` or none, else `IfNotPresent`.
fn pull_policy(text: Option<&str>, image: &str) -> PullPolicy {
    match text {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        Some("IfNotPresent") => PullPolicy::IfNotPresent,
        Some(_) | None if is_latest(image) => PullPolicy::Always,
        Some(_) | None => PullPolicy::IfNotPresent,
    }
}

fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.rsplit_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn rule_matches(rule: &ContainerRestartRule, exit_code: i32) -> bool {
    let Some(codes) = &rule.exit_codes else { return false };
    let listed = codes.values.as_deref().unwrap_or_default().contains(&exit_code);
    rule.action == "Restart" && if codes.operator == "In" { listed } else { !listed }
}
