//! The gRPC face of the pod: each call is one line of work elsewhere.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use proto::guest::guest_server::Guest;
use proto::guest::{
    AttachInput, Configured, Container, ContainerId, Event, EventsRequest, ExecInput, ExecOutput,
    ForwardData, OutputChunk, OutputRequest, RemoveContainerResponse, Sandbox, SandboxStats,
    ShutdownRequest, ShutdownResponse, SignalRequest, SignalResponse, Started, StatsRequest,
    VolumeContents, WriteVolumeResponse,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::forward;
use crate::output::Output;
use crate::pod::Pod;

/// How long the answer to a shutdown gets to leave before the machine does.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(20);

pub struct Service {
    pod: Arc<Pod>,
}

impl Service {
    pub fn new(pod: Arc<Pod>) -> Self {
        Self { pod }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Guest for Service {
    type EventsStream = ReceiverStream<Result<Event, Status>>;
    type OutputStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<OutputChunk, Status>> + Send>>;
    type ExecStream = ReceiverStream<Result<ExecOutput, Status>>;
    type AttachStream = ReceiverStream<Result<ExecOutput, Status>>;
    type ForwardStream = ReceiverStream<Result<ForwardData, Status>>;

    async fn configure(&self, request: Request<Sandbox>) -> Answer<Configured> {
        self.pod.configure(request.into_inner()).map(Response::new)
    }

    async fn write_volume(&self, request: Request<VolumeContents>) -> Answer<WriteVolumeResponse> {
        self.pod.write_volume(&request.into_inner())?;
        Ok(Response::new(WriteVolumeResponse {}))
    }

    async fn start_container(&self, request: Request<Container>) -> Answer<Started> {
        // Detached: a client that gives up must not leave half a container.
        let pod = Arc::clone(&self.pod);
        let task = tokio::spawn(async move { pod.start_container(request.into_inner()).await });
        let started = task.await.map_err(|error| Status::internal(error.to_string()))??;
        Ok(Response::new(started))
    }

    async fn signal(&self, request: Request<SignalRequest>) -> Answer<SignalResponse> {
        self.pod.signal(&request.into_inner())?;
        Ok(Response::new(SignalResponse {}))
    }

    async fn remove_container(
        &self,
        request: Request<ContainerId>,
    ) -> Answer<RemoveContainerResponse> {
        self.pod.remove_container(&request.into_inner().id).await?;
        Ok(Response::new(RemoveContainerResponse {}))
    }

    async fn events(&self, _request: Request<EventsRequest>) -> Answer<Self::EventsStream> {
        Ok(Response::new(ReceiverStream::new(self.pod.listen())))
    }

    async fn output(&self, request: Request<OutputRequest>) -> Answer<Self::OutputStream> {
        let OutputRequest { id, offset } = request.into_inner();
        let output = Arc::clone(&self.pod.entry(&id)?.output);
        Ok(Response::new(Box::pin(read_from(output, offset))))
    }

    async fn exec(&self, request: Request<Streaming<ExecInput>>) -> Answer<Self::ExecStream> {
        let replies = self.pod.exec(request.into_inner()).await?;
        Ok(Response::new(ReceiverStream::new(replies)))
    }

    async fn attach(&self, request: Request<Streaming<AttachInput>>) -> Answer<Self::AttachStream> {
        let replies = self.pod.attach(request.into_inner()).await?;
        Ok(Response::new(ReceiverStream::new(replies)))
    }

    async fn forward(
        &self,
        request: Request<Streaming<ForwardData>>,
    ) -> Answer<Self::ForwardStream> {
        let replies = forward::forward(request.into_inner()).await?;
        Ok(Response::new(ReceiverStream::new(replies)))
    }

    async fn stats(&self, _request: Request<StatsRequest>) -> Answer<SandboxStats> {
        Ok(Response::new(self.pod.stats()))
    }

    async fn shutdown(&self, _request: Request<ShutdownRequest>) -> Answer<ShutdownResponse> {
        let pod = Arc::clone(&self.pod);
        for entry in pod.state().containers.values() {
            let _ = entry.cgroup.kill();
        }
        tokio::spawn(async move {
            // interval: the answer has to leave through vsock; nothing tells when it has.
            tokio::time::sleep(SHUTDOWN_GRACE).await;
            end_machine(pod.paths.vm);
        });
        Ok(Response::new(ShutdownResponse {}))
    }
}

/// The chunks from an offset on, to the end of the container's output.
fn read_from(
    output: Arc<Output>,
    offset: u64,
) -> impl tokio_stream::Stream<Item = Result<OutputChunk, Status>> + Send {
    futures::stream::unfold((output, offset), |(output, offset)| async move {
        let chunk = output.next(offset).await?;
        let next = chunk.offset + chunk.data.len() as u64;
        Some((Ok(chunk), (output, next)))
    })
}

/// Without ACPI a guest cannot power off: it asks for a reset, and its VMM ends.
fn end_machine(vm: bool) -> ! {
    rustix::fs::sync();
    if vm {
        let error = rustix::system::reboot(rustix::system::RebootCommand::Restart);
        crate::log::write(&format!("restart: {error:?}"));
    }
    std::process::exit(0)
}
