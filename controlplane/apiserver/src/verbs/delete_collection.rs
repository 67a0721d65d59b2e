//! DELETE of a collection: each object that the selectors match.

use api::{Reason, Status};
use http::StatusCode;
use serde_json::json;

use super::{
    Filter,
    delete::{delete_object, read_options},
};
use crate::{
    call::Call,
    convert,
    custom::conversion,
    respond::{self, Reply},
};

/// Answers with the list of what was deleted or marked. Objects that vanish meanwhile are no error.
pub async fn delete_collection(mut call: Call) -> Result<Reply, Status> {
    let options = read_options(&mut call).await?;
    let filter = Filter::parse(&call)?;
    call.app.sync_reads().await?;
    let (items, _) = call.app.cache.collection(&call.collection).list(call.namespace());
    let items = conversion::items(&call, items).await?;
    let mut deleted = Vec::new();
    for item in items.iter().filter(|item| filter.matches(item)) {
        match delete_object(&call, item.namespace(), item.name(), &options).await {
            Ok(done) => deleted.push(done.item),
            Err(error) if error.reason == Reason::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let deleted = conversion::items(&call, deleted).await?;
    let deleted: Vec<_> =
        deleted.iter().map(|item| convert::to_served(&call.kind, item.value())).collect();
    let revision = call.app.cache.revision().to_string();
    let list = json!({
        "kind": call.kind.list_kind, "apiVersion": call.kind.api_version(),
        "metadata": {"resourceVersion": revision}, "items": deleted,
    });
    Ok(respond::encoded(&call, StatusCode::OK, &list))
}
