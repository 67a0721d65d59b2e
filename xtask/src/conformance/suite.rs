//! The published conformance tests themselves: built from their Go packages (never vendored), run against a server.

use std::{
    collections::BTreeMap,
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::Row;
use crate::paths;

const MODULE: &str = "docs/conformance/suite";
const PACKAGE: &str = "k8s.io/kubernetes/test/e2e";
/// Longer than the suite's own longest deadline for all of it.
const LIMIT: &str = "6h";

/// A built suite and whom it is to test.
#[derive(Debug)]
pub struct Suite {
    pub program: PathBuf,
    pub kubeconfig: PathBuf,
    pub kubectl: PathBuf,
    /// Below it each run has a folder with its log.
    pub folder: PathBuf,
}

/// How one published test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed(String),
}

/// One of the reports that ginkgo writes; `types.Report` of its package `types`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    #[serde(default)]
    spec_reports: Option<Vec<Spec>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_text: String,
    leaf_node_type: String,
    state: String,
    #[serde(default)]
    failure: Failure,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Failure {
    message: String,
}

/// The Go module that pins the tests' packages.
#[must_use]
pub fn module() -> PathBuf {
    paths::root().join(MODULE)
}

/// The program that `build` makes of the pinned packages, unless the cache has it for the same ones.
pub fn built(name: &str, build: impl Fn(&Path) -> Result<()>) -> Result<PathBuf> {
    let mut key = DefaultHasher::new();
    for file in ["go.mod", "go.sum"] {
        fs::read(module().join(file)).with_context(|| file.to_owned())?.hash(&mut key);
    }
    let folder = paths::cache().join("conformance");
    fs::create_dir_all(&folder)?;
    let program = folder.join(format!("{name}-{:016x}", key.finish()));
    if !program.exists() {
        println!("building {name} (minutes)");
        let unfinished = program.with_extension("unfinished");
        build(&unfinished)?;
        fs::rename(&unfinished, &program)?;
    }
    Ok(program)
}

/// Builds the suite.
pub fn build() -> Result<PathBuf> {
    built("e2e.test", |out| {
        let mut command = Command::new("go");
        command.args(["test", "-c", "-ldflags", "-s -w", "-o"]).arg(out).arg(PACKAGE);
        let status = command.current_dir(module()).status().context("failed to start go (1.26)")?;
        ensure!(status.success(), "go test -c {PACKAGE} ended with {status}");
        Ok(())
    })
}

impl Suite {
    /// Runs these rows, if asked to in three processes side by side (one for the slow ones); the serial ones alone at the end.
    pub fn run(&self, rows: &[&Row], side_by_side: bool) -> Result<BTreeMap<u32, Outcome>> {
        let (serial, parallel): (Vec<&Row>, Vec<&Row>) =
            rows.iter().partition(|row| row.published.contains("[Serial]"));
        let (slow, quick): (Vec<&Row>, Vec<&Row>) =
            parallel.into_iter().partition(|row| row.published.contains("[Slow]"));
        let mut outcomes = BTreeMap::new();
        if side_by_side {
            let lanes: [(&str, Vec<&Row>); 3] = [
                ("slow", slow),
                ("even", quick.iter().copied().step_by(2).collect()),
                ("odd", quick.iter().copied().skip(1).step_by(2).collect()),
            ];
            let ended = std::thread::scope(|scope| {
                let started: Vec<_> = lanes
                    .iter()
                    .map(|(name, rows)| scope.spawn(move || self.run_lane(name, rows)))
                    .collect();
                started.into_iter().map(|one| one.join()).collect::<Vec<_>>()
            });
            for lane in ended {
                outcomes.extend(lane.map_err(|_| anyhow::anyhow!("a lane panicked"))??);
            }
        } else {
            outcomes.extend(self.run_lane("all", &[quick, slow].concat())?);
        }
        outcomes.extend(self.run_lane("serial", &serial)?);
        Ok(outcomes)
    }

    fn run_lane(&self, name: &str, rows: &[&Row]) -> Result<BTreeMap<u32, Outcome>> {
        if rows.is_empty() {
            return Ok(BTreeMap::new());
        }
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder)?;
        let (log, report) = (folder.join("log"), folder.join("report.json"));
        let output = fs::File::create(&log)?;
        let mut command = Command::new(&self.program);
        command
            .args(["--provider=skeleton", "--disable-log-dump", "--dump-logs-on-failure=false"])
            .args(["--allowed-not-ready-nodes=0", "--ginkgo.v", "--ginkgo.no-color"])
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .arg(format!("--kubectl-path={}", self.kubectl.display()))
            .arg(format!("--ginkgo.json-report={}", report.display()))
            .arg(format!("--ginkgo.timeout={LIMIT}"))
            .arg(format!("--ginkgo.focus={}", focus(rows)))
            .current_dir(&folder)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        println!("{name}: {} published tests, log {}", rows.len(), log.display());
        let _ended = command.status().context("failed to start the suite")?;
        let text = fs::read(&report)
            .with_context(|| format!("the suite ended without a report, see {}", log.display()))?;
        outcomes(&text, rows)
    }
}

