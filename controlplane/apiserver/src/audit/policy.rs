//! The audit policy: which requests are recorded, and how much of them (upstream `apiserver/pkg/audit/policy`). Pure.

use serde_json::Value;

use super::Stage;
use crate::asked::Asked;

/// How much is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "None" => Self::None,
            "Metadata" => Self::Metadata,
            "Request" => Self::Request,
            "RequestResponse" => Self::RequestResponse,
            _ => return None,
        })
    }

    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// What the policy says of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub level: Level,
    pub omit_stages: Vec<Stage>,
    pub omit_managed_fields: bool,
}

#[derive(Debug, Clone, Default)]
struct Resources {
    group: String,
    resources: Vec<String>,
    names: Vec<String>,
}

#[derive(Debug, Clone)]
struct Rule {
    outcome: Outcome,
    users: Vec<String>,
    groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<Resources>,
    namespaces: Vec<String>,
    paths: Vec<String>,
}

/// An `audit.k8s.io/v1` Policy.
#[derive(Debug, Clone)]
pub struct Policy {
    rules: Vec<Rule>,
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn stages(value: &Value) -> Result<Vec<Stage>, String> {
    let parse = |text: &String| Stage::parse(text).ok_or(format!("unsupported stage {text:?}"));
    texts(value).iter().map(parse).collect()
}

impl Policy {
    /// Reads a policy; the error says what is wrong with it.
    pub fn parse(value: &Value) -> Result<Self, String> {
        if value["apiVersion"] != "audit.k8s.io/v1" || value["kind"] != "Policy" {
            return Err("apiVersion must be audit.k8s.io/v1 and kind Policy".into());
        }
        let everywhere = stages(&value["omitStages"])?;
        let omit_managed = value["omitManagedFields"] == true;
        let rules = value["rules"].as_array().filter(|rules| !rules.is_empty());
        let rules = rules.ok_or("loaded illegal policy with 0 rules")?;
        let rules = rules.iter().map(|rule| parse_rule(rule, &everywhere, omit_managed));
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    /// The first rule that matches decides; none: nothing is recorded.
    #[must_use]
    pub fn evaluate(&self, asked: &Asked<'_>) -> Outcome {
        let found = self.rules.iter().find(|rule| matches(rule, asked));
        found.map_or(
            Outcome { level: Level::None, omit_stages: Vec::new(), omit_managed_fields: false },
            |rule| rule.outcome.clone(),
        )
    }
}

fn parse_rule(value: &Value, everywhere: &[Stage], omit_managed: bool) -> Result<Rule, String> {
    let level = value["level"].as_str().unwrap_or_default();
    let level = Level::parse(level).ok_or(format!("unsupported level {level:?}"))?;
    let mut omit_stages = stages(&value["omitStages"])?;
    omit_stages.extend_from_slice(everywhere);
    let resources: Vec<Resources> = value["resources"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| Resources {
            group: one["group"].as_str().unwrap_or_default().to_owned(),
            resources: texts(&one["resources"]),
            names: texts(&one["resourceNames"]),
        })
        .collect();
    let rule = Rule {
        outcome: Outcome {
            level,
            omit_stages,
            omit_managed_fields: value["omitManagedFields"].as_bool().unwrap_or(omit_managed),
        },
        users: texts(&value["users"]),
        groups: texts(&value["userGroups"]),
        verbs: texts(&value["verbs"]),
        namespaces: texts(&value["namespaces"]),
        paths: texts(&value["nonResourceURLs"]),
        resources,
    };
    if !rule.paths.is_empty() && !(rule.resources.is_empty() && rule.namespaces.is_empty()) {
        return Err("rules cannot apply to both regular resources and non-resource URLs".into());
    }
    Ok(rule)
}

fn matches(rule: &Rule, asked: &Asked<'_>) -> bool {
    let has = |list: &[String], text: &str| list.iter().any(|own| own == text);
    if !rule.users.is_empty() && !has(&rule.users, &asked.user.name)
        || !rule.groups.is_empty() && !rule.groups.iter().any(|group| asked.user.is_in(group))
        || !rule.verbs.is_empty() && !has(&rule.verbs, asked.verb)
    {
        return false;
    }
    if !rule.namespaces.is_empty() || !rule.resources.is_empty() {
        return is_resource(rule, asked);
    }
    if !rule.paths.is_empty() {
        return asked.resource.is_empty()
            && rule.paths.iter().any(|path| is_path(path, asked.path));
    }
    true
}

fn is_resource(rule: &Rule, asked: &Asked<'_>) -> bool {
    if asked.resource.is_empty()
        || (!rule.namespaces.is_empty()
            && !rule.namespaces.iter().any(|own| own == asked.namespace))
    {
        return false;
    }
    if rule.resources.is_empty() {
        return true;
    }
    let combined = if asked.subresource.is_empty() {
        asked.resource.to_owned()
    } else {
        format!("{}/{}", asked.resource, asked.subresource)
    };
    let is_meant = |own: &String| {
        own == "*"
            || *own == combined
            || own.strip_prefix("*/").is_some_and(|sub| !sub.is_empty() && sub == asked.subresource)
            || own.strip_suffix("/*").is_some_and(|resource| resource == asked.resource)
    };
    rule.resources.iter().filter(|one| one.group == asked.group).any(|one| {
        one.resources.is_empty()
            || ((one.names.is_empty() || one.names.iter().any(|name| name == asked.name))
                && one.resources.iter().any(is_meant))
    })
}

fn is_path(own: &str, path: &str) -> bool {
    own == "*"
        || own == path
        || own.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use access::User;
    use serde_json::json;

    use super::*;

    fn policy() -> Policy {
        Policy::parse(&json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [
            {"level": "None", "users": ["system:kube-proxy"], "verbs": ["watch"], "resources": [{"group": "", "resources": ["endpoints"]}]},
            {"level": "Metadata", "resources": [{"group": "", "resources": ["secrets", "pods/log", "*/scale"]}]},
            {"level": "RequestResponse", "namespaces": ["shop"], "resources": [{"group": "", "resources": ["pods/*"]}], "omitManagedFields": true},
            {"level": "Request", "resources": [{"group": "", "resources": ["configmaps"], "resourceNames": ["lock"]}]},
            {"level": "None", "userGroups": ["system:authenticated"], "nonResourceURLs": ["/api*", "/version"]},
            {"level": "Request", "resources": [{"group": "apps"}], "omitStages": ["ResponseStarted"]},
        ]}))
        .unwrap()
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let (proxy, jane) =
            (User::new("system:kube-proxy", &[]), User::new("jane", &["system:authenticated"]));
        for (user, verb, group, resource, sub, namespace, name, path, expect) in [
            (&proxy, "watch", "", "endpoints", "", "", "", "", Level::None),
            (&jane, "get", "", "secrets", "", "a", "s", "", Level::Metadata),
            (&jane, "get", "", "pods", "log", "shop", "p", "", Level::Metadata),
            (&jane, "get", "", "replicationcontrollers", "scale", "a", "p", "", Level::Metadata),
            (&jane, "get", "", "pods", "exec", "shop", "p", "", Level::RequestResponse),
            (&jane, "get", "", "pods", "exec", "a", "p", "", Level::None),
            (&jane, "update", "", "configmaps", "", "a", "lock", "", Level::Request),
            (&jane, "update", "", "configmaps", "", "a", "other", "", Level::None),
            (&jane, "get", "", "", "", "", "", "/apis/apps", Level::None),
            (&jane, "list", "apps", "deployments", "", "a", "", "", Level::Request),
        ] {
            let asked =
                Asked { user, verb, group, resource, subresource: sub, namespace, name, path };
            assert_eq!(
                policy().evaluate(&asked).level,
                expect,
                "{verb} {resource}/{sub} {namespace}/{name}{path}"
            );
        }
    }

    #[test]
    fn stages_add_up_and_mistakes_are_named() {
        let asked = Asked {
            user: &User::anonymous(),
            verb: "list",
            group: "apps",
            resource: "x",
            subresource: "",
            namespace: "",
            name: "",
            path: "",
        };
        let outcome = policy().evaluate(&asked);
        assert_eq!(outcome.omit_stages, [Stage::ResponseStarted, Stage::RequestReceived]);
        for (text, expect) in [
            (
                json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy"}),
                "loaded illegal policy with 0 rules",
            ),
            (
                json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "All"}]}),
                "unsupported level \"All\"",
            ),
            (json!({"kind": "Policy"}), "apiVersion must be audit.k8s.io/v1 and kind Policy"),
        ] {
            assert_eq!(Policy::parse(&text).unwrap_err(), expect);
        }
    }
}
