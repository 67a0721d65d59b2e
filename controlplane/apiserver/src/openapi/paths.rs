//! The paths of one kind in an OpenAPI v3 document.

use api::{Kind, Scope, kind::Subresource, schema};
use serde_json::{Map, Value, json};

use super::names::operation_id;

/// Media types of PATCH, with and without a schema to merge by.
const PATCHES: [&str; 3] =
    ["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"];
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// Components that operations refer to besides the kinds' own.
pub const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
pub const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
pub const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// One operation of a kind or of a subresource.
pub struct Operation<'a> {
    pub kind: &'a Kind,
    pub subresource: Option<&'a Subresource>,
    /// `get`, `list`, `post`, `put`, `patch`, `delete`, `deletecollection`.
    pub action: &'static str,
    pub all_namespaces: bool,
    /// The component that it answers with and, where it writes, takes.
    pub component: String,
}

/// Adds a kind's collection, object and subresource paths. Returns the components of subresources' own bodies.
pub fn add(
    paths: &mut Map<String, Value>,
    root: &str,
    kind: &Kind,
    component: &str,
) -> Vec<&'static str> {
    let namespaced = kind.scope == Scope::Namespaced;
    let namespace = if namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("/{root}{namespace}/{}", kind.plural);
    let object = format!("{collection}/{{name}}");
    if namespaced && serves(kind, "list") {
        let list = operation(&Operation {
            kind,
            subresource: None,
            action: "list",
            all_namespaces: true,
            component: format!("{component}List"),
        });
        insert(paths, format!("/{root}/{}", kind.plural), (false, false), vec![("get", list)]);
    }
    insert(paths, collection, (false, namespaced), collection_operations(kind, component));
    insert(paths, object.clone(), (true, namespaced), object_operations(kind, component));
    let mut bodies = Vec::new();
    for sub in &kind.subresources {
        let own = own_body(sub);
        bodies.extend(own);
        let Some(body) = own.or(sub.kind.is_empty().then_some(component)) else { continue };
        let operations = part_operations(kind, sub, body);
        insert(paths, format!("{object}/{}", sub.name), (true, namespaced), operations);
    }
    bodies
}

/// The schema of a subresource that has a body of its own kind (`Scale`, `Eviction`, `TokenRequest`).
fn own_body(sub: &Subresource) -> Option<&'static str> {
    // Streams and proxies answer with what the other side says.
    if sub.kind.is_empty() || sub.kind.ends_with("Options") {
        return None;
    }
    let version = match sub.group.as_str() {
        "" => sub.version.clone(),
        group => format!("{group}/{}", sub.version),
    };
    schema::message_of(&version, &sub.kind).map(|message| message.name.as_str())
}

