//! Service-account tokens: TokenRequest, verification, and the documents that publish the key.

use std::sync::Arc;

use serde_json::Value;

use crate::Lookup;

/// `iss` of every token, and the audience of tokens for the API server.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Signs and verifies. Cheap to clone.
#[derive(Clone)]
pub struct Signer {}

#[derive(Debug, thiserror::Error)]
pub enum Error {}

impl Signer {
    /// From the PKCS#8 PEM of an ECDSA P-256 key ([`crate::pki::Pki::token_key_pem`]).
    pub fn new(_key_pem: &str) -> Result<Self, Error> {
        todo!()
    }
    /// Answers `POST serviceaccounts/<name>/token`: the TokenRequest with its status, or the error to send.
    /// `now` is in seconds of the Unix epoch.
    pub fn create_token(
        &self,
        _lookup: &Arc<dyn Lookup>,
        _service_account: &Value,
        _request: &Value,
        _now: i64,
    ) -> Result<Value, api::Status> {
        todo!()
    }
    /// Body of `GET /openid/v1/jwks` (`application/jwk-set+json`).
    #[must_use]
    pub fn jwks(&self) -> Value {
        todo!()
    }
    /// Body of `GET /.well-known/openid-configuration`; `jwks_uri` e.g. `https://10.88.0.1:6443/openid/v1/jwks`.
    #[must_use]
    pub fn openid_configuration(&self, _jwks_uri: &str) -> Value {
        todo!()
    }
}
