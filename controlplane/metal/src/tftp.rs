//! TFTP for the first megabyte: iPXE itself, for firmware that is not iPXE.

use std::net::SocketAddr;

use async_tftp::server::TftpServerBuilder;
use tokio_util::sync::CancellationToken;

use crate::{Config, Error};

/// Serves the folder read-only until shutdown.
pub(crate) async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let address = SocketAddr::from((config.address, 69));
    let server = TftpServerBuilder::with_dir_ro(&config.tftp_root)
        .map_err(|source| Error::Tftp { source })?
        .bind(address)
        .build()
        .await
        .map_err(|source| Error::Tftp { source })?;
    tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        ended = server.serve() => ended.map_err(|source| Error::Tftp { source }),
    }
}
