//! Service-account tokens: TokenRequest, verification, and the documents that publish the key.
//!
//! Tokens are JWTs signed with ES256. A signature is checked once and remembered; whether the account and the object
//! that a token is bound to still exist is asked anew each time.

mod claims;
mod request;
mod verify;

use std::{collections::HashMap, sync::Arc};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use parking_lot::Mutex;
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub(crate) use claims::Claims;
pub(crate) use verify::Verified;

/// `iss` of every token, and the audience of tokens for the API server.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// `iss` of tokens kept in Secrets, which have no audience and no end.
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
/// Where the key set is served.
pub const JWKS_PATH: &str = "/openid/v1/jwks";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("parse the service-account key")]
    ParseKey { source: rcgen::Error },
    #[error("use the service-account key for tokens")]
    UseKey { source: jsonwebtoken::errors::Error },
    #[error("sign a token")]
    Sign { source: jsonwebtoken::errors::Error },
}

/// Signs and verifies. Cheap to clone.
#[derive(Clone)]
pub struct Signer {
    inner: Arc<Inner>,
}

struct Inner {
    key_id: String,
    /// The uncompressed point: 0x04, x, y.
    public_point: Vec<u8>,
    encoding: EncodingKey,
    decoding: DecodingKey,
    /// Tokens whose signature was found right, by digest; bounded by [`verify::SIGNATURES_MAX`].
    verified: Mutex<HashMap<[u8; 32], Arc<Claims>>>,
}

impl Signer {
    /// From the PKCS#8 PEM of an ECDSA P-256 key ([`crate::pki::Pki::token_key_pem`]).
    pub fn new(key_pem: &str) -> Result<Self, Error> {
        let key = KeyPair::from_pem(key_pem).map_err(|source| Error::ParseKey { source })?;
        let use_key = |source| Error::UseKey { source };
        let point = key.public_key_raw().to_vec();
        let (x, y) = coordinates(&point);
        let inner = Inner {
            key_id: BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(key.subject_public_key_info())),
            encoding: EncodingKey::from_ec_pem(key_pem.as_bytes()).map_err(use_key)?,
            decoding: DecodingKey::from_ec_components(&x, &y).map_err(use_key)?,
            public_point: point,
            verified: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The token of a Secret of type `kubernetes.io/service-account-token`, for its `data.token`.
    pub fn sign_for_secret(
        &self,
        service_account: &Value,
        secret_name: &str,
    ) -> Result<String, Error> {
        let (namespace, name) =
            (api::meta::namespace(service_account), api::meta::name(service_account));
        self.sign(&json!({
            "iss": LEGACY_ISSUER,
            "sub": format!("{}{namespace}:{name}", crate::names::SERVICE_ACCOUNT_PREFIX),
            "kubernetes.io/serviceaccount/namespace": namespace,
            "kubernetes.io/serviceaccount/secret.name": secret_name,
            "kubernetes.io/serviceaccount/service-account.name": name,
            "kubernetes.io/serviceaccount/service-account.uid": api::meta::uid(service_account),
        }))
    }

    fn sign(&self, claims: &impl serde::Serialize) -> Result<String, Error> {
        let header = Header {
            kid: Some(self.inner.key_id.clone()),
            typ: None,
            ..Header::new(Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, claims, &self.inner.encoding)
            .map_err(|source| Error::Sign { source })
    }

    /// Body of `GET /openid/v1/jwks` (`application/jwk-set+json`).
    #[must_use]
    pub fn jwks(&self) -> Value {
        let (x, y) = coordinates(&self.inner.public_point);
        json!({"keys": [{"use": "sig", "kty": "EC", "kid": self.inner.key_id, "crv": "P-256", "alg": "ES256",
            "x": x, "y": y}]})
    }

    /// Body of `GET /.well-known/openid-configuration`; `jwks_uri` e.g. `https://10.88.0.1:6443/openid/v1/jwks`.
    #[must_use]
    pub fn openid_configuration(&self, jwks_uri: &str) -> Value {
        json!({"issuer": ISSUER, "jwks_uri": jwks_uri, "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"]})
    }
}

fn coordinates(point: &[u8]) -> (String, String) {
    let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
    (BASE64_URL_SAFE_NO_PAD.encode(x), BASE64_URL_SAFE_NO_PAD.encode(y))
}

#[cfg(test)]
mod tests;
