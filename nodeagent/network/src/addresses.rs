//! Addresses of this node's pods: one small file per pod uid, read again at start.
//! Owns the state directory; touches no link.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// Longest uid taken (static pods have hashes, API pods UUIDs).
const UID_BYTES_MAX: usize = 128;
const SUFFIX: &str = ".json";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("use {uid:?} as a pod uid")]
    Uid { uid: String },
    #[error("find a free address in {pod_cidr}: all are taken")]
    Exhausted { pod_cidr: Ipv4Net },
    #[error("read the addresses in {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("understand {}", path.display())]
    Parse { path: PathBuf, source: serde_json::Error },
}

#[derive(Serialize, Deserialize)]
struct Record {
    uid: String,
    address: Ipv4Addr,
}

/// The address book of one node.
#[derive(Debug)]
pub struct Addresses {
    pod_cidr: Ipv4Net,
    directory: PathBuf,
    by_uid: BTreeMap<String, Ipv4Addr>,
    /// Given last: the next one is searched behind it, so that an address rests before it is used again.
    last: Ipv4Addr,
}

impl Addresses {
    /// Reads what earlier processes wrote; half-written files are removed.
    pub fn open(pod_cidr: Ipv4Net, directory: &Path) -> Result<Addresses, Error> {
        let read_error = |source| Error::Read { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(read_error)?;
        let mut by_uid = BTreeMap::new();
        for entry in fs::read_dir(directory).map_err(read_error)? {
            let path = entry.map_err(read_error)?.path();
            if path.to_string_lossy().ends_with(SUFFIX) {
                let record = read_record(&path)?;
                by_uid.insert(record.uid, record.address);
            } else {
                fs::remove_file(&path).map_err(|source| Error::Write { path, source })?;
            }
        }
        let last = by_uid.values().copied().max().unwrap_or_else(|| gateway(pod_cidr));
        Ok(Addresses { pod_cidr, directory: directory.to_owned(), by_uid, last })
    }

    pub fn get(&self, uid: &str) -> Option<Ipv4Addr> {
        self.by_uid.get(uid).copied()
    }

    pub fn all(&self) -> impl Iterator<Item = (&str, Ipv4Addr)> {
        self.by_uid.iter().map(|(uid, address)| (uid.as_str(), *address))
    }

    /// The pod's address, a new one when it has none; it is on disk when this returns.
    pub fn take(&mut self, uid: &str) -> Result<Ipv4Addr, Error> {
        if let Some(address) = self.get(uid) {
            return Ok(address);
        }
        check_uid(uid)?;
        let taken = |address: &Ipv4Addr| self.by_uid.values().any(|other| other == address);
        let address = candidates(self.pod_cidr, self.last)
            .find(|address| !taken(address))
            .ok_or(Error::Exhausted { pod_cidr: self.pod_cidr })?;
        self.write(&Record { uid: uid.to_owned(), address })?;
        self.by_uid.insert(uid.to_owned(), address);
        self.last = address;
        Ok(address)
    }

    /// Forgets the pod's address. Fine when it has none.
    pub fn release(&mut self, uid: &str) -> Result<(), Error> {
        if self.by_uid.contains_key(uid) {
            let path = self.path(uid);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::Write { path, source });
                }
                _ => {}
            }
            self.by_uid.remove(uid);
        }
        Ok(())
    }

    fn path(&self, uid: &str) -> PathBuf {
        self.directory.join(format!("{uid}{SUFFIX}"))
    }

    fn write(&self, record: &Record) -> Result<(), Error> {
        let path = self.path(&record.uid);
        let text = serde_json::to_vec(record).expect("a record has only strings");
        write_durably(&self.directory, &path, &text).map_err(|source| Error::Write { path, source })
    }
}

/// The first address of the pod CIDR: the bridge's, every pod's default route.
pub fn gateway(pod_cidr: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(pod_cidr.network()).saturating_add(1))
}

/// All addresses pods may have, starting behind `last` and wrapping around.
fn candidates(pod_cidr: Ipv4Net, last: Ipv4Addr) -> impl Iterator<Item = Ipv4Addr> {
    let low = u32::from(pod_cidr.network()).saturating_add(2);
    let high = u32::from(pod_cidr.broadcast());
    let middle = u32::from(last).saturating_add(1).clamp(low, high.max(low));
    (middle..high).chain(low..middle.min(high)).map(Ipv4Addr::from)
}

fn check_uid(uid: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if uid.is_empty() || uid.len() > UID_BYTES_MAX || !uid.chars().all(plain) {
        return Err(Error::Uid { uid: uid.to_owned() });
    }
    Ok(())
}

fn read_record(path: &Path) -> Result<Record, Error> {
    let text = fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&text).map_err(|source| Error::Parse { path: path.to_owned(), source })
}

/// Temporary file, fsync, rename, fsync of the directory.
fn write_durably(directory: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn gives_keeps_and_frees_addresses() {
        let directory = tempfile::tempdir().unwrap();
        let mut book = Addresses::open(cidr("10.244.1.0/29"), directory.path()).unwrap();
        let given: Vec<Ipv4Addr> =
            (0..5).map(|n| book.take(&format!("pod-{n}")).unwrap()).collect();
        let expected: Vec<Ipv4Addr> = (2..7).map(|n| Ipv4Addr::new(10, 244, 1, n)).collect();
        assert_eq!(given, expected, "neither network, gateway nor broadcast address");
        assert!(matches!(book.take("pod-5"), Err(Error::Exhausted { .. })));
        assert_eq!(book.take("pod-3").unwrap(), given[3], "idempotent");
        book.release("pod-1").unwrap();
        book.release("pod-1").unwrap();
        fs::write(directory.path().join("torn.new"), b"{").unwrap();
        let mut again = Addresses::open(cidr("10.244.1.0/29"), directory.path()).unwrap();
        assert_eq!(again.get("pod-4"), Some(given[4]));
        assert_eq!(again.get("pod-1"), None);
        assert_eq!(again.take("new").unwrap(), given[1]);
    }

    #[test]
    fn an_address_rests_before_it_is_used_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut book = Addresses::open(cidr("10.244.1.0/24"), directory.path()).unwrap();
        let first = book.take("a").unwrap();
        book.release("a").unwrap();
        assert_ne!(book.take("b").unwrap(), first);
    }

    #[test]
    fn refuses_uids_that_are_paths() {
        let directory = tempfile::tempdir().unwrap();
        let mut book = Addresses::open(cidr("10.244.1.0/24"), directory.path()).unwrap();
        for uid in ["", "../x", "a/b", "a.json", "a b"] {
            assert!(matches!(book.take(uid), Err(Error::Uid { .. })), "{uid:?}");
        }
    }

    #[test]
    fn tiny_networks_have_no_pods() {
        let directory = tempfile::tempdir().unwrap();
        for net in ["10.244.1.0/30", "10.244.1.0/31", "10.244.1.0/32"] {
            let mut book = Addresses::open(cidr(net), directory.path()).unwrap();
            let outcome = book.take("a");
            if net.ends_with("/30") {
                assert_eq!(outcome.unwrap(), Ipv4Addr::new(10, 244, 1, 2));
                book.release("a").unwrap();
            } else {
                assert!(outcome.is_err(), "{net}");
            }
        }
    }
}
