//! The Status errors that many handlers share, in upstream's words.

use api::{Kind, Reason, Status, status::Cause};

/// A status about one object of a kind.
#[must_use]
pub fn about(reason: Reason, kind: &Kind, name: &str, message: String) -> Status {
    Status {
        group: kind.group.clone(),
        kind: kind.plural.clone(),
        name: name.to_owned(),
        ..Status::new(reason, message)
    }
}

#[must_use]
pub fn not_found(kind: &Kind, name: &str) -> Status {
    about(Reason::NotFound, kind, name, format!("{} {name:?} not found", kind.group_resource()))
}

#[must_use]
pub fn already_exists(kind: &Kind, name: &str) -> Status {
    let message = format!("{} {name:?} already exists", kind.group_resource());
    about(Reason::AlreadyExists, kind, name, message)
}

/// 409 with a cause in words.
#[must_use]
pub fn conflict(kind: &Kind, name: &str, why: &str) -> Status {
    let message =
        format!("Operation cannot be fulfilled on {} {name:?}: {why}", kind.group_resource());
    about(Reason::Conflict, kind, name, message)
}

/// The optimistic lock failed.
#[must_use]
pub fn modified(kind: &Kind, name: &str) -> Status {
    let why = "the object has been modified; please apply your changes to the latest version and try again";
    conflict(kind, name, why)
}

/// 403 by admission or by a rule.
#[must_use]
pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Status {
    let message = format!("{} {name:?} is forbidden: {why}", kind.group_resource());
    about(Reason::Forbidden, kind, name, message)
}

#[must_use]
pub fn bad_request(message: impl Into<String>) -> Status {
    Status::new(Reason::BadRequest, message)
}

#[must_use]
pub fn internal(message: impl std::fmt::Display) -> Status {
    Status::new(Reason::InternalError, format!("Internal error occurred: {message}"))
}

/// The 404 for a path that nothing serves.
#[must_use]
pub fn unknown_path() -> Status {
    Status::new(Reason::NotFound, "the server could not find the requested resource")
}

#[must_use]
pub fn method_not_allowed() -> Status {
    Status::new(
        Reason::MethodNotAllowed,
        "the server does not allow this method on the requested resource",
    )
}

/// 429: come back in a second.
#[must_use]
pub fn too_many() -> Status {
    let text = "Too many requests, please try again later.";
    Status { retry_after_seconds: Some(1), ..Status::new(Reason::TooManyRequests, text) }
}

/// 410: the revision asked for is no longer in the history.
#[must_use]
pub fn expired(asked: u64, oldest: u64) -> Status {
    Status::new(Reason::Expired, format!("too old resource version: {asked} ({oldest})"))
}

/// 504: the revision asked for has not been reached.
#[must_use]
pub fn too_large(asked: u64, newest: u64) -> Status {
    Status {
        causes: vec![Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        }],
        retry_after_seconds: Some(1),
        ..Status::new(
            Reason::Timeout,
            format!("Too large resource version: {asked}, current: {newest}"),
        )
    }
}

/// 422 with one cause.
#[must_use]
pub fn invalid(kind: &Kind, name: &str, field: &str, reason: &str, message: &str) -> Status {
    let cause =
        Cause { reason: reason.into(), message: message.to_owned(), field: field.to_owned() };
    api::rules::invalid(kind, name, vec![cause])
}

/// The store's failure, as the client sees it.
#[must_use]
pub fn store(error: &store::Error) -> Status {
    match error {
        store::Error::Compacted { asked, oldest } => expired(asked.0, oldest.0),
        store::Error::FutureRevision { asked, newest } => too_large(asked.0, newest.0),
        store::Error::SlowWatcher | store::Error::Backend { .. } | store::Error::Closed => {
            internal(error)
        }
    }
}
