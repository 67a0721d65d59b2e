//! Strategic merge patch: merges by the schema's strategies and keys, upstream
//! `apimachinery/pkg/util/strategicpatch`.

use serde_json::{Map, Value};

use crate::schema::{self, Field, Message, Shape};
use crate::{Reason, Status};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";

/// Strategic merge (`$patch`, `$retainKeys`, `$setElementOrder`, `$deleteFromPrimitiveList`) by the schema's merge
/// keys. `schema` is `Kind::schema`.
pub fn strategic_merge(schema: &str, object: &Value, patch: &Value) -> Result<Value, Status> {
    let Value::Object(patch) = patch else {
        return Err(bad("cannot unmarshal patch into an object"));
    };
    let mut merged = object.as_object().cloned().unwrap_or_default();
    merge_map(&mut merged, patch, schema::message(schema))?;
    Ok(Value::Object(merged))
}

fn bad(text: impl Into<String>) -> Status {
    Status::new(Reason::BadRequest, text)
}

/// Merges `patch` into `target`; `message` is absent below schemaless data, where plain merging applies.
fn merge_map(
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    message: Option<&Message>,
) -> Result<(), Status> {
    match directive(patch)? {
        Some("replace") => {
            *target = without_directives(patch);
            return Ok(());
        }
        Some("delete") => {
            target.clear();
            return Ok(());
        }
        _ => {}
    }
    if let Some(keys) = patch.get(RETAIN_KEYS) {
        retain_keys(target, patch, keys)?;
    }
    for (key, value) in patch {
        if key == DIRECTIVE || key == RETAIN_KEYS || key.starts_with(SET_ORDER) {
            continue;
        }
        if let Some(name) = key.strip_prefix(DELETE_PRIMITIVES) {
            delete_primitives(target, name, value)?;
            continue;
        }
        let field = message.and_then(|message| message.field(key));
        let order = patch.get(&format!("{SET_ORDER}{key}"));
        merge_value(target, key, value, field, order)?;
    }
    // An order without a patch of the list reorders what is there.
    for (key, order) in patch {
        let Some(name) = key.strip_prefix(SET_ORDER).filter(|name| !patch.contains_key(*name))
        else {
            continue;
        };
        if let (Some(field), Some(Value::Array(items))) =
            (message.and_then(|message| message.field(name)), target.get_mut(name))
        {
            sort_by_order(items, order, &[], field.patch_key)?;
        }
    }
    Ok(())
}

fn directive(patch: &Map<String, Value>) -> Result<Option<&str>, Status> {
    match patch.get(DIRECTIVE) {
        None => Ok(None),
        Some(Value::String(name)) if matches!(name.as_str(), "replace" | "delete" | "merge") => {
            Ok(Some(name))
        }
        Some(other) => Err(bad(format!("Unknown patch type: {other}"))),
    }
}

