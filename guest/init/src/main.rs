//! The guest's PID 1: boots a pod's virtual machine and runs its containers as the node agent asks over vsock.
//!
//! It knows no Kubernetes. If it ends, the kernel panics and the VM is gone, which is what the agent waits for.

mod atomic_writer;
mod boot;
mod containers;
mod entry;
mod exec;
mod forward;
mod layers;
mod listen;
mod log;
mod modules;
mod netlink;
mod network;
mod options;
mod output;
mod pod;
mod reaper;
mod sandbox;
mod service;
mod start;
mod stats;
mod stream;
mod volumes;

use std::process::ExitCode;

fn main() -> ExitCode {
    let pid1_nanos = boot::now_boottime_nanos();
    match run(pid1_nanos) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::write(&format!("init failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(pid1_nanos: u64) -> anyhow::Result<()> {
    let options = options::from_args(std::env::args().skip(1))?;
    let paths = boot::prepare(&options)?;
    // One thread: forking is simple, memory small, and no lock is ever contended.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let reaper = reaper::start()?;
        let pod = pod::Pod::new(paths, reaper, pid1_nanos);
        listen::serve(&options, service::Service::new(pod)).await
    })
}
