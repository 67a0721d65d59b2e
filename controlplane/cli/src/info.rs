//! What the cluster is and has: cluster-info, version, api-resources, api-versions, config view.

use std::process::ExitCode;

use anyhow::{Result, bail};
use kube::config::Kubeconfig;
use serde_json::Value;

use crate::{
    discovery::{Kind, Kinds},
    json::{items_at, name, text_at},
    output::{tabwriter, to_json, yaml},
    session::{Globals, Session, with_query},
};

#[derive(Debug, clap::Args)]
pub struct ClusterInfoArguments {
    #[command(flatten)]
    pub globals: Globals,
}

#[derive(Debug, clap::Args)]
pub struct VersionArguments {
    /// If true, shows client version only (no server required)
    #[arg(long)]
    pub client: bool,
    /// One of 'yaml' or 'json'
    #[arg(short, long)]
    pub output: Option<String>,
    #[command(flatten)]
    pub globals: Globals,
}

#[derive(Debug, clap::Args)]
pub struct ApiResourcesArguments {
    /// Limit to resources in the specified API group
    #[arg(long)]
    pub api_group: Option<String>,
    /// If false, non-namespaced resources will be returned, otherwise returning namespaced resources
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub namespaced: Option<bool>,
    /// Limit to resources that support the specified verbs
    #[arg(long, value_delimiter = ',')]
    pub verbs: Vec<String>,
    /// Output format. One of: (wide, name)
    #[arg(short, long)]
    pub output: Option<String>,
    #[arg(long)]
    pub no_headers: bool,
    #[command(flatten)]
    pub globals: Globals,
}

#[derive(Debug, clap::Args)]
pub struct ApiVersionsArguments {
    #[command(flatten)]
    pub globals: Globals,
}

#[derive(Debug, clap::Args)]
pub struct ConfigArguments {
    #[command(subcommand)]
    pub what: ConfigWhat,
    #[command(flatten)]
    pub globals: Globals,
}

#[derive(Debug, clap::Subcommand)]
pub enum ConfigWhat {
    /// Display merged kubeconfig settings
    View {
        /// Remove all information not used by current-context from the output
        #[arg(long)]
        minify: bool,
        /// Display raw byte data and sensitive data
        #[arg(long)]
        raw: bool,
        /// Output format. One of: (json, yaml)
        #[arg(short, long)]
        output: Option<String>,
    },
    /// Display the current-context
    CurrentContext,
}

/// Says where the control plane is.
///
/// # Errors
/// What the server answers.
pub async fn cluster_info(session: &Session) -> Result<()> {
    let url = session.url.trim_end_matches('/');
    let services = Kind::built_in("", "v1", "Service", "services", true);
    let label = [("labelSelector", "kubernetes.io/cluster-service=true")];
    let list = session.list(&with_query(&services.collection(Some("kube-system")), &label)).await?;
    println!("Kubernetes control plane is running at {url}");
    for service in items_at(&list, "/items") {
        let shown = match text_at(service, "/metadata/labels/kubernetes.io~1name") {
            "" => name(service),
            shown => shown,
        };
        let port =
            items_at(service, "/spec/ports").next().map_or("", |port| text_at(port, "/name"));
        let port = if port.is_empty() { String::new() } else { format!(":{port}") };
        println!(
            "{shown} is running at {url}/api/v1/namespaces/kube-system/services/{}{port}/proxy",
            name(service)
        );
    }
    println!("\nTo further debug and diagnose cluster problems, use 'kubectl cluster-info dump'.");
    Ok(())
}

/// Prints both versions.
///
/// # Errors
/// What the server answers.
pub async fn version(session: &Session, arguments: VersionArguments) -> Result<()> {
    let own = concat!("v", env!("CARGO_PKG_VERSION"));
    let mut answer = serde_json::json!({ "clientVersion": { "gitVersion": own } });
    if !arguments.client {
        answer["serverVersion"] = session.get("/version").await?;
    }
    match arguments.output.as_deref() {
        Some("json") => print!("{}", to_json(&answer)),
        Some("yaml") => print!("{}", yaml::to_yaml(&answer)),
        Some(_) => bail!("--output must be 'yaml' or 'json'"),
        None => {
            println!("Client Version: {own}");
            if !arguments.client {
                println!("Server Version: {}", text_at(&answer, "/serverVersion/gitVersion"));
            }
        }
    }
    Ok(())
}

/// Prints the kinds that the server has.
///
/// # Errors
/// What the server answers.
pub async fn api_resources(session: &Session, arguments: ApiResourcesArguments) -> Result<()> {
    let kinds = Kinds::discover(session).await?;
    let lines = resource_lines(&kinds, &arguments);
    print!("{}", tabwriter::align(&lines.join("\n"), tabwriter::GET));
    Ok(())
}

