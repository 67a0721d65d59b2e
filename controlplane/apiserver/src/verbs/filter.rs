//! Which objects of a collection a list or a watch is about.

use std::borrow::Cow;

use api::{
    Status,
    selector::{Fields, Labels},
};
use serde_json::Value;

use crate::{cache::Item, call::Call, convert};

/// Parsed selectors of one request.
#[derive(Debug)]
pub struct Filter {
    labels: Option<Labels>,
    fields: Option<Fields>,
    kind: std::sync::Arc<api::Kind>,
}

impl Filter {
    pub fn parse(call: &Call) -> Result<Self, Status> {
        let labels = match call.query.get("labelSelector") {
            "" => None,
            text => Some(Labels::parse(text)?),
        };
        let fields = match call.query.get("fieldSelector") {
            "" => None,
            text => Some(Fields::parse(&call.kind, text)?),
        };
        Ok(Self { labels, fields, kind: call.kind.clone() })
    }

    /// No selector at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_none() && self.fields.is_none()
    }

    #[must_use]
    pub fn matches(&self, item: &Item) -> bool {
        self.is_empty() || self.matches_object(item.value())
    }

    fn matches_object(&self, object: &Value) -> bool {
        if let Some(labels) = &self.labels
            && !labels.matches_object(object)
        {
            return false;
        }
        let Some(fields) = &self.fields else { return true };
        let served: Cow<'_, Value> = convert::to_served(&self.kind, object);
        fields.matches(&served)
    }

    /// The one name that the field selector allows, if it does.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.fields.as_ref()?.exact("metadata.name")
    }

    /// The one namespace that the field selector allows, if it does.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.fields.as_ref()?.exact("metadata.namespace")
    }
}
