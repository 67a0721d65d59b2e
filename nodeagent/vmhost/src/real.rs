//! The host that runs real VMM processes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::cgroup::Cgroup;
use crate::launch::{self, Identity, Prepared};
use crate::record::{self, Record};
use crate::scratch::Pool;
use crate::{Error, Request, Vm, VmExit, VmHost, VmmMemory, adopt, guest, process};

/// The guest must call within this time; generous for software emulation.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest "ready <boot id>" line.
const READY_LINE_MAX: usize = 128;
/// First vsock context id of guests.
const FIRST_CID: u32 = 3;

/// Where things are and how VMs are jailed.
#[derive(Debug, Clone)]
pub struct Config {
    pub program: PathBuf,
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
    pub scratch_template: PathBuf,
    /// Sockets and records, one directory per VM: /run/bulkhead/pods.
    pub run_dir: PathBuf,
    /// Scratch disks.
    pub scratch_dir: PathBuf,
    pub cgroup_root: PathBuf,
    /// First uid of VMs; 0 runs them as root without namespaces.
    pub first_uid: u32,
    pub seccomp: bool,
    pub console: bool,
    /// Appended to the guest kernel's command line.
    pub cmdline: String,
}

/// Starts VMs and remembers which are running.
#[derive(Debug)]
pub struct Host {
    config: Config,
    pool: Option<Pool>,
    running: Mutex<HashMap<String, Running>>,
    identities: Mutex<()>,
}

#[derive(Debug)]
struct Running {
    pid: i32,
    pidfd: OwnedFd,
}

impl Host {
    /// Makes the directories and starts the disk pool.
    pub fn open(config: Config) -> Result<Self, Error> {
        for path in [&config.run_dir, &config.scratch_dir] {
            fs::create_dir_all(path).map_err(|source| Error::Prepare {
                what: "a directory",
                path: path.clone(),
                source,
            })?;
        }
        let pool = Pool::start(&config.scratch_template, &config.scratch_dir);
        Ok(Self { config, pool, running: Mutex::default(), identities: Mutex::default() })
    }

    fn directory(&self, uid: &str) -> PathBuf {
        self.config.run_dir.join(uid)
    }

    fn cgroup(&self, uid: &str) -> Cgroup {
        Cgroup::at(&self.config.cgroup_root, uid)
    }

    /// The lowest context id and user id that no recorded VM has.
    fn free_identity(&self) -> Identity {
        let records: Vec<Record> =
            self.uids().iter().filter_map(|uid| record::load(&self.directory(uid))).collect();
        let cids: BTreeSet<u32> = records.iter().map(|record| record.cid).collect();
        let cid = (FIRST_CID..).find(|cid| !cids.contains(cid)).unwrap_or(FIRST_CID);
        let uid = match self.config.first_uid {
            0 => 0,
            first => first + (cid - FIRST_CID),
        };
        Identity { cid, uid }
    }

    fn uids(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.config.run_dir).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    async fn take_scratch(&self, uid: &str) -> Result<Option<PathBuf>, Error> {
        let Some(pool) = &self.pool else { return Ok(None) };
        let path = self.config.scratch_dir.join(format!("{uid}.ext4"));
        pool.take(&path).await.map_err(|source| Error::Prepare {
            what: "a scratch disk",
            path: path.clone(),
            source,
        })?;
        Ok(Some(path))
    }

    fn register(&self, uid: &str, pid: i32) -> Result<watch::Receiver<Option<VmExit>>, Error> {
        let fail = |source| Error::Watch { pid, source };
        let pidfd = process::open_pidfd(pid).map_err(fail)?;
        let log = self.directory(uid).join("vmm.log");
        let exit = process::watch_exit(pidfd.try_clone().map_err(fail)?, pid, log).map_err(fail)?;
        self.lock().insert(uid.to_owned(), Running { pid, pidfd });
        Ok(exit)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(
        &self,
        request: Request,
    ) -> Result<(Record, Prepared, watch::Receiver<Option<VmExit>>), Error> {
        let uid = request.uid.clone();
        let directory = self.directory(&uid);
        fs::create_dir_all(&directory).map_err(|source| Error::Prepare {
            what: "a directory",
            path: directory.clone(),
            source,
        })?;
        let scratch = self.take_scratch(&uid).await?;
        // Held from choosing the numbers until the record that claims them is written: no await in between.
        let claim = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = self.free_identity();
        let mut record = Record {
            uid: uid.clone(),
            pid: 0,
            start_ticks: 0,
            scratch_device: String::new(),
            scratch_file: scratch.clone(),
            jail_uid: identity.uid,
            cid: identity.cid,
            started_unix_nanos: unix_nanos(),
            ready_unix_nanos: 0,
        };
        let stored = record::store(&directory, &record);
        drop(claim);
        stored?;
        let cgroup = launch::make_cgroup(&self.config.cgroup_root, &request);
        let prepared =
            launch::prepare(&self.config, request, &directory, scratch.as_deref(), identity)?;
        let procs = cgroup.as_ref().map(|(_, procs)| procs);
        let pid = launch::spawn(&self.config.program, &prepared, &directory, procs)?;
        let exit = self.register(&uid, pid)?;
        record.pid = pid;
        record.start_ticks = process::start_ticks(pid).unwrap_or(0);
        record.scratch_device = prepared.scratch_device.clone();
        record::store(&directory, &record)?;
        Ok((record, prepared, exit))
    }
}

#[async_trait]
impl VmHost for Host {
    async fn launch(&self, request: Request) -> Result<Vm, Error> {
        let uid = request.uid.clone();
        let (mut record, prepared, mut exit) = self.start(request).await?;
        // Closes our copies of the VMM's descriptors, so that its end closes the guest's call.
        let ready = prepared.into_ready();
        wait_for_call(ready, &mut exit).await?;
        record.ready_unix_nanos = unix_nanos();
        let directory = self.directory(&uid);
        record::store(&directory, &record)?;
        let guest = guest::connect(&directory.join("vsock.sock")).await?;
        Ok(to_vm(record, guest, exit))
    }

