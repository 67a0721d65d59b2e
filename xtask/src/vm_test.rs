//! `cargo xtask vm-test`: tests that need root or real KVM, in one machine that has both.

mod local;
mod report;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use builder::{debian::Packages, guest, node};
use rack::{host, vmtest};
use report::Report;

use crate::{
    cargo::{self, Artifact},
    paths, up,
};

/// All tests that need the machine: crate and test target, cheap ones first.
const TARGETS: &[(&str, &str)] = &[
    ("container", "root"),
    ("network", "namespaces"),
    ("proxy", "namespaces"),
    ("init", "service"),
    ("microvm", "vm"),
];
/// The crate whose tests boot guests.
const VMM: &str = "microvm";
/// Where guests' kernels are in the machine; the tests know these places.
const OWN_KERNEL: &str = "usr/lib/bulkhead/vmlinux";
const PREBUILT_KERNEL: &str = "usr/lib/bulkhead/prebuilt/vmlinuz";
const PREBUILT_MODULES: &str = "usr/lib/bulkhead/prebuilt/modules";
/// What tests of networks call. Applets of these names know too little, and busybox' own shell prefers them.
const TOOLS: &[&str] = &["/usr/bin/sh", "/usr/sbin/ip", "/usr/sbin/nft"];
/// PID 1 of guests.
const GUEST_INIT: &str = "usr/lib/bulkhead/init";

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only these crates: of one that has tests for the machine those, else all its tests. Without it all tests that
    /// need the machine, in one boot.
    #[arg(short, long)]
    package: Vec<String>,
    /// Only this test target (a file below `tests/`) of the crates.
    #[arg(long, requires = "package")]
    test: Option<String>,
    /// Instead of tests: `up --local`, with the binaries and images of an earlier `up`.
    #[arg(long, conflicts_with = "package")]
    local: bool,
    /// Further files for the machine: `PATH_IN_MACHINE=PATH_HERE`. `BULKHEAD_VM_FILES` (comma separated) adds to it.
    #[arg(long = "file")]
    files: Vec<String>,
    /// Environment for the tests: `NAME=VALUE`.
    #[arg(long = "env")]
    environment: Vec<String>,
    #[arg(long, default_value_t = 4096)]
    memory_mib: u32,
    /// Processors of the machine; in emulation they take turns.
    #[arg(long, default_value_t = 1)]
    cpus: u32,
    /// Seconds until a test binary is stopped.
    #[arg(long, default_value_t = 900)]
    deadline: u64,
    /// Arguments for the test binaries (a filter, `--nocapture`).
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Options {
    /// Every test that needs the machine.
    pub fn all() -> Self {
        Self {
            package: Vec::new(),
            test: None,
            local: false,
            files: Vec::new(),
            environment: Vec::new(),
            memory_mib: 4096,
            cpus: 1,
            deadline: 900,
            arguments: Vec::new(),
        }
    }
}

/// Builds, boots, runs; fails when one test binary failed.
pub fn run(options: &Options) -> Result<()> {
    let work = tempfile::tempdir()?;
    let (job, names) = if options.local {
        local::job(options, work.path())?
    } else {
        tests(options, work.path())?
    };
    let finding = host::examine();
    eprintln!("vm-test: {} programs ({})", names.len(), finding.reason);
    let programs = names.len();
    let mut report = Report::new(names);
    let codes = vmtest::run(&job, &paths::cache(), finding.accelerator, |index, line| {
        report.hear(index, line);
        println!("{line}");
    })?;
    println!("\n{}", report.summarize(&codes));
    ensure!(codes.len() == programs, "only {} of {programs} programs ran", codes.len());
    if codes.iter().any(|code| *code != 0) {
        bail!("not all programs succeeded in the machine");
    }
    Ok(())
}

/// The job of the chosen tests, and their names.
fn tests(options: &Options, work: &Path) -> Result<(vmtest::Job, Vec<String>)> {
    let (tests, programs) = build(options)?;
    let mut job = make_job(options, &tests, work)?;
    // Programs that tests start, at the path that cargo told them (`CARGO_BIN_EXE_*`).
    job.files.extend(
        programs.into_iter().map(|made| (made.path.to_string_lossy().into_owned(), made.path)),
    );
    Ok((job, tests.iter().map(|made| format!("{}: {}", made.package, made.name)).collect()))
}