fn without_directives(patch: &Map<String, Value>) -> Map<String, Value> {
    patch.iter().filter(|(key, _)| *key != DIRECTIVE).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn retain_keys(
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    keys: &Value,
) -> Result<(), Status> {
    let keys = keys.as_array().ok_or_else(|| bad("invalid patch format of retainKeys"))?;
    let kept: Vec<&str> = keys.iter().filter_map(Value::as_str).collect();
    let stray = patch.iter().any(|(key, value)| {
        !key.starts_with('$') && !value.is_null() && !kept.contains(&key.as_str())
    });
    if stray {
        return Err(bad("$retainKeys list doesn't contain all fields in the patch"));
    }
    target.retain(|key, _| kept.contains(&key.as_str()));
    Ok(())
}

fn delete_primitives(
    target: &mut Map<String, Value>,
    name: &str,
    doomed: &Value,
) -> Result<(), Status> {
    let doomed =
        doomed.as_array().ok_or_else(|| bad("invalid patch format of deleteFromPrimitiveList"))?;
    if let Some(Value::Array(items)) = target.get_mut(name) {
        items.retain(|item| !doomed.contains(item));
    }
    Ok(())
}

fn merge_value(
    target: &mut Map<String, Value>,
    key: &str,
    value: &Value,
    field: Option<&Field>,
    order: Option<&Value>,
) -> Result<(), Status> {
    match (value, field) {
        (Value::Null, _) => {
            target.remove(key);
        }
        (Value::Object(patch), _) if field.is_none_or(|field| field.shape != Shape::List) => {
            if replaces(field) {
                target.insert(key.to_owned(), Value::Object(without_directives(patch)));
                return Ok(());
            }
            let message = field.filter(|field| field.shape == Shape::One).and_then(Field::message);
            let existed = target.get(key).is_some_and(Value::is_object);
            let mut inner = match target.remove(key) {
                Some(Value::Object(map)) => map,
                _ => Map::new(),
            };
            let deleted = directive(patch)? == Some("delete");
            merge_entries(&mut inner, patch, field, message)?;
            if !deleted || existed {
                target.insert(key.to_owned(), Value::Object(inner));
            }
        }
        (Value::Array(patch), Some(field)) if merges(field) => {
            let current = match target.remove(key) {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            };
            let merged = merge_list(current, patch, field, order)?;
            target.insert(key.to_owned(), Value::Array(merged));
        }
        _ => {
            target.insert(key.to_owned(), value.clone());
        }
    }
    Ok(())
}

/// A map of messages merges each entry by the message's schema.
fn merge_entries(
    inner: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    field: Option<&Field>,
    message: Option<&Message>,
) -> Result<(), Status> {
    let entry = field.filter(|field| field.shape == Shape::Map).and_then(Field::message);
    let Some(entry) = entry else { return merge_map(inner, patch, message) };
    for (key, value) in patch {
        match (value, inner.get_mut(key)) {
            (Value::Null, _) => {
                inner.remove(key);
            }
            (Value::Object(value), Some(Value::Object(current))) => {
                merge_map(current, value, Some(entry))?;
            }
            _ => {
                inner.insert(key.clone(), value.clone());
            }
        }
    }
    Ok(())
}

fn replaces(field: Option<&Field>) -> bool {
    field.is_some_and(|field| field.patch_strategy.split(',').any(|word| word == "replace"))
}

fn merges(field: &Field) -> bool {
    field.shape == Shape::List && field.patch_strategy.split(',').any(|word| word == "merge")
}

fn merge_list(
    mut current: Vec<Value>,
    patch: &[Value],
    field: &Field,
    order: Option<&Value>,
) -> Result<Vec<Value>, Status> {
    if field.message().is_none() || field.patch_key.is_empty() {
        let added: Vec<Value> = patch.iter().filter(|v| !current.contains(v)).cloned().collect();
        let server_only = current.clone();
        current.extend(added);
        if let Some(order) = order {
            sort_by_order(&mut current, order, &server_only, "")?;
        }
        return Ok(current);
    }
    let original = current.clone();
    let has_replace = |item: &Value| item.get(DIRECTIVE).is_some_and(|name| name == "replace");
    if patch.iter().any(has_replace) {
        return Ok(patch.iter().filter(|item| !has_replace(item)).cloned().collect());
    }
    for item in patch {
        let Value::Object(item) = item else {
            return Err(bad("expected an object in the list of the patch"));
        };
        match directive(item)? {
            Some("delete") => {
                let key = item_key(item, field)?;
                current.retain(|one| one.get(field.patch_key) != Some(key));
            }
            _ => merge_item(&mut current, item, field)?,
        }
    }
    if let Some(order) = order {
        sort_by_order(&mut current, order, &original, field.patch_key)?;
    }
    Ok(current)
}

fn item_key<'a>(item: &'a Map<String, Value>, field: &Field) -> Result<&'a Value, Status> {
    item.get(field.patch_key).ok_or_else(|| {
        bad(format!(
            "map: {} does not contain declared merge key: {}",
            Value::Object(item.clone()),
            field.patch_key
        ))
    })
}

fn merge_item(
    current: &mut Vec<Value>,
    item: &Map<String, Value>,
    field: &Field,
) -> Result<(), Status> {
    let key = item_key(item, field)?;
    let found = current.iter_mut().find(|one| one.get(field.patch_key) == Some(key));
    match found {
        Some(Value::Object(existing)) => merge_map(existing, item, field.message()),
        _ => {
            // A new item goes through the merge too, so that directives inside it are applied.
            let mut fresh = Map::new();
            merge_map(&mut fresh, item, field.message())?;
            current.push(Value::Object(fresh));
            Ok(())
        }
    }
}

