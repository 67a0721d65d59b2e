//! Upstream's golden files: every kind's protobuf and JSON agree with ours, byte by byte and value by value.
//!
//! They come from Debian's golang-k8s-api-dev, downloaded once into the cache (`BULKHEAD_CACHE`, or `bulkhead` in the
//! user's cache folder). `BULKHEAD_GOLDEN` names another directory `k8s.io/api/testdata/HEAD`.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

use serde_json::Value;

const PACKAGE: &str = "golang-k8s-api-dev";
/// The first suite that has the package of this API's release.
const SUITE: &str = "forky";
const FILES: &str = "usr/share/gocode/src/k8s.io/api/testdata/HEAD";

/// Named, in the cache, or downloaded now.
fn golden_files() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("BULKHEAD_GOLDEN") {
        return Ok(named.into());
    }
    let own = std::env::var_os("BULKHEAD_CACHE").map(PathBuf::from);
    let users = || std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = own.or_else(|| Some(users().or_else(home)?.join("bulkhead")));
    let cache = cache.ok_or_else(|| anyhow::anyhow!("no cache folder"))?;
    let unpacked = std::fs::read_dir(cache.join("packages")).into_iter().flatten();
    let mut unpacked = unpacked.filter_map(Result::ok).map(|entry| entry.path());
    let wanted = format!("{PACKAGE}_0-36");
    let kept = unpacked.find(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&wanted))
    });
    let root = match kept {
        Some(kept) => kept,
        None => builder::debian::Packages::of_suite(&cache, SUITE)?.unpack(PACKAGE)?,
    };
    Ok(root.join(FILES))
}

#[test]
fn golden_files_round_trip() {
    let directory = match golden_files() {
        Ok(directory) => directory,
        Err(why) => {
            println!("skipped: Debian's package {PACKAGE}: {why:#}");
            return;
        }
    };
    let mut failures = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "pb") {
            count += 1;
            failures.extend(check(&path));
        }
    }
    println!("{count} kinds, {} failures", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(count >= 185, "only {count} golden files in {}", directory.display());
}

fn check(path: &Path) -> Vec<String> {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let bytes = std::fs::read(path).unwrap();
    let json: Value =
        serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap();
    let mut failures = Vec::new();
    match api::protobuf::decode(&bytes) {
        Err(error) => failures.push(format!("{name}: decode: {error}")),
        Ok(decoded) => {
            let mut differences = Vec::new();
            differ(&decoded, &json, "", &mut differences);
            failures.extend(differences.into_iter().take(3).map(|text| format!("{name}: {text}")));
        }
    }
    match api::protobuf::encode(&json) {
        None => failures.push(format!("{name}: no schema")),
        Some(encoded) if encoded != bytes => {
            let at = encoded.iter().zip(&bytes).position(|(a, b)| a != b).unwrap_or(0);
            failures.push(format!(
                "{name}: bytes differ at {at} of {} (ours {})",
                bytes.len(),
                encoded.len()
            ));
        }
        Some(_) => {}
    }
    failures.extend(check_tables(&name, &json));
    failures
}

/// The same objects have no unknown fields and no wrong types.
fn check_tables(name: &str, json: &Value) -> Vec<String> {
    let (Some(api_version), Some(kind)) = (json["apiVersion"].as_str(), json["kind"].as_str())
    else {
        return Vec::new(); // a watch event
    };
    let Some(message) = api::schema::message_of(api_version, kind) else { return Vec::new() };
    let mut failures = api::schema::unknown_fields(&message.name, json);
    failures.extend(api::schema::check_types(&message.name, json).err());
    failures.iter().map(|text| format!("{name}: {text}")).collect()
}

fn differ(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let at = format!("{path}.{key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => differ(a, b, &at, found),
                    (a, b) => found.push(format!("{at}: ours {a:?}, theirs {b:?}")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differ(a, b, &format!("{path}[{index}]"), found);
            }
        }
        _ if ours == theirs => {}
        _ => found.push(format!("{path}: ours {ours}, theirs {theirs}")),
    }
}

/// Damaged bodies are refused or decoded, never more.
#[test]
fn damaged_bodies_do_no_harm() {
    let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"b": "c"}},
        "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}]}});
    let bytes = api::protobuf::encode(&pod).unwrap();
    for at in 4..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            let _ = api::protobuf::decode(&damaged);
        }
        let _ = api::protobuf::decode(&bytes[..at]);
    }
}