/// Test programs, and programs that they start.
fn build(options: &Options) -> Result<(Vec<Artifact>, Vec<Artifact>)> {
    let wanted = &options.package;
    let place = |package: &str| TARGETS.iter().position(|(known, _)| *known == package);
    let chosen = |package: &str| match wanted.is_empty() {
        true => place(package).is_some(),
        false => wanted.iter().any(|name| name == package),
    };
    let known = TARGETS.iter().filter(|(package, _)| chosen(package));
    let mut arguments = vec!["test", "--no-run"];
    // Of the whole workspace, so that dependencies are built with the same features as for all other tests.
    if let Some(test) = &options.test {
        arguments.extend(["--workspace", "--test", test]);
    } else if wanted.iter().all(|name| place(name).is_some()) {
        arguments.push("--workspace");
        arguments.extend(known.flat_map(|(_, test)| ["--test", test]));
    } else {
        arguments.extend(wanted.iter().flat_map(|name| ["-p", name]));
    }
    let made = cargo::build(&arguments)?.into_iter().filter(|made| chosen(&made.package));
    let (mut tests, programs): (Vec<_>, Vec<_>) = made.partition(|made| made.is_test);
    tests.sort_by_key(|made| place(&made.package));
    ensure!(!tests.is_empty(), "there are no such tests");
    Ok((tests, programs))
}

fn make_job(options: &Options, tests: &[Artifact], work: &Path) -> Result<vmtest::Job> {
    let extra = std::env::var("BULKHEAD_VM_FILES").unwrap_or_default();
    let files =
        options.files.iter().map(String::as_str).chain(extra.split(',').filter(|s| !s.is_empty()));
    let mut job = vmtest::Job {
        programs: Vec::new(),
        files: files.map(pair).map(|(path, file)| (path, PathBuf::from(file))).collect(),
        tools: TOOLS.iter().map(PathBuf::from).collect(),
        environment: options.environment.iter().map(|text| pair(text)).collect(),
        memory_mib: options.memory_mib,
        cpus: options.cpus,
        deadline: Duration::from_secs(options.deadline),
    };
    job.environment.push(("BULKHEAD_VM".into(), "1".into()));
    let mut arguments = options.arguments.clone();
    if arguments.is_empty() {
        // Else the standard harness swallows the lines that say what was skipped.
        arguments.push("--show-output".into());
    }
    for (index, artifact) in tests.iter().enumerate() {
        let stripped = work.join(index.to_string());
        strip(&artifact.path, &stripped)?;
        job.programs.push((stripped, arguments.clone()));
    }
    if tests.iter().any(|artifact| artifact.package == VMM) {
        job.files.extend(guest_files(work)?);
    }
    Ok(job)
}

/// Both kinds of guest kernel, and the real PID 1, for the tests that boot guests.
fn guest_files(work: &Path) -> Result<Vec<(String, PathBuf)>> {
    let kernel = up::build_guest_kernel(|line| eprintln!("{line}"))?;
    let prebuilt = node::debian_kernel(&Packages::of_this_machine(&paths::cache()), true)?;
    let init = cargo::build(&["build", "--workspace", "--bin", "init"])?;
    let init = init.iter().find(|made| made.name == "init" && !made.is_test);
    let stripped = work.join("init");
    if let Some(init) = init {
        strip(&init.path, &stripped)?;
    }
    let mut files = vec![
        (OWN_KERNEL.into(), kernel),
        (PREBUILT_KERNEL.into(), prebuilt.vmlinuz.clone()),
        (GUEST_INIT.into(), stripped),
    ];
    for (index, module) in guest::modules(&prebuilt)?.into_iter().enumerate() {
        files.push((format!("{PREBUILT_MODULES}/{index:03}.ko"), module));
    }
    Ok(files)
}

fn strip(program: &Path, out: &Path) -> Result<()> {
    let mut command = builder::exec::command("strip", &["--strip-debug", "-o"]);
    builder::exec::run(command.arg(out).arg(program)).map(drop)
}

fn pair(text: &str) -> (String, String) {
    let (left, right) = text.split_once('=').unwrap_or((text, ""));
    (left.to_owned(), right.to_owned())
}
