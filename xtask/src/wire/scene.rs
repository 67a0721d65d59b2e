//! One check with one kubectl: a namespace of its own, calls, and readings by another client.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{cases::Case, peer::Agent, table, table::Row};
use crate::e2e::{
    kubectl::{Kubectl, Outcome, Transport},
    waiting::until,
};

/// How long anything of the simulated nodes or of a controller may take.
pub const SOON: Duration = Duration::from_secs(120);

/// What a check works with.
pub struct Scene<'a> {
    /// Under test, in the check's namespace.
    pub kubectl: Kubectl,
    /// Reads back.
    pub other: Kubectl,
    pub namespace: String,
    pub agent: &'a Agent,
    pub work: tempfile::TempDir,
    evidence: std::cell::RefCell<Vec<String>>,
}

impl<'a> Scene<'a> {
    /// Runs one check from its namespace to its end.
    pub fn play(kubectl: &Kubectl, other: &Kubectl, agent: &'a Agent, case: &Case) -> Row {
        let start = Instant::now();
        let version = kubectl.version.replace('.', "-");
        let namespace = format!("{}-{version}", case.name);
        let outcome = Self::open(kubectl, other, agent, &namespace).and_then(|scene| {
            (case.run)(&scene)?;
            let removed = scene.kubectl.run(&["delete", "namespace", &namespace, "--wait=false"]);
            removed.map(|_| scene.evidence.take().join("; "))
        });
        let (evidence, failure) = match outcome {
            Ok(evidence) => (evidence, None),
            Err(error) => (String::new(), Some(format!("{error:#}"))),
        };
        let client = format!("kubectl {}", kubectl.version);
        let row = Row { name: case.name, client, took: start.elapsed(), evidence, failure };
        table::line(&row);
        row
    }

    fn open(kubectl: &Kubectl, other: &Kubectl, agent: &'a Agent, namespace: &str) -> Result<Self> {
        kubectl.run(&["create", "namespace", namespace])?;
        let scene = Self {
            kubectl: kubectl.within(namespace),
            other: other.within(namespace),
            namespace: namespace.to_owned(),
            agent,
            work: tempfile::tempdir()?,
            evidence: std::cell::RefCell::default(),
        };
        // Pods are refused until the controller has made it.
        until("the default service account", SOON, || scene.get("serviceaccounts", "default"))?;
        Ok(scene)
    }

    /// Notes what was seen, for the table.
    pub fn saw(&self, text: impl Into<String>) {
        self.evidence.borrow_mut().push(text.into());
    }

    /// Runs a command line; words are split at spaces, `~` stands for a space within a word.
    pub fn run(&self, line: &str) -> Result<String> {
        self.with(line, "")
    }

    /// The same with standard input.
    pub fn with(&self, line: &str, input: &str) -> Result<String> {
        let words = words(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.kubectl.run_with(&words, input.as_bytes(), Duration::ZERO)
    }

    /// A command line that must end with 1; what kubectl said.
    pub fn refused(&self, line: &str, input: &str) -> Result<String> {
        let outcome = self.outcome(line, input)?;
        ensure!(outcome.code == 1, "{line} ended with {}: {}", outcome.code, outcome.out);
        Ok(outcome.err.trim().to_owned())
    }

    /// However it ends.
    pub fn outcome(&self, line: &str, input: &str) -> Result<Outcome> {
        let words = words(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.kubectl.call(&words, input.as_bytes(), Duration::ZERO)
    }

    /// The raw answer to a GET, by the other kubectl.
    pub fn raw(&self, path: &str) -> Result<String> {
        self.other.run(&["get", "--raw", &path.replace("{ns}", &self.namespace)])
    }

    /// The raw answer as JSON.
    pub fn raw_json(&self, path: &str) -> Result<Value> {
        serde_json::from_str(&self.raw(path)?).with_context(|| format!("{path} is no JSON"))
    }

    /// An object of the namespace, raw. `resource` may carry its group and version (`apps/v1/deployments`).
    pub fn get(&self, resource: &str, name: &str) -> Result<Value> {
        let path = match resource.rsplit_once('/') {
            Some((group, plural)) => format!("/apis/{group}/namespaces/{{ns}}/{plural}/{name}"),
            None => format!("/api/v1/namespaces/{{ns}}/{resource}/{name}"),
        };
        self.raw_json(&path)
    }

    /// The object has this value at a JSON pointer.
    pub fn is(&self, resource: &str, name: &str, pointer: &str, expected: &Value) -> Result<()> {
        let object = self.get(resource, name)?;
        let found = object.pointer(pointer).cloned().unwrap_or_default();
        ensure!(found == *expected, "{resource}/{name} {pointer} is {found}, not {expected}");
        Ok(())
    }

    /// The object has this value soon.
    pub fn becomes(
        &self,
        resource: &str,
        name: &str,
        pointer: &str,
        expected: &Value,
    ) -> Result<()> {
        until(&format!("{resource}/{name} {pointer}"), SOON, || {
            self.is(resource, name, pointer, expected)
        })
    }

    /// It is not there any more.
    pub fn gone(&self, resource: &str, name: &str) -> Result<()> {
        until(&format!("{resource}/{name} is gone"), SOON, || match self.get(resource, name) {
            Ok(_) => anyhow::bail!("{resource}/{name} is still there"),
            Err(error) => {
                let text = format!("{error:#}");
                ensure!(text.contains("NotFound") || text.contains("not found"), "{text}");
                Ok(())
            }
        })
    }

    /// A file in the check's folder.
    pub fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.work.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// Where a file of the check's folder is.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        let path: &Path = self.work.path();
        path.join(name).to_string_lossy().into_owned()
    }

    /// The same scene with streams carried this way.
    #[must_use]
    pub fn over(&self, transport: Transport) -> Kubectl {
        self.kubectl.over(transport)
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(|word| word.replace('~', " ")).collect()
}

/// Fails when `text` lacks one of the parts.
pub fn has(text: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "{part:?} is not in: {text}");
    }
    Ok(())
}
