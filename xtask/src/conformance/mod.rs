//! `cargo xtask conformance`: writes docs/conformance.md from the list of conformance tests and the list of ours that
//! cover them. No row is claimed for a test that the sources do not have. `--run` runs the published tests themselves.

mod images;
mod suite;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

pub use self::images::MIRRORED;
use self::suite::{Outcome, Suite};
use crate::{paths, up::services, wire};

const LIST: &str = "docs/conformance/list.psv";
const COVERED: &str = "docs/conformance/covered.txt";
const PASSED: &str = "docs/conformance/passed.txt";
const PAGE: &str = "docs/conformance.md";
/// Tests of this release are not part of what is aimed at.
const NEXT_RELEASE: &str = "1.37";

#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Options {
    /// Write nothing; fail when the page is not what would be written.
    #[arg(long)]
    pub check: bool,
    /// Run the published tests that need no container against a server on loopback, and note which passed. Needs Go.
    #[arg(long)]
    pub run: bool,
    /// With `--run`: those whose title or published name contains this, or with this number; may be given several times.
    #[arg(long, requires = "run")]
    pub only: Vec<String>,
    /// With `--run`: the kubectl that the tests call, instead of Debian's newest.
    #[arg(long, requires = "run")]
    pub kubectl: Option<PathBuf>,
    /// With `--run`: the tests of the rack that `up` made, those that need containers too.
    #[arg(long, requires = "run")]
    pub rack: bool,
    /// With `--run`: take the server as it was built before.
    #[arg(long, requires = "run")]
    pub no_build: bool,
}

/// A test of the published list.
#[derive(Debug, Default)]
struct Row {
    number: u32,
    area: String,
    needs: String,
    title: String,
    release: String,
    /// The test's own name; empty for those that are not aimed at.
    published: String,
}

impl Row {
    fn needs_containers(&self) -> bool {
        // The job's pods must end by themselves.
        ["pod", "net", "dns", "vol", "ctl(job)"].iter().any(|need| self.needs.contains(need))
    }

    fn is_called(&self, part: &str) -> bool {
        part.parse().map_or_else(
            |_not_a_number| self.title.contains(part) || self.published.contains(part),
            |number: u32| number == self.number,
        )
    }
}

/// A test of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Test {
    level: String,
    place: String,
    name: String,
}

/// Writes the page, or checks it; before, if asked to, runs the published tests.
pub fn run(options: &Options) -> Result<()> {
    let failed = if options.run { run_published(options)? } else { 0 };
    write_page(options.check)?;
    ensure!(failed == 0, "{failed} published tests failed");
    Ok(())
}

/// How many failed.
fn run_published(options: &Options) -> Result<usize> {
    let root = paths::root();
    let rows = parse_list(&fs::read_to_string(root.join(LIST)).context(LIST)?)?;
    let chosen: Vec<&Row> = rows
        .iter()
        .filter(|row| row.release != NEXT_RELEASE && (options.rack || !row.needs_containers()))
        .filter(|row| {
            options.only.is_empty() || options.only.iter().any(|part| row.is_called(part))
        })
        .collect();
    ensure!(!chosen.is_empty(), "no row is called {}", options.only.join(", "));
    let program = suite::build()?;
    let kubectl = options.kubectl.clone().map_or_else(wire::first_kubectl, Ok)?;
    let folder = suite::folder()?;
    let outcomes = if options.rack {
        images::push()?;
        let kubeconfig = services::kubeconfig();
        Suite { program, kubeconfig, kubectl, folder }.run(&chosen, false)?
    } else {
        let stage = wire::Stage::start("debug", !options.no_build, false)?;
        let kubeconfig = stage.server.kubeconfig();
        Suite { program, kubeconfig, kubectl, folder }.run(&chosen, true)?
    };
    suite::note_passed(&root.join(PASSED), &outcomes)?;
    let mut failed = 0;
    for row in &chosen {
        if let Some(Outcome::Failed(why)) = outcomes.get(&row.number) {
            failed += 1;
            println!("FAILED {} {}\n    {why}", row.number, row.published);
        }
    }
    println!("published tests: {} passed, {failed} failed", outcomes.len() - failed);
    Ok(failed)
}

fn write_page(check: bool) -> Result<()> {
    let root = paths::root();
    let read = |name: &str| fs::read_to_string(root.join(name)).with_context(|| name.to_owned());
    let rows = parse_list(&read(LIST)?)?;
    let covered = parse_covered(&read(COVERED)?)?;
    let passed = suite::parse_passed(&read(PASSED)?)?;
    let mut problems = Vec::new();
    for (number, test) in &covered {
        if !rows.iter().any(|row| row.number == *number) {
            problems.push(format!("{COVERED}: no row {number} in the list"));
        }
        if !exists(&root, test)? {
            problems
                .push(format!("{COVERED}: row {number}: no test {} in {}", test.name, test.place));
        }
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    let page = render(&rows, &covered, &passed);
    if check {
        let present = read(PAGE).unwrap_or_default();
        ensure!(present == page, "{PAGE} is not up to date: run `cargo xtask conformance`");
    } else {
        fs::write(root.join(PAGE), &page).context(PAGE)?;
    }
    let aimed = rows.iter().filter(|row| row.release != NEXT_RELEASE).count();
    println!(
        "{PAGE}: {} of {aimed} rows covered by a test of ours, {} by the published test",
        covered.len(),
        passed.len()
    );
    Ok(())
}

fn parse_list(text: &str) -> Result<Vec<Row>> {
    text.lines()
        .map(|line| {
            let parts: Vec<&str> = line.split('|').collect();
            let [number, area, needs, title, release, published] = parts.as_slice() else {
                bail!("{LIST}: not six parts: {line}");
            };
            let number = number.parse().with_context(|| format!("{LIST}: {line}"))?;
            Ok(Row {
                number,
                area: (*area).into(),
                needs: (*needs).into(),
                title: (*title).into(),
                release: (*release).into(),
                published: (*published).into(),
            })
        })
        .collect()
}

fn parse_covered(text: &str) -> Result<BTreeMap<u32, Test>> {
    let mut covered = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [number, level, place, name] = words.as_slice() else {
            bail!("{COVERED}: not `NUMBER LEVEL PLACE NAME`: {line}");
        };
        ensure!(["unit", "server", "wire", "rack"].contains(level), "{COVERED}: level {level}");
        let test = Test { level: (*level).into(), place: (*place).into(), name: (*name).into() };
        let number: u32 = number.parse().with_context(|| format!("{COVERED}: {line}"))?;
        ensure!(covered.insert(number, test).is_none(), "{COVERED}: row {number} occurs twice");
    }
    Ok(covered)
}

