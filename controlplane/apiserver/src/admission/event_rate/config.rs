//! The configuration of EventRateLimit: alone in a file, or as the plugin's part of an `AdmissionConfiguration`.

use std::path::Path;

use anyhow::{Context, anyhow};
use serde_json::Value;

/// Keys that a limit remembers if the configuration does not say.
const CACHE_SIZE: usize = 4096;
const GROUP: &str = "eventratelimit.admission.k8s.io/";
const ADMISSION_GROUP: &str = "apiserver.config.k8s.io/";

/// Whose events are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    Server,
    Namespace,
    User,
    SourceAndObject,
}

impl Sort {
    const ALL: [Self; 4] = [Self::Namespace, Self::Server, Self::SourceAndObject, Self::User];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "Server",
            Self::Namespace => "Namespace",
            Self::User => "User",
            Self::SourceAndObject => "SourceAndObject",
        }
    }
}

/// One limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub sort: Sort,
    /// Events per second for long.
    pub qps: u32,
    /// Events at once.
    pub burst: u32,
    /// Keys that are remembered.
    pub cache_size: usize,
}

/// All limits. Empty: nothing is limited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventLimits(pub(super) Vec<Limit>);

impl EventLimits {
    /// Reads a file in YAML or JSON, and the one that it names for the plugin beside itself.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let mut file = read(path)?;
        let plugins = file.get_mut("plugins").and_then(Value::as_array_mut);
        for plugin in plugins.into_iter().flatten() {
            if let Some(own) = plugin["path"].as_str().filter(|_| plugin["name"] == super::PLUGIN) {
                plugin["configuration"] = read(&path.with_file_name("").join(own))?;
            }
        }
        Self::parse(&file).map_err(|why| anyhow!("{} is invalid: {why}", path.display()))
    }

    /// Reads a `Configuration` of `eventratelimit.admission.k8s.io`, or the one inside an `AdmissionConfiguration` of
    /// `apiserver.config.k8s.io`. The error names every problem with its field.
    pub fn parse(file: &Value) -> Result<Self, String> {
        let version = file["apiVersion"].as_str().unwrap_or_default();
        let own = match file["kind"].as_str() {
            Some("AdmissionConfiguration") if version.starts_with(ADMISSION_GROUP) => {
                let plugins = file["plugins"].as_array().into_iter().flatten();
                let own = plugins.into_iter().find(|plugin| plugin["name"] == super::PLUGIN);
                own.map(|plugin| &plugin["configuration"])
                    .ok_or("plugins: EventRateLimit has no configuration")?
            }
            Some("Configuration") if version.starts_with(GROUP) => file,
            kind => {
                let kind = kind.unwrap_or_default();
                return Err(format!("no kind {kind:?} is registered for version {version:?}"));
            }
        };
        let limits = own["limits"].as_array().map_or(&[][..], Vec::as_slice);
        let mut problems = Vec::new();
        if limits.is_empty() {
            problems.push("limits: Invalid value: null: must not be empty".to_owned());
        }
        let parsed =
            limits.iter().enumerate().filter_map(|(index, one)| limit(index, one, &mut problems));
        let parsed = parsed.collect();
        if problems.is_empty() { Ok(Self(parsed)) } else { Err(problems.join(", ")) }
    }
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {shown}"))?;
    serde_yaml_ng::from_str(&text).with_context(|| format!("failed to parse {shown}"))
}

fn limit(index: usize, given: &Value, problems: &mut Vec<String>) -> Option<Limit> {
    let sort = Sort::ALL.into_iter().find(|sort| given["type"] == sort.name());
    if sort.is_none() {
        let known = Sort::ALL.map(|sort| format!("{:?}", sort.name())).join(", ");
        problems.push(format!(
            "limits[{index}].type: Unsupported value: {}: supported values: {known}",
            given["type"]
        ));
    }
    let mut positive = |field: &str| {
        let number = given[field].as_u64().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| *number > 0);
        if number.is_none() {
            let shown = if given[field].is_null() { &Value::from(0) } else { &given[field] };
            problems
                .push(format!("limits[{index}].{field}: Invalid value: {shown}: must be positive"));
        }
        number
    };
    let (burst, qps) = (positive("burst"), positive("qps"));
    let size = &given["cacheSize"];
    if size.as_i64().is_some_and(|size| size < 0) && sort != Some(Sort::Server) {
        problems.push(format!(
            "limits[{index}].cacheSize: Invalid value: {size}: must not be negative"
        ));
    }
    let size = size.as_u64().and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
    Some(Limit { sort: sort?, qps: qps?, burst: burst?, cache_size: size.unwrap_or(CACHE_SIZE) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file(limits: Value) -> Value {
        json!({"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration", "limits": limits})
    }

    #[test]
    fn limits_are_read_alone_and_among_plugins() {
        let own = file(json!([{"type": "Namespace", "qps": 50, "burst": 100, "cacheSize": 20},
            {"type": "Server", "qps": 5, "burst": 6}]));
        let limits = EventLimits::parse(&own).unwrap();
        let namespace = Limit { sort: Sort::Namespace, qps: 50, burst: 100, cache_size: 20 };
        let server = Limit { sort: Sort::Server, qps: 5, burst: 6, cache_size: CACHE_SIZE };
        assert_eq!(limits.0, [namespace, server]);
        let plugins = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
            "plugins": [{"name": "PodSecurity"}, {"name": "EventRateLimit", "configuration": own}]});
        assert_eq!(EventLimits::parse(&plugins), Ok(limits.clone()));
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("admission.yaml");
        std::fs::write(folder.path().join("events.yaml"), own.to_string()).unwrap();
        let text = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n- name: EventRateLimit\n  path: events.yaml\n";
        std::fs::write(&main, text).unwrap();
        assert_eq!(EventLimits::load(&main).unwrap(), limits);
    }

    #[test]
    fn bad_limits_are_named() {
        for (given, expect) in [
            (
                json!({"kind": "Pod", "apiVersion": "v1"}),
                "no kind \"Pod\" is registered for version \"v1\"",
            ),
            (file(json!([])), "limits: Invalid value: null: must not be empty"),
            (
                file(json!([{"type": "Server", "qps": 0, "burst": 1}])),
                "limits[0].qps: Invalid value: 0: must be positive",
            ),
            (
                file(json!([{"type": "User", "qps": 1, "cacheSize": -1}])),
                "limits[0].burst: Invalid value: 0: must be positive, limits[0].cacheSize: Invalid value: -1: must not be negative",
            ),
            (
                file(json!([{"type": "Pod", "qps": 1, "burst": 1}])),
                "limits[0].type: Unsupported value: \"Pod\": supported values: \"Namespace\", \"Server\", \"SourceAndObject\", \"User\"",
            ),
        ] {
            assert_eq!(EventLimits::parse(&given).unwrap_err(), expect);
        }
    }
}
