//! Objects that a few flags describe whole.

use anyhow::{Result, bail};
use http::Method;
use serde_json::{Value, json};

use crate::{
    discovery::Kind,
    json::text_at,
    output::age,
    send::Writing,
    session::{JSON, Session},
};

type Plan = (Kind, Value, Writing);

/// What has nothing but a name.
#[derive(Debug, clap::Args)]
pub struct Named {
    pub name: String,
    #[command(flatten)]
    pub writing: Writing,
}

impl Named {
    pub fn plan_namespace(self) -> Plan {
        let object =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": self.name } });
        (Kind::built_in("", "v1", "Namespace", "namespaces", false), object, self.writing)
    }

    pub fn plan_service_account(self) -> Plan {
        let object = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": self.name } });
        (Kind::built_in("", "v1", "ServiceAccount", "serviceaccounts", true), object, self.writing)
    }
}

#[derive(Debug, clap::Args)]
pub struct Deployment {
    pub name: String,
    /// Image names to run. A deployment can have multiple images set for multi-container pod
    #[arg(long, required = true)]
    pub image: Vec<String>,
    /// Number of replicas to create
    #[arg(short, long, default_value_t = 1)]
    pub replicas: u32,
    /// The port that this deployment exposes
    #[arg(long)]
    pub port: Option<u16>,
    #[command(flatten)]
    pub writing: Writing,
    /// The command of the container
    #[arg(last = true)]
    pub command: Vec<String>,
}

impl Deployment {
    pub fn plan(self) -> Result<Plan> {
        if self.image.len() > 1 && !self.command.is_empty() {
            bail!("cannot specify multiple --image options and command");
        }
        let containers: Vec<_> = self.image.iter().map(|image| self.container(image)).collect();
        let labels = json!({ "app": self.name });
        let object = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": self.name, "labels": labels },
            "spec": {
                "replicas": self.replicas,
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": { "containers": containers } },
            },
        });
        Ok((Kind::built_in("apps", "v1", "Deployment", "deployments", true), object, self.writing))
    }

    fn container(&self, image: &str) -> Value {
        let mut container =
            json!({ "name": container_name(image), "image": image, "resources": {} });
        if !self.command.is_empty() {
            container["command"] = self.command.clone().into();
        }
        if let Some(port) = self.port {
            container["ports"] = json!([{ "containerPort": port }]);
        }
        container
    }
}

/// The last part of an image's name without tag and digest, as a DNS label.
pub(super) fn container_name(image: &str) -> String {
    let base = image.rsplit('/').next().unwrap_or(image);
    let base = base.split(['@', ':']).next().unwrap_or(base);
    base.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "-")
}

#[derive(Debug, clap::Args)]
pub struct Job {
    pub name: String,
    /// Image name to run
    #[arg(long)]
    pub image: Option<String>,
    /// The name of the resource to create a Job from (only cronjob is supported)
    #[arg(long)]
    pub from: Option<String>,
    #[command(flatten)]
    pub writing: Writing,
    /// The command of the container
    #[arg(last = true)]
    pub command: Vec<String>,
}

impl Job {
    pub async fn plan(self, session: &Session) -> Result<Plan> {
        let spec = match (&self.image, &self.from) {
            (Some(image), None) => {
                let mut container = json!({ "name": self.name, "image": image, "resources": {} });
                if !self.command.is_empty() {
                    container["command"] = self.command.clone().into();
                }
                json!({ "template": { "spec": { "containers": [container], "restartPolicy": "Never" } } })
            }
            (None, Some(from)) => {
                let Some(name) = ["cronjob/", "cronjobs/", "cj/"]
                    .iter()
                    .find_map(|kind| from.strip_prefix(kind))
                else {
                    bail!("from must be an existing cronjob");
                };
                let kind = Kind::built_in("batch", "v1", "CronJob", "cronjobs", true);
                let present = session.get(&kind.object(&session.namespace, name)).await?;
                present["spec"]["jobTemplate"]["spec"].clone()
            }
            _ => bail!("either --image or --from must be specified"),
        };
        let object = json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": { "name": self.name },
            "spec": spec,
        });
        Ok((Kind::built_in("batch", "v1", "Job", "jobs", true), object, self.writing))
    }
}

