//! `run`: one pod from the command line, watched or talked to if asked.

use std::process::ExitCode;

use anyhow::{Result, bail};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::{
    delete,
    discovery::Kind,
    exec,
    expose::pairs,
    json::{items_at, number_at, text_at},
    logs,
    send::{self, Writing},
    session::{JSON, Session, with_query},
};

#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of kubectl run")]
pub struct Arguments {
    pub name: String,
    /// The image for the container to run
    #[arg(long)]
    pub image: String,
    /// The image pull policy for the container
    #[arg(long)]
    pub image_pull_policy: Option<String>,
    /// The restart policy for this Pod. Legal values [Always, OnFailure, Never]
    #[arg(long, default_value = "Always")]
    pub restart: String,
    /// Environment variables to set in the container: KEY=value
    #[arg(long)]
    pub env: Vec<String>,
    /// Comma separated labels to apply to the pod
    #[arg(short, long)]
    pub labels: Option<String>,
    /// Annotations to apply to the pod: key=value
    #[arg(long)]
    pub annotations: Vec<String>,
    /// The port that this container exposes
    #[arg(long)]
    pub port: Option<u16>,
    /// Run the container in privileged mode
    #[arg(long)]
    pub privileged: bool,
    /// An inline JSON override (merge patch) for the generated object
    #[arg(long)]
    pub overrides: Option<String>,
    /// Keep stdin open on the container in the pod, even if nothing is attached
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Allocate a TTY for the container in the pod
    #[arg(short, long)]
    pub tty: bool,
    /// If true, wait for the Pod to start running, and then attach to the Pod
    #[arg(long)]
    pub attach: bool,
    /// If true, delete the pod after it exits. Only valid when attaching to the container
    #[arg(long)]
    pub rm: bool,
    /// Suppress prompt messages
    #[arg(short, long)]
    pub quiet: bool,
    /// If true and extra arguments are present, use them as the 'command' field in the container
    #[arg(long)]
    pub command: bool,
    #[command(flatten)]
    pub writing: Writing,
    #[command(flatten)]
    pub globals: crate::session::Globals,
    /// Arguments (or, with --command, the command) of the container
    #[arg(last = true)]
    pub words: Vec<String>,
}

/// Creates the pod; attached, returns its exit code.
///
/// # Errors
/// What the server answers.
pub async fn run(session: &Session, arguments: Arguments) -> Result<ExitCode> {
    let attach = arguments.attach || arguments.stdin || arguments.tty;
    if arguments.rm && !attach {
        bail!("--rm should only be used for attached containers");
    }
    let kind = Kind::built_in("", "v1", "Pod", "pods", true);
    let mut pod = plan(&arguments)?;
    pod["metadata"]["namespace"] = session.namespace.clone().into();
    if !attach || arguments.writing.stays_here() {
        send::create(session, &kind, pod, &arguments.writing, "kubectl-run").await?;
        return Ok(ExitCode::SUCCESS);
    }
    send::post(session, &kind, &pod, &arguments.writing.path("", "kubectl-run")).await?;
    let result = talk(session, &arguments, &kind).await;
    if arguments.rm {
        let path = kind.object(&session.namespace, &arguments.name);
        session.send(http::Method::DELETE, &path, JSON, &json!({})).await?;
        println!("pod \"{}\" deleted from {} namespace", arguments.name, session.namespace);
        delete::gone(session, &kind, &session.namespace, &arguments.name, "").await?;
    }
    result
}

