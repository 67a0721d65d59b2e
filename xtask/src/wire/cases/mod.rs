//! The checks: every command of kubectl, and what must be true after it.

mod access;
mod bodies;
mod creating;
mod custom;
mod nodes;
mod reading;
mod streams;
mod workloads;
mod writing;

use anyhow::Result;

use super::scene::Scene;

/// One check.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub proves: &'static str,
    /// Works on the nodes, so that no other check of that kind may run.
    pub alone: bool,
    pub run: fn(&Scene<'_>) -> Result<()>,
}

const fn case(name: &'static str, proves: &'static str, run: fn(&Scene<'_>) -> Result<()>) -> Case {
    Case { name, proves, alone: false, run }
}

const fn alone(
    name: &'static str,
    proves: &'static str,
    run: fn(&Scene<'_>) -> Result<()>,
) -> Case {
    Case { name, proves, alone: true, run }
}

/// In the order of the table of commands.
#[must_use]
pub fn all() -> Vec<Case> {
    vec![
        case("version", "version, cluster-info, api-versions, api-resources", reading::version),
        case("get", "get: tables, pages, selectors, sort, custom columns", reading::get),
        case("get-all", "get all: every kind of the category", reading::get_all),
        case("get-watch", "get -w and --watch-only", reading::watch),
        case("describe", "describe of many kinds, with events", reading::describe),
        case("explain", "explain with descriptions", reading::explain),
        case("events", "events and get events", reading::events),
        case("proxy", "kubectl proxy", reading::proxy),
        case("create-file", "create -f with strict validation", creating::file),
        case("create-type", "create TYPE: protobuf bodies", creating::types),
        case("apply", "client-side apply: three-way merge", writing::apply),
        case(
            "apply-server-side",
            "server-side apply, conflicts, force, migration",
            writing::server_side,
        ),
        case("apply-prune", "apply --prune", writing::prune),
        case("apply-custom", "apply of custom resources by merge patch", custom::apply),
        case("custom-schemas", "custom resources with and without schemas", custom::schemas),
        case("dry-run", "--dry-run=server changes nothing", writing::dry_run),
        case("diff", "diff: exit codes and text", writing::diff),
        case("edit-replace", "edit, replace, replace --force", writing::edit),
        case("patch", "strategic, merge, json patches; subresources", writing::patch),
        case("label-annotate", "label and annotate", writing::label),
        case("delete", "delete: propagation, --all, selectors, --wait", writing::delete),
        case("kustomize", "apply -k", writing::kustomize),
        case("run-expose", "run and expose", workloads::run),
        case("rc", "replication controllers: create, scale, expose, stop", workloads::controllers),
        case("scale", "scale and autoscale", workloads::scale),
        case("set", "set image, env, resources, selector, serviceaccount, subject", workloads::set),
        case("rollout", "rollout status, history, undo, restart, pause", workloads::rollout),
        case("rollout-sets", "rollout of daemon sets and stateful sets", workloads::sets),
        case("wait", "wait: condition, jsonpath, create, delete", workloads::wait),
        case("jobs", "jobs and cron jobs", workloads::jobs),
        case("debug", "debug: ephemeral container, copy, node", workloads::debug),
        case("logs", "logs with every option", streams::logs),
        case("exec", "exec over WebSocket and SPDY", streams::exec),
        case("attach", "attach over both", streams::attach),
        case("cp", "cp in both directions over both", streams::copy),
        case("port-forward", "port-forward over both", streams::port_forward),
        case("auth", "auth can-i, --list, whoami, reconcile", access::auth),
        case("token", "create token, and what it may do", access::token),
        case("certificate", "certificate approve and deny", access::certificate),
        alone("cordon-taint", "cordon, uncordon, taint", nodes::cordon),
        alone("drain", "drain by eviction, PDBs respected", nodes::drain),
        alone("top", "top nodes and pods", nodes::top),
    ]
}
