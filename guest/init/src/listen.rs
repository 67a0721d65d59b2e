//! Serves the agent: vsock in a VM, a unix socket beside an ordinary init.

use std::path::Path;

use anyhow::{Context as _, Result};
use proto::guest::guest_server::GuestServer;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_vsock::{VMADDR_CID_ANY, VMADDR_CID_HOST, VsockAddr, VsockListener, VsockStream};
use tonic::transport::Server;

use crate::options::Options;
use crate::sandbox::boot_id;
use crate::service::Service;

/// Where the guest serves, and where the host waits for the word that it does (guest.proto).
const SERVICE_PORT: u32 = 1024;
const READY_PORT: u32 = 1023;

/// Serves until the process ends.
pub async fn serve(options: &Options, service: Service) -> Result<()> {
    let router = Server::builder().add_service(GuestServer::new(service));
    match options {
        Options::Vm => {
            let listener = VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, SERVICE_PORT))
                .context("listen on vsock")?;
            announce_ready().await.context("tell the host that the guest is ready")?;
            router.serve_with_incoming(listener.incoming()).await?;
        }
        Options::Beside { socket, base: _, cgroup: _ } => {
            router.serve_with_incoming(listen_unix(socket)?).await?;
        }
    }
    Ok(())
}

fn listen_unix(socket: &Path) -> Result<UnixListenerStream> {
    let listener =
        UnixListener::bind(socket).with_context(|| format!("listen on {}", socket.display()))?;
    Ok(UnixListenerStream::new(listener))
}

async fn announce_ready() -> Result<()> {
    let mut host = VsockStream::connect(VsockAddr::new(VMADDR_CID_HOST, READY_PORT))
        .await
        .with_context(|| format!("connect to host port {READY_PORT}"))?;
    host.write_all(format!("ready {}\n", boot_id()?).as_bytes()).await?;
    host.flush().await?;
    drop(host);
    Ok(())
}
