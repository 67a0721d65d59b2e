//! Kernel parameters in a pod's security context. Which of them a node allows is the node's to say.

use serde_json::Value;

use super::{items, text};
use crate::rules::problems::Problems;

/// Upstream's `SysctlMaxLength`, in bytes.
const NAME_MAX: usize = 253;
const RULE: &str = "must have at most 253 characters and match regex \
    ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

/// Names are there, well-formed and unique.
pub(super) fn validate(context: &Value, path: &str, problems: &mut Problems) {
    let mut seen: Vec<&str> = Vec::new();
    for (path, one) in items(context, "sysctls", path) {
        let name = text(one, "name");
        let path = format!("{path}.name");
        if name.is_empty() {
            problems.required(&path, "");
        } else if !is_name(name) {
            problems.invalid(&path, &one["name"], RULE);
        } else if seen.contains(&name) {
            problems.duplicate(&path, &one["name"]);
        } else {
            seen.push(name);
        }
    }
}

fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str| {
        part.starts_with(letter)
            && part.ends_with(letter)
            && part.chars().all(|c| letter(c) || c == '-' || c == '_')
    };
    name.len() <= NAME_MAX && name.split(['.', '/']).all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_nonsense() {
        for (name, expect) in [
            ("kernel.shm_rmid_forced", true),
            ("net/ipv4/tcp_syncookies", true),
            ("safe-and-unsafe", true),
            ("foo-", false),
            ("bar..", false),
            ("A.b", false),
            ("", false),
        ] {
            assert_eq!(is_name(name), expect, "{name}");
        }
    }
}
