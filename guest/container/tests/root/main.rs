//! Containers on a real kernel: namespaces, cgroup limits, users, capabilities, read-only roots, lack of memory.
//! Needs root, cgroup v2 and a static busybox; a test that lacks something says `skipped: <what>`.

#![allow(clippy::unwrap_used, reason = "tests")]

mod run;

use std::collections::BTreeSet;

use container::capabilities::CapabilitySet;
use container::{FailureKind, Limits, Namespace, Namespaces, Seccomp};
use run::{End, Place};

const KINDS: [&str; 6] = ["pid", "mnt", "net", "ipc", "uts", "cgroup"];
const MIB: u64 = 1 << 20;

#[test]
fn namespaces_are_the_containers_own() {
    let Some(place) = Place::prepare("namespaces", &[]) else { return };
    let mut spec = place.spec(
        "for k in pid mnt net ipc uts cgroup; do readlink /proc/self/ns/$k; done; echo pid $$; \
         echo links $(ls /sys/class/net); echo procs $(ls -d /proc/[0-9]* | wc -l)",
    );
    spec.namespaces = Namespaces {
        pid: Namespace::New,
        ipc: Namespace::New,
        uts: Namespace::New,
        net: Namespace::New,
    };
    let end = place.run(&spec, Limits::default());
    assert_eq!((end.code, end.signal), (0, 0), "{}", end.text);
    let inside: BTreeSet<&str> = end.text.lines().take(KINDS.len()).collect();
    for kind in KINDS {
        let ours = std::fs::read_link(format!("/proc/thread-self/ns/{kind}")).unwrap();
        let ours = ours.to_string_lossy().into_owned();
        assert!(inside.iter().any(|name| name.starts_with(&format!("{kind}:["))), "{}", end.text);
        assert!(!inside.contains(ours.as_str()), "{kind} is shared:\n{}", end.text);
    }
    for line in ["pid 1", "links lo"] {
        assert!(end.text.lines().any(|l| l == line), "{line:?} is missing in:\n{}", end.text);
    }
}

#[test]
fn inherited_namespaces_are_the_callers() {
    let Some(place) = Place::prepare("inherit", &[]) else { return };
    let spec = place.spec("readlink /proc/self/ns/net; readlink /proc/self/ns/uts");
    let end = place.run(&spec, Limits::default());
    let ours = |kind| std::fs::read_link(format!("/proc/thread-self/ns/{kind}")).unwrap();
    let expected = format!("{}\n{}\n", ours("net").display(), ours("uts").display());
    assert_eq!(end.text, expected);
}

#[test]
fn limits_are_what_the_container_sees() {
    let Some(place) = Place::prepare("limits", &["memory", "cpu", "pids"]) else { return };
    let spec = place.spec(
        "cd /sys/fs/cgroup; cat memory.max memory.swap.max cpu.max cpu.weight pids.max; \
         echo 1 > pids.max || echo read-only",
    );
    let limits =
        Limits { memory_bytes: 32 * MIB, cpu_quota_micros: 50_000, cpu_weight: 77, pids_max: 9 };
    let end = place.run(&spec, limits);
    let lines: Vec<&str> = end.text.lines().filter(|line| !line.starts_with("/bin/sh")).collect();
    // A kernel without swap accounting has no memory.swap.max.
    let lines: Vec<&str> = lines.into_iter().filter(|line| !line.starts_with("cat:")).collect();
    let swap = lines.contains(&"0");
    let expected = ["33554432", "0", "50000 100000", "77", "9", "read-only"];
    let expected: Vec<&str> = expected.into_iter().filter(|line| swap || *line != "0").collect();
    assert_eq!(lines, expected, "{}", end.text);
}

#[test]
fn a_fork_bomb_stops_at_its_limit() {
    let Some(place) = Place::prepare("pids", &["pids"]) else { return };
    let spec = place.spec("for i in 1 2 3 4 5 6 7 8 9; do sleep 100 & done; echo all started");
    let end = place.run(&spec, Limits { pids_max: 5, ..Limits::default() });
    assert_ne!(end.code, 0, "{}", end.text);
    assert!(end.text.contains("can't fork"), "{}", end.text);
    assert!(!end.text.contains("all started"));
}

