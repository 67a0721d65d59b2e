//! GET of one object.

use api::Status;
use http::StatusCode;

use crate::{
    call::Call,
    errors,
    respond::{self, Reply},
};

/// Answers from the cache; a `resourceVersion` is waited for.
pub async fn get(call: &Call) -> Result<Reply, Status> {
    if let Some(revision) = call.query.resource_version()?
        && !call.app.cache.wait(revision).await
    {
        return Err(errors::too_large(revision, call.app.cache.revision()));
    }
    call.app.sync_reads().await?;
    let item = crate::custom::conversion::item(call, call.current()?).await?;
    Ok(respond::item(call, StatusCode::OK, &item))
}
