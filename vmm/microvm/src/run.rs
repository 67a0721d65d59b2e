//! The life of the process: configuration, jail, machine, service, end.

use std::os::fd::RawFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use kvm::Outcome;
use proto::vmm::vmm_server::VmmServer;
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnixListenerStream;
use tracing::{error, info};

use crate::config::{self, Jail};
use crate::control::Service;
use crate::jail::{self, seccomp};
use crate::wire_up::{self, Parts};

/// Exit code when the VM could not be started or could not go on.
pub const EXIT_FAILED: u8 = 1;
/// Exit code for wrong arguments.
pub const EXIT_USAGE: u8 = 2;
/// Exit code after Kill or SIGTERM: 128 and SIGTERM.
pub const EXIT_KILLED: u8 = 143;
/// Ends that may wait to be read; the first is what counts.
const ENDS_MAX: usize = 4;

/// Why the process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest ended, or could not go on.
    Guest(Outcome),
    /// Somebody who may asked for it.
    Killed,
}

/// Runs the VM that the configuration at descriptor `config_fd` describes.
pub fn run(config_fd: RawFd, started: Instant) -> ExitCode {
    match serve(config_fd, started) {
        Ok((End::Guest(Outcome::Reset { at }), None)) => {
            info!("guest ended at {at:#x}");
            ExitCode::SUCCESS
        }
        Ok((End::Guest(Outcome::Reset { at }), Some(words))) => {
            info!("guest ended at {at:#x} and said: {words}");
            ExitCode::SUCCESS
        }
        Ok((End::Guest(Outcome::Failed(reason)), _)) => {
            error!("failed to run the guest: {reason}");
            ExitCode::from(EXIT_FAILED)
        }
        Ok((End::Killed, _)) => {
            info!("killed on request");
            ExitCode::from(EXIT_KILLED)
        }
        Err(error) => {
            error!("failed to start: {error:#}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn serve(config_fd: RawFd, started: Instant) -> Result<(End, Option<String>)> {
    let config = config::read(config_fd)?;
    jail::descriptors::close_others(&config.descriptors())?;
    seccomp::report_violations().context("install the handler of SIGSYS")?;
    let kvm = kvm::machine::open()?;
    let jail = config.jail;
    jail::enter(jail)?;
    let (ends, receiver) = mpsc::channel(ENDS_MAX);
    let reporter = ends.clone();
    let parts = wire_up::build(
        &kvm,
        config,
        // The first report counts; there is room for it.
        &(Arc::new(move |outcome| drop(reporter.try_send(End::Guest(outcome)))) as _),
    )?;
    let runtime = Builder::new_current_thread().enable_io().build().context("start tokio")?;
    let mut server = Server::bind(&runtime, parts, started, ends)?;
    server.confine(jail)?;
    server.parts.vcpus.resume();
    let end = runtime.block_on(server.wait(receiver));
    Ok((end, server.parts.tail.last_words()))
}

/// The control socket and SIGTERM.
struct Server {
    parts: Arc<Parts>,
    terminate: Signal,
}

impl Server {
    fn bind(
        runtime: &Runtime,
        mut parts: Parts,
        started: Instant,
        ends: mpsc::Sender<End>,
    ) -> Result<Self> {
        let _context = runtime.enter();
        let listener = parts.control.take();
        let parts = Arc::new(parts);
        let terminate = signal(SignalKind::terminate()).context("handle SIGTERM")?;
        if let Some(listener) = listener {
            listener.set_nonblocking(true).context("prepare the control socket")?;
            let listener = UnixListener::from_std(listener).context("watch the control socket")?;
            let service = VmmServer::new(Service::new(parts.clone(), started, ends));
            let incoming = UnixListenerStream::new(listener);
            runtime.spawn(async move {
                let router = tonic::transport::Server::builder().add_service(service);
                if let Err(problem) = router.serve_with_incoming(incoming).await {
                    error!("control service stopped: {problem}");
                }
            });
        }
        Ok(Self { parts, terminate })
    }

    fn confine(&mut self, jail: Jail) -> Result<()> {
        if jail.seccomp {
            seccomp::install(&seccomp::compile(seccomp::Kind::Control)?)?;
        }
        Ok(())
    }

    /// Waits for the end, whoever brings it.
    async fn wait(&mut self, mut ends: mpsc::Receiver<End>) -> End {
        tokio::select! {
            biased;
            // The guest's own end is the truth even when somebody asks at the same time.
            end = ends.recv() => end.unwrap_or(End::Killed),
            _ = self.terminate.recv() => End::Killed,
        }
    }
}
