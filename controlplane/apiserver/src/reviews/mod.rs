//! Kinds that are only asked, never stored: access reviews, token reviews, self reviews.

mod access_review;
mod identity;

use api::{Kind, Status};
use http::StatusCode;

use crate::{
    call::Call,
    respond::{self, Reply},
};

/// Whether objects of a kind are answers, not state.
#[must_use]
pub fn is_review(kind: &Kind) -> bool {
    matches!(kind.group.as_str(), "authorization.k8s.io" | "authentication.k8s.io")
}

/// Answers a review.
pub async fn answer(mut call: Call) -> Result<Reply, Status> {
    let kind = call.kind.clone();
    let mut review = call.read_object(&kind).await?;
    match kind.plural.as_str() {
        "subjectaccessreviews" => access_review::subject(&call, &mut review)?,
        "localsubjectaccessreviews" => access_review::local(&call, &mut review)?,
        "selfsubjectaccessreviews" => access_review::own(&call, &mut review)?,
        "selfsubjectrulesreviews" => access_review::rules(&call, &mut review),
        "selfsubjectreviews" => identity::whoami(&call, &mut review),
        "tokenreviews" => identity::token(&call, &mut review)?,
        _ => return Err(crate::errors::unknown_path()),
    }
    Ok(respond::object(&call, StatusCode::CREATED, &review))
}
