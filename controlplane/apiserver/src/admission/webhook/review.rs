//! AdmissionReview (`admission.k8s.io/v1`): the question, and what an answer says. Pure.

use api::{Reason, Status};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use crate::admission::{
    matching::{equivalent::Matched, expression::request_fields},
    request::Request,
};

const API_VERSION: &str = "admission.k8s.io/v1";

/// The question about a request.
#[must_use]
pub fn question(request: &Request<'_>, matched: &Matched, uid: &str) -> Value {
    let mut fields = Map::new();
    fields.insert("uid".into(), json!(uid));
    if let Value::Object(shared) = request_fields(request, matched) {
        fields.extend(shared);
    }
    for (field, object) in [("object", &matched.object), ("oldObject", &matched.old)] {
        fields.insert(field.into(), object.clone());
    }
    fields.entry("options").or_insert(Value::Null);
    json!({"kind": "AdmissionReview", "apiVersion": API_VERSION, "request": fields})
}

/// What a webhook says.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    pub allowed: bool,
    /// `metav1.Status` of a refusal; null where there is none.
    pub result: Value,
    pub patch: Option<Value>,
    pub warnings: Vec<String>,
    pub annotations: Vec<(String, String)>,
}

/// Reads an answer to the question with `uid`; the error is what makes it invalid. Upstream:
/// `admission/plugin/webhook/request/admissionreview.go`.
pub fn answer(body: &[u8], uid: &str) -> Result<Answer, String> {
    let review: Value = serde_json::from_slice(body)
        .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?;
    let (version, kind) = (&review["apiVersion"], &review["kind"]);
    if version != API_VERSION || kind != "AdmissionReview" {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        return Err(format!(
            "expected webhook response of {API_VERSION}, Kind=AdmissionReview, got {}, Kind={}",
            text(version),
            text(kind)
        ));
    }
    let response = &review["response"];
    if !response.is_object() {
        return Err("webhook response is absent".into());
    }
    if response["uid"] != uid {
        let got = response["uid"].as_str().unwrap_or_default();
        return Err(format!("expected response.uid={uid:?}, got {got:?}"));
    }
    Ok(Answer {
        allowed: response["allowed"] == true,
        result: response["status"].clone(),
        patch: patch(response)?,
        warnings: texts(&response["warnings"]),
        annotations: pairs(&response["auditAnnotations"]),
    })
}

fn patch(response: &Value) -> Result<Option<Value>, String> {
    let patch = response["patch"].as_str().filter(|text| !text.is_empty());
    let kind = response["patchType"].as_str();
    match (patch, kind) {
        (None, None) => Ok(None),
        (Some(_), None) => Err("webhook returned response.patch but not response.patchType".into()),
        (None, Some(_)) => Err("webhook returned response.patchType but not response.patch".into()),
        (Some(patch), Some("JSONPatch")) => {
            let bytes = BASE64_STANDARD
                .decode(patch)
                .map_err(|error| format!("response.patch is not base64: {error}"))?;
            let patch = serde_json::from_slice(&bytes)
                .map_err(|error| format!("response.patch is not JSON: {error}"))?;
            Ok(Some(patch))
        }
        (Some(_), Some(other)) => Err(format!(
            "webhook returned invalid response.patchType of {other:?}, it must be \"JSONPatch\""
        )),
    }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn pairs(map: &Value) -> Vec<(String, String)> {
    let map = map.as_object().into_iter().flatten();
    map.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// The error of a refusal. Upstream: `admission/plugin/webhook/errors/statuserror.go`.
#[must_use]
pub fn denial(webhook: &str, result: &Value) -> Status {
    let text = |field: &str| result[field].as_str().unwrap_or_default();
    let denied = format!("admission webhook {webhook:?} denied the request");
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    // Upstream never lets a refusal look like a success.
    let code = result["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    let code = code.filter(|code| (400..=599).contains(code)).unwrap_or(400);
    let mut status = Status::new(Reason::BadRequest, message);
    status.chosen = Some((code, text("reason").to_owned()));
    let details = &result["details"];
    let detail = |field: &str| details[field].as_str().unwrap_or_default().to_owned();
    (status.group, status.kind, status.name) = (detail("group"), detail("kind"), detail("name"));
    let causes = details["causes"].as_array().into_iter().flatten();
    status.causes = causes
        .map(|cause| {
            let text = |field: &str| cause[field].as_str().unwrap_or_default().to_owned();
            api::status::Cause {
                reason: text("reason"),
                message: text("message"),
                field: text("field"),
            }
        })
        .collect();
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(response: &Value) -> Vec<u8> {
        json!({"kind": "AdmissionReview", "apiVersion": API_VERSION, "response": response})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn answers_are_read_or_invalid() {
        let patch = BASE64_STANDARD.encode("[]");
        for (response, expect) in [
            (json!({"uid": "u", "allowed": true}), Ok(None)),
            (json!({"uid": "u", "patch": patch, "patchType": "JSONPatch"}), Ok(Some(json!([])))),
            (json!({"uid": "x"}), Err("expected response.uid=\"u\", got \"x\"")),
            (
                json!({"uid": "u", "patch": patch}),
                Err("webhook returned response.patch but not response.patchType"),
            ),
            (
                json!({"uid": "u", "patch": patch, "patchType": "Merge"}),
                Err(
                    "webhook returned invalid response.patchType of \"Merge\", it must be \"JSONPatch\"",
                ),
            ),
            (Value::Null, Err("webhook response is absent")),
        ] {
            let got = answer(&review(&response), "u");
            let got = got.map(|answer| answer.patch);
            assert_eq!(got, expect.map_err(str::to_owned), "{response}");
        }
        let old = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1"});
        let error = answer(old.to_string().as_bytes(), "u").unwrap_err();
        assert!(error.starts_with("expected webhook response of admission.k8s.io/v1"), "{error}");
    }

    #[test]
    fn refusals_carry_the_webhooks_words_and_code() {
        for (result, code, message) in [
            (Value::Null, 400, "admission webhook \"w\" denied the request without explanation"),
            (json!({"message": "no"}), 400, "admission webhook \"w\" denied the request: no"),
            (
                json!({"reason": "why", "code": 403}),
                403,
                "admission webhook \"w\" denied the request: why",
            ),
            (
                json!({"message": "no", "code": 200}),
                400,
                "admission webhook \"w\" denied the request: no",
            ),
        ] {
            let status = denial("w", &result);
            assert_eq!((status.code(), status.message.as_str()), (code, message));
        }
        let shown =
            denial("w", &json!({"message": "m", "details": {"causes": [{"message": "c"}]}}))
                .to_json();
        assert_eq!(shown["details"]["causes"][0]["message"], "c");
        assert!(shown.get("reason").is_none());
    }
}