fn resource_lines(kinds: &Kinds, arguments: &ApiResourcesArguments) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let mut chosen: Vec<&Kind> = kinds
        .0
        .iter()
        .filter(|kind| arguments.api_group.as_ref().is_none_or(|group| kind.group == *group))
        .filter(|kind| arguments.namespaced.is_none_or(|namespaced| kind.namespaced == namespaced))
        .filter(|kind| arguments.verbs.iter().all(|verb| kind.verbs.contains(verb)))
        // One version of each: the preferred one comes first.
        .filter(|kind| seen.insert((kind.group.clone(), kind.plural.clone())))
        .collect();
    chosen.sort_by_key(|kind| (&kind.group, &kind.plural));
    if arguments.output.as_deref() == Some("name") {
        return chosen.into_iter().map(Kind::resource).collect();
    }
    let wide = arguments.output.as_deref() == Some("wide");
    let mut lines = Vec::new();
    if !arguments.no_headers {
        let more = if wide { "\tVERBS\tCATEGORIES" } else { "" };
        lines.push(format!("NAME\tSHORTNAMES\tAPIVERSION\tNAMESPACED\tKIND{more}"));
    }
    lines.extend(chosen.into_iter().map(|kind| {
        let more = match wide {
            true => format!("\t{}\t{}", kind.verbs.join(","), kind.categories.join(",")),
            false => String::new(),
        };
        format!(
            "{}\t{}\t{}\t{}\t{}{more}",
            kind.plural,
            kind.short_names.join(","),
            kind.api_version(),
            kind.namespaced,
            kind.kind
        )
    }));
    lines
}

/// Prints the group versions that the server has.
///
/// # Errors
/// What the server answers.
pub async fn api_versions(session: &Session) -> Result<()> {
    let kinds = Kinds::discover(session).await?;
    let versions: std::collections::BTreeSet<_> = kinds.0.iter().map(Kind::api_version).collect();
    versions.iter().for_each(|version| println!("{version}"));
    Ok(())
}

/// Prints the kubeconfig, secrets left out.
///
/// # Errors
/// When it cannot be read.
pub fn view_config(arguments: &ConfigArguments) -> Result<ExitCode> {
    let kubeconfig = match &arguments.globals.kubeconfig {
        Some(path) => Kubeconfig::read_from(path)?,
        None => Kubeconfig::read()?,
    };
    let mut config = serde_json::to_value(kubeconfig)?;
    if let Some(context) = &arguments.globals.context {
        config["current-context"] = context.clone().into();
    }
    match &arguments.what {
        ConfigWhat::CurrentContext => println!("{}", text_at(&config, "/current-context")),
        ConfigWhat::View { minify, raw, output } => {
            if *minify {
                minify_config(&mut config);
            }
            if !raw {
                redact(&mut config);
            }
            match output.as_deref() {
                Some("json") => print!("{}", to_json(&config)),
                _ => print!("{}", yaml::to_yaml(&config)),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Keeps only what the current context uses.
fn minify_config(config: &mut Value) {
    let current = text_at(config, "/current-context").to_owned();
    let keep = |config: &mut Value, list: &str, wanted: &str| {
        if let Some(items) = config.get_mut(list).and_then(Value::as_array_mut) {
            items.retain(|item| text_at(item, "/name") == wanted);
        }
    };
    keep(config, "contexts", &current);
    let cluster = text_at(config, "/contexts/0/context/cluster").to_owned();
    let user = text_at(config, "/contexts/0/context/user").to_owned();
    keep(config, "clusters", &cluster);
    keep(config, "users", &user);
}

fn redact(config: &mut Value) {
    const HIDDEN: [(&str, &str, &str, &str); 5] = [
        ("clusters", "cluster", "certificate-authority-data", "DATA+OMITTED"),
        ("users", "user", "client-certificate-data", "DATA+OMITTED"),
        ("users", "user", "client-key-data", "DATA+OMITTED"),
        ("users", "user", "token", "REDACTED"),
        ("users", "user", "password", "REDACTED"),
    ];
    for (list, part, field, shown) in HIDDEN {
        for item in config.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(secret) = item.get_mut(part).and_then(|part| part.get_mut(field)) {
                *secret = shown.into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_hidden() {
        let mut config = json!({
            "current-context": "b",
            "contexts": [{"name": "a", "context": {"cluster": "x", "user": "x"}}, {"name": "b", "context": {"cluster": "y", "user": "y"}}],
            "clusters": [{"name": "x", "cluster": {}}, {"name": "y", "cluster": {"certificate-authority-data": "AAA"}}],
            "users": [{"name": "x", "user": {}}, {"name": "y", "user": {"token": "t", "client-key-data": "k"}}],
        });
        minify_config(&mut config);
        redact(&mut config);
        assert_eq!(config["contexts"].as_array().unwrap().len(), 1);
        assert_eq!(
            config["clusters"],
            json!([{"name": "y", "cluster": {"certificate-authority-data": "DATA+OMITTED"}}])
        );
        assert_eq!(
            config["users"],
            json!([{"name": "y", "user": {"token": "REDACTED", "client-key-data": "DATA+OMITTED"}}])
        );
    }

    #[test]
    fn resources_are_listed_once() {
        let arguments = |output: Option<&str>| ApiResourcesArguments {
            api_group: None,
            namespaced: None,
            verbs: Vec::new(),
            output: output.map(str::to_owned),
            no_headers: false,
            globals: Globals::default(),
        };
        let kinds = crate::discovery::tests::some_kinds();
        let lines = resource_lines(&kinds, &arguments(None));
        assert_eq!(lines[0], "NAME\tSHORTNAMES\tAPIVERSION\tNAMESPACED\tKIND");
        assert_eq!(lines[4], "deployments\tdeploy\tapps/v1\ttrue\tDeployment");
        assert!(
            resource_lines(&kinds, &arguments(Some("name")))
                .contains(&"deployments.apps".to_owned())
        );
    }
}
