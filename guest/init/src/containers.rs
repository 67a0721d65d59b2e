//! Starting, watching, signalling and forgetting containers.

use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use container::{Cgroup, Failure, Pending, Stdio};
use proto::guest::output_chunk::Stream as StreamName;
use proto::guest::{Container, Exited, SignalRequest, Started};
use rustix::process::Signal;
use tokio::io::Interest;
use tokio::sync::oneshot;
use tonic::Status;

use crate::entry::{Entry, Streams, now_unix_nanos};
use crate::output::Output;
use crate::pod::Pod;
use crate::reaper::ExitStatus;
use crate::start::{Folders, explain_start, plan_limits};
use crate::stream::{Stream, pipe, watch};
use crate::volumes::is_plain_name;

/// Longest termination message (kubelet, MaxContainerTerminationMessageLength).
const TERMINATION_MESSAGE_BYTES_MAX: u64 = 4096;

/// Our ends of a new process's streams.
#[derive(Debug, Default)]
pub struct Ends {
    pub stdin: Option<OwnedFd>,
    pub outputs: Vec<(StreamName, OwnedFd)>,
}

/// Pipes for a new process, or a terminal whose master comes later.
pub fn make_stdio(tty: bool, stdin: bool) -> io::Result<(Stdio, Ends)> {
    if tty {
        return Ok((Stdio::Terminal, Ends::default()));
    }
    let (read_out, stdout) = pipe()?;
    let (read_err, stderr) = pipe()?;
    let (theirs, ours) = if stdin {
        let (read, write) = pipe()?;
        (Some(read), Some(write))
    } else {
        (None, None)
    };
    let outputs = vec![(StreamName::Stdout, read_out), (StreamName::Stderr, read_err)];
    Ok((Stdio::Pipes { stdin: theirs, stdout, stderr }, Ends { stdin: ours, outputs }))
}

/// Waits until the child is its program or has said why not.
pub async fn wait_for_exec(pending: &mut Pending) -> Result<(), Failure> {
    let setup = |error: io::Error| Failure {
        kind: container::FailureKind::Setup,
        message: format!("watch the child's report: {error}"),
    };
    let report = pending.report().try_clone_to_owned().map_err(setup)?;
    let readable = watch(report, Interest::READABLE).map_err(setup)?;
    loop {
        let mut ready = readable.readable().await.map_err(setup)?;
        if let Some(result) = pending.poll() {
            return result;
        }
        ready.clear_ready();
    }
}

fn internal(error: impl Into<anyhow::Error>) -> Status {
    Status::internal(format!("{:#}", error.into()))
}

impl Pod {
    /// Creates and starts a container; answers when its program runs, or why it does not.
    pub async fn start_container(self: &Arc<Self>, request: Container) -> Result<Started, Status> {
        self.claim_id(&request.id)?;
        let result = self.start_claimed(&request).await;
        self.state().starting.remove(&request.id);
        result
    }

    fn claim_id(&self, id: &str) -> Result<(), Status> {
        if !is_plain_name(id) {
            return Err(Status::invalid_argument(format!("no container id: {id:?}")));
        }
        let mut state = self.state();
        if state.configured.is_none() {
            return Err(Status::failed_precondition("the sandbox is not configured"));
        }
        if state.containers.contains_key(id) || !state.starting.insert(id.to_owned()) {
            return Err(Status::already_exists(format!("container {id:?} exists")));
        }
        Ok(())
    }

    async fn start_claimed(self: &Arc<Self>, request: &Container) -> Result<Started, Status> {
        let folders = Folders::of(&self.paths.base, &request.id);
        make_folders(&folders).map_err(internal)?;
        let spec = self.make_spec(request, &folders)?;
        let cgroup = Cgroup::create(&self.paths.cgroup, &request.id, plan_limits(request))
            .map_err(internal)?;
        if !request.privileged {
            cgroup.restrict_devices().map_err(internal)?;
        }
        let (stdio, ends) = make_stdio(request.tty, request.stdin).map_err(internal)?;
        let mut pending = container::launch(&spec, &cgroup, stdio).map_err(internal)?;
        let exit = self.reaper.expect(pending.pid());
        if let Err(failure) = wait_for_exec(&mut pending).await {
            let _ = exit.await;
            self.clean_up(&cgroup, &folders).await;
            let failure = Some(explain_start(&failure));
            return Ok(Started { failure, ..Started::default() });
        }
        let running = pending.into_running();
        let streams = connect(request, ends, running.terminal).map_err(internal)?;
        let running = (running.pid, running.pidfd);
        let id = request.id.clone();
        let entry = Entry::new(id, spec.process, cgroup, running, streams);
        Ok(self.register(Arc::new(entry), exit, folders))
    }

    fn register(
        self: &Arc<Self>,
        entry: Arc<Entry>,
        exit: oneshot::Receiver<ExitStatus>,
        folders: Folders,
    ) -> Started {
        let started = Started {
            pid: entry.pid.cast_unsigned(),
            started_unix_nanos: entry.started_unix_nanos,
            failure: None,
        };
        {
            let mut state = self.state();
            state.containers.insert(entry.id.clone(), Arc::clone(&entry));
            self.announce(entry.event());
        }
        let pod = Arc::clone(self);
        tokio::spawn(async move { pod.watch(&entry, exit, &folders).await });
        started
    }

