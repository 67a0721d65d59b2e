//! Lives of pods, step by step.

use serde_json::json;

use super::Driver;
use crate::event::{Action, Event, Hook, HookResult, ProbeKind, ProbeOutcome, PullFailure};
use crate::{Machine, Sandbox};

fn start(container: usize, attempt: u32) -> Action {
    Action::StartContainer { container, attempt }
}

#[test]
fn a_pod_starts_and_is_deleted() {
    let mut d = Driver::new(json!({}));
    let first = d.feed(Event::Tick);
    assert_eq!(
        first,
        [Action::PullImage { container: 0 }, Action::AttachNetwork, Action::ResolveVolumes]
    );
    let mut d = Driver::new(json!({}));
    assert_eq!(d.boot(), [start(0, 0)]);
    d.running(0);
    assert_eq!(d.summary(), "Running web=running/#0");
    let signal = Action::Signal { container: 0, attempt: 0, kill: false };
    assert_eq!(d.feed(Event::Deleted { grace_seconds: 30 }), [signal]);
    assert_eq!(d.pass(29), []);
    assert_eq!(d.pass(1), [Action::Signal { container: 0, attempt: 0, kill: true }]);
    assert_eq!(d.exited(0, 137), [Action::Forget { container: 0, attempt: 0 }, Action::ShutdownVm]);
    assert_eq!(d.feed(Event::VmExited { message: "done".into() }), [Action::Release]);
    assert!(d.feed(Event::Released).is_empty());
    assert!(d.machine.is_released());
    assert_eq!(d.summary(), "Failed web=terminated/Error#0");
    assert_eq!(d.reasons(), ["Pulled", "Created", "Started", "Killing"]);
}

#[test]
fn a_shorter_grace_brings_the_kill_forward() {
    let mut d = Driver::new(json!({}));
    d.boot();
    d.running(0);
    d.feed(Event::Deleted { grace_seconds: 30 });
    let kill = Action::Signal { container: 0, attempt: 0, kill: true };
    assert_eq!(d.feed(Event::Deleted { grace_seconds: 0 }), [kill]);
}

#[test]
fn a_crashing_container_backs_off() {
    let mut d = Driver::new(json!({}));
    d.boot();
    d.running(0);
    // The first restart comes at once.
    assert_eq!(d.exited(0, 1), [Action::Forget { container: 0, attempt: 0 }, start(0, 1)]);
    d.running(0);
    d.exited(0, 1);
    assert_eq!(d.summary(), "Running web=waiting/CrashLoopBackOff#1");
    let waiting = &d.status()["containerStatuses"][0]["state"]["waiting"];
    assert_eq!(waiting["message"], "back-off 10s restarting failed container=web pod=p_n(u)");
    assert_eq!(d.status()["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!(d.pass(9), []);
    assert_eq!(d.pass(1), [start(0, 2)]);
    d.running(0);
    d.exited(0, 1);
    assert_eq!(d.pass(19), []);
    assert_eq!(d.pass(1), [start(0, 3)]);
    // A container that lives long starts from nothing.
    d.running(0);
    d.pass(700);
    assert_eq!(d.exited(0, 1), [Action::Forget { container: 0, attempt: 3 }, start(0, 4)]);
}

#[test]
fn init_containers_run_in_order_and_sidecars_stay() {
    let mut d = Driver::new(json!({"initContainers": [
        {"name": "one", "image": "x:1"},
        {"name": "side", "image": "x:1", "restartPolicy": "Always"},
        {"name": "two", "image": "x:1"},
    ]}));
    assert_eq!(d.boot(), [start(0, 0)]);
    d.running(0);
    assert_eq!(
        d.summary(),
        "Pending one=running/#0 side=waiting/PodInitializing#0 two=waiting/PodInitializing#0 web=waiting/PodInitializing#0"
    );
    assert_eq!(d.exited(0, 0), [Action::Forget { container: 0, attempt: 0 }, start(1, 0)]);
    assert_eq!(d.running(1), [start(2, 0)]);
    d.running(2);
    // A failing init container is tried again.
    assert_eq!(d.exited(2, 1), [Action::Forget { container: 2, attempt: 0 }, start(2, 1)]);
    d.running(2);
    assert_eq!(d.exited(2, 0), [Action::Forget { container: 2, attempt: 1 }, start(3, 0)]);
    d.running(3);
    assert!(d.machine.state.initialized);
    assert_eq!(
        d.summary(),
        "Running one=terminated/Completed#0 side=running/#0 two=terminated/Completed#1 web=running/#0"
    );
    // A sidecar restarts by itself; main containers stop before it.
    assert_eq!(d.exited(1, 0), [Action::Forget { container: 1, attempt: 0 }, start(1, 1)]);
    d.running(1);
    let term = |container, attempt| Action::Signal { container, attempt, kill: false };
    assert_eq!(d.feed(Event::Deleted { grace_seconds: 30 }), [term(3, 0)]);
    assert_eq!(d.exited(3, 0), [Action::Forget { container: 3, attempt: 0 }, term(1, 1)]);
    assert_eq!(d.exited(1, 0), [Action::Forget { container: 1, attempt: 1 }, Action::ShutdownVm]);
}

#[test]
fn a_job_completes_and_its_sidecar_is_stopped() {
    let mut d = Driver::new(json!({
        "restartPolicy": "OnFailure",
        "initContainers": [{"name": "side", "image": "x:1", "restartPolicy": "Always"}],
    }));
    assert_eq!(d.boot(), [start(0, 0)]);
    assert_eq!(d.running(0), [start(1, 0)]);
    d.running(1);
    assert_eq!(d.exited(1, 3), [Action::Forget { container: 1, attempt: 0 }, start(1, 1)]);
    d.running(1);
    let term = Action::Signal { container: 0, attempt: 0, kill: false };
    assert_eq!(d.exited(1, 0), [Action::Forget { container: 1, attempt: 1 }, term]);
    d.exited(0, 143);
    assert_eq!(d.feed(Event::VmExited { message: String::new() }), [Action::Release]);
    d.feed(Event::Released);
    assert!(d.summary().starts_with("Succeeded"), "{}", d.summary());
}

#[test]
fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    let mut d = Driver::new(json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "i", "image": "x:1"}],
    }));
    d.boot();
    d.running(0);
    let actions = d.exited(0, 2);
    assert_eq!(actions, [Action::Forget { container: 0, attempt: 0 }, Action::ShutdownVm]);
    assert_eq!(d.summary(), "Failed i=terminated/Error#0 web=waiting/PodInitializing#0");
}

