//! Helm, built from its published module.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{home, output};
use crate::wire::server::Server;

const MODULE: &str = "helm.sh/helm/v3/cmd/helm@v3.22.0";
const BUILD: Duration = Duration::from_secs(3600);
const RUN: Duration = Duration::from_secs(300);

pub fn run(server: &Server) -> Result<String> {
    let folder = home("helm")?;
    let program = folder.join("helm");
    if !program.exists() {
        if Command::new("go").arg("version").output().is_err() {
            return Ok("skipped: go, which builds Helm".to_owned());
        }
        output(Command::new("go").args(["install", MODULE]).env("GOBIN", &folder), BUILD)?;
    }
    let work = tempfile::tempdir()?;
    let helm = |line: &str| -> Result<String> {
        let mut command = Command::new(&program);
        command.args(line.split_whitespace()).current_dir(work.path());
        command.env("KUBECONFIG", server.kubeconfig()).env("HELM_CACHE_HOME", work.path());
        command.env("HELM_CONFIG_HOME", work.path()).env("HELM_DATA_HOME", work.path());
        output(&mut command, RUN).with_context(|| format!("helm {line}"))
    };
    helm("create web")?;
    helm("install web ./web -n helm --create-namespace --wait --timeout 2m")?;
    let listed: Value = serde_json::from_str(&helm("list -n helm -o json")?)?;
    ensure!(listed[0]["status"] == "deployed" && listed[0]["revision"] == "1", "{listed}");
    helm("upgrade web ./web -n helm --set replicaCount=2 --wait --timeout 2m")?;
    let manifest = helm("get manifest web -n helm")?;
    ensure!(manifest.contains("replicas: 2"), "{manifest}");
    helm("rollback web 1 -n helm --wait --timeout 2m")?;
    let history: Value = serde_json::from_str(&helm("history web -n helm -o json")?)?;
    ensure!(history.as_array().is_some_and(|list| list.len() == 3), "{history}");
    helm("template web ./web --validate -n helm")?;
    helm("uninstall web -n helm --wait --timeout 2m")?;
    let left: Value = serde_json::from_str(&helm("list -n helm -o json")?)?;
    ensure!(left == serde_json::json!([]), "{left}");
    Ok("installed, upgraded, rolled back, validated, uninstalled".to_owned())
}