/// Whether the sources have a test.
fn exists(root: &Path, test: &Test) -> Result<bool> {
    let (file, is_test): (&str, fn(&str, &str) -> bool) = match test.place.as_str() {
        "wire" => {
            ("xtask/src/wire/cases/mod.rs", |text, name| text.contains(&format!("\"{name}\",")))
        }
        "e2e" => ("xtask/src/e2e/checks.rs", |text, name| text.contains(&format!("\"{name}\","))),
        file => (file, has_test),
    };
    let path = root.join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {file}"))?;
    Ok(is_test(&text, &test.name))
}

/// A function behind `#[test]` (or tokio's) that is not ignored, or a line `name: ...` of a macro that makes tests.
fn has_test(text: &str, name: &str) -> bool {
    let function = format!("fn {name}(");
    let mut marked = false;
    let mut in_macro = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[ignore") {
            marked = false;
            continue;
        }
        if line.starts_with("#[") {
            marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            continue;
        }
        if line.contains(&function) && marked {
            return true;
        }
        in_macro = (in_macro && line != "}") || line == "operations! {";
        if in_macro && line.starts_with(&format!("{name}:")) {
            return true;
        }
        marked &= line.is_empty() || line.starts_with("//");
    }
    false
}

fn render(rows: &[Row], covered: &BTreeMap<u32, Test>, passed: &BTreeSet<u32>) -> String {
    let mut out = String::from(
        "# Conformance\n\nWritten by `cargo xtask conformance` from `conformance/list.psv` (the published list, in short) and \
         `conformance/covered.txt`. A row has a test of ours that fails when what the row is about breaks, or says \"not yet\". \
         \"passed\": the published test itself passed in the last run of `cargo xtask conformance --run` that had it \
         (`conformance/passed.txt`).\n\n\
         Levels: unit = functions; server = an API server over the wire; wire = kubectl against a server on loopback (`cargo xtask wire`); \
         rack = real nodes (`cargo xtask e2e`). What a row needs: api = API server, ctl = a controller, sch = scheduler, pod = a node that \
         runs containers, net, dns, vol, cli. Rows of 1.37 are shown but not aimed at.\n\n",
    );
    let mut areas: Vec<&str> = rows.iter().map(|row| row.area.as_str()).collect();
    areas.dedup();
    out.push_str("| area | rows | ours | published |\n|---|---|---|---|\n");
    let count = |area: Option<&str>| {
        let rows = rows.iter().filter(|row| area.is_none_or(|area| row.area == area));
        let rows: Vec<&Row> = rows.filter(|row| row.release != NEXT_RELEASE).collect();
        let done = rows.iter().filter(|row| covered.contains_key(&row.number)).count();
        let published = rows.iter().filter(|row| passed.contains(&row.number)).count();
        (rows.len(), done, published)
    };
    for area in &areas {
        let (all, done, published) = count(Some(area));
        line(&mut out, format_args!("| {area} | {all} | {done} | {published} |"));
    }
    let (all, done, published) = count(None);
    line(&mut out, format_args!("| **all** | {all} | {done} | {published} |"));
    for area in areas {
        line(
            &mut out,
            format_args!(
                "\n## {area}\n\n| | test | needs | since | published | ours |\n|---|---|---|---|---|---|"
            ),
        );
        for row in rows.iter().filter(|row| row.area == area) {
            let Row { number, needs, title, release, .. } = row;
            let ours = covered.get(number).map_or("not yet".to_owned(), shown);
            let published = if passed.contains(number) { "passed" } else { "" };
            line(
                &mut out,
                format_args!("| {number} | {title} | {needs} | {release} | {published} | {ours} |"),
            );
        }
    }
    out
}

fn shown(test: &Test) -> String {
    let Test { level, place, name } = test;
    match place.as_str() {
        "wire" | "e2e" => format!("{level}: `{name}`"),
        file => format!("{level}: `{name}` in `{file}`"),
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_count() {
        let text = "fn helper() {}\n#[test]\n/// Why.\nfn one() {}\n#[tokio::test]\nasync fn two() {}\n#[test]\n#[ignore = \"gap\"]\nfn five() {}\noperations! {\n    three: \"/x\";\n}\nfour: 1\n";
        for (name, expect) in [
            ("helper", false),
            ("one", true),
            ("two", true),
            ("three", true),
            ("four", false),
            ("five", false),
            ("on", false),
        ] {
            assert_eq!(has_test(text, name), expect, "{name}");
        }
    }

    #[test]
    fn the_page_is_up_to_date() {
        write_page(true).unwrap();
    }
}
