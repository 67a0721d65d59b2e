//! The file of `--admission-control-config-file`: an `AdmissionConfiguration` of `apiserver.config.k8s.io` with the configuration of
//! each plugin inside or in a file of its own beside it (upstream `apiserver/pkg/admission/config.go`).

use std::path::Path;

use anyhow::{Context, anyhow};
use serde_json::Value;

use super::{EventLimits, PodSecurity};

const GROUP: &str = "apiserver.config.k8s.io/";

/// What plugins are told.
#[derive(Debug, Clone, Default)]
pub struct AdmissionConfig {
    pub event_limits: EventLimits,
    pub pod_security: PodSecurity,
}

impl AdmissionConfig {
    /// Reads a file in YAML or JSON, and those that it names for its plugins.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let mut file = read(path)?;
        let plugins = file.get_mut("plugins").and_then(Value::as_array_mut);
        for plugin in plugins.into_iter().flatten() {
            if let Some(own) = plugin["path"].as_str().filter(|own| !own.is_empty()) {
                plugin["configuration"] = read(&path.with_file_name("").join(own))?;
            }
        }
        Self::parse(&file).map_err(|why| anyhow!("{} is invalid: {why}", path.display()))
    }

    /// Reads an `AdmissionConfiguration`, files included. The error names every problem with its field.
    fn parse(file: &Value) -> Result<Self, String> {
        let (version, kind) = (text(file, "apiVersion"), text(file, "kind"));
        if kind != "AdmissionConfiguration" || !version.starts_with(GROUP) {
            return Err(format!("no kind {kind:?} is registered for version {version:?}"));
        }
        let mut config = Self::default();
        for plugin in file["plugins"].as_array().into_iter().flatten() {
            let (name, own) = (text(plugin, "name"), &plugin["configuration"]);
            let read = match name {
                "EventRateLimit" => EventLimits::parse(own).map(|it| config.event_limits = it),
                "PodSecurity" => PodSecurity::parse(own).map(|it| config.pod_security = it),
                other if own.is_null() => {
                    tracing::debug!(plugin = other, "an admission plugin without configuration");
                    Ok(())
                }
                _ => Err("this plugin takes no configuration".to_owned()),
            };
            read.map_err(|why| format!("plugins[{name}]: {why}"))?;
        }
        Ok(config)
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {shown}"))?;
    serde_yaml_ng::from_str(&text).with_context(|| format!("failed to parse {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_configured_inside_or_beside() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("admission.yaml");
        let events = "apiVersion: eventratelimit.admission.k8s.io/v1alpha1\nkind: Configuration\n\
            limits:\n- {type: Server, qps: 5, burst: 6}\n";
        std::fs::write(folder.path().join("events.yaml"), events).unwrap();
        let text = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n\
            - name: EventRateLimit\n  path: events.yaml\n\
            - name: PodSecurity\n  configuration:\n    apiVersion: pod-security.admission.config.k8s.io/v1\n    \
            kind: PodSecurityConfiguration\n    exemptions:\n      namespaces: [kube-system]\n";
        std::fs::write(&main, text).unwrap();
        let config = AdmissionConfig::load(&main).unwrap();
        assert!(config.event_limits != EventLimits::default());
        let exempt = config.pod_security.exemptions.reason("kube-system", "", "");
        assert_eq!(exempt, Some("namespace"));
        for (text, expect) in [
            ("kind: Pod\napiVersion: v1\n", "no kind \"Pod\" is registered for version \"v1\""),
            (text.replace("events.yaml", "none.yaml").as_str(), "failed to read"),
            (
                text.replace("EventRateLimit", "PodSecurity").as_str(),
                "plugins[PodSecurity]: no kind",
            ),
            (
                text.replace("PodSecurity\n", "Priority\n").as_str(),
                "plugins[Priority]: this plugin takes no",
            ),
        ] {
            std::fs::write(&main, text).unwrap();
            let error = format!("{:#}", AdmissionConfig::load(&main).unwrap_err());
            assert!(error.contains(expect), "{error}");
        }
    }
}
