//! The list of commands and which module runs each.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    apply, auth, cp, create, delete, describe, drain, error, events, exec, expose, get, info,
    label, logs, patch, portforward, rollout, run, scale,
    session::{Globals, Session},
    set, taint, token, top, wait,
};

/// What can be done with a cluster; the words and flags are kubectl's.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Display one or many resources
    Get(get::Arguments),
    /// Show details of a specific resource or group of resources
    Describe(describe::Arguments),
    /// Apply a configuration to a resource by file name or stdin
    Apply(apply::Arguments),
    /// Create a resource from a file, from stdin, or by its kind
    Create(create::Arguments),
    /// Delete resources by file names, stdin, resources and names, or by selector
    Delete(delete::Arguments),
    /// Run a particular image on the cluster
    Run(run::Arguments),
    /// Expose a deployment, service, replica set or pod as a new service
    Expose(expose::Arguments),
    /// Set a new size for a deployment, replica set or stateful set
    Scale(scale::Arguments),
    /// Set specific features on objects
    Set(set::Arguments),
    /// Update the labels on a resource
    Label(label::LabelArguments),
    /// Update the annotations on a resource
    Annotate(label::AnnotateArguments),
    /// Update fields of a resource
    Patch(patch::Arguments),
    /// Print the logs for a container in a pod
    Logs(logs::Arguments),
    /// Execute a command in a container
    Exec(exec::ExecArguments),
    /// Attach to a running container
    Attach(exec::AttachArguments),
    /// Copy files and directories to and from containers
    Cp(cp::Arguments),
    /// Forward one or more local ports to a pod
    PortForward(portforward::Arguments),
    /// Manage the rollout of a resource
    Rollout(rollout::Arguments),
    /// Wait for a specific condition on one or many resources
    Wait(wait::Arguments),
    /// Display resource (CPU/memory) usage
    Top(top::Arguments),
    /// List events
    Events(events::Arguments),
    /// Display cluster information
    ClusterInfo(info::ClusterInfoArguments),
    /// Print the client and server version information
    Version(info::VersionArguments),
    /// Print the supported API resources on the server
    ApiResources(info::ApiResourcesArguments),
    /// Print the supported API versions on the server, in the form of "group/version"
    ApiVersions(info::ApiVersionsArguments),
    /// Show the kubeconfig
    Config(info::ConfigArguments),
    /// Mark node as unschedulable
    Cordon(drain::CordonArguments),
    /// Mark node as schedulable
    Uncordon(drain::CordonArguments),
    /// Drain node in preparation for maintenance
    Drain(drain::Arguments),
    /// Update the taints on one or more nodes
    Taint(taint::Arguments),
    /// Manage bootstrap tokens, with which nodes join
    Token(token::Arguments),
    /// Inspect authorization
    Auth(auth::Arguments),
}

impl Command {
    fn globals(&self) -> &Globals {
        match self {
            Self::Get(arguments) => &arguments.globals,
            Self::Describe(arguments) => &arguments.globals,
            Self::Apply(arguments) => &arguments.globals,
            Self::Create(arguments) => &arguments.globals,
            Self::Delete(arguments) => &arguments.globals,
            Self::Run(arguments) => &arguments.globals,
            Self::Expose(arguments) => &arguments.globals,
            Self::Scale(arguments) => &arguments.globals,
            Self::Set(arguments) => &arguments.globals,
            Self::Label(arguments) => &arguments.change.globals,
            Self::Annotate(arguments) => &arguments.change.globals,
            Self::Patch(arguments) => &arguments.globals,
            Self::Logs(arguments) => &arguments.globals,
            Self::Exec(arguments) => &arguments.globals,
            Self::Attach(arguments) => &arguments.globals,
            Self::Cp(arguments) => &arguments.globals,
            Self::PortForward(arguments) => &arguments.globals,
            Self::Rollout(arguments) => &arguments.globals,
            Self::Wait(arguments) => &arguments.globals,
            Self::Top(arguments) => &arguments.globals,
            Self::Events(arguments) => &arguments.globals,
            Self::ClusterInfo(arguments) => &arguments.globals,
            Self::Version(arguments) => &arguments.globals,
            Self::ApiResources(arguments) => &arguments.globals,
            Self::ApiVersions(arguments) => &arguments.globals,
            Self::Config(arguments) => &arguments.globals,
            Self::Cordon(arguments) | Self::Uncordon(arguments) => &arguments.globals,
            Self::Drain(arguments) => &arguments.globals,
            Self::Taint(arguments) => &arguments.globals,
            Self::Token(arguments) => &arguments.globals,
            Self::Auth(arguments) => &arguments.globals,
        }
    }
}

/// Runs the command and prints its failure, if any.
pub async fn dispatch(command: Command) -> ExitCode {
    if let Command::Config(arguments) = &command {
        return finish(info::view_config(arguments), "");
    }
    let session = match Session::open(command.globals()).await {
        Ok(session) => session,
        Err(error) => return finish(Err(error), ""),
    };
    let result = perform(&session, command).await;
    finish(result, &session.server)
}

