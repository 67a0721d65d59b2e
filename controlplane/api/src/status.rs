//! `metav1.Status`: the one error every client understands.
//!
//! Texts follow upstream `apimachinery/pkg/api/errors/errors.go`.

use serde_json::{Value, json};

/// Machine-readable cause of a failure (`metav1.StatusReason`) with its HTTP code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    AlreadyExists,
    Conflict,
    Gone,
    Expired,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    Invalid,
    TooManyRequests,
    InternalError,
    ServiceUnavailable,
    Timeout,
}

impl Reason {
    /// The HTTP status code.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Gone | Self::Expired => 410,
            Self::RequestEntityTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::TooManyRequests => 429,
            Self::InternalError => 500,
            Self::ServiceUnavailable => 503,
            Self::Timeout => 504,
        }
    }
}

/// One cause inside `details.causes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired`, `FieldManagerConflict`, `DisruptionBudget`, ...
    pub reason: String,
    pub message: String,
    /// `spec.containers[0].image`
    pub field: String,
}

/// As it stands in a status's message.
impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// A failed request, as `metav1.Status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub reason: Reason,
    pub message: String,
    pub group: String,
    /// The resource's plural name (upstream puts it into `details.kind`), or the kind for Invalid.
    pub kind: String,
    pub name: String,
    pub causes: Vec<Cause>,
    pub retry_after_seconds: Option<u32>,
    /// HTTP code and reason that a webhook chose, in place of `reason`.
    pub chosen: Option<(u16, String)>,
    /// `metadata.continue`: where an interrupted list goes on.
    pub continue_token: Option<String>,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

impl Status {
    /// A status with a reason and a message only.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            group: String::new(),
            kind: String::new(),
            name: String::new(),
            causes: Vec::new(),
            retry_after_seconds: None,
            chosen: None,
            continue_token: None,
        }
    }

    /// The HTTP status code.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.chosen.as_ref().map_or_else(|| self.reason.code(), |(code, _)| *code)
    }

    fn reason_text(&self) -> String {
        match &self.chosen {
            Some((_, reason)) => reason.clone(),
            None => format!("{:?}", self.reason),
        }
    }

    /// The object as it goes over the wire.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let causes: Vec<Value> = self
            .causes
            .iter()
            .map(|cause| {
                let mut value = json!({"reason": cause.reason, "message": cause.message});
                if !cause.field.is_empty() {
                    value["field"] = json!(cause.field);
                }
                value
            })
            .collect();
        let mut details = serde_json::Map::new();
        for (key, text) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind)] {
            if !text.is_empty() {
                details.insert(key.into(), json!(text));
            }
        }
        if !causes.is_empty() {
            details.insert("causes".into(), Value::Array(causes));
        }
        if let Some(seconds) = self.retry_after_seconds {
            details.insert("retryAfterSeconds".into(), json!(seconds));
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason_text(), "code": self.code(),
        });
        if self.reason_text().is_empty()
            && let Some(fields) = status.as_object_mut()
        {
            fields.remove("reason");
        }
        if let Some(token) = &self.continue_token {
            status["metadata"]["continue"] = json!(token);
        }
        if !details.is_empty() {
            status["details"] = Value::Object(details);
        }
        status
    }
}
