//! Follows FlowSchemas and PriorityLevelConfigurations, keeps the mandatory ones, and tells schemas that dangle.

use std::sync::Arc;

use api::{Kind, meta};
use serde_json::{Value, json};

use super::{
    GROUP,
    config::{self, Level, Schema},
    defaults,
};
use crate::{
    app::App,
    background,
    cache::Interest,
    clock,
    commit::{self, Next, Place},
    keys::Collection,
};

const SCHEMAS: &str = "flowschemas";
const LEVELS: &str = "prioritylevelconfigurations";

/// Schemas and levels among objects.
#[must_use]
pub fn read(objects: &[Value]) -> (Vec<Schema>, Vec<Level>) {
    let of = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
    (
        of("FlowSchema").map(config::schema).collect(),
        of("PriorityLevelConfiguration").map(config::level).collect(),
    )
}

/// Applies the objects to the server's flow control until shutdown.
pub async fn follow(app: Arc<App>) {
    loop {
        let subscribe = |resource: &str| {
            app.cache
                .collection(&Collection::of(GROUP, resource))
                .subscribe_now(Interest::default())
                .2
        };
        let (mut schemas, mut levels) = (subscribe(SCHEMAS), subscribe(LEVELS));
        loop {
            keep_mandatory(&app).await;
            apply(&app).await;
            let event = tokio::select! {
                biased;
                () = app.shutdown.cancelled() => return,
                event = schemas.future.recv() => event,
                event = levels.future.recv() => event,
            };
            // Cut off: start over from what is there.
            if event.is_none() {
                break;
            }
            // What came meanwhile is in the cache already.
            while schemas.future.try_recv().is_ok() || levels.future.try_recv().is_ok() {}
        }
    }
}

async fn keep_mandatory(app: &App) {
    for object in defaults::objects() {
        if defaults::MANDATORY.contains(&meta::name(&object))
            && let Err(status) = background::create(app, object).await
        {
            tracing::warn!(%status, "failed to create a mandatory object of flow control");
        }
    }
}

async fn apply(app: &Arc<App>) {
    let list = |resource: &str| app.cache.collection(&Collection::of(GROUP, resource)).list("").0;
    let (schemas, levels) = (list(SCHEMAS), list(LEVELS));
    let mut known: Vec<Level> = levels.iter().map(|item| config::level(item.value())).collect();
    let mut found: Vec<Schema> = schemas.iter().map(|item| config::schema(item.value())).collect();
    // Until a mandatory object that was deleted is there again, its default stands in for it.
    let (own_schemas, own_levels) = read(&defaults::objects());
    let mandatory = |name: &str| defaults::MANDATORY.contains(&name);
    for level in own_levels.into_iter().filter(|level| mandatory(&level.name)) {
        if known.iter().all(|other| other.name != level.name) {
            known.push(level);
        }
    }
    for schema in own_schemas.into_iter().filter(|schema| mandatory(&schema.name)) {
        if found.iter().all(|other| other.name != schema.name) {
            found.push(schema);
        }
    }
    let names: Vec<String> = known.iter().map(|level| level.name.clone()).collect();
    app.flow.configure(found, known);
    for item in schemas {
        let schema = item.value();
        let level =
            schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
        tell_dangling(app, schema, level, names.iter().any(|name| name == level)).await;
    }
}

async fn tell_dangling(app: &App, schema: &Value, level: &str, found: bool) {
    let (status, reason, message) = if found {
        (
            "False",
            "Found",
            format!(
                "This FlowSchema references the PriorityLevelConfiguration object named {level:?} and it exists"
            ),
        )
    } else {
        (
            "True",
            "NotFound",
            format!(
                "This FlowSchema references the PriorityLevelConfiguration object named {level:?} but there is no such object"
            ),
        )
    };
    let is_current = |schema: &Value| {
        let conditions = schema["status"]["conditions"].as_array();
        conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Dangling" && c["status"] == status && c["message"] == message)
    };
    if is_current(schema) {
        return;
    }
    let registry = app.registry.load_full();
    let Some(kind) = registry.find(GROUP, "v1", SCHEMAS) else { return };
    let kind: Kind = (**kind).clone();
    let place = Place::new(&kind, "", meta::name(schema));
    let write = |current: &Value| {
        if is_current(current) {
            return Next::Keep;
        }
        let mut object = current.clone();
        let others = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let mut conditions: Vec<Value> =
            others.into_iter().filter(|condition| condition["type"] != "Dangling").collect();
        conditions.push(json!({"type": "Dangling", "status": status, "reason": reason,
            "message": message, "lastTransitionTime": clock::now()}));
        object["status"] = json!({"conditions": conditions});
        Next::Put(object)
    };
    let written =
        commit::update(app, &kind, &place, false, |current| Ok(write(current.value()))).await;
    if let Err(status) = written {
        tracing::debug!(%status, "a FlowSchema's status was not written");
    }
}
