//! The checks that the restricted standard adds. Upstream: `pod-security-admission/policy/check_*.go`.

use serde_json::Value;

use super::{
    baseline::added,
    view::{Finding, View, containers, name, plural, quoted, set},
};

/// Volumes that hold nothing of the host.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
/// Also allowed, since 1.35.
const IMAGE: &str = "image";

/// Since 1.25 checks that mean nothing on Windows leave its pods alone.
fn is_spared(view: &View<'_>) -> bool {
    view.is_windows() && view.version.is_at_least(25)
}

pub fn privilege_escalation(view: &View<'_>) -> Option<Finding> {
    if is_spared(view) {
        return None;
    }
    let names =
        view.names(|one| one["securityContext"]["allowPrivilegeEscalation"] != Value::Bool(false));
    (!names.is_empty()).then(|| {
        let names = containers(&names);
        Finding::new(
            "allowPrivilegeEscalation != false",
            format!("{names} must set securityContext.allowPrivilegeEscalation=false"),
        )
    })
}

pub fn capabilities(view: &View<'_>) -> Option<Finding> {
    if is_spared(view) {
        return None;
    }
    let drops_all = |one: &Value| {
        let drops = one["securityContext"]["capabilities"]["drop"].as_array();
        drops.is_some_and(|list| list.iter().any(|name| name == "ALL"))
    };
    let mut details = Vec::new();
    let keeping = view.names(|one| !drops_all(one));
    if !keeping.is_empty() {
        let names = containers(&keeping);
        details.push(format!("{names} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    let (adding, bad) = added(view, &["NET_BIND_SERVICE"]);
    if !adding.is_empty() {
        let (names, bad) = (containers(&adding), quoted(&bad));
        details.push(format!("{names} must not include {bad} in securityContext.capabilities.add"));
    }
    (!details.is_empty()).then(|| Finding::new("unrestricted capabilities", details.join("; ")))
}

fn volume_kind(volume: &Value) -> &str {
    let fields = volume.as_object().into_iter().flatten();
    let mut kinds = fields.map(|(key, _)| key.as_str()).filter(|key| *key != "name");
    kinds.next().unwrap_or("unknown")
}

pub fn volumes(view: &View<'_>) -> Option<Finding> {
    let image = view.version.is_at_least(35);
    let is_bad = |volume: &&Value| {
        let kind = volume_kind(volume);
        let fine = VOLUMES.contains(&kind) || (image && kind == IMAGE);
        !fine
    };
    let all = view.spec["volumes"].as_array().into_iter().flatten();
    let bad: Vec<&Value> = all.filter(is_bad).collect();
    if bad.is_empty() {
        return None;
    }
    let names: Vec<&str> = bad.iter().map(|volume| name(volume)).collect();
    let kinds = set(bad.iter().map(|volume| volume_kind(volume).to_owned()).collect());
    let detail = format!(
        "{} {} {} restricted volume {} {}",
        plural("volume", "volumes", names.len()),
        quoted(&names),
        plural("uses", "use", names.len()),
        plural("type", "types", kinds.len()),
        quoted(&kinds)
    );
    Some(Finding::new("restricted volume types", detail))
}

pub fn non_root(view: &View<'_>) -> Option<Finding> {
    let setting = |owner: &Value| owner["securityContext"]["runAsNonRoot"].as_bool();
    let mut setters = Vec::new();
    if setting(view.spec) == Some(false) {
        setters.push("pod".to_owned());
    }
    let explicit = view.names(|one| setting(one) == Some(false));
    if !explicit.is_empty() {
        setters.push(containers(&explicit));
    }
    let reason = "runAsNonRoot != true";
    if !setters.is_empty() {
        let who = setters.join(" and ");
        let detail = format!("{who} must not set securityContext.runAsNonRoot=false");
        return Some(Finding::new(reason, detail));
    }
    if setting(view.spec) == Some(true) {
        return None;
    }
    let silent = view.names(|one| setting(one).is_none());
    (!silent.is_empty()).then(|| {
        let names = containers(&silent);
        Finding::new(reason, format!("pod or {names} must set securityContext.runAsNonRoot=true"))
    })
}

pub fn run_as_user(view: &View<'_>) -> Option<Finding> {
    let is_root = |owner: &Value| owner["securityContext"]["runAsUser"] == 0;
    let mut setters = Vec::new();
    if is_root(view.spec) {
        setters.push("pod".to_owned());
    }
    let names = view.names(is_root);
    if !names.is_empty() {
        setters.push(containers(&names));
    }
    (!setters.is_empty()).then(|| {
        Finding::new("runAsUser=0", format!("{} must not set runAsUser=0", setters.join(" and ")))
    })
}

pub fn seccomp(view: &View<'_>) -> Option<Finding> {
    if is_spared(view) {
        return None;
    }
    let kind = |owner: &Value| {
        owner["securityContext"]["seccompProfile"]["type"].as_str().map(str::to_owned)
    };
    let is_fine = |kind: &str| matches!(kind, "RuntimeDefault" | "Localhost");
    let mut setters = Vec::new();
    let mut kinds = Vec::new();
    if let Some(bad) = kind(view.spec).filter(|kind| !is_fine(kind)) {
        setters.push("pod".to_owned());
        kinds.push(bad);
    }
    let bad = view.names(|one| kind(one).is_some_and(|kind| !is_fine(&kind)));
    if !bad.is_empty() {
        setters.push(containers(&bad));
        kinds.extend(view.containers().filter_map(kind).filter(|kind| !is_fine(kind)));
    }
    if !setters.is_empty() {
        let (who, kinds) = (setters.join(" and "), quoted(&set(kinds)));
        let detail = format!("{who} must not set securityContext.seccompProfile.type to {kinds}");
        return Some(Finding::new("seccompProfile", detail));
    }
    if kind(view.spec).is_some() {
        return None;
    }
    let silent = view.names(|one| kind(one).is_none());
    (!silent.is_empty()).then(|| {
        let names = containers(&silent);
        Finding::new(
            "seccompProfile",
            format!("pod or {names} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""),
        )
    })
}
