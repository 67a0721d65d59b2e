//! The control service: what the agent may ask of a running VM.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use proto::vmm as wire;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};
use wire::description::State;

use crate::run::End;
use crate::wire_up::Parts;

/// The service, on the machine that it controls.
pub struct Service {
    parts: Arc<Parts>,
    started: Instant,
    end: mpsc::Sender<End>,
    /// Held while the machine changes between running and paused.
    paused: Mutex<bool>,
}

impl Service {
    /// `started` is when the process began; `end` stops it.
    pub fn new(parts: Arc<Parts>, started: Instant, end: mpsc::Sender<End>) -> Self {
        Self { parts, started, end, paused: Mutex::new(false) }
    }

    fn describe(&self) -> wire::Description {
        let first_run = self.parts.vcpus.first_run();
        let state = match first_run {
            None => State::Starting,
            Some(_) if self.parts.vcpus.is_paused() => State::Paused,
            Some(_) => State::Running,
        };
        let start = first_run.map_or(0, |at| at.duration_since(self.started).as_nanos());
        wire::Description {
            id: self.parts.id.clone(),
            state: state.into(),
            vcpus: u32::from(self.parts.vcpu_count),
            memory_bytes: self.parts.memory_bytes,
            start_nanos: u64::try_from(start).unwrap_or(u64::MAX),
        }
    }

    /// Processors stop first, so that nothing of the guest reaches a device that has stopped.
    fn pause(&self) -> Result<(), Status> {
        let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        if !*paused {
            self.parts.vcpus.pause().map_err(internal)?;
            self.parts.worker.pause().map_err(internal)?;
            *paused = true;
        }
        Ok(())
    }

    fn resume(&self) -> Result<(), Status> {
        let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        if *paused {
            self.parts.worker.resume().map_err(internal)?;
            self.parts.vcpus.resume();
            *paused = false;
        }
        Ok(())
    }
}

fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

#[tonic::async_trait]
impl wire::vmm_server::Vmm for Service {
    async fn describe(
        &self,
        _: Request<wire::DescribeRequest>,
    ) -> Result<Response<wire::Description>, Status> {
        Ok(Response::new(Service::describe(self)))
    }

    async fn pause(
        &self,
        _: Request<wire::PauseRequest>,
    ) -> Result<Response<wire::PauseResponse>, Status> {
        Service::pause(self)?;
        Ok(Response::new(wire::PauseResponse {}))
    }

    async fn resume(
        &self,
        _: Request<wire::ResumeRequest>,
    ) -> Result<Response<wire::ResumeResponse>, Status> {
        Service::resume(self)?;
        Ok(Response::new(wire::ResumeResponse {}))
    }

    async fn kill(
        &self,
        _: Request<wire::KillRequest>,
    ) -> Result<Response<wire::KillResponse>, Status> {
        // A full channel means that the end is coming anyway.
        let _ = self.end.try_send(End::Killed);
        Ok(Response::new(wire::KillResponse {}))
    }
}
