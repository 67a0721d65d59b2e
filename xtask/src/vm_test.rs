//! `cargo xtask vm-test -p CRATE`: a crate's tests, in a machine with real KVM.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use rack::{host, vmtest};

use crate::{cargo, paths};

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The crate.
    #[arg(short, long)]
    package: String,
    /// Only this test target (a file below `tests/`); all targets without it.
    #[arg(long)]
    test: Option<String>,
    /// Further files for the machine: `PATH_IN_MACHINE=PATH_HERE`. `BULKHEAD_VM_FILES` (comma separated) adds to it.
    #[arg(long = "file")]
    files: Vec<String>,
    /// Environment for the tests: `NAME=VALUE`.
    #[arg(long = "env")]
    environment: Vec<String>,
    #[arg(long, default_value_t = 4096)]
    memory_mib: u32,
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// Seconds until the machine is stopped.
    #[arg(long, default_value_t = 600)]
    deadline: u64,
    /// Arguments for the test binaries (a filter, `--nocapture`).
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Options {
    /// All defaults, for one crate (and one of its test targets).
    pub fn of(package: &str, test: Option<&str>) -> Self {
        Self {
            package: package.to_owned(),
            test: test.map(str::to_owned),
            files: Vec::new(),
            environment: Vec::new(),
            memory_mib: 4096,
            cpus: 2,
            deadline: 600,
            arguments: Vec::new(),
        }
    }

    /// Puts a file of this host into the machine.
    pub fn add_file(&mut self, path: &str, source: &std::path::Path) {
        self.files.push(format!("{path}={}", source.display()));
    }
}

/// Builds, boots, runs; fails when one test binary failed.
pub fn run(options: &Options) -> Result<()> {
    let mut arguments = vec!["test", "--no-run", "-p", &options.package];
    if let Some(test) = &options.test {
        arguments.extend(["--test", test]);
    }
    let artifacts = cargo::build(&arguments)?;
    let (artifacts, programs): (Vec<_>, Vec<_>) =
        artifacts.into_iter().partition(|artifact| artifact.is_test);
    if artifacts.is_empty() {
        bail!("{} has no tests", options.package);
    }
    let extra = std::env::var("BULKHEAD_VM_FILES").unwrap_or_default();
    let files =
        options.files.iter().map(String::as_str).chain(extra.split(',').filter(|s| !s.is_empty()));
    let work = tempfile::tempdir()?;
    let mut job = vmtest::Job {
        programs: Vec::new(),
        files: files.map(pair).map(|(path, file)| (path, PathBuf::from(file))).collect(),
        environment: options.environment.iter().map(|text| pair(text)).collect(),
        memory_mib: options.memory_mib,
        cpus: options.cpus,
        deadline: Duration::from_secs(options.deadline),
    };
    job.environment.push(("BULKHEAD_VM".into(), "1".into()));
    // Programs that the crate's tests start, at the path that cargo told them (`CARGO_BIN_EXE_*`).
    for program in programs {
        job.files.push((program.path.to_string_lossy().into_owned(), program.path));
    }
    for (index, artifact) in artifacts.iter().enumerate() {
        let stripped = work.path().join(index.to_string());
        builder::exec::run(
            builder::exec::command("strip", &["--strip-debug", "-o"])
                .arg(&stripped)
                .arg(&artifact.path),
        )?;
        job.programs.push((stripped, options.arguments.clone()));
    }
    let finding = host::examine();
    eprintln!("vm-test: {} ({})", options.package, finding.reason);
    let codes = vmtest::run(&job, &paths::cache(), finding.accelerator, |line| println!("{line}"))?;
    for (artifact, code) in artifacts.iter().zip(&codes) {
        println!("{}: exit code {code}", artifact.name);
    }
    if codes.iter().any(|code| *code != 0) {
        bail!("tests of {} failed", options.package);
    }
    Ok(())
}

fn pair(text: &str) -> (String, String) {
    let (left, right) = text.split_once('=').unwrap_or((text, ""));
    (left.to_owned(), right.to_owned())
}
