//! Service account tokens bound to a pod, by the TokenRequest API.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::plan::{TokenRef, token_references};

/// A token is replaced when this much of its life has passed (as the kubelet does).
const REFRESH_PERCENT: i64 = 80;

/// One issued token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub refresh_at: Timestamp,
}

/// Where tokens come from.
#[async_trait]
pub trait TokenSource: Send + Sync + 'static {
    /// Issues a token; the error is the API server's message.
    async fn issue(&self, pod: &Pod, reference: &TokenRef) -> Result<Token, String>;
}

#[async_trait]
impl TokenSource for Client {
    async fn issue(&self, pod: &Pod, reference: &TokenRef) -> Result<Token, String> {
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
        let account = account.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".into());
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let api: Api<ServiceAccount> = Api::namespaced(self.clone(), namespace);
        let request = token_request(pod, reference);
        let answer = api.create_token_request(&account, &PostParams::default(), &request).await;
        let status = answer.map_err(|error| error.to_string())?.status;
        let issued =
            status.and_then(|status| Some((status.token?, status.expiration_timestamp?.0)));
        let (text, expires) = issued.ok_or_else(|| "the answer holds no token".to_owned())?;
        Ok(Token { text, refresh_at: refresh_time(Timestamp::now(), expires) })
    }
}

fn token_request(pod: &Pod, reference: &TokenRef) -> TokenRequest {
    TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(reference.audience.iter().cloned().collect()),
            expiration_seconds: Some(reference.expiration_seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        }),
        ..TokenRequest::default()
    }
}

/// When to ask for the next one.
#[must_use]
pub fn refresh_time(issued: Timestamp, expires: Timestamp) -> Timestamp {
    let life = expires.duration_since(issued).as_secs().max(0);
    issued + SignedDuration::from_secs(life * REFRESH_PERCENT / 100)
}

/// The tokens of one pod, refreshed when due.
#[derive(Debug, Default)]
pub struct PodTokens {
    tokens: BTreeMap<TokenRef, Token>,
}

impl PodTokens {
    /// Issues what is missing or due, and returns all texts.
    pub async fn current(
        &mut self,
        source: &dyn TokenSource,
        pod: &Pod,
        now: Timestamp,
    ) -> Result<BTreeMap<TokenRef, String>, String> {
        for reference in token_references(pod) {
            let fresh = self.tokens.get(&reference).is_some_and(|token| token.refresh_at > now);
            if !fresh {
                let token = source.issue(pod, &reference).await?;
                self.tokens.insert(reference, token);
            }
        }
        Ok(self.tokens.iter().map(|(key, token)| (key.clone(), token.text.clone())).collect())
    }

    /// When `current` must be called again at the latest.
    #[must_use]
    pub fn refresh_at(&self) -> Option<Timestamp> {
        self.tokens.values().map(|token| token.refresh_at).min()
    }
}
