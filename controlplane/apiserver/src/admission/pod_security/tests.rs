//! Pods against the standards, with upstream's words.

use serde_json::json;

use super::{super::policy::Version, *};

fn found(level: Level, version: Version, spec: &Value) -> String {
    evaluate(&Standard { level, version }, &json!({}), spec)
        .map_or_else(String::new, |found| found.to_string())
}

/// A pod that restricted has nothing against, with a part replaced.
fn fine(path: &str, value: Value) -> Value {
    let mut spec = json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [],
        "containers": [{"name": "c", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
    });
    if !path.is_empty() {
        let (parent, field) = path.rsplit_once('/').unwrap();
        spec.pointer_mut(parent).unwrap()[field] = value;
    }
    spec
}

#[test]
fn a_bare_pod_is_baseline_and_not_restricted() {
    let spec = json!({"containers": [{"name": "c"}]});
    assert_eq!(found(Level::Privileged, Version::Latest, &spec), "");
    assert_eq!(found(Level::Baseline, Version::Latest, &spec), "");
    assert_eq!(
        found(Level::Restricted, Version::Latest, &spec),
        "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    assert_eq!(found(Level::Restricted, Version::Latest, &fine("", Value::Null)), "");
}

#[test]
fn baseline_refuses_what_reaches_the_host() {
    let c = "/containers/0/";
    for (path, value, expect) in [
        ("/hostNetwork".to_owned(), json!(true), "host namespaces (hostNetwork=true)"),
        (
            format!("{c}securityContext"),
            json!({"privileged": true}),
            "privileged (container \"c\" must not set securityContext.privileged=true)",
        ),
        (
            format!("{c}securityContext"),
            json!({"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}}),
            "non-default capabilities (container \"c\" must not include \"NET_ADMIN\" in securityContext.capabilities.add)",
        ),
        (
            "/volumes".to_owned(),
            json!([{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "hostPath": {"path": "/"}}]),
            "hostPath volumes (volumes \"a\", \"b\")",
        ),
        (
            format!("{c}ports"),
            json!([{"hostPort": 80}, {"hostPort": 0}, {"hostPort": 443}]),
            "hostPort (container \"c\" uses hostPorts 443, 80)",
        ),
        (
            format!("{c}livenessProbe"),
            json!({"httpGet": {"host": "8.8.8.8"}}),
            "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"8.8.8.8\")",
        ),
        (
            format!("{c}securityContext"),
            json!({"procMount": "Unmasked"}),
            "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            "/securityContext".to_owned(),
            json!({"seLinuxOptions": {"type": "spc_t", "user": "u"}}),
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set)",
        ),
        (
            "/securityContext".to_owned(),
            json!({"seccompProfile": {"type": "Unconfined"}}),
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            "/securityContext".to_owned(),
            json!({"sysctls": [{"name": "net.ipv4.tcp_rmem"}, {"name": "kernel.msgmax"}]}),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            "/securityContext".to_owned(),
            json!({"windowsOptions": {"hostProcess": true}}),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            "/securityContext".to_owned(),
            json!({"appArmorProfile": {"type": "Unconfined"}}),
            "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\")",
        ),
    ] {
        assert_eq!(found(Level::Baseline, Version::Latest, &fine(&path, value)), expect);
    }
}

#[test]
fn restricted_replaces_the_checks_it_sharpens() {
    for (path, value, expect) in [
        (
            "/volumes",
            json!([{"name": "a", "hostPath": {"path": "/"}}, {"name": "s", "secret": {}}]),
            "restricted volume types (volume \"a\" uses restricted volume type \"hostPath\")",
        ),
        (
            "/containers/0/securityContext/capabilities",
            json!({"drop": ["ALL"], "add": ["CHOWN", "NET_BIND_SERVICE"]}),
            "unrestricted capabilities (container \"c\" must not include \"CHOWN\" in securityContext.capabilities.add)",
        ),
        ("/securityContext/runAsUser", json!(0), "runAsUser=0 (pod must not set runAsUser=0)"),
        (
            "/containers/0/securityContext/runAsNonRoot",
            json!(false),
            "runAsNonRoot != true (container \"c\" must not set securityContext.runAsNonRoot=false)",
        ),
        (
            "/securityContext/seccompProfile",
            json!({"type": "Unconfined"}),
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
    ] {
        assert_eq!(found(Level::Restricted, Version::Latest, &fine(path, value)), expect);
    }
}

#[test]
fn older_editions_know_less() {
    let sysctl = fine("/securityContext", json!({"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}));
    assert_eq!(found(Level::Baseline, Version::Minor(32), &sysctl), "");
    assert_eq!(
        found(Level::Baseline, Version::Minor(31), &sysctl),
        "forbidden sysctls (net.ipv4.tcp_rmem)"
    );
    let mut windows = json!({"os": {"name": "windows"}, "containers": [{"name": "c"}], "securityContext": {"runAsNonRoot": true}});
    assert_eq!(found(Level::Restricted, Version::Latest, &windows), "");
    windows["os"] = Value::Null;
    assert!(found(Level::Restricted, Version::Latest, &windows).contains("seccompProfile"));
}
