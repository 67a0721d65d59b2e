//! What can go wrong in a reconciliation.

/// A failed step of a controller; the driver tries again with backoff.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to {operation}")]
    Api { operation: &'static str, source: Box<kube::Error> },
    #[error("failed to sign a certificate request")]
    Sign { source: access::pki::Error },
    #[error("the cluster's address range has no free /24 for another node")]
    NoPodRange,
    #[error("its own write did not come back through the watch in time")]
    NotSeen,
}

impl Error {
    /// Wraps a failed API call.
    pub(crate) fn api(operation: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { operation, source: Box::new(source) }
    }

    /// The server's own words, where it said any.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Api { source, .. } => words(source),
            other => other.to_string(),
        }
    }

    /// Whether another writer was faster: no news, just another try.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { source, .. } if client::is_conflict(source))
    }

    /// Whether the object's namespace is being deleted: nothing is to be made there any more.
    #[must_use]
    pub fn is_namespace_terminating(&self) -> bool {
        matches!(self, Self::Api { source, .. } if client::is_namespace_terminating(source))
    }
}

/// What a refusal says to people.
pub(crate) fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Success if the object was gone already.
pub(crate) fn ignore_not_found<T>(
    result: Result<T, kube::Error>,
) -> Result<Option<T>, kube::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if client::is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
