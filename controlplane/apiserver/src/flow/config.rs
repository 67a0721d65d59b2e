//! FlowSchemas and PriorityLevelConfigurations, read from their objects. Pure.

use api::meta;
use serde_json::Value;

/// Who a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

/// Requests for resources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceRule {
    pub verbs: Vec<String>,
    pub groups: Vec<String>,
    pub resources: Vec<String>,
    pub cluster_scope: bool,
    pub namespaces: Vec<String>,
}

/// Requests for paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathRule {
    pub verbs: Vec<String>,
    pub paths: Vec<String>,
}

/// One of a schema's rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    pub subjects: Vec<Subject>,
    pub resources: Vec<ResourceRule>,
    pub paths: Vec<PathRule>,
}

/// What tells the flows of one schema apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distinguisher {
    None,
    User,
    Namespace,
}

/// A FlowSchema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    pub name: String,
    pub uid: String,
    pub level: String,
    pub precedence: i64,
    pub distinguisher: Distinguisher,
    pub rules: Vec<Rule>,
}

/// What happens to requests that cannot run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Response {
    Reject,
    Queue { queues: usize, hand: usize, length: usize },
}

/// A PriorityLevelConfiguration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    pub name: String,
    pub uid: String,
    /// Exempt levels run everything at once.
    pub exempt: bool,
    pub shares: u32,
    pub lendable_percent: u32,
    /// `None`: as much as there is.
    pub borrowing_percent: Option<u32>,
    pub response: Response,
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn number(value: &Value, default: u32) -> u32 {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
}

/// A FlowSchema object.
#[must_use]
pub fn schema(object: &Value) -> Schema {
    let spec = &object["spec"];
    let distinguisher = match spec["distinguisherMethod"]["type"].as_str() {
        Some("ByUser") => Distinguisher::User,
        Some("ByNamespace") => Distinguisher::Namespace,
        _ => Distinguisher::None,
    };
    Schema {
        name: meta::name(object).to_owned(),
        uid: meta::uid(object).to_owned(),
        level: spec["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default().to_owned(),
        precedence: spec["matchingPrecedence"].as_i64().unwrap_or(1000),
        distinguisher,
        rules: spec["rules"].as_array().into_iter().flatten().map(rule).collect(),
    }
}

fn rule(value: &Value) -> Rule {
    let list = |field: &str| value[field].as_array().cloned().unwrap_or_default();
    Rule {
        subjects: list("subjects").iter().filter_map(subject).collect(),
        resources: list("resourceRules")
            .iter()
            .map(|rule| ResourceRule {
                verbs: texts(&rule["verbs"]),
                groups: texts(&rule["apiGroups"]),
                resources: texts(&rule["resources"]),
                cluster_scope: rule["clusterScope"] == true,
                namespaces: texts(&rule["namespaces"]),
            })
            .collect(),
        paths: list("nonResourceRules")
            .iter()
            .map(|rule| PathRule {
                verbs: texts(&rule["verbs"]),
                paths: texts(&rule["nonResourceURLs"]),
            })
            .collect(),
    }
}

fn subject(value: &Value) -> Option<Subject> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some(match value["kind"].as_str()? {
        "User" => Subject::User(text(&value["user"]["name"])),
        "Group" => Subject::Group(text(&value["group"]["name"])),
        "ServiceAccount" => Subject::ServiceAccount {
            namespace: text(&value["serviceAccount"]["namespace"]),
            name: text(&value["serviceAccount"]["name"]),
        },
        _ => return None,
    })
}

/// A PriorityLevelConfiguration object.
#[must_use]
pub fn level(object: &Value) -> Level {
    let spec = &object["spec"];
    let exempt = spec["type"] == "Exempt";
    let own = if exempt { &spec["exempt"] } else { &spec["limited"] };
    let response = &own["limitResponse"];
    let queuing = &response["queuing"];
    let size = |field: &str, default: u32| number(&queuing[field], default).max(1) as usize;
    Level {
        name: meta::name(object).to_owned(),
        uid: meta::uid(object).to_owned(),
        exempt,
        shares: number(&own["nominalConcurrencyShares"], if exempt { 0 } else { 30 }),
        lendable_percent: number(&own["lendablePercent"], 0).min(100),
        borrowing_percent: own["borrowingLimitPercent"]
            .as_u64()
            .and_then(|p| u32::try_from(p).ok()),
        response: if response["type"] == "Queue" {
            let queues = size("queues", 64);
            Response::Queue {
                queues,
                hand: size("handSize", 8).min(queues),
                length: size("queueLengthLimit", 50),
            }
        } else {
            Response::Reject
        },
    }
}
