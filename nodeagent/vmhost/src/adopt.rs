//! Finds the process of a recorded VM again, and never mistakes another process for it.

use std::os::fd::OwnedFd;

use crate::cgroup::Cgroup;
use crate::process;
use crate::record::Record;

/// The pid and descriptor of the VM's process, if it still runs.
#[must_use]
pub fn find_process(record: &Record, cgroup: &Cgroup) -> Option<(i32, OwnedFd)> {
    if record.pid == 0 {
        // The agent died between fork and the second write of the record.
        let pid = *cgroup.pids().first()?;
        return Some((pid, process::open_pidfd(pid).ok()?));
    }
    let pidfd = process::open_pidfd(record.pid).ok()?;
    // Checked after the descriptor was opened: from here on it names this very process.
    (process::start_ticks(record.pid) == Some(record.start_ticks)).then_some((record.pid, pidfd))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(pid: i32, start_ticks: u64) -> Record {
        Record {
            uid: "u".into(),
            pid,
            start_ticks,
            scratch_device: String::new(),
            scratch_file: None,
            jail_uid: 0,
            cid: 3,
            started_unix_nanos: 0,
            ready_unix_nanos: 0,
        }
    }

    #[test]
    fn a_recycled_pid_is_not_taken() {
        let own = i32::try_from(std::process::id()).unwrap();
        let ticks = process::start_ticks(own).unwrap();
        let group = Cgroup::at(std::path::Path::new("/nonexistent"), "u");
        assert_eq!(find_process(&record(own, ticks), &group).map(|found| found.0), Some(own));
        assert!(find_process(&record(own, ticks + 1), &group).is_none());
        assert!(find_process(&record(0, 0), &group).is_none());
    }
}
