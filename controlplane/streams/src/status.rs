//! The `metav1.Status` that ends an exec or attach (upstream `cri-streaming/pkg/streaming/remotecommand`).

use serde_json::{Value, json};

/// The command ran and returned 0.
#[must_use]
pub fn success() -> Value {
    json!({"metadata": {}, "status": "Success"})
}

/// The command ran and returned `code`.
#[must_use]
pub fn exited(code: i32) -> Value {
    if code == 0 {
        return success();
    }
    json!({"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}})
}

/// The command could not be run, or its end is not known.
#[must_use]
pub fn failed(message: &str) -> Value {
    json!({"metadata": {}, "status": "Failure", "reason": "InternalError",
        "message": format!("Internal error occurred: {message}"),
        "details": {"causes": [{"message": message}]}, "code": 500})
}

/// What protocols before version 4 write on the error stream: nothing for success, else the text.
pub(crate) fn as_text(status: &Value) -> String {
    if status["status"] == "Success" {
        return String::new();
    }
    status["message"].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_causes() {
        assert_eq!(exited(0), success());
        assert_eq!(
            exited(3)["details"]["causes"][0],
            json!({"reason": "ExitCode", "message": "3"})
        );
        assert_eq!(as_text(&success()), "");
        assert_eq!(
            as_text(&exited(3)),
            "command terminated with non-zero exit code: exit status 3"
        );
    }
}
