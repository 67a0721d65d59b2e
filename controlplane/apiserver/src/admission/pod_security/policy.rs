//! Levels, versions and the labels of a namespace that choose them. Pure.

use std::fmt;

use serde_json::Value;

/// How strict, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Self::Privileged),
            "baseline" => Some(Self::Baseline),
            "restricted" => Some(Self::Restricted),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// Which edition of the standards: the newest, or that of a minor version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Latest,
    Minor(u32),
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self::Latest);
        }
        let digits = text.strip_prefix("v1.")?;
        let plain = !digits.is_empty()
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && (digits == "0" || !digits.starts_with('0'));
        digits.parse().ok().filter(|_| plain).map(Self::Minor)
    }

    /// Whether a rule that came with a minor version holds.
    #[must_use]
    pub fn is_at_least(self, minor: u32) -> bool {
        match self {
            Self::Latest => true,
            Self::Minor(own) => own >= minor,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Minor(minor) => write!(f, "v1.{minor}"),
        }
    }
}

/// `restricted:latest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standard {
    pub level: Level,
    pub version: Version,
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level.as_str(), self.version)
    }
}

impl Default for Standard {
    fn default() -> Self {
        Self { level: Level::Privileged, version: Version::Latest }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Audit,
    Warn,
}

/// What a namespace asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    pub enforce: Standard,
    pub audit: Standard,
    pub warn: Standard,
}

/// A label that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLabel {
    pub key: String,
    pub value: String,
    pub problem: &'static str,
}

/// Of the labels of a namespace.
pub(super) const PREFIX: &str = "pod-security.kubernetes.io/";

impl Policy {
    /// The policy of a namespace, with defaults for what it does not say, and the labels that are wrong. What cannot be
    /// read is as strict as can be for `enforce`, and as lenient for the others, as upstream.
    #[must_use]
    pub fn of(namespace: &Value, defaults: &Self) -> (Self, Vec<BadLabel>) {
        let mut policy = defaults.clone();
        let mut bad = Vec::new();
        let labels = &namespace["metadata"]["labels"];
        for mode in ["enforce", "audit", "warn"] {
            let standard = policy.standard_mut(mode);
            let key = format!("{PREFIX}{mode}");
            if let Some(text) = labels[&key].as_str() {
                standard.level = Level::parse(text).unwrap_or_else(|| {
                    let problem = "must be one of privileged, baseline, restricted";
                    bad.push(BadLabel { key, value: text.to_owned(), problem });
                    if mode == "enforce" { Level::Restricted } else { Level::Privileged }
                });
            }
            let key = format!("{PREFIX}{mode}-version");
            if let Some(text) = labels[&key].as_str() {
                standard.version = Version::parse(text).unwrap_or_else(|| {
                    let problem = "must be \"latest\" or \"v1.x\"";
                    bad.push(BadLabel { key, value: text.to_owned(), problem });
                    Version::Latest
                });
            }
        }
        policy.warn_with_enforce(labels);
        (policy, bad)
    }

    /// Without labels of their own, warnings follow what is enforced.
    fn warn_with_enforce(&mut self, labels: &Value) {
        let given = labels.get(format!("{PREFIX}warn")).is_some();
        let version_given = labels.get(format!("{PREFIX}warn-version")).is_some();
        if self.enforce.level > self.warn.level && !given {
            self.warn.level = self.enforce.level;
            if !version_given {
                self.warn.version = self.enforce.version;
            }
        }
    }

    fn standard_mut(&mut self, mode: &str) -> &mut Standard {
        match mode {
            "enforce" => &mut self.enforce,
            "audit" => &mut self.audit,
            _ => &mut self.warn,
        }
    }

    #[must_use]
    pub fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|one| one.level == Level::Privileged)
    }

    #[must_use]
    pub fn level(&self, mode: Mode) -> Level {
        match mode {
            Mode::Audit => self.audit.level,
            Mode::Warn => self.warn.level,
        }
    }
}

/// Who and what is not judged.
#[derive(Debug, Clone, Default)]
pub struct Exemptions {
    pub users: Vec<String>,
    pub namespaces: Vec<String>,
    pub runtime_classes: Vec<String>,
}

impl Exemptions {
    /// Why something is exempt, as the audit annotation says it.
    #[must_use]
    pub fn reason(&self, namespace: &str, user: &str, class: &str) -> Option<&'static str> {
        let holds = |list: &[String], text: &str| list.iter().any(|one| one == text);
        if holds(&self.namespaces, namespace) {
            Some("namespace")
        } else if holds(&self.users, user) {
            Some("user")
        } else if !class.is_empty() && holds(&self.runtime_classes, class) {
            Some("runtimeClass")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_choose_standards() {
        let policy = |labels: Value| {
            let (policy, bad) =
                Policy::of(&json!({"metadata": {"labels": labels}}), &Policy::default());
            let bad: Vec<String> = bad.into_iter().map(|bad| bad.key).collect();
            (format!("{} {} {}", policy.enforce, policy.audit, policy.warn), bad.join(","))
        };
        let of = |mode: &str| format!("{PREFIX}{mode}");
        for (labels, expect, bad) in [
            (json!({}), "privileged:latest privileged:latest privileged:latest", ""),
            (
                json!({of("enforce"): "baseline", of("enforce-version"): "v1.20"}),
                "baseline:v1.20 privileged:latest baseline:v1.20",
                "",
            ),
            (
                json!({of("enforce"): "baseline", of("warn"): "privileged", of("audit"): "restricted"}),
                "baseline:latest restricted:latest privileged:latest",
                "",
            ),
            (
                json!({of("enforce"): "strict", of("audit-version"): "v1.01"}),
                "restricted:latest privileged:latest restricted:latest",
                "pod-security.kubernetes.io/enforce,pod-security.kubernetes.io/audit-version",
            ),
        ] {
            assert_eq!(policy(labels), (expect.to_owned(), bad.to_owned()));
        }
        assert!(Version::Minor(20).is_at_least(20) && !Version::Minor(19).is_at_least(20));
    }
}
