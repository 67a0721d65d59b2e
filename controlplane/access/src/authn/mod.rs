//! From credentials to a [`User`]: client certificate, then bearer token (ours, bootstrap, OIDC), then anonymous.

mod bootstrap_token;
mod impersonate;
mod oidc;
mod x509;

use std::sync::Arc;

use api::{Reason, Status};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{
    HeaderMap, HeaderValue,
    header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL},
};
pub use impersonate::{Impersonation, impersonation};
pub use oidc::{Anonymous, AuthenticationConfig, Claim, Error as OidcError, Oidc, OidcConfig};

use crate::{
    Lookup, User, names,
    pki::Pki,
    tokens::{Error, Signer, Verified},
};

/// Browsers cannot set `Authorization` on a WebSocket; they offer the token as a sub-protocol with this prefix.
const WEBSOCKET_TOKEN_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// Every way to prove an identity that this cluster accepts. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator {
    signer: Signer,
    lookup: Arc<dyn Lookup>,
    issuers: Vec<Oidc>,
}

/// What a TokenReview answers for a good token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewed {
    pub user: User,
    /// The asked audiences that the token is for.
    pub audiences: Vec<String>,
}

impl Authenticator {
    pub fn new(pki: &Pki, lookup: Arc<dyn Lookup>) -> Result<Self, Error> {
        Ok(Self { signer: Signer::new(pki.token_key_pem())?, lookup, issuers: Vec::new() })
    }

    /// Also accepts tokens of other issuers.
    #[must_use]
    pub fn with_oidc(mut self, configs: &[OidcConfig]) -> Self {
        self.issuers = configs.iter().cloned().map(Oidc::new).collect();
        self
    }

    /// The issuers, for the task that fetches their keys.
    #[must_use]
    pub fn issuers(&self) -> &[Oidc] {
        &self.issuers
    }

    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The user of a request: client certificate (its chain was verified by TLS), bearer token, or anonymous.
    /// 401 for a credential that is wrong. Impersonation is separate: [`impersonation`].
    #[expect(
        clippy::unused_async,
        reason = "a webhook authenticator will wait for the network here"
    )]
    pub async fn authenticate(
        &self,
        peer_cert_der: Option<&[u8]>,
        headers: &HeaderMap,
    ) -> Result<User, Status> {
        if let Some(user) = peer_cert_der.and_then(x509::user_of) {
            return Ok(authenticated(user));
        }
        let Some(token) = bearer_token(headers) else { return Ok(User::anonymous()) };
        self.review_token(&token, &[]).map(|reviewed| reviewed.user).map_err(|reason| {
            tracing::debug!(reason, "refused a bearer token");
            Status::new(Reason::Unauthorized, "Unauthorized")
        })
    }

    /// Checks a token for `audiences` (empty: the API server's). The error is the text for `status.error`.
    pub fn review_token(&self, token: &str, audiences: &[String]) -> Result<Reviewed, String> {
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        let verified = match bootstrap_token::parse(token) {
            Some(parts) => {
                let user = bootstrap_token::user_of(self.lookup.as_ref(), parts, now)?;
                Verified { user, audiences: ours_of(audiences)? }
            }
            None => match self.issuer_of(token) {
                Some(oidc) => {
                    Verified { user: oidc.verify(token, now)?, audiences: ours_of(audiences)? }
                }
                None => self.signer.verify(self.lookup.as_ref(), token, audiences, now)?,
            },
        };
        Ok(Reviewed { user: authenticated(verified.user), audiences: verified.audiences })
    }
}

/// Tokens that know nothing of our audiences are good for the API server only (upstream
/// `authenticator/audagnostic.go`).
fn ours_of(asked: &[String]) -> Result<Vec<String>, String> {
    let ours = crate::tokens::ISSUER;
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    if asked.iter().any(|audience| audience == ours) {
        return Ok(vec![ours.to_owned()]);
    }
    Err(format!("token audiences {:?} is invalid for the target audiences {asked:?}", [ours]))
}

impl Authenticator {
    fn issuer_of(&self, token: &str) -> Option<&Oidc> {
        if self.issuers.is_empty() {
            return None;
        }
        let issuer = oidc::claimed_issuer(token)?;
        self.issuers.iter().find(|oidc| oidc.config().issuer == issuer)
    }
}

fn authenticated(mut user: User) -> User {
    if !user.is_in(names::AUTHENTICATED) {
        user.groups.push(names::AUTHENTICATED.into());
    }
    user
}

/// The token of `Authorization: Bearer`, or of a WebSocket's sub-protocol. Other schemes are no credential.
fn bearer_token(headers: &HeaderMap) -> Option<String> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some((scheme, token)) = header.and_then(|header| header.trim().split_once(' '))
        && scheme.eq_ignore_ascii_case("bearer")
        && !token.trim().is_empty()
    {
        return Some(token.trim().to_owned());
    }
    let encoded =
        protocols(headers).find_map(|protocol| protocol.strip_prefix(WEBSOCKET_TOKEN_PREFIX))?;
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let offers = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    offers.filter_map(|value| value.to_str().ok()).flat_map(|offer| offer.split(',')).map(str::trim)
}

/// Takes credentials out of a request before it goes on to a node or another server.
pub fn remove_credentials(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
    let kept: Vec<&str> = protocols(headers)
        .filter(|protocol| !protocol.starts_with(WEBSOCKET_TOKEN_PREFIX))
        .collect();
    let kept = HeaderValue::from_str(&kept.join(", ")).ok().filter(|kept| !kept.is_empty());
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    if let Some(kept) = kept {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, kept);
    }
}

#[cfg(test)]
mod tests;
