//! Is a token ours, in time, for us, and are the objects it is bound to still alive?
//! (upstream `pkg/serviceaccount/{jwt,claims,legacy}.go`)

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jsonwebtoken::{Algorithm, Validation};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    Claims, ISSUER, LEGACY_ISSUER, Signer,
    claims::{Bound, Ref},
};
use crate::{Lookup, User, names};

/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// How many right signatures are remembered.
pub(super) const SIGNATURES_MAX: usize = 4096;
/// Clock difference that is forgiven between servers.
const LEEWAY_SECONDS: i64 = 10;
/// A bound object that is being deleted keeps its tokens good for this long.
const DELETION_GRACE_SECONDS: i64 = 60;

/// A good token's user and which of the asked audiences it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified {
    pub user: User,
    pub audiences: Vec<String>,
}

impl Signer {
    /// The claims, when the signature is ours.
    pub(crate) fn check_signature(&self, token: &str) -> Result<Arc<Claims>, String> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err("token is too long".into());
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(claims) = self.inner.verified.lock().get(&digest) {
            return Ok(Arc::clone(claims));
        }
        let mut rules = Validation::new(Algorithm::ES256);
        // Times and audiences are checked below, each time.
        rules.required_spec_claims.clear();
        rules.validate_exp = false;
        rules.validate_aud = false;
        let data = jsonwebtoken::decode::<Claims>(token, &self.inner.decoding, &rules)
            .map_err(|_| "invalid bearer token".to_owned())?;
        let claims = Arc::new(data.claims);
        let mut verified = self.inner.verified.lock();
        if verified.len() >= SIGNATURES_MAX {
            verified.clear();
        }
        verified.insert(digest, Arc::clone(&claims));
        Ok(claims)
    }

    /// Checks a token for any of `audiences` (empty: the API server's) at `now` (Unix seconds).
    pub(crate) fn verify(
        &self,
        lookup: &dyn Lookup,
        token: &str,
        audiences: &[String],
        now: i64,
    ) -> Result<Verified, String> {
        let claims = self.check_signature(token)?;
        check_times(&claims, now)?;
        let own = [ISSUER.to_owned()];
        let asked = if audiences.is_empty() { &own[..] } else { audiences };
        let (has, user) = match claims.iss.as_str() {
            ISSUER => (&claims.aud[..], check_bound(lookup, &claims, now)?),
            LEGACY_ISSUER => (&own[..], check_legacy(lookup, &claims, token, now)?),
            _ => return Err("token has an unknown issuer".into()),
        };
        let common: Vec<String> =
            asked.iter().filter(|audience| has.contains(audience)).cloned().collect();
        if common.is_empty() {
            return Err(format!(
                "token audiences {has:?} is invalid for the target audiences {asked:?}"
            ));
        }
        Ok(Verified { user, audiences: common })
    }
}

fn check_times(claims: &Claims, now: i64) -> Result<(), String> {
    if claims.exp.is_some_and(|exp| now > exp.saturating_add(LEEWAY_SECONDS)) {
        return Err("service account token has expired".into());
    }
    if claims.nbf.is_some_and(|nbf| now < nbf.saturating_sub(LEEWAY_SECONDS)) {
        return Err("service account token is not valid yet".into());
    }
    Ok(())
}

fn check_bound(lookup: &dyn Lookup, claims: &Claims, now: i64) -> Result<User, String> {
    let bound = claims.bound.as_ref().ok_or("token has no kubernetes.io claim")?;
    claims.exp.ok_or("token has no end")?;
    let account = bound.serviceaccount.as_ref().ok_or("token names no service account")?;
    let namespace = bound.namespace.as_str();
    check_alive(lookup, "serviceaccounts", namespace, account, now)?;
    if let Some(secret) = &bound.secret {
        check_alive(lookup, "secrets", namespace, secret, now)?;
    }
    match (&bound.pod, &bound.node) {
        (Some(pod), _) => check_alive(lookup, "pods", namespace, pod, now)?,
        (None, Some(node)) => check_alive(lookup, "nodes", "", node, now)?,
        (None, None) => {}
    }
    let name = user_name(namespace, &account.name);
    if claims.sub != name {
        return Err("token subject does not match its service account".into());
    }
    Ok(service_account_user(namespace, account, extra_of(claims, bound)))
}

fn check_alive(
    lookup: &dyn Lookup,
    resource: &str,
    namespace: &str,
    wanted: &Ref,
    now: i64,
) -> Result<(), String> {
    let gone = || format!("{resource} {:?} has been deleted", wanted.name);
    let object = lookup.get("", resource, namespace, &wanted.name).ok_or_else(gone)?;
    if api::meta::uid(&object) != wanted.uid || is_past_deletion(&object, now) {
        return Err(gone());
    }
    Ok(())
}

fn is_past_deletion(object: &Value, now: i64) -> bool {
    let at = api::meta::text(object, "deletionTimestamp");
    let parsed = time::OffsetDateTime::parse(at, &time::format_description::well_known::Rfc3339);
    parsed.is_ok_and(|at| at.unix_timestamp() + DELETION_GRACE_SECONDS < now)
}

fn check_legacy(
    lookup: &dyn Lookup,
    claims: &Claims,
    token: &str,
    now: i64,
) -> Result<User, String> {
    let text = |claim: &Option<String>| claim.clone().unwrap_or_default();
    let namespace = text(&claims.legacy_namespace);
    let account = Ref { name: text(&claims.legacy_name), uid: text(&claims.legacy_uid) };
    check_alive(lookup, "serviceaccounts", &namespace, &account, now)?;
    let secret = lookup.get("", "secrets", &namespace, &text(&claims.legacy_secret));
    let secret = secret.ok_or("token's secret has been deleted")?;
    let holds_token = secret["data"]["token"]
        .as_str()
        .and_then(|encoded| BASE64_STANDARD.decode(encoded).ok())
        .is_some_and(|held| Sha256::digest(held) == Sha256::digest(token));
    if !holds_token || !api::meta::text(&secret, "deletionTimestamp").is_empty() {
        return Err("token does not match its secret".into());
    }
    Ok(service_account_user(&namespace, &account, BTreeMap::new()))
}

fn user_name(namespace: &str, name: &str) -> String {
    format!("{}{namespace}:{name}", names::SERVICE_ACCOUNT_PREFIX)
}

fn service_account_user(
    namespace: &str,
    account: &Ref,
    extra: BTreeMap<String, Vec<String>>,
) -> User {
    User {
        name: user_name(namespace, &account.name),
        uid: account.uid.clone(),
        groups: vec![
            names::SERVICE_ACCOUNTS.into(),
            format!("{}:{namespace}", names::SERVICE_ACCOUNTS),
        ],
        extra,
    }
}

fn extra_of(claims: &Claims, bound: &Bound) -> BTreeMap<String, Vec<String>> {
    let mut extra = BTreeMap::new();
    let mut put = |key: &str, value: &str| {
        if !value.is_empty() {
            extra.insert(key.to_owned(), vec![value.to_owned()]);
        }
    };
    if !claims.jti.is_empty() {
        put(names::CREDENTIAL_ID, &format!("JTI={}", claims.jti));
    }
    if let Some(pod) = &bound.pod {
        put(names::POD_NAME, &pod.name);
        put(names::POD_UID, &pod.uid);
    }
    if let Some(node) = &bound.node {
        put(names::NODE_NAME, &node.name);
        put(names::NODE_UID, &node.uid);
    }
    extra
}
