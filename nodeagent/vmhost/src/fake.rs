//! Guests inside this process, for tests: the same gRPC, no VM.
//!
//! A container's first argument says what it does: `run` until a signal, `exit N`, `fail`; anything else runs.
//! Every container writes its arguments as one line to standard output.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures::{Stream, StreamExt};
use hyper_util::rt::TokioIo;
use proto::guest::guest_client::GuestClient;
use proto::guest::guest_server::{Guest, GuestServer};
use proto::guest::{self as g, event::What};
use tokio::sync::{broadcast, watch};
use tonic::transport::{Channel, Endpoint, Server, Uri};
use tonic::{Request as Call, Response, Status, Streaming};

use crate::{Error, Request, Vm, VmExit, VmHost, VmmMemory};

const EVENTS_CAPACITY: usize = 256;
const PIPE_BYTES: usize = 64 << 10;

type Answer<T> = Result<Response<T>, Status>;
type Flow<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A host of in-process guests.
#[derive(Debug, Default)]
pub struct Host {
    machines: Mutex<HashMap<String, Machine>>,
    /// How many VMs were launched, ever.
    pub launches: std::sync::atomic::AtomicU32,
}

#[derive(Debug, Clone)]
struct Machine {
    guest: FakeGuest,
    client: GuestClient<Channel>,
    exit: watch::Sender<Option<VmExit>>,
}

impl Host {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Machine>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a VM as if its process had been killed.
    pub fn crash(&self, uid: &str) {
        if let Some(machine) = self.lock().remove(uid) {
            machine.exit.send_replace(Some(VmExit { message: "killed by the test".into() }));
        }
    }

    /// Ends a container as if its process had exited.
    pub fn end_container(&self, uid: &str, id: &str, code: i32) {
        let guest = self.lock().get(uid).map(|machine| machine.guest.clone());
        if let Some(guest) = guest {
            guest.finish(id, code, 0);
        }
    }

    /// What the guest was asked to run under this id.
    #[must_use]
    pub fn container(&self, uid: &str, id: &str) -> Option<g::Container> {
        let guest = self.lock().get(uid)?.guest.clone();
        let state = guest.lock();
        state.containers.get(id).map(|container| container.spec.clone())
    }

    /// The guest's sandbox and the volume files that were written.
    #[must_use]
    pub fn sandbox(&self, uid: &str) -> Option<(g::Sandbox, BTreeMap<String, g::VolumeContents>)> {
        let guest = self.lock().get(uid)?.guest.clone();
        let state = guest.lock();
        Some((state.sandbox.clone()?, state.volumes.clone()))
    }
}

#[async_trait]
impl VmHost for Host {
    async fn launch(&self, request: Request) -> Result<Vm, Error> {
        self.launches.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let exit = watch::Sender::new(None);
        let guest = FakeGuest::new(exit.clone());
        let client = serve(guest.clone()).await?;
        let machine = Machine { guest, client, exit };
        self.lock().insert(request.uid.clone(), machine.clone());
        Ok(to_vm(&request.uid, &machine))
    }

    async fn adopt(&self, uid: &str) -> Result<Option<Vm>, Error> {
        let machine = self.lock().get(uid).cloned();
        Ok(machine.filter(|machine| machine.exit.borrow().is_none()).map(|m| to_vm(uid, &m)))
    }

    async fn recorded(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    async fn destroy(&self, uid: &str) -> Result<(), Error> {
        self.crash(uid);
        Ok(())
    }

    fn memory(&self, _uid: &str) -> Option<VmmMemory> {
        None
    }

    fn describe(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("vmm".into(), "fake".into())])
    }
}

fn to_vm(uid: &str, machine: &Machine) -> Vm {
    Vm {
        uid: uid.to_owned(),
        guest: machine.client.clone(),
        exit: machine.exit.subscribe(),
        scratch_device: "/dev/vdb".into(),
        pid: 0,
        started_unix_nanos: now(),
        ready_unix_nanos: now(),
    }
}