#[test]
fn image_pulls_back_off() {
    let mut d = Driver::new(json!({}));
    d.feed(Event::Tick);
    let failure = PullFailure { reason: "ErrImagePull".into(), message: "not found".into() };
    d.feed(Event::ImageFailed { container: 0, failure });
    assert_eq!(d.summary(), "Pending web=waiting/ErrImagePull#0");
    d.pass(2);
    assert_eq!(d.summary(), "Pending web=waiting/ImagePullBackOff#0");
    assert_eq!(
        d.status()["containerStatuses"][0]["state"]["waiting"]["message"],
        "Back-off pulling image \"nginx:1\": ErrImagePull: not found"
    );
    assert_eq!(d.pass(8), [Action::PullImage { container: 0 }]);
    assert_eq!(d.reasons(), ["Failed", "Failed", "BackOff", "Failed"]);
    // An image that is never to be pulled is not tried again.
    let failure = PullFailure { reason: "ErrImageNeverPull".into(), message: "m".into() };
    d.feed(Event::ImageFailed { container: 0, failure });
    assert_eq!(d.pass(1000), []);
    assert_eq!(d.machine.next_deadline(), None);
}

#[test]
fn a_dead_vm_is_replaced_unless_the_pod_never_restarts() {
    for (policy, comes_back) in [("Always", true), ("OnFailure", true), ("Never", false)] {
        let mut d = Driver::new(json!({"restartPolicy": policy}));
        d.boot();
        d.running(0);
        let actions = d.feed(Event::VmExited { message: "killed".into() });
        if comes_back {
            assert_eq!(actions, [Action::AttachNetwork, Action::ResolveVolumes], "{policy}");
            assert_eq!(d.summary(), "Running web=waiting/ContainerCreating#0");
            d.feed(Event::NetworkReady { address: "10.244.0.2".into() });
            assert_eq!(d.feed(Event::VolumesReady), [Action::LaunchVm]);
            d.feed(Event::VmReady);
            assert_eq!(d.feed(Event::Configured { boot_id: "c".into() }), [start(0, 1)]);
            d.running(0);
            assert_eq!(d.summary(), "Running web=running/#1");
            let last = &d.status()["containerStatuses"][0]["lastState"]["terminated"];
            assert_eq!((&last["exitCode"], &last["reason"]), (&json!(137), &json!("Error")));
        } else {
            assert_eq!(actions, [Action::Release]);
            assert_eq!(d.summary(), "Failed web=terminated/Error#0");
        }
    }
}