#[test]
fn lack_of_memory_kills_the_whole_container() {
    let Some(place) = Place::prepare("oom", &["memory"]) else { return };
    let spec = place.spec("dd if=/dev/zero of=/dev/null bs=128M count=1; echo survived");
    let end = place.run(&spec, Limits { memory_bytes: 16 * MIB, ..Limits::default() });
    assert!(end.oom_killed, "{}", end.text);
    assert_eq!((end.code, end.signal), (0, 9), "{}", end.text);
    assert!(!end.text.contains("survived"), "one victim must not leave the rest running");
}

#[test]
fn users_keep_what_they_may_have() {
    let Some(place) = Place::prepare("users", &[]) else { return };
    let script = "id -u; id -G; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; \
                  touch /x; echo write $?; echo ok > /proc/sys/kernel/hostname; echo sys $?; \
                  mount -t tmpfs x /tmp; echo mount $?; head -c 1 /proc/kcore | wc -c";
    let mut spec = place.spec(script);
    spec.root.read_only = true;
    spec.process.user = "app".into();
    spec.process.supplementary_gids = vec![3000];
    spec.process.no_new_privileges = true;
    spec.process.run_as_non_root = true;
    spec.process.capabilities = CapabilitySet::from_names(&["CAP_CHOWN".to_owned()]).unwrap();
    let end = place.run(&spec, Limits::default());
    let all: String = end.text.lines().map(|line| line.replace('\t', " ") + "\n").collect();
    for line in [
        "1000",
        "1000 2000 3000",
        "CapEff: 0000000000000000",
        "CapAmb: 0000000000000000",
        "CapBnd: 0000000000000001",
        "NoNewPrivs: 1",
        "Seccomp: 2",
        "write 1",
        "mount 1",
        "0",
    ] {
        assert!(all.lines().any(|l| l == line), "{line:?} is missing in:\n{all}");
    }
    assert!(!all.contains("sys 0"), "{all}");
}

#[test]
fn root_keeps_exactly_its_capabilities() {
    let Some(place) = Place::prepare("caps", &[]) else { return };
    let mut spec = place.spec(
        "grep CapEff /proc/self/status; chown 7 /tmp; echo chown $?; \
                               hostname x; echo hostname $?; echo data > /file && cat /file",
    );
    let names = ["CAP_CHOWN", "CAP_DAC_OVERRIDE"].map(str::to_owned);
    spec.process.capabilities = CapabilitySet::from_names(&names).unwrap();
    spec.process.seccomp = Seccomp::Unconfined;
    let end = place.run(&spec, Limits::default());
    for line in ["CapEff:\t0000000000000003", "chown 0", "hostname 1", "data"] {
        assert!(end.text.lines().any(|l| l == line), "{line:?} is missing in:\n{}", end.text);
    }
    assert!(!place.layer().join("file").exists(), "an image layer never changes");
}

#[test]
fn what_cannot_start_says_why() {
    let Some(place) = Place::prepare("fail", &[]) else { return };
    let cases: [(&str, bool, FailureKind, &str); 3] = [
        ("nope", false, FailureKind::NotFound, "executable file not found in $PATH"),
        ("/etc/passwd", false, FailureKind::PermissionDenied, "permission denied"),
        ("/bin/sh", true, FailureKind::RootForbidden, "image will run as root"),
    ];
    for (program, non_root, kind, message) in cases {
        let mut spec = place.spec("");
        spec.process.args = vec![program.to_owned()];
        spec.process.run_as_non_root = non_root;
        let failure = place.fail(&spec);
        assert_eq!(failure.kind, kind, "{}", failure.message);
        assert!(failure.message.contains(message), "{}", failure.message);
    }
}

#[test]
fn killing_the_cgroup_ends_every_process() {
    let Some(place) = Place::prepare("kill", &[]) else { return };
    let spec = place.spec("sleep 1000 & sleep 1000 & echo started; wait");
    let running = place.start(&spec, Limits::default());
    running.wait_for_text("started");
    running.cgroup.kill().unwrap();
    let End { code, signal, .. } = running.wait();
    assert_eq!((code, signal), (0, 9));
}
