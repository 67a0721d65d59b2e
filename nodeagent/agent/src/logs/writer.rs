//! Writes one container's log: appends, remembers how far it got, rotates.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use proto::guest::OutputChunk;

use super::{Live, LogId, Logs, line};
use crate::stages::timestamp;

/// A file is rotated when it is this large.
const FILE_BYTES_MAX: u64 = 10 << 20;
/// Files of one log, the current one included.
const FILES_MAX: usize = 5;

/// The only writer of one log.
#[derive(Debug)]
pub struct Writer {
    id: LogId,
    logs: Logs,
    path: PathBuf,
    position_path: PathBuf,
    file: File,
    length: u64,
    /// Bytes of the guest's output that are in the log.
    offset: u64,
    live: Live,
}

impl Writer {
    /// Opens the log where the last writer stopped: what it wrote but did not account for is cut off.
    pub fn open(logs: &Logs, id: LogId, records: &Path) -> io::Result<Self> {
        let path = logs.path(&id);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let position_path = records.join(format!("{}.{}.pos", id.container, id.attempt));
        let (offset, length) = read_position(&position_path).unwrap_or((0, 0));
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        let present = file.metadata()?.len();
        let length = length.min(present);
        file.set_len(length)?;
        let live = logs.begin(&id);
        Ok(Self { id, logs: logs.clone(), path, position_path, file, length, offset, live })
    }

    /// Where the guest's output continues.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends one chunk; what was already written is skipped.
    pub fn append(&mut self, chunk: &OutputChunk) -> io::Result<()> {
        let end = chunk.offset + chunk.data.len() as u64;
        let skip = usize::try_from(self.offset.saturating_sub(chunk.offset)).unwrap_or(usize::MAX);
        if skip >= chunk.data.len() {
            return Ok(());
        }
        let data = chunk.data.slice(skip..);
        let stderr = chunk.stream == 1;
        let mut encoded = Vec::with_capacity(data.len() + 64);
        line::encode(&mut encoded, timestamp(chunk.unix_nanos), stderr, &data);
        self.file.write_all(&encoded)?;
        self.length += encoded.len() as u64;
        self.offset = end;
        if self.length >= FILE_BYTES_MAX {
            self.rotate()?;
        }
        fs::write(&self.position_path, format!("{} {}\n", self.offset, self.length))?;
        self.live.growth.send_modify(|growth| growth.writes += 1);
        let _nobody_attached = self.live.output.send((stderr, data));
        Ok(())
    }

    /// `n.log` becomes `n.log.1`, and so on; the oldest is removed.
    fn rotate(&mut self) -> io::Result<()> {
        let numbered = |index: usize| PathBuf::from(format!("{}.{index}", self.path.display()));
        let _absent = fs::remove_file(numbered(FILES_MAX - 1));
        for index in (1..FILES_MAX - 1).rev() {
            let _absent = fs::rename(numbered(index), numbered(index + 1));
        }
        fs::rename(&self.path, numbered(1))?;
        self.file = OpenOptions::new().append(true).create(true).open(&self.path)?;
        self.length = 0;
        self.live.growth.send_modify(|growth| growth.rotations += 1);
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.logs.end(&self.id);
    }
}

fn read_position(path: &Path) -> Option<(u64, u64)> {
    let text = fs::read_to_string(path).ok()?;
    let (offset, length) = text.trim().split_once(' ')?;
    Some((offset.parse().ok()?, length.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(offset: u64, data: &str) -> OutputChunk {
        let data = data.as_bytes().to_vec().into();
        OutputChunk { offset, stream: 0, data, unix_nanos: 0 }
    }

    #[test]
    fn continues_where_it_stopped_and_skips_what_it_has() {
        let directory = tempfile::tempdir().unwrap();
        let logs = Logs::new(directory.path().join("logs"));
        let id = LogId {
            namespace: "n".into(),
            pod: "p".into(),
            uid: "u".into(),
            container: "c".into(),
            attempt: 0,
        };
        let mut writer = Writer::open(&logs, id.clone(), directory.path()).unwrap();
        writer.append(&chunk(0, "one\n")).unwrap();
        drop(writer);
        // As if the agent died after writing to the file, before noting it.
        let mut file = OpenOptions::new().append(true).open(logs.path(&id)).unwrap();
        file.write_all(b"half").unwrap();
        let mut writer = Writer::open(&logs, id.clone(), directory.path()).unwrap();
        assert_eq!(writer.offset(), 4);
        writer.append(&chunk(0, "one\ntwo\n")).unwrap();
        let text = fs::read_to_string(logs.path(&id)).unwrap();
        let texts: Vec<&str> = text.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
        assert_eq!(texts, ["one", "two"]);
        assert!(logs.growth(&id).is_some());
        drop(writer);
        assert!(logs.growth(&id).is_none());
    }

    #[test]
    fn rotates() {
        let directory = tempfile::tempdir().unwrap();
        let logs = Logs::new(directory.path().join("logs"));
        let id = LogId {
            namespace: "n".into(),
            pod: "p".into(),
            uid: "u".into(),
            container: "c".into(),
            attempt: 0,
        };
        let mut writer = Writer::open(&logs, id.clone(), directory.path()).unwrap();
        let big = "x".repeat(1 << 20) + "\n";
        let mut offset = 0;
        for _ in 0..45 {
            writer.append(&chunk(offset, &big)).unwrap();
            offset += big.len() as u64;
        }
        let files = fs::read_dir(logs.path(&id).parent().unwrap()).unwrap().count();
        assert_eq!(files, FILES_MAX);
        assert!(fs::metadata(logs.path(&id)).unwrap().len() < FILE_BYTES_MAX);
    }
}