#[test]
fn a_vm_that_never_comes_up_is_tried_again_with_growing_delays() {
    let mut d = Driver::new(json!({"restartPolicy": "Never"}));
    d.feed(Event::Tick);
    d.image(0);
    let mut delays = Vec::new();
    for _ in 0..4 {
        d.feed(Event::NetworkReady { address: "a".into() });
        let mut actions = d.feed(Event::VolumesReady);
        let mut waited = 0;
        while actions != [Action::LaunchVm] {
            actions = d.pass(1);
            waited += 1;
        }
        delays.push(waited);
        d.feed(Event::VmFailed { message: "no".into() });
    }
    assert_eq!(delays, [0, 0, 10, 20]);
}

#[test]
fn the_active_deadline_fails_the_pod() {
    let mut d = Driver::new(json!({"activeDeadlineSeconds": 60}));
    d.boot();
    d.running(0);
    let term = Action::Signal { container: 0, attempt: 0, kill: false };
    assert_eq!(d.pass(60), [term]);
    assert_eq!(d.status()["reason"], "DeadlineExceeded");
    assert_eq!(d.status()["phase"], "Failed");
}

#[test]
fn probes_gate_and_kill() {
    let probe = |delay: i32| json!({"tcpSocket": {"port": 80}, "initialDelaySeconds": delay, "periodSeconds": 5, "failureThreshold": 2});
    let mut d = Driver::new(json!({"containers": [{
        "name": "web", "image": "x:1",
        "startupProbe": probe(0), "livenessProbe": probe(0), "readinessProbe": probe(0),
    }]}));
    d.boot();
    let run = |kind| Action::Probe { container: 0, attempt: 0, kind };
    assert_eq!(d.running(0), [run(ProbeKind::Startup)]);
    let probed = |kind, outcome| Event::Probed { container: 0, attempt: 0, kind, outcome };
    let bad = || ProbeOutcome::Failure { message: "refused".into() };
    d.feed(probed(ProbeKind::Startup, bad()));
    assert_eq!(d.status()["containerStatuses"][0]["started"], false);
    assert_eq!(d.pass(5), [run(ProbeKind::Startup)]);
    let next = d.feed(probed(ProbeKind::Startup, ProbeOutcome::Success));
    assert_eq!(next, [run(ProbeKind::Liveness), run(ProbeKind::Readiness)]);
    assert_eq!(d.status()["containerStatuses"][0]["started"], true);
    assert_eq!(d.status()["containerStatuses"][0]["ready"], false);
    d.feed(probed(ProbeKind::Readiness, ProbeOutcome::Success));
    assert_eq!(d.status()["containerStatuses"][0]["ready"], true);
    d.feed(probed(ProbeKind::Liveness, bad()));
    assert_eq!(d.pass(5).len(), 2);
    d.feed(probed(ProbeKind::Readiness, bad()));
    assert_eq!(
        d.status()["containerStatuses"][0]["ready"],
        true,
        "one failure is below the threshold"
    );
    let killed = d.feed(probed(ProbeKind::Liveness, bad()));
    assert_eq!(killed, [Action::Signal { container: 0, attempt: 0, kill: false }]);
    assert!(d.log.iter().any(|action| matches!(action, Action::Record(record)
        if record.message == "Container web failed liveness probe, will be restarted")));
    assert_eq!(d.exited(0, 143), [Action::Forget { container: 0, attempt: 0 }, start(0, 1)]);
}

