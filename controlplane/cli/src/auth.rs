//! `auth`: what one may do, and as whom.

use std::process::ExitCode;

use anyhow::{Result, bail};
use http::Method;
use serde_json::{Value, json};

use crate::{
    discovery::Kinds,
    json::{entries_at, is_true_at, items_at, text_at},
    output::tabwriter,
    session::{JSON, Session},
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
    /// Check whether an action is allowed
    CanI {
        /// VERB [TYPE | TYPE/NAME | NONRESOURCEURL]
        words: Vec<String>,
        /// If true, check the specified action in all namespaces
        #[arg(short = 'A', long)]
        all_namespaces: bool,
        /// SubResource such as pod/log or deployment/scale
        #[arg(long, default_value = "")]
        subresource: String,
        /// If true, suppress output and just return the exit code
        #[arg(short, long)]
        quiet: bool,
    },
    /// Experimental: Check self subject attributes
    Whoami,
}

/// Asks and prints.
///
/// # Errors
/// What the server answers.
pub async fn run(session: &Session, arguments: Arguments) -> Result<ExitCode> {
    match arguments.what {
        What::CanI { words, all_namespaces, subresource, quiet } => {
            let namespace = if all_namespaces { "" } else { &session.namespace };
            let allowed = can_i(session, &words, namespace, &subresource).await?;
            if !quiet {
                println!("{}", if allowed { "yes" } else { "no" });
            }
            Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        What::Whoami => {
            let review =
                json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
            let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
            let answer = session.send(Method::POST, path, JSON, &review).await?;
            print!("{}", who(&answer.body["status"]["userInfo"]));
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn can_i(
    session: &Session,
    words: &[String],
    namespace: &str,
    subresource: &str,
) -> Result<bool> {
    let spec = match words {
        [verb, path] if path.starts_with('/') => {
            json!({ "nonResourceAttributes": { "verb": verb, "path": path } })
        }
        [verb, resource] => {
            let (resource, name) = resource.split_once('/').unwrap_or((resource, ""));
            let kinds = Kinds::discover(session).await?;
            let (group, plural) = match (resource, kinds.find(resource)) {
                ("*", _) => ("*", "*"),
                (_, Ok(kind)) => {
                    if !kind.namespaced && !namespace.is_empty() {
                        let group = if kind.group.is_empty() {
                            String::new()
                        } else {
                            format!(" in group '{}'", kind.group)
                        };
                        eprintln!(
                            "Warning: resource '{}' is not namespace scoped{group}
",
                            kind.plural
                        );
                    }
                    (kind.group.as_str(), kind.plural.as_str())
                }
                (_, Err(_)) => {
                    eprintln!("Warning: the server doesn't have a resource type '{resource}'\n");
                    ("", resource)
                }
            };
            json!({ "resourceAttributes": {
                "verb": verb, "group": group, "resource": plural, "name": name, "namespace": namespace,
                "subresource": subresource,
            } })
        }
        _ => bail!("you must specify two arguments: verb resource or verb resource/resourceName"),
    };
    let review = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = session.send(Method::POST, path, JSON, &review).await?;
    Ok(is_true_at(&answer.body, "/status/allowed"))
}

fn who(user: &Value) -> String {
    let mut text = "ATTRIBUTE\tVALUE\n".to_owned();
    for (label, pointer) in [("Username", "/username"), ("UID", "/uid")] {
        if !text_at(user, pointer).is_empty() {
            text.push_str(&format!("{label}\t{}\n", text_at(user, pointer)));
        }
    }
    let list = |value: &Value, pointer: &str| {
        let items: Vec<_> = items_at(value, pointer).filter_map(Value::as_str).collect();
        format!("[{}]", items.join(" "))
    };
    if user.get("groups").is_some() {
        text.push_str(&format!("Groups\t{}\n", list(user, "/groups")));
    }
    for (key, values) in entries_at(user, "/extra") {
        text.push_str(&format!("Extra: {key}\t{}\n", list(values, "")));
    }
    tabwriter::align(&text, tabwriter::GET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_shown() {
        let user = json!({"username": "u", "groups": ["a", "b"], "extra": {"k": ["v"]}});
        assert_eq!(
            who(&user),
            "ATTRIBUTE   VALUE\nUsername    u\nGroups      [a b]\nExtra: k    [v]\n"
        );
    }
}
