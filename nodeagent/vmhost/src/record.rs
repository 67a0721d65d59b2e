//! What is written down about a VM before it is started, so that the next agent process finds it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;

/// `state.json` of one VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub uid: String,
    /// 0 while the process is being started.
    pub pid: i32,
    /// Field 22 of /proc/PID/stat: tells a recycled pid from ours.
    pub start_ticks: u64,
    pub scratch_device: String,
    pub scratch_file: Option<PathBuf>,
    pub jail_uid: u32,
    pub cid: u32,
    pub started_unix_nanos: i64,
    pub ready_unix_nanos: i64,
}

/// Writes the record so that a reader sees the old or the new one, never half.
pub fn store(directory: &Path, record: &Record) -> Result<(), Error> {
    let path = directory.join("state.json");
    let fail = |source| Error::Record { path: path.clone(), source };
    let text = serde_json::to_vec_pretty(record).map_err(io::Error::from).map_err(fail)?;
    let temporary = directory.join("state.json.new");
    std::fs::write(&temporary, text).map_err(fail)?;
    std::fs::rename(&temporary, &path).map_err(fail)
}

/// The record of a VM, if there is a readable one.
#[must_use]
pub fn load(directory: &Path) -> Option<Record> {
    let text = std::fs::read(directory.join("state.json")).ok()?;
    serde_json::from_slice(&text).ok()
}
