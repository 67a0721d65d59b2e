//! `PodSecurityConfiguration` of `pod-security.admission.config.k8s.io`: what holds where a namespace's labels say nothing, and who
//! is exempt. Pure.

use serde_json::{Map, Value, json};

use super::policy::{Exemptions, PREFIX, Policy};

const GROUP: &str = "pod-security.admission.config.k8s.io/";

/// The plugin's configuration.
#[derive(Debug, Clone, Default)]
pub struct PodSecurity {
    /// Where a namespace has no label of its own.
    pub(super) defaults: Policy,
    pub exemptions: Exemptions,
}

impl PodSecurity {
    /// Reads a `PodSecurityConfiguration`. The error names every problem with its field.
    pub fn parse(file: &Value) -> Result<Self, String> {
        let version = file["apiVersion"].as_str().unwrap_or_default();
        if file["kind"] != "PodSecurityConfiguration" || !version.starts_with(GROUP) {
            let kind = file["kind"].as_str().unwrap_or_default();
            return Err(format!("no kind {kind:?} is registered for version {version:?}"));
        }
        // The same words as on a namespace, without their prefix.
        let given = file["defaults"].as_object().cloned().unwrap_or_default();
        let mut labels: Map<String, Value> =
            given.into_iter().map(|(key, value)| (format!("{PREFIX}{key}"), value)).collect();
        labels.entry(format!("{PREFIX}warn")).or_insert(json!("privileged"));
        let (defaults, bad) =
            Policy::of(&json!({"metadata": {"labels": labels}}), &Policy::default());
        let problems: Vec<String> = bad
            .iter()
            .map(|bad| {
                let field = bad.key.trim_start_matches(PREFIX);
                format!("defaults.{field}: Invalid value: {:?}: {}", bad.value, bad.problem)
            })
            .collect();
        if !problems.is_empty() {
            return Err(problems.join(", "));
        }
        let exempt = |field: &str| {
            let list = file["exemptions"][field].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let exemptions = Exemptions {
            users: exempt("usernames"),
            namespaces: exempt("namespaces"),
            runtime_classes: exempt("runtimeClasses"),
        };
        Ok(Self { defaults, exemptions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_exemptions_are_read() {
        let file = |defaults: Value| {
            json!({"apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
                "defaults": defaults, "exemptions": {"usernames": ["u"], "namespaces": ["n"], "runtimeClasses": ["r"]}})
        };
        let read = PodSecurity::parse(&file(
            json!({"enforce": "baseline", "enforce-version": "v1.30", "audit": "restricted"}),
        ))
        .unwrap();
        let Policy { enforce, audit, warn } = &read.defaults;
        let shown = format!("{enforce} {audit} {warn}");
        assert_eq!(shown, "baseline:v1.30 restricted:latest privileged:latest");
        assert_eq!(read.exemptions.reason("n", "", ""), Some("namespace"));
        assert_eq!(read.exemptions.reason("", "u", ""), Some("user"));
        assert_eq!(read.exemptions.reason("", "", "r"), Some("runtimeClass"));
        let error = PodSecurity::parse(&file(json!({"enforce": "strict"}))).unwrap_err();
        assert!(
            error.starts_with("defaults.enforce: Invalid value: \"strict\": must be"),
            "{error}"
        );
        assert!(PodSecurity::parse(&json!({"apiVersion": "v1", "kind": "Pod"})).is_err());
    }
}
