//! Objects as the store remembers them at a revision that the cache's history no longer reaches.

use std::sync::Arc;

use store::{Range, Revision};

use crate::{cache::Item, call::Call, keys};

/// Objects read at a time.
const PAGE: usize = 5000;

/// The objects of the call's collection and namespace at a revision.
pub async fn list(call: &Call, revision: u64) -> Result<Vec<Arc<Item>>, store::Error> {
    let mut range = Range {
        prefix: call.collection.prefix(call.namespace()),
        after: None,
        limit: PAGE,
        at: Some(Revision(revision)),
    };
    let mut items = Vec::new();
    loop {
        let page = call.app.store.range(range.clone()).await?;
        for entry in &page.entries {
            let Some((_, namespace, name)) = keys::parse(&entry.key) else { continue };
            let key = keys::local(namespace, name).into();
            items.push(Arc::new(Item::new(key, &entry.value, entry.modified.0)));
        }
        range.after = page.entries.last().map(|entry| entry.key.to_string());
        if page.remaining == 0 || page.entries.is_empty() {
            return Ok(items);
        }
    }
}