async fn serve(guest: FakeGuest) -> Result<GuestClient<Channel>, Error> {
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let incoming =
        futures::stream::iter([Ok::<_, std::io::Error>(far)]).chain(futures::stream::pending());
    tokio::spawn(
        Server::builder().add_service(GuestServer::new(guest)).serve_with_incoming(incoming),
    );
    let near = Arc::new(Mutex::new(Some(near)));
    let connector = tower::service_fn(move |_: Uri| {
        let near = near.lock().unwrap_or_else(PoisonError::into_inner).take();
        let closed = || std::io::Error::other("the fake guest takes one connection");
        async move { near.map(TokioIo::new).ok_or_else(closed) }
    });
    let endpoint = Endpoint::from_static("http://guest.invalid");
    let channel = endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|source| Error::Connect { source })?;
    Ok(GuestClient::new(channel))
}

#[derive(Debug, Clone)]
struct FakeGuest {
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<g::Event>,
    exit: watch::Sender<Option<VmExit>>,
}

#[derive(Debug, Default)]
struct State {
    sandbox: Option<g::Sandbox>,
    volumes: BTreeMap<String, g::VolumeContents>,
    containers: BTreeMap<String, FakeContainer>,
}

#[derive(Debug, Clone)]
struct FakeContainer {
    spec: g::Container,
    started: i64,
    last: What,
}

impl FakeGuest {
    fn new(exit: watch::Sender<Option<VmExit>>) -> Self {
        Self { state: Arc::default(), events: broadcast::Sender::new(EVENTS_CAPACITY), exit }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, id: &str, exit_code: i32, signal: i32) {
        let mut state = self.lock();
        let Some(container) = state.containers.get_mut(id) else { return };
        if matches!(container.last, What::Exited(_)) {
            return;
        }
        container.last = What::Exited(g::Exited {
            exit_code,
            signal,
            oom_killed: false,
            started_unix_nanos: container.started,
            finished_unix_nanos: now(),
            message: String::new(),
        });
        let event = event(id, container.last.clone());
        let _nobody_listens = self.events.send(event);
    }
}

fn event(id: &str, what: What) -> g::Event {
    g::Event { container_id: id.to_owned(), what: Some(what) }
}

#[async_trait]
impl Guest for FakeGuest {
    type EventsStream = Flow<g::Event>;
    type OutputStream = Flow<g::OutputChunk>;
    type ExecStream = Flow<g::ExecOutput>;
    type AttachStream = Flow<g::ExecOutput>;
    type ForwardStream = Flow<g::ForwardData>;

    async fn configure(&self, call: Call<g::Sandbox>) -> Answer<g::Configured> {
        self.lock().sandbox = Some(call.into_inner());
        let boot_id = format!("boot-{}", now());
        Ok(Response::new(g::Configured { boot_id, kernel_version: "fake".into(), pid1_nanos: 1 }))
    }

    async fn write_volume(&self, call: Call<g::VolumeContents>) -> Answer<g::WriteVolumeResponse> {
        let contents = call.into_inner();
        self.lock().volumes.insert(contents.name.clone(), contents);
        Ok(Response::new(g::WriteVolumeResponse {}))
    }

    async fn start_container(&self, call: Call<g::Container>) -> Answer<g::Started> {
        let spec = call.into_inner();
        let id = spec.id.clone();
        let behaviour = spec.args.first().cloned().unwrap_or_default();
        if behaviour == "fail" {
            let message = "exec: \"fail\": executable file not found in $PATH".to_owned();
            let failure = g::StartFailure { reason: "StartError".into(), message, exit_code: 128 };
            return Ok(Response::new(g::Started {
                failure: Some(failure),
                ..g::Started::default()
            }));
        }
        let started = now();
        let running = What::Running(g::Running { pid: 2, started_unix_nanos: started });
        let code = spec.args.get(1).and_then(|text| text.parse().ok()).unwrap_or(0);
        let container = FakeContainer { spec, started, last: running.clone() };
        self.lock().containers.insert(id.clone(), container);
        let _nobody_listens = self.events.send(event(&id, running));
        if behaviour == "exit" {
            self.finish(&id, code, 0);
        }
        Ok(Response::new(g::Started { pid: 2, started_unix_nanos: started, failure: None }))
    }

