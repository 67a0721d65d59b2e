//! create -f, and create TYPE.

use anyhow::{Result, ensure};
use serde_json::json;

use super::bodies::{config, deployment};
use crate::wire::scene::{Scene, has};

pub fn file(s: &Scene<'_>) -> Result<()> {
    let both = format!("{}\n{}\n", config("c", "k", "v"), deployment("web", 0, "a"));
    let said = s.with("create -f -", &both)?;
    has(&said, &["configmap/c created", "deployment.apps/web created"])?;
    s.is("configmaps", "c", "/metadata/managedFields/0/manager", &json!("kubectl-create"))?;
    s.is("apps/v1/deployments", "web", "/metadata/generation", &json!(1))?;
    s.is("apps/v1/deployments", "web", "/spec/strategy/type", &json!("RollingUpdate"))?;
    let twice = s.refused("create -f -", &config("c", "k", "v").to_string())?;
    has(&twice, &["(AlreadyExists)", "configmaps \"c\" already exists"])?;
    let mut odd = deployment("odd", 0, "a");
    odd["spec"]["replcas"] = json!(1);
    let strict = s.refused("create -f -", &odd.to_string())?;
    has(&strict, &["strict decoding error: unknown field \"spec.replcas\""])?;
    let warned = s.outcome("create --validate=warn -f -", &odd.to_string())?;
    ensure!(warned.code == 0, "{}", warned.err);
    has(&warned.err, &["Warning: unknown field \"spec.replcas\""])?;
    odd["metadata"]["name"] = json!("odd2");
    let ignored = s.outcome("create --validate=false -f -", &odd.to_string())?;
    ensure!(ignored.code == 0 && !ignored.err.contains("Warning"), "{}", ignored.err);
    let twice =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: dup}\ndata: {a: x}\ndata: {b: y}\n";
    let duplicate = s.refused("create -f -", twice)?;
    has(&duplicate, &["data"])?;
    let mut wrong = deployment("wrong", 1, "a");
    wrong["spec"]["replicas"] = json!(-1);
    wrong["spec"]["template"]["metadata"]["labels"] = json!({"x": "y"});
    let invalid = s.refused("create -f -", &wrong.to_string())?;
    has(
        &invalid,
        &[
            "The Deployment \"wrong\" is invalid:",
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "`selector` does not match template `labels`",
        ],
    )?;
    let generated =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "gen-"}});
    has(&s.with("create -f -", &generated.to_string())?, &["configmap/gen-"])?;
    s.saw("created, refused, warned, generated");
    Ok(())
}

pub fn types(s: &Scene<'_>) -> Result<()> {
    let ns = s.namespace.clone();
    let own = format!("{ns}-own");
    for (line, resource, name, pointer, expected) in [
        (
            "create deployment web --image=img --replicas=2 --port=80",
            "apps/v1/deployments",
            "web",
            "/spec/replicas",
            json!(2),
        ),
        ("create configmap cm --from-literal=a=b", "configmaps", "cm", "/data/a", json!("b")),
        ("create secret generic s --from-literal=a=b", "secrets", "s", "/data/a", json!("Yg==")),
        (
            "create secret docker-registry d --docker-username=u --docker-password=p",
            "secrets",
            "d",
            "/type",
            json!("kubernetes.io/dockerconfigjson"),
        ),
        (
            "create job j --image=img -- true",
            "batch/v1/jobs",
            "j",
            "/spec/template/spec/containers/0/command/0",
            json!("true"),
        ),
        (
            "create cronjob cj --image=img --schedule=0~0~1~1~* -- true",
            "batch/v1/cronjobs",
            "cj",
            "/spec/schedule",
            json!("0 0 1 1 *"),
        ),
        (
            "create service clusterip ci --tcp=80:8080",
            "services",
            "ci",
            "/spec/ports/0/targetPort",
            json!(8080),
        ),
        ("create service nodeport np --tcp=80", "services", "np", "/spec/type", json!("NodePort")),
        (
            "create service loadbalancer lb --tcp=80",
            "services",
            "lb",
            "/spec/type",
            json!("LoadBalancer"),
        ),
        (
            "create service externalname en --external-name=example.org",
            "services",
            "en",
            "/spec/externalName",
            json!("example.org"),
        ),
        (
            "create ingress in --rule=a.example.org/=svc:80",
            "networking.k8s.io/v1/ingresses",
            "in",
            "/spec/rules/0/http/paths/0/backend/service/port/number",
            json!(80),
        ),
        (
            "create role r --verb=get,list --resource=pods,deployments.apps",
            "rbac.authorization.k8s.io/v1/roles",
            "r",
            "/rules/0/verbs",
            json!(["get", "list"]),
        ),
        (
            "create rolebinding rb --clusterrole=view --user=jane",
            "rbac.authorization.k8s.io/v1/rolebindings",
            "rb",
            "/subjects/0/name",
            json!("jane"),
        ),
        ("create quota q --hard=cpu=2,pods=5", "resourcequotas", "q", "/spec/hard/cpu", json!("2")),
        ("create serviceaccount sa", "serviceaccounts", "sa", "/metadata/name", json!("sa")),
        (
            "create poddisruptionbudget pdb --selector=app=x --max-unavailable=1",
            "policy/v1/poddisruptionbudgets",
            "pdb",
            "/spec/maxUnavailable",
            json!(1),
        ),
    ] {
        s.run(line)?;
        s.is(resource, name, pointer, &expected)?;
    }
    let key = s.file("tls.key", KEY)?;
    let certificate = s.file("tls.crt", CERTIFICATE)?;
    let tls = format!("create secret tls t --cert={certificate} --key={key}");
    if std::process::Command::new("openssl").arg("version").output().is_ok() {
        let made = std::process::Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-subj",
                "/CN=t",
                "-keyout",
                &key,
                "-out",
                &certificate,
            ])
            .output()?;
        ensure!(made.status.success(), "openssl made no certificate");
        s.run(&tls)?;
        s.is("secrets", "t", "/type", &json!("kubernetes.io/tls"))?;
    }
    for (line, path, pointer, expected) in [
        (
            format!("create namespace {own}"),
            format!("/api/v1/namespaces/{own}"),
            "/status/phase",
            json!("Active"),
        ),
        (
            format!("create clusterrole {ns} --verb=get --resource=nodes"),
            format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{ns}"),
            "/rules/0/resources/0",
            json!("nodes"),
        ),
        (
            format!("create clusterrolebinding {ns} --clusterrole={ns} --group=g"),
            format!("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/{ns}"),
            "/subjects/0/kind",
            json!("Group"),
        ),
        (
            format!("create priorityclass {ns} --value=7 --description=d"),
            format!("/apis/scheduling.k8s.io/v1/priorityclasses/{ns}"),
            "/value",
            json!(7),
        ),
    ] {
        s.run(&line)?;
        let found = s.raw_json(&path)?;
        ensure!(found.pointer(pointer) == Some(&expected), "{path} {pointer}: {found}");
    }
    s.run(&format!("delete namespace/{own} clusterrole/{ns} clusterrolebinding/{ns} priorityclass/{ns} --wait=false"))?;
    s.saw("21 types");
    Ok(())
}

const KEY: &str = "";
const CERTIFICATE: &str = "";
