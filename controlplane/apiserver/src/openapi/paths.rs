//! The paths of one kind in an OpenAPI v3 document.

use api::{Kind, Scope};
use serde_json::{Map, Value, json};

/// Media types of PATCH, with and without a schema to merge by.
const PATCHES: [&str; 3] =
    ["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"];
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// Adds a kind's collection, object and subresource paths.
pub fn add(paths: &mut Map<String, Value>, root: &str, kind: &Kind, component: &str) {
    let namespaced = kind.scope == Scope::Namespaced;
    let namespace = if namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("/{root}{namespace}/{}", kind.plural);
    let object = format!("{collection}/{{name}}");
    if namespaced && kind.verbs.iter().any(|verb| verb == "list") {
        let mut item = Map::new();
        item.insert("get".into(), operation(kind, "list", &format!("{component}List"), false));
        paths.insert(format!("/{root}/{}", kind.plural), Value::Object(item));
    }
    insert(paths, collection, namespaced, false, &collection_operations(kind, component));
    insert(paths, object.clone(), namespaced, true, &object_operations(kind, component));
    for sub in &kind.subresources {
        let mut operations = Vec::new();
        for (verb, method) in [("get", "get"), ("update", "put"), ("patch", "patch")] {
            if sub.verbs.iter().any(|served| served == verb) && sub.kind.is_empty() {
                operations.push((method, operation(kind, verb, component, verb != "get")));
            }
        }
        insert(paths, format!("{object}/{}", sub.name), namespaced, true, &operations);
    }
}

type Operations = Vec<(&'static str, Value)>;

fn insert(
    paths: &mut Map<String, Value>,
    path: String,
    namespaced: bool,
    named: bool,
    operations: &Operations,
) {
    if operations.is_empty() {
        return;
    }
    let mut parameters = Vec::new();
    for (wanted, name) in [(named, "name"), (namespaced, "namespace")] {
        if wanted {
            parameters.push(json!({"name": name, "in": "path", "required": true,
                "schema": {"type": "string", "uniqueItems": true}}));
        }
    }
    parameters.push(query("pretty", "string"));
    let mut item = Map::new();
    item.insert("parameters".into(), json!(parameters));
    for (method, operation) in operations {
        item.insert((*method).into(), operation.clone());
    }
    paths.insert(path, Value::Object(item));
}

fn serves(kind: &Kind, verb: &str) -> bool {
    kind.verbs.iter().any(|served| served == verb)
}

fn collection_operations(kind: &Kind, component: &str) -> Operations {
    let list = format!("{component}List");
    let mut operations = Vec::new();
    if serves(kind, "list") {
        operations.push(("get", operation(kind, "list", &list, false)));
    }
    if serves(kind, "create") {
        operations.push(("post", operation(kind, "post", component, true)));
    }
    if serves(kind, "deletecollection") {
        operations.push(("delete", operation(kind, "deletecollection", STATUS, false)));
    }
    operations
}

fn object_operations(kind: &Kind, component: &str) -> Operations {
    let mut operations = Vec::new();
    for (verb, method, action, writes) in [
        ("get", "get", "get", false),
        ("update", "put", "put", true),
        ("patch", "patch", "patch", true),
    ] {
        if serves(kind, verb) {
            operations.push((method, operation(kind, action, component, writes)));
        }
    }
    if serves(kind, "delete") {
        operations.push(("delete", operation(kind, "delete", STATUS, false)));
    }
    operations
}

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

fn query(name: &str, kind: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
}

fn operation(kind: &Kind, action: &str, component: &str, writes: bool) -> Value {
    let content = json!({"schema": {"$ref": format!("#/components/schemas/{component}")}});
    let ok = json!({"description": "OK", "content": {"application/json": content,
        "application/yaml": content, "application/vnd.kubernetes.protobuf": content}});
    let mut operation = json!({
        "tags": [format!("{}_{}", if kind.group.is_empty() { "core" } else { &kind.group }, kind.version)],
        "operationId": format!("{action}{}{}", kind.version, kind.kind),
        "responses": {"200": ok, "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
    });
    operation["parameters"] = json!(parameters(action, writes));
    match action {
        "patch" => {
            operation["requestBody"] = json!({"required": true, "content": patch_content(kind)})
        }
        "post" | "put" | "update" => {
            operation["requestBody"] = json!({"required": true, "content": {"*/*": content}});
        }
        "delete" | "deletecollection" => {
            let options =
                json!({"schema": {"$ref": format!("#/components/schemas/{DELETE_OPTIONS}")}});
            operation["requestBody"] = json!({"content": {"*/*": options}});
        }
        _ => {}
    }
    operation
}

fn parameters(action: &str, writes: bool) -> Vec<Value> {
    let mut parameters = Vec::new();
    if writes {
        for name in ["dryRun", "fieldManager", "fieldValidation"] {
            parameters.push(query(name, "string"));
        }
    }
    if action == "patch" {
        parameters.push(query("force", "boolean"));
    }
    if matches!(action, "list" | "deletecollection") {
        for name in [
            "continue",
            "fieldSelector",
            "labelSelector",
            "resourceVersion",
            "resourceVersionMatch",
        ] {
            parameters.push(query(name, "string"));
        }
        parameters.push(query("limit", "integer"));
        parameters.push(query("timeoutSeconds", "integer"));
    }
    if action == "list" {
        for name in ["allowWatchBookmarks", "sendInitialEvents", "watch"] {
            parameters.push(query(name, "boolean"));
        }
    }
    parameters
}

fn patch_content(kind: &Kind) -> Value {
    let schema = json!({"schema": {"type": "object", "description": "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body."}});
    let mut content = Map::new();
    let strategic = (!kind.schema.is_empty()).then_some(STRATEGIC);
    for media in PATCHES.into_iter().chain(strategic) {
        content.insert(media.to_owned(), schema.clone());
    }
    Value::Object(content)
}
