//! What can go wrong in the provisioner.

use std::net::SocketAddr;

/// A failed operation of the provisioner.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to listen on {address} for {service}")]
    Listen { service: &'static str, address: SocketAddr, source: std::io::Error },
    #[error("failed to serve TFTP")]
    Tftp { source: async_tftp::Error },
    #[error("failed to {operation}")]
    Api { operation: &'static str, source: Box<kube::Error> },
    #[error("the definition of machines was not established in time")]
    NotEstablished,
}

impl Error {
    /// Wraps a failed API call.
    pub(crate) fn api(operation: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { operation, source: Box::new(source) }
    }
}
