//! What the guest tells: states of containers into the machine, output into log files.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use podloop::container::Exit;
use podloop::{Event, PodPlan};
use proto::guest as g;
use tokio::sync::{mpsc, watch};
use tracing::Instrument;
use vmhost::Vm;

use crate::logs::writer::Writer;
use crate::logs::{LogId, Logs};
use crate::stages::timestamp;

/// How long an ended container's last output is waited for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Follows the guest's events until its VM has ended.
pub fn follow_events(vm: &Vm, plan: PodPlan, events: mpsc::Sender<Event>) {
    let mut guest = vm.guest.clone();
    let follow = async move {
        let stream = match guest.events(g::EventsRequest {}).await {
            Ok(stream) => stream.into_inner(),
            Err(error) => return tracing::warn!(%error, "the guest tells no events"),
        };
        let mut stream = stream;
        while let Ok(Some(event)) = stream.message().await {
            if let Some(event) = translate(&plan, event)
                && events.send(event).await.is_err()
            {
                return;
            }
        }
    };
    tokio::spawn(follow.in_current_span());
}

fn translate(plan: &PodPlan, event: g::Event) -> Option<Event> {
    use g::event::What;
    let what = event.what?;
    if let What::Synced(_) = what {
        return Some(Event::GuestSynced);
    }
    let (name, attempt) = event.container_id.rsplit_once('.')?;
    let (container, attempt) = (plan.index_of(name)?, attempt.parse().ok()?);
    match what {
        What::Running(running) => {
            let at = timestamp(running.started_unix_nanos);
            Some(Event::ContainerRunning { container, attempt, at })
        }
        What::Exited(exited) => {
            let exit = exit(exited, attempt);
            Some(Event::ContainerExited { container, attempt, exit })
        }
        What::Synced(_) => None,
    }
}

fn exit(exited: g::Exited, attempt: u32) -> Exit {
    let reason = match (exited.oom_killed, exited.exit_code) {
        (true, _) => "OOMKilled",
        (false, 0) => "Completed",
        (false, _) => "Error",
    };
    Exit {
        code: exited.exit_code,
        signal: exited.signal,
        reason: reason.into(),
        message: exited.message,
        started: Some(timestamp(exited.started_unix_nanos)),
        finished: timestamp(exited.finished_unix_nanos),
        attempt,
    }
}

/// The log writers of one pod, by guest id.
#[derive(Debug, Default)]
pub struct OutputPumps {
    ended: HashMap<String, watch::Receiver<bool>>,
}

/// A log that is about to be written.
#[derive(Debug)]
pub struct Pump {
    writer: Option<Writer>,
    ended: watch::Sender<bool>,
}

impl OutputPumps {
    /// Opens the log of a container that is about to start (or runs already, after a restart).
    pub fn begin(&mut self, logs: &Logs, id: LogId, records: &Path) -> Pump {
        let guest_id = podloop::status::guest_id(&id.container, id.attempt);
        let writer = match Writer::open(logs, id, records) {
            Ok(writer) => Some(writer),
            Err(error) => {
                tracing::error!(%error, "the container's log cannot be written");
                None
            }
        };
        let (ended, receiver) = watch::channel(false);
        self.ended.insert(guest_id, receiver);
        Pump { writer, ended }
    }

    /// Told when this container's output was read to its end.
    pub fn take(&mut self, guest_id: &str) -> Option<watch::Receiver<bool>> {
        self.ended.remove(guest_id)
    }

    pub fn take_all(&mut self) -> Vec<watch::Receiver<bool>> {
        self.ended.drain().map(|(_, ended)| ended).collect()
    }
}

impl Pump {
    /// Reads the output until it ends. Dropping the pump ends its log.
    pub fn start(self, vm: &Vm, id: String) {
        let mut guest = vm.guest.clone();
        let pump = async move {
            let Self { writer, ended } = self;
            if let Some(mut writer) = writer {
                if let Err(error) = copy(&mut guest, &mut writer, id).await {
                    tracing::warn!(%error, "log ended early");
                }
                drop(writer);
            }
            ended.send_replace(true);
        };
        tokio::spawn(pump.in_current_span());
    }
}

async fn copy(
    guest: &mut g::guest_client::GuestClient<tonic::transport::Channel>,
    writer: &mut Writer,
    id: String,
) -> anyhow::Result<()> {
    let request = g::OutputRequest { id, offset: writer.offset() };
    let mut stream = guest.output(request).await?.into_inner();
    while let Some(chunk) = stream.message().await? {
        writer.append(&chunk)?;
    }
    Ok(())
}

/// Waits until a log is complete, but not for ever: a guest may be stuck.
pub async fn wait_drained(ended: Option<watch::Receiver<bool>>) {
    if let Some(mut ended) = ended {
        let _late = tokio::time::timeout(DRAIN_TIMEOUT, ended.wait_for(|ended| *ended)).await;
    }
}
