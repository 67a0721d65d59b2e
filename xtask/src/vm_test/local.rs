//! `up --local` in the machine, where KVM is real: the same code that runs on a host with hardware virtualization, with
//! the release binaries and images that an earlier `up` left.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use builder::{debian::Packages, node};
use rack::vmtest::Job;

use super::{Options, strip};
use crate::{paths, up};

/// Where the cache is in the machine.
const CACHE: &str = "/cache";
/// Programs of Debian that `up --local` starts; those that need no library of their own come with the machine.
const TOOLS: &[&str] = &["/usr/bin/docker-registry"];

/// Of Debian's package ipxe.
const BOOT_PROGRAM: &str = "/usr/lib/ipxe/undionly.kpxe";

/// What runs, in order.
pub fn job(options: &Options, work: &Path) -> Result<(Job, Vec<String>)> {
    let own = work.join("xtask");
    strip(&std::env::current_exe()?, &own)?;
    let release = paths::binaries("release");
    let bulkhead = release.join("bulkhead");
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let log = |name: &str| paths::state().join(name).to_string_lossy().into_owned();
    let tail: Vec<String> =
        words("-n 25").into_iter().chain([log("server.log"), log("agent.log")]).collect();
    let programs = vec![
        (own.clone(), words("up --local --prepared --demo-replicas 1")),
        (bulkhead.clone(), words("get nodes,pods -o wide")),
        (bulkhead.clone(), words("exec deploy/web -- uname -r")),
        (PathBuf::from("/usr/bin/tail"), tail),
        (own, words("down")),
    ];
    let names = programs.iter().map(|(program, words)| {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        format!("{name} {}", words.join(" "))
    });
    let names = names.collect();
    let mut files = Vec::new();
    for program in ["bulkhead", "agent", "microvm"] {
        let path = release.join(program);
        ensure!(path.exists(), "{} is missing: run cargo xtask up first", path.display());
        files.push((path.to_string_lossy().into_owned(), path));
    }
    for file in [up::artifacts::kernel_path(), up::artifacts::guest_path()] {
        files.push((in_machine(&file)?, file));
    }
    collect(&paths::cache().join("registry"), &mut files)?;
    // No machine boots from it here, but the provisioner serves it.
    files.push((BOOT_PROGRAM.into(), BOOT_PROGRAM.into()));
    let bundle = work.join("ca-certificates.crt");
    fs::write(&bundle, node::ca_bundle(&Packages::of_this_machine(&paths::cache()))?)?;
    files.push(("etc/ssl/certs/ca-certificates.crt".into(), bundle));
    // The machine runs this system's programs, so it has its name.
    files.push(("etc/os-release".into(), "/etc/os-release".into()));
    let kubeconfig = up::services::kubeconfig();
    let mut environment = vec![
        ("BULKHEAD_CACHE".into(), CACHE.into()),
        ("KUBECONFIG".into(), kubeconfig.to_string_lossy().into_owned()),
    ];
    if let Some(target) = std::env::var_os("CARGO_TARGET_DIR") {
        environment.push(("CARGO_TARGET_DIR".into(), target.to_string_lossy().into_owned()));
    }
    let job = Job {
        programs,
        files,
        tools: TOOLS.iter().map(PathBuf::from).collect(),
        environment,
        memory_mib: options.memory_mib,
        cpus: options.cpus,
        deadline: Duration::from_secs(options.deadline),
    };
    Ok((job, names))
}

/// Where a file of the cache is in the machine.
fn in_machine(file: &Path) -> Result<String> {
    let path = file.strip_prefix(paths::cache()).context("the file is not in the cache")?;
    Ok(Path::new(CACHE).join(path).to_string_lossy().into_owned())
}

fn collect(folder: &Path, files: &mut Vec<(String, PathBuf)>) -> Result<()> {
    let entries = fs::read_dir(folder)
        .with_context(|| format!("{} is missing: run cargo xtask up first", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push((in_machine(&path)?, path));
        }
    }
    Ok(())
}