fn plan(arguments: &Arguments) -> Result<Value> {
    let mut container =
        json!({ "name": arguments.name, "image": arguments.image, "resources": {} });
    if let Some(policy) = &arguments.image_pull_policy {
        container["imagePullPolicy"] = policy.clone().into();
    }
    if !arguments.words.is_empty() {
        let field = if arguments.command { "command" } else { "args" };
        container[field] = arguments.words.clone().into();
    }
    if !arguments.env.is_empty() {
        let mut env = Vec::new();
        for pair in &arguments.env {
            let Some((name, value)) = pair.split_once('=') else { bail!("invalid env: {pair}") };
            env.push(json!({ "name": name, "value": value }));
        }
        container["env"] = env.into();
    }
    if let Some(port) = arguments.port {
        container["ports"] = json!([{ "containerPort": port }]);
    }
    if arguments.privileged {
        container["securityContext"] = json!({ "privileged": true });
    }
    if arguments.stdin || arguments.tty {
        container["stdin"] = arguments.stdin.into();
        container["stdinOnce"] = arguments.stdin.into();
        container["tty"] = arguments.tty.into();
    }
    let labels = match &arguments.labels {
        Some(labels) => pairs(labels)?,
        None => json!({ "run": arguments.name }),
    };
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": arguments.name, "labels": labels },
        "spec": { "containers": [container], "restartPolicy": arguments.restart, "dnsPolicy": "ClusterFirst" },
    });
    if !arguments.annotations.is_empty() {
        pod["metadata"]["annotations"] = pairs(&arguments.annotations.join(","))?;
    }
    if let Some(overrides) = &arguments.overrides {
        merge(&mut pod, &serde_json::from_str(overrides)?);
    }
    Ok(pod)
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        match value {
            Value::Null => drop(target.as_object_mut().map(|map| map.remove(key))),
            value => merge(&mut target[key], value),
        }
    }
}

/// Attaches once the container runs; prints its log when it was faster.
async fn talk(session: &Session, arguments: &Arguments, kind: &Kind) -> Result<ExitCode> {
    let pod = wait_for(session, kind, &arguments.name, |pod| phase(pod) != "Pending").await?;
    if phase(&pod) == "Running" {
        if arguments.stdin && !arguments.quiet {
            eprintln!("If you don't see a command prompt, try pressing enter.");
        }
        let streams = exec::Streams { stdin: arguments.stdin, tty: arguments.tty };
        exec::attach_to(session, &arguments.name, &arguments.name, streams).await?;
    } else {
        logs::print_whole(session, &arguments.name, &arguments.name).await?;
    }
    if arguments.restart == "Always" {
        return Ok(ExitCode::SUCCESS);
    }
    let ended = |pod: &Value| matches!(phase(pod), "Succeeded" | "Failed");
    let pod = wait_for(session, kind, &arguments.name, ended).await?;
    let code = items_at(&pod, "/status/containerStatuses")
        .find_map(|status| number_at(status, "/state/terminated/exitCode"))
        .unwrap_or(i64::from(phase(&pod) == "Failed"));
    if code != 0 {
        eprintln!("pod {}/{} terminated ({})", session.namespace, arguments.name, phase(&pod));
    }
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn phase(pod: &Value) -> &str {
    text_at(pod, "/status/phase")
}

async fn wait_for(
    session: &Session,
    kind: &Kind,
    name: &str,
    done: impl Fn(&Value) -> bool,
) -> Result<Value> {
    loop {
        let pod = session.get(&kind.object(&session.namespace, name)).await?;
        if done(&pod) && !phase(&pod).is_empty() {
            return Ok(pod);
        }
        let version = text_at(&pod, "/metadata/resourceVersion");
        let path =
            with_query(&kind.watch_one(&session.namespace, name), &[("resourceVersion", version)]);
        let mut events = session.watch(&path, JSON).await?;
        while let Some(Ok(event)) = events.next().await {
            if text_at(&event, "/type") == "DELETED" {
                bail!("pod \"{name}\" was deleted");
            }
            let pod = &event["object"];
            if done(pod) && !phase(pod).is_empty() {
                return Ok(pod.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Tool {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn flags_become_a_pod() {
        let line = "run x --image=busybox --restart=Never --env=A=b=c --port=80 --labels=a=b -it -- sh -c ls";
        let pod = plan(&Tool::parse_from(line.split_whitespace()).arguments).unwrap();
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["args"], json!(["sh", "-c", "ls"]));
        assert_eq!(container["env"], json!([{"name": "A", "value": "b=c"}]));
        assert_eq!((&container["stdin"], &container["tty"]), (&json!(true), &json!(true)));
        assert_eq!(pod["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(pod["spec"]["restartPolicy"], "Never");
    }

    #[test]
    fn overrides_are_merged() {
        let overrides = r#"--overrides={"spec":{"nodeName":"n","dnsPolicy":null}}"#;
        let pod = plan(&Tool::parse_from(["run", "x", "--image=i", overrides]).arguments).unwrap();
        assert_eq!(pod["spec"]["nodeName"], "n");
        assert!(pod["spec"].get("dnsPolicy").is_none());
        assert_eq!(pod["metadata"]["labels"], json!({"run": "x"}));
    }
}
