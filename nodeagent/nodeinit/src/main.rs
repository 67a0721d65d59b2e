//! PID 1 of the node image: mounts, modules, network, then the agent, for ever.

mod arguments;
mod files;
mod modules;
mod mounts;
mod network;
mod scratch;
mod shell;
mod supervise;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("nodeinit: this is PID 1 of a node image; it does nothing elsewhere");
        return ExitCode::FAILURE;
    }
    // A step that fails is said on the console and the next is tried: a half-configured node that can be
    // looked at is better than a panic.
    step("mount file systems", mounts::mount_all);
    let text = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let arguments = arguments::parse(&text);
    step("load modules", modules::load_listed);
    step("name the host", || files::name_host(&arguments));
    step("configure the network", || network::configure(&arguments));
    step("write files", || files::write(&arguments));
    step("set kernel parameters", files::set_sysctls);
    step("format the scratch disk", scratch::format);
    supervise::run(arguments.debug_shell.as_deref())
}

fn step(name: &str, run: impl FnOnce() -> anyhow::Result<()>) {
    match run() {
        Ok(()) => eprintln!("nodeinit: {name}: done"),
        Err(error) => eprintln!("nodeinit: {name}: {error:#}"),
    }
}
