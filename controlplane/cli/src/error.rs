//! What a failure reads like: the words of kubectl.

use kube::core::Status;

/// The text for the terminal. `server` is `host:port`.
#[must_use]
pub fn describe(error: &anyhow::Error, server: &str) -> String {
    let api = error.chain().enumerate().find_map(|(depth, cause)| {
        let kube::Error::Api(status) = cause.downcast_ref::<kube::Error>()? else { return None };
        Some((depth, status))
    });
    if let Some((depth, status)) = api {
        let contexts: String =
            error.chain().take(depth).map(|context| format!("{context}: ")).collect();
        return describe_status(status, &contexts);
    }
    if let Some(failure) = error.chain().find_map(|cause| cause.downcast_ref::<kube::Error>()) {
        return describe_transport(failure, server);
    }
    format!("error: {}", chain_text(error))
}

/// The chain's texts, without those that an earlier one repeats already.
fn chain_text(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Like [`describe`] for one answer of the server; `contexts` says what was being done.
#[must_use]
pub fn describe_status(status: &Status, contexts: &str) -> String {
    match status.reason.as_str() {
        "Invalid" => describe_invalid(status),
        "Unauthorized" => "error: You must be logged in to the server (Unauthorized)".to_owned(),
        "" => format!("Error from server: {contexts}{}", status.message),
        reason => format!("Error from server ({reason}): {contexts}{}", status.message),
    }
}

fn describe_invalid(status: &Status) -> String {
    let Some(details) = status.details.as_ref().filter(|details| !details.kind.is_empty()) else {
        return format!("The request is invalid: {}", status.message);
    };
    let head = format!("The {} \"{}\" is invalid", details.kind, details.name);
    let causes: Vec<_> =
        details.causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    match causes.as_slice() {
        [] => format!("{head}: {}", status.message),
        [cause] => format!("{head}: {cause}"),
        causes => {
            let lines: String = causes.iter().map(|cause| format!("\n* {cause}")).collect();
            format!("{head}: {lines}")
        }
    }
}

fn describe_transport(error: &kube::Error, server: &str) -> String {
    let mut root: &dyn std::error::Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    let text = root.to_string();
    if text.contains("Connection refused") {
        return format!(
            "The connection to the server {server} was refused - did you specify the right host or port?"
        );
    }
    match error {
        kube::Error::Service(_) | kube::Error::HyperError(_) => {
            format!("Unable to connect to the server: {text}")
        }
        _ => format!("error: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use serde_json::json;

    use super::*;

    fn api(status: serde_json::Value) -> anyhow::Error {
        kube::Error::Api(serde_json::from_value::<Status>(status).unwrap().boxed()).into()
    }

    #[test]
    fn answers_read_like_kubectls() {
        let not_found =
            json!({"code": 404, "reason": "NotFound", "message": "pods \"x\" not found"});
        assert_eq!(
            describe(&api(not_found.clone()), ""),
            "Error from server (NotFound): pods \"x\" not found"
        );
        let in_file: anyhow::Result<()> =
            Err(api(not_found)).context("error when creating \"a.yaml\"");
        assert_eq!(
            describe(&in_file.unwrap_err(), ""),
            "Error from server (NotFound): error when creating \"a.yaml\": pods \"x\" not found"
        );
        assert_eq!(
            describe(&api(json!({"code": 500, "message": "boom"})), ""),
            "Error from server: boom"
        );
        assert_eq!(
            describe(
                &api(json!({"code": 401, "reason": "Unauthorized", "message": "Unauthorized"})),
                ""
            ),
            "error: You must be logged in to the server (Unauthorized)"
        );
    }

    #[test]
    fn invalid_objects_list_their_causes() {
        let status = |causes: serde_json::Value| {
            api(json!({
                "code": 422, "reason": "Invalid", "message": "m",
                "details": {"kind": "Pod", "name": "x", "causes": causes},
            }))
        };
        let one = json!({"field": "spec.a", "message": "Required value"});
        let two = json!({"field": "spec.b", "message": "Invalid value: 1"});
        assert_eq!(
            describe(&status(json!([one])), ""),
            "The Pod \"x\" is invalid: spec.a: Required value"
        );
        assert_eq!(
            describe(&status(json!([one, two])), ""),
            "The Pod \"x\" is invalid: \n* spec.a: Required value\n* spec.b: Invalid value: 1"
        );
    }

    #[test]
    fn what_is_not_the_servers_is_an_error() {
        let error = anyhow::anyhow!("required flag(s) \"image\" not set");
        assert_eq!(describe(&error, ""), "error: required flag(s) \"image\" not set");
        let repeated = anyhow::anyhow!("root").context("middle: root").context("top");
        assert_eq!(describe(&repeated, ""), "error: top: middle: root");
    }
}