type Operations = Vec<(&'static str, Value)>;

fn insert(
    paths: &mut Map<String, Value>,
    path: String,
    (named, namespaced): (bool, bool),
    operations: Operations,
) {
    if operations.is_empty() {
        return;
    }
    let mut parameters = Vec::new();
    for (wanted, name, text) in [
        (named, "name", "name of the object"),
        (namespaced, "namespace", "object name and auth scope, such as for teams and projects"),
    ] {
        if wanted {
            parameters
                .push(json!({"name": name, "in": "path", "required": true, "description": text,
                "schema": {"type": "string", "uniqueItems": true}}));
        }
    }
    parameters.push(query("pretty", "string"));
    let mut item = Map::new();
    item.insert("parameters".into(), json!(parameters));
    for (method, operation) in operations {
        item.insert(method.into(), operation);
    }
    paths.insert(path, Value::Object(item));
}

fn serves(kind: &Kind, verb: &str) -> bool {
    kind.verbs.iter().any(|served| served == verb)
}

fn collection_operations(kind: &Kind, component: &str) -> Operations {
    let list = format!("{component}List");
    [
        ("list", "get", "list", list.as_str()),
        ("create", "post", "post", component),
        ("deletecollection", "delete", "deletecollection", STATUS),
    ]
    .into_iter()
    .filter(|(verb, ..)| serves(kind, verb))
    .map(|(_, method, action, component)| (method, of_object(kind, action, component)))
    .collect()
}

fn object_operations(kind: &Kind, component: &str) -> Operations {
    [
        ("get", "get", component),
        ("update", "put", component),
        ("patch", "patch", component),
        ("delete", "delete", STATUS),
    ]
    .into_iter()
    .filter(|(verb, ..)| serves(kind, verb))
    .map(|(_, method, component)| (method, of_object(kind, method, component)))
    .collect()
}

fn of_object(kind: &Kind, action: &'static str, component: &str) -> Value {
    let component = component.to_owned();
    operation(&Operation { kind, subresource: None, action, all_namespaces: false, component })
}

fn part_operations(kind: &Kind, sub: &Subresource, body: &str) -> Operations {
    [("get", "get"), ("update", "put"), ("patch", "patch"), ("create", "post")]
        .into_iter()
        .filter(|(verb, _)| sub.verbs.iter().any(|served| served == verb))
        .map(|(_, action)| {
            let (subresource, component) = (Some(sub), body.to_owned());
            let part = Operation { kind, subresource, action, all_namespaces: false, component };
            (action, operation(&part))
        })
        .collect()
}

fn query(name: &str, kind: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
}

fn reference(component: &str) -> Value {
    json!({"schema": {"$ref": format!("#/components/schemas/{component}")}})
}

fn responses(operation: &Operation<'_>) -> Value {
    let content = reference(&operation.component);
    let mut medias = vec!["application/json", "application/yaml"];
    if !operation.kind.schema.is_empty() {
        medias.push("application/vnd.kubernetes.protobuf");
    }
    if operation.action == "list" {
        medias.extend(["application/json;stream=watch"]);
    }
    // Logs are text.
    let log = operation.subresource.is_some_and(|sub| sub.name == "log");
    let content: Map<String, Value> = if log {
        let text = json!({"schema": {"type": "string"}});
        [("text/plain".to_owned(), text)].into_iter().collect()
    } else {
        medias.into_iter().map(|media| (media.to_owned(), content.clone())).collect()
    };
    let mut responses = Map::new();
    let codes: &[(&str, &str)] = match operation.action {
        "post" => &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
        "put" | "patch" => &[("200", "OK"), ("201", "Created")],
        "delete" => &[("200", "OK"), ("202", "Accepted")],
        _ => &[("200", "OK")],
    };
    for (code, text) in codes {
        responses.insert((*code).into(), json!({"description": text, "content": content}));
    }
    responses.insert("401".into(), json!({"description": "Unauthorized"}));
    Value::Object(responses)
}

fn operation(operation: &Operation<'_>) -> Value {
    let Operation { kind, subresource, action, component, .. } = operation;
    let typed = match subresource {
        Some(sub) if !sub.kind.is_empty() => {
            json!({"group": sub.group, "version": sub.version, "kind": sub.kind})
        }
        _ => json!({"group": kind.group, "version": kind.version, "kind": kind.kind}),
    };
    let mut shown = json!({
        "tags": [super::names::tag(kind)],
        "description": describe(operation),
        "operationId": operation_id(operation),
        "responses": responses(operation),
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": typed,
    });
    shown["parameters"] = json!(parameters(action));
    match *action {
        "patch" => shown["requestBody"] = json!({"required": true, "content": patch_content(kind)}),
        "post" | "put" => {
            shown["requestBody"] =
                json!({"required": true, "content": {"*/*": reference(component)}});
        }
        "delete" | "deletecollection" => {
            shown["requestBody"] = json!({"content": {"*/*": reference(DELETE_OPTIONS)}});
        }
        _ => {}
    }
    shown
}

fn describe(operation: &Operation<'_>) -> String {
    let kind = &operation.kind.kind;
    let part = operation.subresource.map(|sub| format!("{} of ", sub.name)).unwrap_or_default();
    match operation.action {
        "list" => format!("list or watch objects of kind {kind}"),
        "post" => format!("create {part}a {kind}"),
        "put" => format!("replace {part}the specified {kind}"),
        "patch" => format!("partially update {part}the specified {kind}"),
        "delete" => format!("delete a {kind}"),
        "deletecollection" => format!("delete collection of {kind}"),
        _ => format!("read {part}the specified {kind}"),
    }
}

fn parameters(action: &str) -> Vec<Value> {
    let texts: &[&str] = match action {
        "post" | "put" | "patch" => &["dryRun", "fieldManager", "fieldValidation"],
        "list" => &LIST_TEXTS,
        "deletecollection" => &DELETE_LIST_TEXTS,
        "delete" => &["dryRun", "propagationPolicy"],
        _ => &[],
    };
    let (numbers, flags): (&[&str], &[&str]) = match action {
        "patch" => (&[], &["force"]),
        "list" => {
            (&["limit", "timeoutSeconds"], &["allowWatchBookmarks", "sendInitialEvents", "watch"])
        }
        "deletecollection" => (
            &["gracePeriodSeconds", "limit", "timeoutSeconds"],
            &["orphanDependents", "sendInitialEvents"],
        ),
        "delete" => (&["gracePeriodSeconds"], &["orphanDependents"]),
        _ => (&[], &[]),
    };
    let of = |names: &[&str], kind: &'static str| -> Vec<Value> {
        names.iter().map(|name| query(name, kind)).collect()
    };
    [of(texts, "string"), of(numbers, "integer"), of(flags, "boolean")].concat()
}

const LIST_TEXTS: [&str; 5] =
    ["continue", "fieldSelector", "labelSelector", "resourceVersion", "resourceVersionMatch"];
const DELETE_LIST_TEXTS: [&str; 7] = [
    "continue",
    "dryRun",
    "fieldSelector",
    "labelSelector",
    "propagationPolicy",
    "resourceVersion",
    "resourceVersionMatch",
];

fn patch_content(kind: &Kind) -> Value {
    let strategic = (!kind.schema.is_empty()).then_some(STRATEGIC);
    let medias = PATCHES.into_iter().chain(strategic);
    medias.map(|media| (media.to_owned(), reference(PATCH))).collect::<Map<_, _>>().into()
}
