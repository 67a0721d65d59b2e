//! TokenReview and SelfSubjectReview.

use api::Status;
use serde_json::{Value, json};

use crate::{call::Call, errors};

pub fn whoami(call: &Call, review: &mut Value) {
    review["status"] = json!({"userInfo": call.user.to_json()});
}

pub fn token(call: &Call, review: &mut Value) -> Result<(), Status> {
    let token = review["spec"]["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(errors::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> = review["spec"]["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    review["status"] = match call.app.authenticator.review_token(token, &audiences) {
        Ok(reviewed) => json!({
            "authenticated": true, "user": reviewed.user.to_json(), "audiences": reviewed.audiences,
        }),
        Err(error) => json!({"authenticated": false, "user": {}, "error": error}),
    };
    Ok(())
}