    async fn adopt(&self, uid: &str) -> Result<Option<Vm>, Error> {
        let directory = self.directory(uid);
        let Some(record) = record::load(&directory) else { return Ok(None) };
        let Some((pid, _pidfd)) = adopt::find_process(&record, &self.cgroup(uid)) else {
            return Ok(None);
        };
        let exit = self.register(uid, pid)?;
        let guest = guest::connect(&directory.join("vsock.sock")).await?;
        Ok(Some(to_vm(Record { pid, ..record }, guest, exit)))
    }

    async fn recorded(&self) -> Vec<String> {
        self.uids()
    }

    async fn destroy(&self, uid: &str) -> Result<(), Error> {
        let directory = self.directory(uid);
        let recorded = record::load(&directory);
        let cgroup = self.cgroup(uid);
        if let Some(running) = self.lock().remove(uid) {
            process::kill(&running.pidfd);
        } else if let Some((_, pidfd)) =
            recorded.as_ref().and_then(|record| adopt::find_process(record, &cgroup))
        {
            process::kill(&pidfd);
        }
        cgroup.kill();
        if let Some(file) = recorded.and_then(|record| record.scratch_file) {
            let _absent = fs::remove_file(file);
        }
        cgroup.remove();
        match fs::remove_dir_all(&directory) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::Record { path: directory, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn memory(&self, uid: &str) -> Option<VmmMemory> {
        let pid = self.lock().get(uid)?.pid;
        process::memory(pid)
    }

    fn describe(&self) -> BTreeMap<String, String> {
        let Config { program, kernel, initramfs, .. } = &self.config;
        [("vmm", program), ("kernel", kernel), ("initramfs", initramfs)]
            .into_iter()
            .map(|(name, path)| (name.to_owned(), path.display().to_string()))
            .collect()
    }
}

async fn wait_for_call(
    ready: std::os::unix::net::UnixStream,
    exit: &mut watch::Receiver<Option<VmExit>>,
) -> Result<(), Error> {
    let fail = |source| Error::Handover { source };
    ready.set_nonblocking(true).map_err(fail)?;
    let mut ready = UnixStream::from_std(ready).map_err(fail)?;
    let call = tokio::time::timeout(CALL_TIMEOUT, guest::read_line(&mut ready, READY_LINE_MAX));
    tokio::select! {
        biased;
        line = call => match line {
            Ok(Ok(line)) if line.starts_with("ready ") => Ok(()),
            Ok(Ok(line)) => Err(Error::EndedEarly { message: format!("the guest said {line:?}") }),
            // The VMM closed the socket: its exit says why.
            Ok(Err(_)) => Err(ended(exit).await),
            Err(_) => Err(Error::NoCall { seconds: CALL_TIMEOUT.as_secs() }),
        },
        error = ended_while_waiting(exit) => Err(error),
    }
}

async fn ended(exit: &mut watch::Receiver<Option<VmExit>>) -> Error {
    let wait = tokio::time::timeout(Duration::from_secs(2), exit.wait_for(Option::is_some));
    let message = match wait.await {
        Ok(Ok(exit)) => exit.as_ref().map(|exit| exit.message.clone()),
        Ok(Err(_)) | Err(_) => None,
    };
    Error::EndedEarly { message: message.unwrap_or_else(|| "it closed its socket".into()) }
}

async fn ended_while_waiting(exit: &watch::Receiver<Option<VmExit>>) -> Error {
    let mut exit = exit.clone();
    let message = match exit.wait_for(Option::is_some).await {
        Ok(exit) => exit.as_ref().map(|exit| exit.message.clone()),
        Err(_) => None,
    };
    Error::EndedEarly { message: message.unwrap_or_default() }
}

fn to_vm(
    record: Record,
    guest: proto::guest::guest_client::GuestClient<tonic::transport::Channel>,
    exit: watch::Receiver<Option<VmExit>>,
) -> Vm {
    Vm {
        uid: record.uid,
        guest,
        exit,
        scratch_device: record.scratch_device,
        pid: record.pid,
        started_unix_nanos: record.started_unix_nanos,
        ready_unix_nanos: record.ready_unix_nanos,
    }
}

fn unix_nanos() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