    async fn signal(&self, call: Call<g::SignalRequest>) -> Answer<g::SignalResponse> {
        let request = call.into_inner();
        self.finish(&request.id, 128 + request.signal, request.signal);
        Ok(Response::new(g::SignalResponse {}))
    }

    async fn remove_container(
        &self,
        call: Call<g::ContainerId>,
    ) -> Answer<g::RemoveContainerResponse> {
        self.lock().containers.remove(&call.into_inner().id);
        Ok(Response::new(g::RemoveContainerResponse {}))
    }

    async fn events(&self, _call: Call<g::EventsRequest>) -> Answer<Self::EventsStream> {
        let (live, snapshot) = {
            let state = self.lock();
            let now: Vec<g::Event> =
                state.containers.iter().map(|(id, c)| event(id, c.last.clone())).collect();
            (self.events.subscribe(), now)
        };
        let first = snapshot.into_iter().chain([event("", What::Synced(g::Synced {}))]);
        let live = tokio_stream::wrappers::BroadcastStream::new(live)
            .filter_map(|event| async move { event.ok().map(Ok) });
        Ok(Response::new(Box::pin(futures::stream::iter(first.map(Ok)).chain(live))))
    }

    async fn output(&self, call: Call<g::OutputRequest>) -> Answer<Self::OutputStream> {
        let g::OutputRequest { id, offset } = call.into_inner();
        let args = self.lock().containers.get(&id).map(|c| c.spec.args.join(" "));
        let line = args.ok_or_else(|| Status::not_found(id))? + "\n";
        let skip = usize::try_from(offset).unwrap_or(usize::MAX).min(line.len());
        let data = line.as_bytes()[skip..].to_vec();
        let chunk = g::OutputChunk { offset, stream: 0, data: data.into(), unix_nanos: now() };
        let chunks = (skip < line.len()).then_some(Ok(chunk));
        Ok(Response::new(Box::pin(futures::stream::iter(chunks).chain(futures::stream::pending()))))
    }

    async fn exec(&self, call: Call<Streaming<g::ExecInput>>) -> Answer<Self::ExecStream> {
        let first = call.into_inner().message().await?.and_then(|input| input.what);
        let Some(g::exec_input::What::Start(start)) = first else {
            return Err(Status::invalid_argument("the first message starts the process"));
        };
        let code = match start.args.first().map(String::as_str) {
            Some("false") => 1,
            Some(_) | None => 0,
        };
        use g::exec_output::What as Out;
        let text = start.args.join(" ") + "\n";
        let outputs = [Out::Stdout(text.into_bytes().into()), Out::ExitCode(code)];
        let outputs = outputs.map(|what| Ok(g::ExecOutput { what: Some(what) }));
        Ok(Response::new(Box::pin(futures::stream::iter(outputs))))
    }

    async fn attach(&self, _call: Call<Streaming<g::AttachInput>>) -> Answer<Self::AttachStream> {
        Ok(Response::new(Box::pin(futures::stream::empty())))
    }

    async fn forward(&self, call: Call<Streaming<g::ForwardData>>) -> Answer<Self::ForwardStream> {
        Ok(Response::new(Box::pin(call.into_inner())))
    }

    async fn stats(&self, _call: Call<g::StatsRequest>) -> Answer<g::SandboxStats> {
        Ok(Response::new(g::SandboxStats::default()))
    }

    async fn shutdown(&self, _call: Call<g::ShutdownRequest>) -> Answer<g::ShutdownResponse> {
        let message = "the VMM exited with code 0".to_owned();
        self.exit.send_replace(Some(VmExit { message }));
        Ok(Response::new(g::ShutdownResponse {}))
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
