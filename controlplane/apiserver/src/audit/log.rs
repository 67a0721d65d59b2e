//! The log backend: one JSON object per line, files replaced by size and removed by number and age.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::Context;
use tokio::sync::mpsc;

use super::{Config, Line, QUEUE};

const MIB: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The file that is written now.
struct Log {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    size_max: u64,
    backups: usize,
    age_max: Duration,
}

/// Opens the log and starts its writer, which ends when the last sender is gone.
pub fn start(path: PathBuf, config: &Config) -> anyhow::Result<mpsc::Sender<Line>> {
    let mut log = Log {
        file: None,
        size: 0,
        size_max: config.log_max_size_mib * MIB,
        backups: config.log_max_backups,
        age_max: DAY * u32::try_from(config.log_max_age_days).unwrap_or(u32::MAX),
        path,
    };
    log.open().with_context(|| format!("failed to open the audit log {}", log.path.display()))?;
    let (sender, mut lines) = mpsc::channel::<Line>(QUEUE);
    std::thread::Builder::new()
        .name("audit-log".into())
        .spawn(move || {
            while let Some(line) = lines.blocking_recv() {
                let mut text = line.to_string();
                text.push('\n');
                if let Err(error) = log.write(text.as_bytes()) {
                    tracing::error!(%error, "failed to write an audit event");
                }
            }
        })
        .context("failed to start the audit log's thread")?;
    Ok(sender)
}

impl Log {
    fn is_stdout(&self) -> bool {
        self.path == Path::new("-")
    }

    fn open(&mut self) -> std::io::Result<()> {
        if self.is_stdout() {
            return Ok(());
        }
        use std::os::unix::fs::OpenOptionsExt;
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> std::io::Result<()> {
        if self.is_stdout() {
            return std::io::stdout().lock().write_all(line);
        }
        if self.size_max > 0 && self.size > 0 && self.size + line.len() as u64 > self.size_max {
            self.rotate()?;
        }
        if self.file.is_none() {
            self.open()?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(())
    }

    /// `audit.log` becomes `audit-<time>.log`, as upstream's log library names it.
    fn rotate(&mut self) -> std::io::Result<()> {
        self.file = None;
        let stamp = jiff::Timestamp::now().strftime("%Y-%m-%dT%H-%M-%S%.6f").to_string();
        std::fs::rename(&self.path, self.path.with_file_name(backup_name(&self.path, &stamp)))?;
        self.open()?;
        self.remove_old()
    }

    fn remove_old(&self) -> std::io::Result<()> {
        let (stem, suffix) = parts(&self.path);
        let prefix = format!("{stem}-");
        let folder = self.path.parent().filter(|path| !path.as_os_str().is_empty());
        let mut found: Vec<(String, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(folder.unwrap_or(Path::new(".")))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&prefix) && name.ends_with(&suffix) {
                found.push((name, entry.path()));
            }
        }
        // Their names sort by time, newest last.
        found.sort();
        let too_many = if self.backups == 0 { 0 } else { found.len().saturating_sub(self.backups) };
        for (index, (_, path)) in found.iter().enumerate() {
            let modified = std::fs::metadata(path).and_then(|about| about.modified())?;
            let age = SystemTime::now().duration_since(modified).unwrap_or_default();
            if index < too_many || (!self.age_max.is_zero() && age > self.age_max) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

fn parts(path: &Path) -> (String, String) {
    let text =
        |part: Option<&std::ffi::OsStr>| part.map(|text| text.to_string_lossy().into_owned());
    let suffix = text(path.extension()).map(|text| format!(".{text}")).unwrap_or_default();
    (text(path.file_stem()).unwrap_or_default(), suffix)
}

fn backup_name(path: &Path, stamp: &str) -> String {
    let (stem, suffix) = parts(path);
    format!("{stem}-{stamp}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_by_size_and_kept_by_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut log =
            Log { path: path.clone(), file: None, size: 0, size_max: 20, backups: 2, age_max: DAY };
        for number in 0..6 {
            log.write(format!("line number {number}\n").as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line number 5\n");
        let mut texts: Vec<String> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        texts.sort();
        assert_eq!(texts, ["line number 3\n", "line number 4\n", "line number 5\n"]);
    }
}
