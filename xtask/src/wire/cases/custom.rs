//! Custom resources: applied, validated and explained by their definitions.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::bodies::definition;
use crate::{
    e2e::waiting::until,
    wire::scene::{SOON, Scene, has},
};

pub fn apply(s: &Scene<'_>) -> Result<()> {
    let group = format!("{}.example.org", s.namespace);
    s.with("apply -f -", &definition(&group).to_string())?;
    s.run(&format!("wait --for=condition=Established crd/things.{group} --timeout=30s"))?;
    let thing = |size: u32| json!({"apiVersion": format!("{group}/v1"), "kind": "Thing", "metadata": {"name": "t"}, "spec": {"size": size, "tags": ["a"]}});
    until("things can be applied", SOON, || s.with("apply -f -", &thing(1).to_string()))?;
    has(&s.with("apply -f -", &thing(2).to_string())?, &["configured"])?;
    let plural = format!("{group}/v1/things");
    s.is(&plural, "t", "/spec/size", &json!(2))?;
    s.with("apply --server-side --force-conflicts -f -", &thing(3).to_string())?;
    s.is(&plural, "t", "/metadata/generation", &json!(3))?;
    let table = s.run(&format!("get things.{group}"))?;
    has(&table, &["NAME", "SIZE", "3"])?;
    s.run(&format!(
        "patch things.{group} t --subresource=status --type=merge -p {{\"status\":{{\"ok\":true}}}}"
    ))?;
    s.is(&plural, "t", "/status/ok", &json!(true))?;
    s.is(&plural, "t", "/metadata/generation", &json!(3))?;
    let mut bad = thing(1);
    bad["spec"]["size"] = json!("big");
    let refused = s.refused("apply -f -", &bad.to_string())?;
    has(&refused, &["spec.size"])?;
    until("explain knows it", SOON, || {
        has(
            &s.run(&format!("explain things.{group}.spec"))?,
            &["What the thing should be", "How big it is"],
        )
    })?;
    s.run(&format!("delete crd things.{group}"))?;
    s.saw("merge-patched, listed, explained, refused");
    Ok(())
}

/// Things of a kind, in a group and with a plural that no other check has: kubectl explains whatever else it remembers under
/// the same plural.
struct Things {
    group: String,
    plural: String,
}

impl Things {
    fn new(s: &Scene<'_>, name: &str) -> Self {
        let digits: String = s.namespace.chars().filter(char::is_ascii_digit).collect();
        Self {
            group: format!("{name}-{}.example.org", s.namespace),
            plural: format!("{name}things{digits}"),
        }
    }

