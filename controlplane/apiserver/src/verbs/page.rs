//! Continue tokens: where the next page of a list starts and at which revision. Pure.

use api::Status;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::errors::bad_request;

/// A parsed continue token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// `None`: the newest state (the list is no longer consistent).
    pub revision: Option<u64>,
    /// The last key that was served.
    pub after: String,
}

impl Token {
    #[must_use]
    pub fn encode(&self) -> String {
        let revision = self.revision.map_or(-1, |revision| revision as i64);
        let token = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": self.after});
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    /// `None` for an absent token, 400 for a broken one.
    pub fn parse(text: &str) -> Result<Option<Self>, Status> {
        if text.is_empty() {
            return Ok(None);
        }
        let invalid = |why: &str| bad_request(format!("continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| invalid(&error.to_string()))?;
        let token: Value =
            serde_json::from_slice(&bytes).map_err(|error| invalid(&error.to_string()))?;
        if token["v"] != "meta.k8s.io/v1" {
            return Err(invalid("server does not recognize this encoded version"));
        }
        let after = token["start"].as_str().ok_or_else(|| invalid("encoded start key empty"))?;
        let revision = token["rv"].as_i64().and_then(|revision| u64::try_from(revision).ok());
        Ok(Some(Self { revision, after: after.to_owned() }))
    }
}

/// How many of `total` sorted keys a page serves and whether more follow.
#[must_use]
pub fn cut(total: usize, limit: usize) -> (usize, bool) {
    if limit == 0 || total <= limit { (total, false) } else { (limit, true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip() {
        for token in [
            Token { revision: Some(5), after: "default/a".into() },
            Token { revision: None, after: "/n".into() },
        ] {
            assert_eq!(Token::parse(&token.encode()).unwrap(), Some(token));
        }
        assert_eq!(Token::parse("").unwrap(), None);
        assert!(Token::parse("!!").is_err());
        assert!(Token::parse("e30").is_err());
    }

    #[test]
    fn pages_are_cut_at_the_limit() {
        assert_eq!(cut(5, 0), (5, false));
        assert_eq!(cut(5, 5), (5, false));
        assert_eq!(cut(5, 2), (2, true));
    }
}