#[test]
fn hooks_come_before_signals() {
    let mut d = Driver::new(json!({"containers": [{
        "name": "web", "image": "x:1",
        "lifecycle": {"postStart": {"sleep": {"seconds": 1}}, "preStop": {"sleep": {"seconds": 5}}},
    }]}));
    d.boot();
    let hook = |hook| Action::RunHook { container: 0, attempt: 0, hook };
    let done = |hook, result| Event::HookDone { container: 0, attempt: 0, hook, result };
    assert_eq!(d.running(0), [hook(Hook::PostStart)]);
    assert_eq!(d.status()["containerStatuses"][0]["ready"], false);
    d.feed(done(Hook::PostStart, HookResult::Succeeded));
    assert_eq!(d.status()["containerStatuses"][0]["ready"], true);
    assert_eq!(d.feed(Event::Deleted { grace_seconds: 30 }), [hook(Hook::PreStop)]);
    let term = Action::Signal { container: 0, attempt: 0, kill: false };
    assert_eq!(d.feed(done(Hook::PreStop, HookResult::Succeeded)), [term]);
}

#[test]
fn a_missing_object_is_waited_for() {
    let mut d = Driver::new(json!({}));
    d.boot();
    let (reason, message) =
        ("CreateContainerConfigError".to_owned(), "configmap \"c\" not found".to_owned());
    d.feed(Event::ContainerRejected { container: 0, attempt: 0, reason, message });
    assert_eq!(d.summary(), "Pending web=waiting/CreateContainerConfigError#0");
    assert_eq!(d.feed(Event::ObjectsChanged), [start(0, 0)]);
}

#[test]
fn a_restored_machine_goes_on() {
    let mut d = Driver::new(json!({}));
    d.boot();
    d.running(0);
    let text = serde_json::to_string(&d.machine.state).unwrap();
    let state = serde_json::from_str(&text).unwrap();
    d.machine = Machine::restore(d.machine.plan.clone(), state).unwrap();
    assert_eq!(d.machine.state.sandbox, Sandbox::Running);
    assert!(d.feed(Event::GuestSynced).is_empty());
    assert_eq!(d.summary(), "Running web=running/#0");
    // A start whose answer was lost is made again under the same number.
    let mut d = Driver::new(json!({}));
    assert_eq!(d.boot(), [start(0, 0)]);
    let state = d.machine.state.clone();
    d.machine = Machine::restore(d.machine.plan.clone(), state).unwrap();
    assert_eq!(d.feed(Event::GuestSynced), [start(0, 0)]);
}

#[test]
fn deletion_before_the_vm_is_up() {
    let mut d = Driver::new(json!({}));
    d.feed(Event::Tick);
    assert_eq!(d.feed(Event::Deleted { grace_seconds: 30 }), [Action::Release]);
    let mut d = Driver::new(json!({}));
    d.feed(Event::Tick);
    d.image(0);
    d.feed(Event::NetworkReady { address: "a".into() });
    d.feed(Event::VolumesReady);
    assert_eq!(d.feed(Event::Deleted { grace_seconds: 30 }), [Action::ShutdownVm]);
    assert_eq!(d.feed(Event::VmExited { message: String::new() }), [Action::Release]);
}

/// Whatever the order of events: no panic, and a deleted pod whose parts all answer is released.
#[test]
fn random_lives_end_released() {
    let mut seed = 1u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for _ in 0..300 {
        let policy = ["Always", "OnFailure", "Never"][usize::try_from(random(3)).unwrap()];
        let mut d = Driver::new(json!({
            "restartPolicy": policy,
            "initContainers": [{"name": "i", "image": "x:1"}, {"name": "s", "image": "x:1", "restartPolicy": "Always"}],
        }));
        d.feed(Event::Tick);
        let mut deleted = false;
        for round in 0..400 {
            if round == 200 {
                deleted = true;
                d.feed(Event::Deleted { grace_seconds: 5 });
            }
            let container = usize::try_from(random(3)).unwrap();
            match random(12) {
                0 => {
                    d.image(container);
                }
                1 => {
                    d.feed(Event::NetworkReady { address: "a".into() });
                }
                2 => {
                    d.feed(Event::VolumesReady);
                }
                3 => {
                    d.feed(Event::VmReady);
                }
                4 => {
                    d.feed(Event::Configured { boot_id: "b".into() });
                }
                5 => {
                    d.running(container);
                }
                6 => {
                    d.exited(container, i32::try_from(random(2)).unwrap());
                }
                7 if random(5) == 0 || deleted => {
                    d.feed(Event::VmExited { message: String::new() });
                }
                8 if d.machine.state.sandbox == Sandbox::Releasing => {
                    d.feed(Event::Released);
                }
                _ => {
                    d.pass(3);
                }
            }
            d.status();
        }
        assert!(d.machine.is_released(), "{:?}", d.machine.state);
    }
}