    /// As kubectl names them.
    fn resource(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    fn object(&self, spec: &Value) -> Value {
        json!({"apiVersion": format!("{}/v1", self.group), "kind": "Thing", "metadata": {"name": "t"}, "spec": spec})
    }

    /// Makes their definition with a schema, and waits until kubectl can explain them.
    fn define(&self, s: &Scene<'_>, schema: Value) -> Result<()> {
        let mut body = definition(&self.group);
        body["metadata"]["name"] = json!(self.resource());
        body["spec"]["names"] = json!({"plural": self.plural, "kind": "Thing"});
        body["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema;
        s.with("create -f -", &body.to_string())?;
        let resource = self.resource();
        s.run(&format!("wait --for=condition=Established crd/{resource} --timeout=30s"))?;
        until("they can be explained", SOON, || s.run(&format!("explain {resource}"))).map(drop)
    }
}

/// Creates and applies a thing with fields that no schema knows, and deletes it.
fn anything_goes(s: &Scene<'_>, things: &Things, spec: &Value) -> Result<()> {
    let mut thing = things.object(spec);
    if spec.is_null() {
        thing["unknown"] = json!({"deep": [1, 2]});
        thing.as_object_mut().map(|fields| fields.remove("spec"));
    }
    for command in ["create", "apply"] {
        s.with(&format!("{command} -f -"), &thing.to_string())?;
        let read = s.get(&format!("{}/v1/{}", things.group, things.plural), "t")?;
        for field in ["spec", "unknown"] {
            ensure!(read.get(field) == thing.get(field), "{read}");
        }
        s.run(&format!("delete {} t", things.resource()))?;
    }
    Ok(())
}

pub fn schemas(s: &Scene<'_>) -> Result<()> {
    let things = ["schema", "open", "root", "embedded"].map(|name| Things::new(s, name));
    let [schema, open, root, embedded] = &things;
    validated(s, schema)?;
    // Nothing is known.
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    open.define(s, anything.clone())?;
    anything_goes(s, open, &Value::Null)?;
    anything_goes(s, open, &json!({"any": {"thing": true}}))?;
    has(
        &s.run(&format!("explain {}", open.resource()))?,
        &["KIND:       Thing", "VERSION:    v1"],
    )?;
    // Something is known, and anything else is kept, at the root and within.
    let mut known = anything;
    known["properties"] = json!({"spec": {"type": "object", "description": "Known.", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"size": {"type": "integer"}}}});
    root.define(s, known)?;
    anything_goes(s, root, &json!({"size": 1, "any": {"thing": true}}))?;
    has(&s.run(&format!("explain {}", root.resource()))?, &["KIND:       Thing"])?;
    // An embedded object is kept as it is.
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "description": "Embeds.", "properties": {
        "template": {"type": "object", "description": "Any object.", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}}}});
    embedded.define(s, schema)?;
    let template = json!({"template": {"apiVersion": "v1", "kind": "Other", "metadata": {"name": "o"}, "foo": {"bar": 1}}});
    anything_goes(s, embedded, &template)?;
    until("the embedded object is explained", SOON, || {
        has(&s.run(&format!("explain {}.spec", embedded.resource()))?, &["Embeds.", "Any object."])
    })?;
    for one in &things {
        s.run(&format!("delete crd {}", one.resource()))?;
    }
    s.saw("with a schema, without, open at the root, with an embedded object");
    Ok(())
}

/// With a schema kubectl and the server refuse what it does not allow, and explain says what it does.
fn validated(s: &Scene<'_>, things: &Things) -> Result<()> {
    let bar = json!({"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string", "description": "Name of Bar."}, "age": {"type": "string", "description": "Age of Bar."}}});
    things.define(
        s,
        json!({"type": "object", "description": "Foo CRD for Testing", "properties": {
        "spec": {"type": "object", "description": "Specification of Foo", "properties": {
            "bars": {"type": "array", "description": "List of Bars and their specs.", "items": bar}}}}}),
    )?;
    let thing = |bar: Value| things.object(&json!({"bars": [bar]})).to_string();
    let resource = things.resource();
    for command in ["create -f -", "apply -f -"] {
        s.with(command, &thing(json!({"name": "test-bar"})))?;
        s.run(&format!("delete {resource} t"))?;
        let unknown = s.refused(command, &thing(json!({"name": "test-bar", "unknown": "x"})))?;
        has(&unknown, &["unknown field \"spec.bars[0].unknown\""])?;
        let missing = s.refused(command, &thing(json!({"age": "10"})))?;
        has(&missing, &["spec.bars[0].name", "equired"])?;
    }
    has(
        &s.run(&format!("explain {resource}"))?,
        &["KIND:       Thing", "Foo CRD for Testing", "Specification of Foo"],
    )?;
    has(
        &s.run(&format!("explain {resource}.spec.bars"))?,
        &["List of Bars and their specs.", "Name of Bar.", "-required-"],
    )?;
    has(
        &s.run(&format!("explain {resource}.spec.bars.age"))?,
        &["FIELD: age <string>", "Age of Bar."],
    )?;
    let missing = s.refused(&format!("explain {resource}.spec.bars2"), "")?;
    has(&missing, &["field \"bars2\" does not exist"])
}