    /// Follows a container to its end.
    async fn watch(&self, entry: &Entry, exit: oneshot::Receiver<ExitStatus>, folders: &Folders) {
        let status = exit.await.unwrap_or(ExitStatus { code: 255, signal: 0 });
        let finished_unix_nanos = now_unix_nanos();
        // In a shared PID namespace, or after a fork into the background, others may be left.
        if let Err(error) = entry.cgroup.kill() {
            crate::log::write(&format!("container {}: {:#}", entry.id, anyhow::Error::from(error)));
        }
        entry.close_stdin();
        entry.output.close();
        let exited = Exited {
            exit_code: status.code,
            signal: status.signal,
            oom_killed: entry.cgroup.oom_killed(),
            started_unix_nanos: entry.started_unix_nanos,
            finished_unix_nanos,
            message: read_termination_message(folders),
        };
        let _state = self.state();
        entry.set_exited(exited);
        self.announce(entry.event());
    }

    /// Sends a signal; a container that has exited needs none.
    pub fn signal(&self, request: &SignalRequest) -> Result<(), Status> {
        let entry = self.entry(&request.id)?;
        let signal = Signal::from_named_raw(request.signal)
            .ok_or_else(|| Status::invalid_argument(format!("no signal: {}", request.signal)))?;
        if entry.exited().is_some() {
            return Ok(());
        }
        match rustix::process::pidfd_send_signal(&entry.pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(Status::internal(format!("send signal: {errno}"))),
        }
    }

    /// Forgets a container that has exited.
    pub async fn remove_container(&self, id: &str) -> Result<(), Status> {
        let Ok(entry) = self.entry(id) else { return Ok(()) };
        if entry.exited().is_none() {
            return Err(Status::failed_precondition(format!("container {id:?} is running")));
        }
        entry.output.abandon();
        let folders = Folders::of(&self.paths.base, id);
        self.clean_up(&entry.cgroup, &folders).await;
        self.state().containers.remove(id);
        Ok(())
    }

    /// Removes what a container leaves. A failure only costs memory until the VM ends, so it is only logged.
    async fn clean_up(&self, cgroup: &Cgroup, folders: &Folders) {
        let emptied = wait_until_empty(cgroup).await;
        if let Err(error) = emptied.and_then(|()| cgroup.remove().map_err(io::Error::other)) {
            crate::log::write(&format!("remove {}: {error}", cgroup.path().display()));
        }
        for folder in [&folders.own, &folders.writable] {
            if let Err(error) = fs::remove_dir_all(folder) {
                crate::log::write(&format!("remove {}: {error}", folder.display()));
            }
        }
    }
}

/// Killed processes leave their cgroup a moment later; the kernel tells by an event on cgroup.events.
async fn wait_until_empty(cgroup: &Cgroup) -> io::Result<()> {
    let path = cgroup.path().join("cgroup.events");
    let mut reader = fs::File::open(&path)?;
    let events = watch(reader.try_clone()?.into(), Interest::PRIORITY)?;
    loop {
        // Reading the watched file arms its next event.
        let mut text = String::new();
        reader.rewind()?;
        reader.read_to_string(&mut text)?;
        if text.lines().any(|line| line == "populated 0") {
            return Ok(());
        }
        events.ready(Interest::PRIORITY).await?.clear_ready();
    }
}

fn make_folders(folders: &Folders) -> io::Result<()> {
    for folder in
        [folders.own.join("root"), folders.writable.join("upper"), folders.writable.join("work")]
    {
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    }
    let message = folders.termination_message();
    fs::write(&message, "")?;
    // Any user of the container may write it.
    fs::set_permissions(&message, fs::Permissions::from_mode(0o666))
}

fn read_termination_message(folders: &Folders) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = fs::File::open(folders.termination_message()) {
        let _ = file.take(TERMINATION_MESSAGE_BYTES_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Starts reading what the container writes.
fn connect(request: &Container, ends: Ends, terminal: Option<OwnedFd>) -> io::Result<Streams> {
    let output = Arc::new(Output::default());
    for (name, fd) in ends.outputs {
        spawn_pump(Arc::new(Stream::new(fd)?), name, &output);
    }
    let terminal = match terminal {
        Some(master) => {
            let master = Arc::new(Stream::new(master)?);
            spawn_pump(Arc::clone(&master), StreamName::Stdout, &output);
            Some(master)
        }
        None => None,
    };
    let stdin = match (&terminal, ends.stdin) {
        (Some(master), _) if request.stdin => Some(Arc::clone(master)),
        (_, Some(fd)) => Some(Arc::new(Stream::new(fd)?)),
        _ => None,
    };
    Ok(Streams { output, stdin, terminal, stdin_once: request.stdin_once })
}

fn spawn_pump(source: Arc<Stream>, name: StreamName, output: &Arc<Output>) {
    output.add_writer();
    let output = Arc::clone(output);
    tokio::spawn(async move {
        loop {
            match source.read().await {
                Ok(data) if data.is_empty() => break,
                Ok(data) => output.push(name, data, now_unix_nanos()).await,
                Err(error) => {
                    crate::log::write(&format!("read a container's output: {error}"));
                    break;
                }
            }
        }
        output.remove_writer();
    });
}