fn finish(result: Result<ExitCode>, server: &str) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("{}", error::describe(&error, server));
        ExitCode::FAILURE
    })
}

async fn perform(session: &Session, command: Command) -> Result<ExitCode> {
    let done = match command {
        Command::Exec(arguments) => return exec::exec(session, arguments).await,
        Command::Attach(arguments) => return exec::attach(session, arguments).await,
        Command::Run(arguments) => return run::run(session, arguments).await,
        Command::Auth(arguments) => return auth::run(session, arguments).await,
        Command::Get(arguments) => get::run(session, arguments).await,
        Command::Describe(arguments) => describe::run(session, arguments).await,
        Command::Apply(arguments) => apply::run(session, arguments).await,
        Command::Create(arguments) => create::run(session, arguments).await,
        Command::Delete(arguments) => delete::run(session, arguments).await,
        Command::Expose(arguments) => expose::run(session, arguments).await,
        Command::Scale(arguments) => scale::run(session, arguments).await,
        Command::Set(arguments) => set::run(session, arguments).await,
        Command::Label(arguments) => label::label(session, arguments).await,
        Command::Annotate(arguments) => label::annotate(session, arguments).await,
        Command::Patch(arguments) => patch::run(session, arguments).await,
        Command::Logs(arguments) => logs::run(session, arguments).await,
        Command::Cp(arguments) => cp::run(session, arguments).await,
        Command::PortForward(arguments) => portforward::run(session, arguments).await,
        Command::Rollout(arguments) => rollout::run(session, arguments).await,
        Command::Wait(arguments) => wait::run(session, arguments).await,
        Command::Top(arguments) => top::run(session, arguments).await,
        Command::Events(arguments) => events::run(session, arguments).await,
        Command::ClusterInfo(_) => info::cluster_info(session).await,
        Command::Version(arguments) => info::version(session, arguments).await,
        Command::ApiResources(arguments) => info::api_resources(session, arguments).await,
        Command::ApiVersions(_) => info::api_versions(session).await,
        Command::Config(arguments) => return info::view_config(&arguments),
        Command::Cordon(arguments) => drain::cordon(session, arguments, true).await,
        Command::Uncordon(arguments) => drain::cordon(session, arguments, false).await,
        Command::Drain(arguments) => drain::run(session, arguments).await,
        Command::Taint(arguments) => taint::run(session, arguments).await,
        Command::Token(arguments) => token::run(session, arguments).await,
    };
    done.map(|()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Tool {
        #[command(subcommand)]
        command: Command,
    }

    #[test]
    fn flags_do_not_contradict_each_other() {
        Tool::command().debug_assert();
    }

    #[test]
    fn kubectls_lines_are_understood() {
        for line in [
            "get pods -A -o wide",
            "get pod/a svc/b -n x",
            "get pods,svc -l app=x -w",
            "get po a -o jsonpath={.status.phase}",
            "describe nodes",
            "apply -f a.yaml -f -",
            "apply --server-side --force-conflicts -f dir -R",
            "create -f x.yaml",
            "create ns x",
            "create deploy x --image=i --replicas 3 -n y --dry-run=client -o yaml",
            "create cm x --from-literal=a=b --from-file=k=f",
            "create secret generic x --from-literal a=b",
            "create sa x",
            "create token x --duration 1h",
            "delete pod a b --grace-period=0 --force",
            "delete -f x.yaml --wait=false",
            "run x --image=busybox --rm -it --restart=Never -- sh -c ls",
            "expose deploy x --port 80 --target-port=8080 --type NodePort",
            "scale --replicas=3 deploy/x",
            "set image deploy/x a=b c=d",
            "label pod x a=b c- --overwrite",
            "annotate pods --all a=b",
            "patch deploy x --type=merge -p {}",
            "logs -f x -c y --tail=10 --since 5m --previous",
            "logs deploy/x --all-containers",
            "logs -l a=b",
            "exec -it x -c y -- sh -c ls",
            "exec deploy/x -- env -i ls",
            "cp a x:/b -c y",
            "port-forward svc/x 8080:80 --address 0.0.0.0",
            "rollout status deploy/x --timeout=5s",
            "rollout undo deploy x --to-revision=2",
            "wait --for=condition=Ready pod -l a=b --timeout=60s",
            "wait --for=delete pod/x",
            "top pods -A",
            "cluster-info",
            "version --client",
            "api-resources --namespaced=false",
            "config view --minify",
            "cordon n",
            "drain n --ignore-daemonsets --delete-emptydir-data --force",
            "taint nodes n a=b:NoSchedule c-",
            "token create --ttl 2h --description x",
            "auth can-i get pods --as x",
        ] {
            let words = std::iter::once("tool").chain(line.split_whitespace());
            if let Err(error) = Tool::try_parse_from(words) {
                panic!("{line}: {error}");
            }
        }
    }
}