/// Orders items as `order` says; items that it does not name keep their place relative to their neighbours in
/// `original`.
fn sort_by_order(
    items: &mut Vec<Value>,
    order: &Value,
    original: &[Value],
    key: &str,
) -> Result<(), Status> {
    let order = order.as_array().ok_or_else(|| bad("invalid patch format of setElementOrder"))?;
    let identity = |item: &Value| if key.is_empty() { item.clone() } else { item[key].clone() };
    let rank = |item: &Value| order.iter().position(|one| identity(one) == identity(item));
    let (mut named, unnamed): (Vec<Value>, Vec<Value>) =
        std::mem::take(items).into_iter().partition(|item| rank(item).is_some());
    named.sort_by_key(|item| rank(item));
    let place = |item: &Value| original.iter().position(|one| identity(one) == identity(item));
    let mut named = named.into_iter().peekable();
    for stray in unnamed {
        let at = place(&stray);
        while let Some(next) = named.peek() {
            let before = match (place(next), at) {
                (Some(next), Some(at)) => next < at,
                (None, _) => true,
                (Some(_), None) => true,
            };
            if !before {
                break;
            }
            items.extend(named.next());
        }
        items.push(stray);
    }
    items.extend(named);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const POD: &str = "io.k8s.api.core.v1.Pod";
    const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";

    fn check(schema: &str, object: Value, patch: Value, expected: Value) {
        assert_eq!(strategic_merge(schema, &object, &patch).unwrap(), expected, "{patch}");
    }

    #[test]
    fn lists_merge_by_key() {
        check(
            POD,
            json!({"spec": {"containers": [{"name": "a", "image": "x", "env": [{"name": "E", "value": "1"}]}, {"name": "b"}]}}),
            json!({"spec": {"containers": [{"name": "a", "image": "y", "env": [{"name": "F", "value": "2"}]}, {"name": "c"}]}}),
            json!({"spec": {"containers": [{"name": "a", "image": "y", "env": [{"name": "E", "value": "1"}, {"name": "F", "value": "2"}]}, {"name": "b"}, {"name": "c"}]}}),
        );
    }

    #[test]
    fn directives() {
        let pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}], "nodeSelector": {"x": "y"}}});
        check(
            POD,
            pod.clone(),
            json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}),
            json!({"spec": {"containers": [{"name": "b"}], "nodeSelector": {"x": "y"}}}),
        );
        check(
            POD,
            pod.clone(),
            json!({"spec": {"$patch": "replace", "hostNetwork": true}}),
            json!({"spec": {"hostNetwork": true}}),
        );
        check(
            POD,
            pod.clone(),
            json!({"spec": {"containers": [{"name": "c"}, {"$patch": "replace"}]}}),
            json!({"spec": {"containers": [{"name": "c"}], "nodeSelector": {"x": "y"}}}),
        );
        check(
            POD,
            pod,
            json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "nodeSelector": null}}),
            json!({"spec": {"containers": [{"name": "b"}, {"name": "a"}]}}),
        );
        check(
            POD,
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}}),
            json!({"metadata": {"finalizers": ["b", "c"]}}),
        );
        check(
            DEPLOYMENT,
            json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
            json!({"spec": {"strategy": {"type": "Recreate"}}}),
        );
    }

    #[test]
    fn atomic_lists_are_replaced_and_bad_patches_refused() {
        check(
            POD,
            json!({"spec": {"tolerations": [{"key": "a"}]}}),
            json!({"spec": {"tolerations": [{"key": "b"}]}}),
            json!({"spec": {"tolerations": [{"key": "b"}]}}),
        );
        let refused = |patch| strategic_merge(POD, &json!({}), &patch).unwrap_err().message;
        assert!(
            refused(json!({"spec": {"containers": [{"image": "x"}]}})).contains("merge key: name")
        );
        assert!(refused(json!({"spec": {"$patch": "explode"}})).contains("Unknown patch type"));
    }
}
