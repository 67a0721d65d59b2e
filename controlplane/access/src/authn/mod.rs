//! From credentials to a [`User`].

use std::sync::Arc;

use api::Status;
use http::HeaderMap;

use crate::{Lookup, User, authz::Attributes, pki::Pki, tokens::Signer};

/// Every way to prove an identity that this cluster accepts. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator {}

/// What a TokenReview answers for a good token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewed {
    pub user: User,
    /// The asked audiences that the token is for.
    pub audiences: Vec<String>,
}

/// A user that another one acts as.
#[derive(Debug, Clone, PartialEq)]
pub struct Impersonation {
    pub user: User,
    /// What the real user must be allowed before `user` takes effect: all of them.
    pub checks: Vec<Attributes>,
}

impl Authenticator {
    pub fn new(_pki: &Pki, _lookup: Arc<dyn Lookup>) -> Result<Self, crate::tokens::Error> {
        todo!()
    }
    #[must_use]
    pub fn signer(&self) -> &Signer {
        todo!()
    }
    /// The user of a request: client certificate (its chain was verified by TLS), bearer token, or anonymous.
    /// 401 for a credential that is wrong. Impersonation is separate: [`impersonation`].
    pub async fn authenticate(
        &self,
        _peer_cert_der: Option<&[u8]>,
        _headers: &HeaderMap,
    ) -> Result<User, Status> {
        todo!()
    }
    /// Checks a token for `audiences` (empty: the API server's). The error is the text for `status.error`.
    pub fn review_token(&self, _token: &str, _audiences: &[String]) -> Result<Reviewed, String> {
        todo!()
    }
}

/// Reads the `Impersonate-*` headers; `None` without them.
pub fn impersonation(_real: &User, _headers: &HeaderMap) -> Result<Option<Impersonation>, Status> {
    todo!()
}
