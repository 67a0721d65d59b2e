//! Label and field selectors.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Kind, Status};

/// A parsed label selector (`a=b,c!=d,e in (f,g),!h`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {}

impl Labels {
    /// Parses the query-parameter form; 400 with upstream's text when it cannot.
    pub fn parse(_text: &str) -> Result<Self, Status> {
        todo!("owned by the api crate's author")
    }

    /// From `metav1.LabelSelector`; an absent (null) selector matches nothing, an empty one everything.
    pub fn from_selector(_selector: &Value) -> Result<Self, Status> {
        todo!("owned by the api crate's author")
    }

    #[must_use]
    pub fn matches(&self, _labels: &BTreeMap<&str, &str>) -> bool {
        todo!("owned by the api crate's author")
    }

    /// Against `metadata.labels` of an object.
    #[must_use]
    pub fn matches_object(&self, _object: &Value) -> bool {
        todo!("owned by the api crate's author")
    }
}

/// A parsed field selector (`spec.nodeName=a,status.phase!=Failed`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {}

impl Fields {
    /// 400 `field label not supported: x` for a field that the kind does not select by.
    pub fn parse(_kind: &Kind, _text: &str) -> Result<Self, Status> {
        todo!("owned by the api crate's author")
    }

    #[must_use]
    pub fn matches(&self, _object: &Value) -> bool {
        todo!("owned by the api crate's author")
    }

    /// The value that `field` must equal, if the selector says so (`metadata.name=x` makes a list a get).
    #[must_use]
    pub fn exact(&self, _field: &str) -> Option<&str> {
        todo!("owned by the api crate's author")
    }
}
