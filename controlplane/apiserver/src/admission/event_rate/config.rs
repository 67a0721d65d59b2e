//! The configuration of EventRateLimit. Pure.

use serde_json::Value;

/// Keys that a limit remembers if the configuration does not say.
const CACHE_SIZE: usize = 4096;
const GROUP: &str = "eventratelimit.admission.k8s.io/";

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
    /// Reads a `Configuration` of `eventratelimit.admission.k8s.io`. The error names every problem with its field.
    pub fn parse(file: &Value) -> Result<Self, String> {
        let version = file["apiVersion"].as_str().unwrap_or_default();
        if file["kind"] != "Configuration" || !version.starts_with(GROUP) {
            let kind = file["kind"].as_str().unwrap_or_default();
            return Err(format!("no kind {kind:?} is registered for version {version:?}"));
        }
        let limits = file["limits"].as_array().map_or(&[][..], Vec::as_slice);
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
    fn limits_are_read() {
        let own = file(json!([{"type": "Namespace", "qps": 50, "burst": 100, "cacheSize": 20},
            {"type": "Server", "qps": 5, "burst": 6}]));
        let limits = EventLimits::parse(&own).unwrap();
        let namespace = Limit { sort: Sort::Namespace, qps: 50, burst: 100, cache_size: 20 };
        let server = Limit { sort: Sort::Server, qps: 5, burst: 6, cache_size: CACHE_SIZE };
        assert_eq!(limits.0, [namespace, server]);
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
