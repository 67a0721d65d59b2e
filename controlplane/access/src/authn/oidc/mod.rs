//! OpenID Connect: users from tokens of other issuers (upstream `plugin/pkg/auth/authenticator/token/oidc`).
//!
//! `config` reads what an administrator wrote, `verify` decides about a token, pure. The keys are fetched by the API
//! server, which knows networks, and given to [`Oidc::set_keys`].

mod config;
mod verify;

use std::sync::Arc;

use jsonwebtoken::jwk::JwkSet;
use parking_lot::RwLock;
use tokio::sync::Notify;

pub use config::{Anonymous, AuthenticationConfig, Claim, OidcConfig};
pub(super) use verify::claimed_issuer;

/// Why an OIDC configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{field}: {problem}")]
    Invalid { field: String, problem: String },
}

/// One issuer. Cheap to clone.
#[derive(Clone)]
pub struct Oidc {
    inner: Arc<Inner>,
}

struct Inner {
    config: OidcConfig,
    keys: RwLock<Option<Arc<JwkSet>>>,
    /// Woken when a token names a key that is not known.
    wanted: Notify,
}

impl Oidc {
    #[must_use]
    pub fn new(config: OidcConfig) -> Self {
        Self { inner: Arc::new(Inner { config, keys: RwLock::default(), wanted: Notify::new() }) }
    }

    #[must_use]
    pub fn config(&self) -> &OidcConfig {
        &self.inner.config
    }

    /// Replaces the issuer's keys.
    pub fn set_keys(&self, keys: JwkSet) {
        *self.inner.keys.write() = Some(Arc::new(keys));
    }

    /// Reads a key set as its issuer publishes it.
    pub fn parse_keys(json: &[u8]) -> Result<JwkSet, serde_json::Error> {
        serde_json::from_slice(json)
    }

    /// Resolves when a token was signed with a key that is not known yet.
    pub async fn keys_wanted(&self) {
        self.inner.wanted.notified().await;
    }
}
