//! Volumes of pods.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{items, require_text, text};
use crate::rules::names;
use crate::rules::problems::Problems;

/// Fields that a source cannot do without.
const REQUIRED: [(&str, &str); 6] = [
    ("secret", "secretName"),
    ("configMap", "name"),
    ("hostPath", "path"),
    ("persistentVolumeClaim", "claimName"),
    ("nfs", "server"),
    ("csi", "driver"),
];
const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

pub(super) fn validate(spec: &Value, path: &str, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (path, volume) in items(spec, "volumes", path) {
        let name = text(volume, "name");
        if require_text(volume, "name", &path, problems) {
            problems.check_text(&format!("{path}.name"), name, names::dns1123_label(name));
            if !seen.insert(name) {
                problems.duplicate(&format!("{path}.name"), &volume["name"]);
            }
        }
        check_source(volume, &path, problems);
    }
}

fn check_source(volume: &Value, path: &str, problems: &mut Problems) {
    let sources: Vec<&String> = volume
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key)
        .filter(|key| *key != "name")
        .collect();
    if sources.is_empty() {
        problems.required(path, "must specify a volume type");
    }
    for extra in sources.iter().skip(1) {
        problems.forbidden(&format!("{path}.{extra}"), "may not specify more than 1 volume type");
    }
    for (source, field) in REQUIRED {
        if let Some(value) = volume.get(source) {
            require_text(value, field, &format!("{path}.{source}"), problems);
        }
    }
    if let Some(host) = volume.get("hostPath") {
        problems.check_choice(&format!("{path}.hostPath.type"), &host["type"], &HOST_PATH_TYPES);
        if text(host, "path").split('/').any(|part| part == "..") {
            let at = format!("{path}.hostPath.path");
            problems.invalid_text(&at, text(host, "path"), "must not contain '..'");
        }
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        let mode = &volume[source]["defaultMode"];
        if mode.as_i64().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
            let detail = "must be a number between 0 and 0777 (octal), both inclusive";
            problems.invalid(&format!("{path}.{source}.defaultMode"), mode, detail);
        }
        for (path, item) in items(&volume[source], "items", &format!("{path}.{source}")) {
            if source != "downwardAPI" {
                require_text(item, "key", &path, problems);
            }
            if require_text(item, "path", &path, problems) {
                check_local_path(text(item, "path"), &format!("{path}.path"), problems);
            }
        }
    }
}

fn check_local_path(value: &str, path: &str, problems: &mut Problems) {
    if value.starts_with('/') {
        problems.invalid_text(path, value, "must be a relative path");
    }
    if value.split('/').any(|part| part == "..") {
        problems.invalid_text(path, value, "must not contain '..'");
    }
    if value.starts_with("..") {
        problems.invalid_text(path, value, "must not start with '..'");
    }
}
