//! Answering `POST serviceaccounts/<name>/token` (upstream `registry/core/serviceaccount/storage/token.go`).

use std::sync::Arc;

use api::{Reason, Status, status::Cause};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Error, ISSUER, Signer,
    claims::{Bound, Claims, Ref},
};
use crate::{Lookup, names};

const TTL_SECONDS_DEFAULT: i64 = 3600;
const TTL_SECONDS_MIN: i64 = 600;
const TTL_SECONDS_MAX: i64 = 1 << 32;
/// What pods' projected volumes ask for. Such a token really lives a year, for clients that never read the file
/// again, and is marked as stale after this time (KEP-1205).
const PROJECTED_TTL_SECONDS: i64 = 3607;
const EXTENDED_TTL_SECONDS: i64 = 365 * 24 * 3600;

impl Signer {
    /// Answers a TokenRequest: the object with its status, or the error to send. `service_account` is the stored
    /// account; `now` is in seconds of the Unix epoch.
    pub fn create_token(
        &self,
        lookup: &Arc<dyn Lookup>,
        service_account: &Value,
        request: &Value,
        now: i64,
    ) -> Result<Value, Status> {
        let ttl = validate_ttl(request)?;
        let audiences = audiences_of(request);
        let bound = bind(lookup.as_ref(), service_account, request)?;
        let is_extended = ttl == PROJECTED_TTL_SECONDS
            && bound.pod.is_some()
            && audiences.iter().any(|audience| audience == ISSUER);
        let claims = Claims {
            aud: audiences.clone(),
            exp: Some(now + if is_extended { EXTENDED_TTL_SECONDS } else { ttl }),
            iat: Some(now),
            nbf: Some(now),
            iss: ISSUER.into(),
            jti: uuid::Uuid::new_v4().to_string(),
            sub: subject_of(service_account),
            bound: Some(Bound { warnafter: is_extended.then_some(now + ttl), ..bound }),
            ..Claims::default()
        };
        let token = self.sign(&claims).map_err(|error| internal(&error))?;
        Ok(answer(service_account, request, &token, &audiences, (now, ttl)))
    }
}

fn answer(
    account: &Value,
    request: &Value,
    token: &str,
    audiences: &[String],
    (now, ttl): (i64, i64),
) -> Value {
    let mut answer = json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": api::meta::name(account), "namespace": api::meta::namespace(account),
            "creationTimestamp": timestamp(now)},
        "spec": {"audiences": audiences, "expirationSeconds": ttl, "boundObjectRef": null},
        "status": {"token": token, "expirationTimestamp": timestamp(now + ttl)},
    });
    if let Some(reference) = request["spec"].get("boundObjectRef") {
        answer["spec"]["boundObjectRef"] = reference.clone();
    }
    answer
}

fn subject_of(account: &Value) -> String {
    format!(
        "{}{}:{}",
        names::SERVICE_ACCOUNT_PREFIX,
        api::meta::namespace(account),
        api::meta::name(account)
    )
}

fn timestamp(seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}

fn internal(error: &Error) -> Status {
    Status::new(Reason::InternalError, format!("failed to generate token: {error}"))
}

fn validate_ttl(request: &Value) -> Result<i64, Status> {
    let Some(ttl) = request["spec"]["expirationSeconds"].as_i64() else {
        return Ok(TTL_SECONDS_DEFAULT);
    };
    let problem = if ttl < TTL_SECONDS_MIN {
        "may not specify a duration less than 10 minutes"
    } else if ttl > TTL_SECONDS_MAX {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(ttl);
    };
    let field = "spec.expirationSeconds";
    let detail = format!("Invalid value: {ttl}: {problem}");
    let message = format!("TokenRequest.authentication.k8s.io \"\" is invalid: {field}: {detail}");
    let cause = Cause { reason: "FieldValueInvalid".into(), message: detail, field: field.into() };
    Err(Status {
        group: "authentication.k8s.io".into(),
        kind: "TokenRequest".into(),
        causes: vec![cause],
        ..Status::new(Reason::Invalid, message)
    })
}

fn audiences_of(request: &Value) -> Vec<String> {
    let asked = request["spec"]["audiences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let asked: Vec<String> = asked.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if asked.is_empty() { vec![ISSUER.into()] } else { asked }
}

fn ref_of(object: &Value) -> Ref {
    Ref { name: api::meta::name(object).into(), uid: api::meta::uid(object).into() }
}

/// Finds the object that the token shall die with.
fn bind(lookup: &dyn Lookup, account: &Value, request: &Value) -> Result<Bound, Status> {
    let namespace = api::meta::namespace(account);
    let mut bound = Bound {
        namespace: namespace.into(),
        serviceaccount: Some(ref_of(account)),
        ..Bound::default()
    };
    let reference = &request["spec"]["boundObjectRef"];
    if reference.is_null() {
        return Ok(bound);
    }
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let find =
        |resource, namespace| find_bound(lookup, resource, namespace, text("name"), text("uid"));
    match (text("apiVersion"), text("kind")) {
        ("v1", "Pod") => {
            let pod = find("pods", namespace)?;
            let runs_as = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
            let name = api::meta::name(account);
            if runs_as != name {
                let text = format!(
                    "cannot bind token for serviceaccount {name:?} to pod running with different serviceaccount name."
                );
                return Err(Status::new(Reason::BadRequest, text));
            }
            bound.node = node_of(lookup, &pod);
            bound.pod = Some(ref_of(&pod));
        }
        ("v1", "Secret") => bound.secret = Some(ref_of(&*find("secrets", namespace)?)),
        ("v1", "Node") => bound.node = Some(ref_of(&*find("nodes", "")?)),
        (version, kind) => {
            let text = format!("cannot bind token to object of type {version}, Kind={kind}");
            return Err(Status::new(Reason::BadRequest, text));
        }
    }
    Ok(bound)
}

fn node_of(lookup: &dyn Lookup, pod: &Value) -> Option<Ref> {
    let name = pod["spec"]["nodeName"].as_str().filter(|name| !name.is_empty())?;
    let uid = lookup.get("", "nodes", "", name).map(|node| api::meta::uid(&node).to_owned());
    Some(Ref { name: name.into(), uid: uid.unwrap_or_default() })
}

fn find_bound(
    lookup: &dyn Lookup,
    resource: &str,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<Arc<Value>, Status> {
    let about = |reason, message: String| Status {
        kind: resource.into(),
        name: name.into(),
        ..Status::new(reason, message)
    };
    let object = lookup
        .get("", resource, namespace, name)
        .ok_or_else(|| about(Reason::NotFound, format!("{resource} {name:?} not found")))?;
    if !uid.is_empty() && uid != api::meta::uid(&object) {
        let message = format!(
            "Operation cannot be fulfilled on {resource} {name:?}: the UID in the bound object reference ({uid}) \
             does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(about(Reason::Conflict, message));
    }
    Ok(object)
}