/// A regular expression (RE2) that selects these rows.
fn focus(rows: &[&Row]) -> String {
    rows.iter().map(|row| regex::escape(&row.published)).collect::<Vec<_>>().join("|")
}

fn outcomes(reports: &[u8], rows: &[&Row]) -> Result<BTreeMap<u32, Outcome>> {
    let reports: Vec<Report> = serde_json::from_slice(reports).context("the suite's report")?;
    let specs = reports.iter().flat_map(|report| report.spec_reports.iter().flatten());
    let mut ended: BTreeMap<String, Outcome> = BTreeMap::new();
    for spec in specs {
        let passed = match spec.state.as_str() {
            "passed" => Outcome::Passed,
            "skipped" | "pending" => continue,
            state => Outcome::Failed(format!("{state}: {}", spec.failure.message)),
        };
        if spec.leaf_node_type != "It" {
            if let Outcome::Failed(why) = passed {
                bail!("the suite itself failed: {}: {why}", spec.leaf_node_type);
            }
            continue;
        }
        let mut words = spec.container_hierarchy_texts.clone().unwrap_or_default();
        words.push(spec.leaf_node_text.clone());
        let name = words.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
        ended.insert(name, passed);
    }
    Ok(rows
        .iter()
        .map(|row| {
            let missing = || Outcome::Failed("not run: the suite skipped it".into());
            (row.number, ended.get(&row.published).cloned().unwrap_or_else(missing))
        })
        .collect())
}

/// The folder for this run's logs.
pub fn folder() -> Result<PathBuf> {
    let folder = env::temp_dir().join(format!("bulkhead-conformance-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Numbers of rows whose published test passed in the last run that had it.
pub fn parse_passed(text: &str) -> Result<std::collections::BTreeSet<u32>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.parse().with_context(|| format!("not a number: {line}"))).collect()
}

/// Notes what passed and what did not.
pub fn note_passed(file: &Path, outcomes: &BTreeMap<u32, Outcome>) -> Result<()> {
    let mut passed = parse_passed(&fs::read_to_string(file).unwrap_or_default())?;
    for (number, outcome) in outcomes {
        match outcome {
            Outcome::Passed => passed.insert(*number),
            Outcome::Failed(_) => passed.remove(number),
        };
    }
    let mut text = String::from(
        "# Rows whose published test passed when `cargo xtask conformance --run` (or `--run --rack`) last ran it. Written by it.\n",
    );
    text.extend(passed.iter().map(|number| format!("{number}\n")));
    fs::write(file, text).with_context(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u32, published: &str) -> Row {
        Row { number, published: published.into(), ..Row::default() }
    }

    #[test]
    fn reports_are_read() {
        let report = r#"[{"SpecReports": [
            {"ContainerHierarchyTexts": null, "LeafNodeText": "", "LeafNodeType": "SynchronizedBeforeSuite", "State": "passed"},
            {"ContainerHierarchyTexts": ["[sig-a] A"], "LeafNodeText": "works  [Conformance]", "LeafNodeType": "It", "State": "passed"},
            {"ContainerHierarchyTexts": ["[sig-a] A"], "LeafNodeText": "fails", "LeafNodeType": "It", "State": "failed", "Failure": {"Message": "why"}},
            {"ContainerHierarchyTexts": ["[sig-a] A"], "LeafNodeText": "is left out", "LeafNodeType": "It", "State": "skipped"}
        ]}]"#;
        let rows = [
            row(1, "[sig-a] A works [Conformance]"),
            row(2, "[sig-a] A fails"),
            row(3, "[sig-a] A is left out"),
        ];
        let rows: Vec<&Row> = rows.iter().collect();
        let outcomes = outcomes(report.as_bytes(), &rows).unwrap();
        assert_eq!(outcomes[&1], Outcome::Passed);
        assert_eq!(outcomes[&2], Outcome::Failed("failed: why".into()));
        assert!(matches!(&outcomes[&3], Outcome::Failed(why) if why.contains("not run")));
    }
}
