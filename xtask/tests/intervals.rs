//! No polling on the way from `apply` to a running container: every sleep and interval in the sources that run there
//! has a comment `// interval: why`, on its line or in the few lines above. Needs nothing but the sources.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What runs between a request and a container's first instruction, and what it is made of.
const FOLDERS: &[&str] = &["controlplane", "nodeagent", "vmm", "guest", "proto"];
/// Not on that way: the command line, and the store's conformance suite, which is a test.
const ELSEWHERE: &[&str] = &["controlplane/cli/", "controlplane/store/src/conformance.rs"];
/// Calls that wait for time to pass.
const CALLS: &[&str] = &["sleep(", "sleep_until(", "interval(", "interval_at("];
/// How far above its call a reason may begin.
const LINES_ABOVE: usize = 6;

#[test]
fn every_interval_has_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&root.join(folder), &mut files);
    }
    assert!(files.len() > 200, "only {} source files were found", files.len());
    let mut bad = Vec::new();
    for file in &files {
        let name = file.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        if ELSEWHERE.iter().any(|part| name.starts_with(part)) {
            continue;
        }
        let text = fs::read_to_string(file).unwrap();
        bad.extend(without_reason(&text).into_iter().map(|line| format!("{name}:{line}")));
    }
    assert!(bad.is_empty(), "no `// interval: why` at:\n{}", bad.join("\n"));
}

/// Product sources: no tests, no benches, no build output.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !["tests", "benches", "target", "testing"].contains(&name.as_str()) {
            collect(&path, files);
        } else if name.ends_with(".rs")
            && !["tests.rs", "testing.rs", "build.rs"].contains(&name.as_str())
        {
            files.push(path);
        }
    }
}

/// Numbers and texts of lines that wait for time without a reason. Inline tests stand last in a file and are left out.
fn without_reason(text: &str) -> Vec<String> {
    let lines: Vec<&str> =
        text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).collect();
    let mut bad = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        if !CALLS.iter().any(|call| is_call(code, call)) {
            continue;
        }
        let near = &lines[number.saturating_sub(LINES_ABOVE)..=number];
        if !near.iter().any(|line| line.contains("// interval:")) {
            bad.push(format!("{}: {}", number + 1, line.trim()));
        }
    }
    bad
}

/// A call, not the end of another name (`set_interval(`) and not a definition.
fn is_call(code: &str, call: &str) -> bool {
    code.match_indices(call).any(|(at, _)| {
        let before = &code[..at];
        let own_word = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        own_word && !before.trim_end().ends_with("fn")
    })
}

#[test]
fn calls_are_told_from_other_words() {
    assert_eq!(without_reason("tokio::time::sleep(X).await;").len(), 1);
    assert!(
        without_reason("// interval: a lease is renewed\ntokio::time::interval(X);").is_empty()
    );
    assert!(without_reason("fn sleep(x: u8) {}\nset_interval(1);\n// sleep(1)\n").is_empty());
    assert!(without_reason("#[cfg(test)]\nmod tests { fn a() { sleep(1) } }").is_empty());
}
