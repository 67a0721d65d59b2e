//! `set image`, `set env`: small changes of a pod template.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::{
    discovery::{Kind, Kinds},
    json::{items_at, name, text_at},
    select,
    send::{self, Writing},
    session::{STRATEGIC, Session},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    pub what: What,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Update the image of a pod template
    Image {
        /// TYPE NAME or TYPE/NAME, then CONTAINER=IMAGE ... ('*' is every container)
        #[arg(required = true)]
        words: Vec<String>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Update environment variables on a pod template
    Env {
        /// TYPE NAME or TYPE/NAME, then KEY=VALUE ... KEY-
        #[arg(required = true)]
        words: Vec<String>,
        /// The names of containers in the selected pod templates to change ('*' is every one)
        #[arg(short, long, default_value = "*")]
        containers: String,
        #[command(flatten)]
        writing: Writing,
    },
}

/// Makes the change.
///
/// # Errors
/// What the server answers, or when a container is not there.
pub async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    match arguments.what {
        What::Image { words, writing } => {
            change(session, &words, &writing, ("image", "image updated"), |object, pairs| {
                plan_images(object, pairs)
            })
            .await
        }
        What::Env { words, containers, writing } => {
            change(session, &words, &writing, ("env", "env updated"), |object, pairs| {
                plan_env(object, pairs, &containers)
            })
            .await
        }
    }
}

type Pairs = [(String, Option<String>)];

async fn change(
    session: &Session,
    words: &[String],
    writing: &Writing,
    (what, verb): (&str, &str),
    plan: impl Fn(&Value, &Pairs) -> Result<Option<Value>>,
) -> Result<()> {
    let is_pair = |word: &String| word.contains('=') || word.ends_with('-');
    let first = words.iter().position(is_pair).unwrap_or(words.len());
    let pairs = send::parse_pairs(&words[first..])?;
    if pairs.is_empty() {
        bail!("at least one {what} update is required");
    }
    let kinds = Kinds::discover(session).await?;
    for (kind, name) in select::parse_named(&kinds, &words[..first])? {
        let object = session.get(&kind.object(&session.namespace, &name)).await?;
        if let Some(patch) = plan(&object, &pairs)? {
            send_patch(session, (&kind, &name), &patch, writing, verb).await?;
        }
    }
    Ok(())
}

async fn send_patch(
    session: &Session,
    target: (&Kind, &str),
    patch: &Value,
    writing: &Writing,
    verb: &str,
) -> Result<()> {
    send::patch(session, target, (STRATEGIC, patch), writing, ("kubectl-set", verb)).await
}

/// Where the containers are: in the object itself for pods, in its template otherwise.
fn wrap(object: &Value, spec: Value) -> Value {
    if text_at(object, "/kind") == "Pod" {
        json!({ "spec": spec })
    } else {
        json!({ "spec": { "template": { "spec": spec } } })
    }
}

fn pod_spec(object: &Value) -> &Value {
    match text_at(object, "/kind") {
        "Pod" => &object["spec"],
        "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"]["spec"],
        _ => &object["spec"]["template"]["spec"],
    }
}

/// A strategic merge patch; `None` when the images are these already.
fn plan_images(object: &Value, pairs: &Pairs) -> Result<Option<Value>> {
    let spec = pod_spec(object);
    let mut patches = serde_json::Map::new();
    for (container, image) in pairs {
        let Some(image) = image else { bail!("unknown attribute format: {container}-") };
        let mut known = false;
        for list in ["containers", "initContainers"] {
            for present in items_at(spec, &format!("/{list}")) {
                let own = text_at(present, "/name");
                if container != "*" && container != own {
                    continue;
                }
                known = true;
                if text_at(present, "/image") != image {
                    let changes = patches.entry(list).or_insert_with(|| json!([]));
                    let changes = changes.as_array_mut().expect("an array was inserted");
                    changes.push(json!({ "name": own, "image": image }));
                }
            }
        }
        if !known {
            bail!("unable to find container named \"{container}\"");
        }
    }
    let spec = (!patches.is_empty()).then_some(Value::Object(patches));
    Ok(spec.map(|spec| wrap(object, spec)))
}

fn plan_env(object: &Value, pairs: &Pairs, wanted: &str) -> Result<Option<Value>> {
    let mut containers = Vec::new();
    for present in items_at(pod_spec(object), "/containers") {
        let own = text_at(present, "/name");
        if wanted != "*" && wanted != own {
            continue;
        }
        let env = pairs.iter().map(|(key, value)| match value {
            Some(value) => json!({ "name": key, "value": value }),
            None => json!({ "name": key, "$patch": "delete" }),
        });
        containers.push(json!({ "name": own, "env": env.collect::<Vec<_>>() }));
    }
    if containers.is_empty() {
        bail!("{} does not have any containers matching \"{wanted}\"", name(object));
    }
    Ok(Some(wrap(object, json!({ "containers": containers }))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(words: &[&str]) -> Vec<(String, Option<String>)> {
        send::parse_pairs(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn only_changed_images_are_sent() {
        let containers = json!([{"name": "a", "image": "x:1"}, {"name": "b", "image": "y:1"}]);
        let object = json!({"kind": "Deployment", "spec": {"template": {"spec": {"containers": containers}}}});
        let patch = plan_images(&object, &pairs(&["a=x:2", "b=y:1"])).unwrap().unwrap();
        assert_eq!(
            patch,
            json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "x:2"}]}}}})
        );
        assert_eq!(plan_images(&object, &pairs(&["a=x:1"])).unwrap(), None);
        let all = plan_images(&object, &pairs(&["*=z"])).unwrap().unwrap();
        assert_eq!(
            all.pointer("/spec/template/spec/containers").unwrap().as_array().unwrap().len(),
            2
        );
        let error = plan_images(&object, &pairs(&["c=z"])).unwrap_err().to_string();
        assert_eq!(error, "unable to find container named \"c\"");
    }

    #[test]
    fn variables_are_set_and_removed() {
        let object = json!({"kind": "Pod", "spec": {"containers": [{"name": "a"}]}});
        let patch = plan_env(&object, &pairs(&["K=v", "L-"]), "*").unwrap().unwrap();
        let env = json!([{"name": "K", "value": "v"}, {"name": "L", "$patch": "delete"}]);
        assert_eq!(patch, json!({"spec": {"containers": [{"name": "a", "env": env}]}}));
    }
}
