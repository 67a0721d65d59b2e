//! Boots real guests. One program in three roles: the test (the host's side), the VMM under test
//! (`--config-fd`), and the guest's init (as process 1 with `bulkhead.test=` on its command line).

#![allow(clippy::unwrap_used, reason = "a test without the standard harness")]

mod cases;
mod cpio;
mod guest;
mod host;
mod memory;
mod pods;

use std::process::ExitCode;

/// A case: its name and what it does.
type Case = (&'static str, fn());

const CASES: [Case; 8] = [
    ("smaps_are_split_by_owner", memory::smaps_are_split_by_owner),
    ("boot_to_init_and_reset", cases::boot_to_init_and_reset),
    ("devices_work_in_a_jailed_vm", cases::devices_work_in_a_jailed_vm),
    ("prebuilt_kernels_find_devices", cases::prebuilt_kernels_find_devices),
    ("a_pod_runs_on_our_kernel", pods::a_pod_runs_on_our_kernel),
    ("a_pod_runs_on_the_prebuilt_kernel", pods::a_pod_runs_on_the_prebuilt_kernel),
    ("control_pauses_resumes_and_kills", cases::control_pauses_resumes_and_kills),
    ("broken_kernels_fail_with_a_line", cases::broken_kernels_fail_with_a_line),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if std::process::id() == 1 {
        guest::run();
    }
    if let [flag, fd] = arguments.as_slice()
        && flag == "--config-fd"
    {
        let started = std::time::Instant::now();
        microvm::log::init();
        return microvm::run::run(fd.parse().unwrap(), started);
    }
    if let Some(missing) = host::find_missing() {
        println!("skipped: {missing}");
        return ExitCode::SUCCESS;
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    for (name, case) in CASES {
        if filter.is_none_or(|filter| name.contains(filter.as_str())) {
            let started = std::time::Instant::now();
            println!("test {name} ...");
            // A failed assertion ends the program.
            case();
            println!("test {name} ok ({:.1} s)", started.elapsed().as_secs_f64());
        }
    }
    ExitCode::SUCCESS
}
