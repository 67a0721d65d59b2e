//! schemathesis over every OpenAPI v3 document: requests made up from the schemas, none of which may be a server error.

use std::{collections::BTreeMap, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{output, python, row};
use crate::{
    e2e::{http, kubectl::Kubectl},
    wire::{server::Server, table::Row},
};

const RUN: Duration = Duration::from_secs(3600);
const LINE: Duration = Duration::from_secs(30);
/// No 5xx, and answers as the documents describe them.
const CHECKS: &str = "not_a_server_error,response_schema_conformance,content_type_conformance";
/// Watches and followed logs do not end; they have tests of their own.
const CONFIG: &str = r#"
[parameters]
"query.watch" = false
"query.follow" = false
"path.namespace" = "default"
"#;
/// Requests per operation.
const EXAMPLES: &str = "10";

/// One row for each group and version whose path contains one of `only`.
pub fn run(server: &Server, only: &[String]) -> Vec<Row> {
    let prepared = prepare(server);
    let (python, proxy, address, paths) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return vec![row("schemathesis", "PyPI schemathesis", || Err(error))],
    };
    let config = server.folder().join("schemathesis.toml");
    if let Err(error) = std::fs::write(&config, CONFIG) {
        return vec![row("schemathesis", "its configuration", || Err(error.into()))];
    }
    let chosen = paths
        .into_keys()
        .filter(|path| only.is_empty() || only.iter().any(|part| path.contains(part.as_str())));
    let rows = chosen
        .map(|path| {
            row("schemathesis", &path, || {
                let url = format!("http://{address}");
                let mut command = Command::new(&python);
                // It writes what it keeps into the folder that it runs in.
                command.current_dir(server.folder());
                command.args([
                    "-m",
                    "schemathesis.cli",
                    "--config-file",
                    &config.to_string_lossy(),
                    "run",
                    &format!("{url}/openapi/v3/{path}"),
                ]);
                command.args(["--url", &url, "--checks", CHECKS]);
                command.args(["--max-examples", EXAMPLES, "--phases", "examples,fuzzing"]);
                command.args([
                    "--request-timeout",
                    "30",
                    "--suppress-health-check",
                    "all",
                    "--no-color",
                ]);
                // Streams and proxies stay open; they have tests of their own.
                command.args(["--exclude-path-regex", "/(proxy|watch|exec|attach|portforward)"]);
                let said = output(&mut command, RUN)?;
                ensure!(!said.contains("Server error"), "{said}");
                let cases = said.lines().find(|line| line.contains(" generated, "));
                Ok(cases.unwrap_or("no server error").trim().to_owned())
            })
        })
        .collect();
    drop(proxy);
    rows
}

type Prepared = (std::path::PathBuf, crate::e2e::kubectl::Staying, String, BTreeMap<String, Value>);

fn prepare(server: &Server) -> Result<Prepared> {
    let python = python::environment(&["schemathesis"])?;
    let program = super::super::first_kubectl()?;
    let kubectl = Kubectl::of_program(&program, server.kubeconfig(), server.folder())?;
    let mut proxy = kubectl.stay(&["proxy", "--port=0", "--reject-paths=^$"])?;
    let (_, line) = proxy.line(LINE)?;
    let address = line.strip_prefix("Starting to serve on ").context("no proxy")?.to_owned();
    let index: Value = serde_json::from_str(&http::get(&address, "/openapi/v3")?)?;
    let paths = index["paths"].as_object().context("no paths")?;
    let paths = paths.iter().map(|(path, value)| (path.clone(), value.clone())).collect();
    Ok((python, proxy, address, paths))
}
