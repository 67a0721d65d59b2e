//! Bootstrap tokens: what a new machine joins with (upstream `plugin/pkg/auth/authenticator/token/bootstrap`).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{Lookup, User, names};

/// Id and secret of a token of the form `abcdef.0123456789abcdef`.
pub(super) fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let is_plain =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (id.len() == 6 && secret.len() == 16 && is_plain(id) && is_plain(secret))
        .then_some((id, secret))
}

pub(super) fn user_of(
    lookup: &dyn Lookup,
    (id, secret): (&str, &str),
    now: i64,
) -> Result<User, String> {
    let refused = || "invalid bearer token".to_owned();
    let stored = lookup.get("", "secrets", "kube-system", &format!("bootstrap-token-{id}"));
    let stored = stored.ok_or_else(refused)?;
    let held = text(&stored, "token-secret").unwrap_or_default();
    // Digests compare in a time that tells nothing about the secret.
    let is_right = Sha256::digest(held) == Sha256::digest(secret)
        && stored["type"] == "bootstrap.kubernetes.io/token"
        && text(&stored, "token-id").as_deref() == Some(id)
        && text(&stored, "usage-bootstrap-authentication").as_deref() == Some("true")
        && api::meta::text(&stored, "deletionTimestamp").is_empty();
    if !is_right || is_expired(&stored, now) {
        return Err(refused());
    }
    let mut groups = vec![names::BOOTSTRAPPERS.to_owned()];
    for group in text(&stored, "auth-extra-groups").unwrap_or_default().split(',') {
        if group.is_empty() {
            continue;
        }
        if !is_bootstrap_group(group) {
            return Err("the bootstrap token names a group that is not allowed".into());
        }
        groups.push(group.to_owned());
    }
    Ok(User { name: format!("system:bootstrap:{id}"), groups, ..User::default() })
}

fn text(secret: &Value, key: &str) -> Option<String> {
    String::from_utf8(BASE64_STANDARD.decode(secret["data"][key].as_str()?).ok()?).ok()
}

/// A time that cannot be read counts as past.
fn is_expired(secret: &Value, now: i64) -> bool {
    let Some(expiration) = text(secret, "expiration").filter(|text| !text.is_empty()) else {
        return false;
    };
    OffsetDateTime::parse(&expiration, &Rfc3339).map_or(true, |end| end.unix_timestamp() <= now)
}

/// `system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]`
fn is_bootstrap_group(group: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    group.strip_prefix("system:bootstrappers:").is_some_and(|rest| {
        rest.len() <= 256
            && rest.bytes().next_back().is_some_and(is_word)
            && rest.bytes().all(|byte| is_word(byte) || byte == b':' || byte == b'-')
    })
}