#[derive(Debug, clap::Args)]
pub struct Binding {
    pub name: String,
    /// Cluster role this binding should reference
    #[arg(long)]
    pub clusterrole: Option<String>,
    /// Role this binding should reference
    #[arg(long)]
    pub role: Option<String>,
    /// Usernames to bind to the role
    #[arg(long)]
    pub user: Vec<String>,
    /// Groups to bind to the role
    #[arg(long)]
    pub group: Vec<String>,
    /// Service accounts to bind to the role, in the format <namespace>:<name>
    #[arg(long)]
    pub serviceaccount: Vec<String>,
    #[command(flatten)]
    pub writing: Writing,
}

impl Binding {
    pub fn plan(self, kind: &str, plural: &str, namespaced: bool) -> Result<Plan> {
        let group = "rbac.authorization.k8s.io";
        let role = match (&self.clusterrole, &self.role) {
            (Some(name), None) => json!({ "apiGroup": group, "kind": "ClusterRole", "name": name }),
            (None, Some(name)) if namespaced => {
                json!({ "apiGroup": group, "kind": "Role", "name": name })
            }
            _ => bail!("exactly one of clusterrole or role must be specified"),
        };
        let named = |kind: &'static str| move |name: &String| json!({ "apiGroup": group, "kind": kind, "name": name });
        let mut subjects: Vec<_> = self.user.iter().map(named("User")).collect();
        subjects.extend(self.group.iter().map(named("Group")));
        for account in &self.serviceaccount {
            let Some((namespace, name)) = account.split_once(':') else {
                bail!("serviceaccount must be <namespace>:<name>");
            };
            subjects
                .push(json!({ "kind": "ServiceAccount", "name": name, "namespace": namespace }));
        }
        let object = json!({
            "apiVersion": format!("{group}/v1"),
            "kind": kind,
            "metadata": { "name": self.name },
            "roleRef": role,
            "subjects": subjects,
        });
        Ok((Kind::built_in(group, "v1", kind, plural, namespaced), object, self.writing))
    }
}

#[derive(Debug, clap::Args)]
pub struct Token {
    /// The service account
    pub name: String,
    /// Requested lifetime of the issued token (1h, 90s)
    #[arg(long)]
    pub duration: Option<String>,
    /// Audience of the requested token; can be repeated
    #[arg(long)]
    pub audience: Vec<String>,
}

impl Token {
    pub async fn request(self, session: &Session) -> Result<()> {
        let mut spec = json!({});
        if let Some(duration) = &self.duration {
            let Some(duration) = age::parse_duration(duration) else {
                bail!("invalid duration \"{duration}\"");
            };
            spec["expirationSeconds"] = duration.as_secs().into();
        }
        if !self.audience.is_empty() {
            spec["audiences"] = self.audience.into();
        }
        let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec });
        let accounts = Kind::built_in("", "v1", "ServiceAccount", "serviceaccounts", true);
        let path = accounts.object(&session.namespace, &self.name) + "/token";
        let answer = session.send(Method::POST, &path, JSON, &body).await?;
        println!("{}", text_at(&answer.body, "/status/token"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_named_after_images() {
        for (image, name) in [
            ("nginx", "nginx"),
            ("10.88.0.1:5000/team/Web_App:v1", "web-app"),
            ("a/b@sha256:00", "b"),
        ] {
            assert_eq!(container_name(image), name);
        }
    }

    #[test]
    fn bindings_need_one_role() {
        let binding = |clusterrole: Option<&str>, role: Option<&str>| Binding {
            name: "x".to_owned(),
            clusterrole: clusterrole.map(str::to_owned),
            role: role.map(str::to_owned),
            user: vec!["u".to_owned()],
            group: Vec::new(),
            serviceaccount: vec!["n:s".to_owned()],
            writing: Writing::default(),
        };
        let (_, object, _) =
            binding(None, Some("r")).plan("RoleBinding", "rolebindings", true).unwrap();
        assert_eq!(
            object["subjects"][1],
            json!({"kind": "ServiceAccount", "name": "s", "namespace": "n"})
        );
        assert!(binding(None, None).plan("RoleBinding", "rolebindings", true).is_err());
        assert!(binding(None, Some("r")).plan("ClusterRoleBinding", "x", false).is_err());
    }
}
