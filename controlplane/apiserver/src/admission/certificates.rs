//! CertificateApproval, CertificateSigning and CertificateSubjectRestriction; and the requester is written into each
//! new request.

use access::authz::Attributes;
use api::Status;
use serde_json::{Value, json};

use super::request::Request;

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";
/// Fields of a CertificateSigningRequest that name who asked.
const REQUESTER: &[&str] = &["username", "uid", "groups", "extra"];

/// Writes the requester into a new CertificateSigningRequest.
pub fn admit(request: &Request<'_>, object: &mut Value) {
    if !request.is_create() || !request.is(GROUP, REQUESTS) {
        return;
    }
    let Some(spec) = object["spec"].as_object_mut() else { return };
    for field in REQUESTER {
        spec.remove(*field);
    }
    if let Value::Object(user) = request.call.user.to_json() {
        spec.extend(user);
    }
    if let Some(fields) = object.as_object_mut() {
        fields.insert("status".into(), json!({}));
    }
}

/// The spec of a request never changes.
pub fn keep_requester(kind: &api::Kind, new: &mut Value, old: &Value) {
    if kind.group == GROUP && kind.plural == REQUESTS {
        new["spec"] = old["spec"].clone();
    }
}

pub fn validate(request: &Request<'_>, object: &Value, old: &Value) -> Result<(), Status> {
    if request.kind().group != GROUP || request.kind().plural != REQUESTS {
        return Ok(());
    }
    let signer = old["spec"]["signerName"].as_str().unwrap_or_default();
    let (verb, doing) = match request.subresource() {
        "" if request.is_create() => {
            return match access::pki::refuse_csr_subject(object) {
                Some(why) => Err(request.refuse(object, &why)),
                None => Ok(()),
            };
        }
        "approval" if request.is_update() => ("approve", "approve"),
        "status" if request.is_update() && signs(object, old) => ("sign", "sign"),
        _ => return Ok(()),
    };
    if may(request, verb, signer) {
        return Ok(());
    }
    let why = format!("user not permitted to {doing} requests with signerName {signer:?}");
    Err(request.refuse(object, &why))
}

/// Whether an update of the status issues a certificate or declares the signing failed.
fn signs(new: &Value, old: &Value) -> bool {
    let failed = |object: &Value| -> Vec<Value> {
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().filter(|condition| condition["type"] == "Failed").collect()
    };
    new["status"]["certificate"] != old["status"]["certificate"] || failed(new) != failed(old)
}

/// Whether the user has a verb on a signer, by its whole name or by `<domain>/*`.
fn may(request: &Request<'_>, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    let wanted = |name: String| Attributes {
        user: request.call.user.clone(),
        verb: verb.to_owned(),
        group: GROUP.into(),
        resource: "signers".into(),
        name,
        ..Attributes::default()
    };
    let authorizer = &request.call.app.authorizer;
    [signer.to_owned(), format!("{domain}/*")]
        .into_iter()
        .any(|name| authorizer.authorize(&wanted(name)).is_allowed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_or_a_failure_is_a_signature() {
        let old = json!({"status": {"conditions": [{"type": "Approved"}]}});
        for (new, expect) in [
            (old.clone(), false),
            (json!({"status": {"conditions": [{"type": "Approved"}], "certificate": "x"}}), true),
            (json!({"status": {"conditions": [{"type": "Failed"}]}}), true),
            (json!({"status": {}}), false),
        ] {
            assert_eq!(signs(&new, &old), expect, "{new}");
        }
    }
}
