//! apply, diff, edit, replace, patch, label, delete.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::bodies::{config, deployment, pod};
use crate::{
    e2e::waiting::until,
    wire::scene::{SOON, Scene, has},
};

const LAST_APPLIED: &str =
    "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";
const DEPLOYMENTS: &str = "apps/v1/deployments";

pub fn apply(s: &Scene<'_>) -> Result<()> {
    let mut web = deployment("web", 1, "a");
    web["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
    has(&s.with("apply -f -", &web.to_string())?, &["deployment.apps/web created"])?;
    let again = s.with("apply -f -", &web.to_string())?;
    has(&again, &["unchanged"])?;
    // Someone else scales and adds a container; the next apply removes what it dropped and leaves theirs alone.
    s.other.run(&[
        "patch",
        "deployment",
        "web",
        "--type=strategic",
        "-p",
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"theirs","image":"t"}]}}}}"#,
    ])?;
    web["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "B", "value": "3"}]);
    web["metadata"]["labels"]["extra"] = json!("x");
    has(&s.with("apply -f -", &web.to_string())?, &["deployment.apps/web configured"])?;
    let now = s.get(DEPLOYMENTS, "web")?;
    let containers = &now["spec"]["template"]["spec"]["containers"];
    let names: Vec<&str> =
        containers.as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect();
    ensure!(names.contains(&"main") && names.contains(&"theirs"), "containers {names:?}");
    let main = containers.as_array().into_iter().flatten().find(|c| c["name"] == "main");
    ensure!(main.is_some_and(|c| c["env"] == json!([{"name": "B", "value": "3"}])), "{containers}");
    ensure!(now.pointer(LAST_APPLIED).is_some(), "no last-applied annotation");
    has(&s.run("apply view-last-applied deployment web")?, &["name: web"])?;
    let file = s.file("web.json", &web.to_string())?;
    s.run(&format!("apply set-last-applied -f {file}"))?;
    s.saw("merged with someone else's change");
    Ok(())
}

pub fn server_side(s: &Scene<'_>) -> Result<()> {
    let web = deployment("web", 1, "a");
    has(
        &s.with("apply --server-side -f -", &web.to_string())?,
        &["deployment.apps/web serverside-applied"],
    )?;
    let object = s.get(DEPLOYMENTS, "web")?;
    let managers = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    ensure!(
        managers.iter().any(|m| m["manager"] == "kubectl" && m["operation"] == "Apply"),
        "{managers:?}"
    );
    ensure!(object.pointer(LAST_APPLIED).is_none(), "server-side apply left an annotation");
    let theirs = deployment("web", 3, "a");
    let conflict =
        s.refused("apply --server-side --field-manager=theirs -f -", &theirs.to_string())?;
    has(&conflict, &["Apply failed with 1 conflict: conflict with \"kubectl\": .spec.replicas"])?;
    s.with(
        "apply --server-side --field-manager=theirs --force-conflicts -f -",
        &theirs.to_string(),
    )?;
    s.is(DEPLOYMENTS, "web", "/spec/replicas", &json!(3))?;
    // A field that its only owner drops goes away; a shared one stays.
    let mut less = web.clone();
    less["metadata"].as_object_mut().map(|m| m.remove("labels"));
    less["spec"].as_object_mut().map(|m| m.remove("replicas"));
    s.with("apply --server-side -f -", &less.to_string())?;
    s.is(DEPLOYMENTS, "web", "/metadata/labels/app", &json!("web"))?;
    s.is(DEPLOYMENTS, "web", "/spec/replicas", &json!(3))?;
    // From client-side to server-side apply: the fields move to the new manager and can be removed by it.
    let mut map = config("moved", "a", "1");
    map["data"]["b"] = json!("2");
    s.with("apply -f -", &map.to_string())?;
    map["data"].as_object_mut().map(|m| m.remove("b"));
    s.with("apply --server-side -f -", &map.to_string())?;
    s.is("configmaps", "moved", "/data", &json!({"a": "1"}))?;
    s.saw("owned, conflict, forced, migrated");
    Ok(())
}

pub fn prune(s: &Scene<'_>) -> Result<()> {
    let labelled = |name: &str| {
        let mut map = config(name, "k", "v");
        map["metadata"]["labels"] = json!({"set": "one"});
        map.to_string()
    };
    let both = format!("{}\n{}", labelled("keep"), labelled("drop"));
    s.with("apply -f -", &both)?;
    s.with("apply --prune -l set=one --prune-allowlist=core/v1/ConfigMap -f -", &labelled("keep"))?;
    s.gone("configmaps", "drop")?;
    s.get("configmaps", "keep")?;
    s.saw("one kept, one pruned");
    Ok(())
}

pub fn dry_run(s: &Scene<'_>) -> Result<()> {
    s.with("create -f -", &config("c", "k", "1").to_string())?;
    let before = s.get("configmaps", "c")?;
    let web = deployment("web", 1, "a").to_string();
    for line in [
        "apply --dry-run=server -f -",
        "apply --server-side --dry-run=server -f -",
        "create --dry-run=server -f -",
    ] {
        has(&s.with(line, &web)?, &["server dry run"])?;
        s.gone(DEPLOYMENTS, "web")?;
    }
    for line in [
        "patch cm c --dry-run=server --type=merge -p {\"data\":{\"k\":\"2\"}}",
        "label cm c --dry-run=server a=b",
        "annotate cm c --dry-run=server a=b",
        "delete cm c --dry-run=server",
        "create configmap d --dry-run=server --from-literal=a=b",
        "create service clusterip svc --tcp=80 --dry-run=server",
        "create job j --image=x --dry-run=server",
    ] {
        s.run(line)?;
    }
    ensure!(s.get("configmaps", "c")? == before, "a dry run changed the config map");
    s.gone("configmaps", "d")?;
    s.gone("services", "svc")?;
    let shown: Value =
        serde_json::from_str(&s.with("create --dry-run=server -o json -f -", &web)?)?;
    ensure!(shown["spec"]["strategy"]["type"] == "RollingUpdate", "a dry run shows defaults");
    ensure!(shown["metadata"]["uid"].is_string(), "a dry run shows a UID");
    s.saw("10 dry runs changed nothing");
    Ok(())
}

pub fn diff(s: &Scene<'_>) -> Result<()> {
    let web = deployment("web", 1, "a").to_string();
    s.with("apply -f -", &web)?;
    let same = s.outcome("diff -f -", &web)?;
    ensure!(same.code == 0 && same.out.is_empty(), "{same:?}");
    let other = s.outcome("diff -f -", &deployment("web", 2, "b").to_string())?;
    ensure!(other.code == 1, "{other:?}");
    has(&other.out, &["-  replicas: 1", "+  replicas: 2"])?;
    let new = s.outcome("diff -f -", &deployment("new", 2, "b").to_string())?;
    ensure!(new.code == 1, "{new:?}");
    has(&new.out, &["+kind: Deployment"])?;
    let server = s.outcome(
        "diff --server-side --force-conflicts -f -",
        &deployment("web", 4, "a").to_string(),
    )?;
    ensure!(server.code == 1, "{server:?}");
    s.is(DEPLOYMENTS, "web", "/spec/replicas", &json!(1))?;
    s.saw("exit 0 when equal, 1 with the lines");
    Ok(())
}

pub fn edit(s: &Scene<'_>) -> Result<()> {
    s.with("apply -f -", &config("c", "k", "before").to_string())?;
    let editor = s.file("editor", "#!/bin/sh\nsed -i s/before/after/ \"$1\"\n")?;
    std::fs::set_permissions(&editor, std::fs::Permissions::from_mode(0o755))?;
    let mut command = s.kubectl.command(&["edit", "configmap", "c"]);
    let edited = command.env("KUBE_EDITOR", &editor).output()?;
    ensure!(edited.status.success(), "edit: {}", String::from_utf8_lossy(&edited.stderr));
    s.is("configmaps", "c", "/data/k", &json!("after"))?;
    let uid = s.get("configmaps", "c")?["metadata"]["uid"].clone();
    s.with("replace -f -", &config("c", "k", "replaced").to_string())?;
    s.is("configmaps", "c", "/data/k", &json!("replaced"))?;
    s.is("configmaps", "c", "/metadata/uid", &uid)?;
    let mut stale = s.get("configmaps", "c")?;
    s.run("label cm c x=y")?;
    stale["data"]["k"] = json!("stale");
    let conflict = s.refused("replace -f -", &stale.to_string())?;
    has(&conflict, &["(Conflict)", "the object has been modified"])?;
    let none = s.refused("replace -f -", &config("none", "k", "v").to_string())?;
    has(&none, &["(NotFound)"])?;
    s.with("replace --force -f -", &config("c", "k", "forced").to_string())?;
    ensure!(s.get("configmaps", "c")?["metadata"]["uid"] != uid, "--force made no new object");
    s.with("create -f -", &pod("swapped").to_string())?;
    s.becomes("pods", "swapped", "/status/phase", &json!("Running"))?;
    let mut swapped = s.get("pods", "swapped")?;
    swapped["spec"]["containers"][0]["image"] = json!("other");
    s.with("replace -f -", &swapped.to_string())?;
    s.is("pods", "swapped", "/spec/containers/0/image", &json!("other"))?;
    s.saw("edited, replaced, conflict, forced, a pod's image");
    Ok(())
}

pub fn patch(s: &Scene<'_>) -> Result<()> {
    s.with("create -f -", &deployment("web", 1, "a").to_string())?;
    let main = || -> Result<Value> {
        Ok(s.get(DEPLOYMENTS, "web")?["spec"]["template"]["spec"]["containers"].clone())
    };
    s.run("patch deployment web -p {\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"two\",\"image\":\"b\"}]}}}}")?;
    ensure!(
        main()?.as_array().is_some_and(|list| list.len() == 2),
        "strategic merge adds a container"
    );
    s.run("patch deployment web -p {\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"two\",\"$patch\":\"delete\"}]}}}}")?;
    ensure!(main()?.as_array().is_some_and(|list| list.len() == 1), "$patch: delete removes it");
    s.run("patch deployment web --type=merge -p {\"spec\":{\"replicas\":2,\"paused\":true}}")?;
    s.is(DEPLOYMENTS, "web", "/spec/paused", &json!(true))?;
    s.run("patch deployment web --type=merge -p {\"spec\":{\"paused\":null}}")?;
    s.is(DEPLOYMENTS, "web", "/spec/paused", &Value::Null)?;
    s.run("patch deployment web --type=json -p [{\"op\":\"replace\",\"path\":\"/spec/template/spec/containers/0/image\",\"value\":\"c\"}]")?;
    ensure!(main()?[0]["image"] == "c", "json patch");
    let failed = s.refused("patch deployment web --type=json -p [{\"op\":\"test\",\"path\":\"/spec/replicas\",\"value\":99}]", "")?;
    has(&failed, &["the server rejected our request due to an error in our request"])?;
    s.run("patch deployment web --subresource=scale --type=merge -p {\"spec\":{\"replicas\":3}}")?;
    s.is(DEPLOYMENTS, "web", "/spec/replicas", &json!(3))?;
    let generation = s.get(DEPLOYMENTS, "web")?["metadata"]["generation"].clone();
    s.run("patch deployment web --subresource=status --type=merge -p {\"status\":{\"collisionCount\":7},\"spec\":{\"replicas\":9}}")?;
    s.is(DEPLOYMENTS, "web", "/spec/replicas", &json!(3))?;
    s.is(DEPLOYMENTS, "web", "/metadata/generation", &generation)?;
    let selector = s.refused("patch deployment web --type=merge -p {\"spec\":{\"selector\":{\"matchLabels\":{\"x\":\"y\"}}}}", "")?;
    has(&selector, &["spec.selector: Invalid value", "field is immutable"])?;
    let mut sized = pod("sized");
    sized["spec"]["containers"][0]["resources"] =
        json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}});
    s.with("create -f -", &sized.to_string())?;
    s.becomes("pods", "sized", "/status/phase", &json!("Running"))?;
    s.run("patch pod sized --subresource=resize -p {\"spec\":{\"containers\":[{\"name\":\"main\",\"resources\":{\"requests\":{\"cpu\":\"150m\"},\"limits\":{\"cpu\":\"300m\"}}}]}}")?;
    s.is("pods", "sized", "/spec/containers/0/resources/requests/cpu", &json!("150m"))?;
    s.becomes("pods", "sized", "/status/containerStatuses/0/resources/limits/cpu", &json!("300m"))?;
    let direct = s.refused("patch pod sized --type=json -p [{\"op\":\"replace\",\"path\":\"/spec/containers/0/resources/requests/cpu\",\"value\":\"170m\"}]", "")?;
    has(&direct, &["pod updates may not change fields other than"])?;
    s.saw("4 kinds of patch; scale, status, resize");
    Ok(())
}

pub fn label(s: &Scene<'_>) -> Result<()> {
    s.with("create -f -", &config("c", "k", "v").to_string())?;
    s.run("label cm c a=1 b=2")?;
    let refused = s.refused("label cm c a=2", "")?;
    has(&refused, &["--overwrite"])?;
    s.run("label cm c a=2 b- --overwrite")?;
    s.is("configmaps", "c", "/metadata/labels", &json!({"a": "2"}))?;
    s.run("annotate cm c note=x")?;
    s.is("configmaps", "c", "/metadata/annotations/note", &json!("x"))?;
    s.run("annotate cm c note-")?;
    s.is("configmaps", "c", "/metadata/annotations", &Value::Null)?;
    s.run("label cm --all all=yes")?;
    s.is("configmaps", "c", "/metadata/labels/all", &json!("yes"))?;
    let object = s.get("configmaps", "c")?;
    let managers = object["metadata"]["managedFields"].to_string();
    has(&managers, &["kubectl-label"])?;
    s.saw("set, refused, overwritten, removed");
    Ok(())
}

pub fn delete(s: &Scene<'_>) -> Result<()> {
    for name in ["a", "b", "c"] {
        s.with("create -f -", &config(name, "k", "v").to_string())?;
    }
    s.run("label cm a b pick=me")?;
    has(&s.run("delete cm -l pick=me")?, &["configmap \"a\" deleted", "configmap \"b\" deleted"])?;
    s.gone("configmaps", "a")?;
    s.get("configmaps", "c")?;
    s.run("delete cm --all --wait")?;
    s.gone("configmaps", "c")?;
    let web = deployment("web", 2, "a").to_string();
    s.with("create -f -", &web)?;
    let pods = || s.kubectl.list(&["pods", "-l", "app=web"]);
    until("two pods run", SOON, || {
        let running = pods()?.iter().filter(|p| p["status"]["phase"] == "Running").count();
        ensure!(running == 2, "{running} run");
        Ok(())
    })?;
    s.run("delete deployment web --cascade=orphan")?;
    let sets = s.kubectl.list(&["replicasets", "-l", "app=web"])?;
    ensure!(sets.len() == 1 && pods()?.len() == 2, "orphans went away");
    ensure!(sets[0]["metadata"]["ownerReferences"].is_null(), "the orphan has an owner");
    s.with("create -f -", &web)?;
    let set = sets[0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    s.becomes("apps/v1/replicasets", &set, "/metadata/ownerReferences/0/name", &json!("web"))?;
    s.run("delete deployment web --cascade=foreground --timeout=60s")?;
    s.gone("apps/v1/replicasets", &set)?;
    until("no pods", SOON, || {
        let count = pods()?.len();
        ensure!(count == 0, "{count} pods are left");
        Ok(())
    })?;
    s.with("create -f -", &pod("p").to_string())?;
    s.becomes("pods", "p", "/status/phase", &json!("Running"))?;
    s.run("delete pod p --grace-period=0 --force --wait=false")?;
    s.gone("pods", "p")?;
    let mut held = config("held", "k", "v");
    held["metadata"]["finalizers"] = json!(["example.org/hold"]);
    s.with("create -f -", &held.to_string())?;
    s.run("delete cm held --wait=false")?;
    let object = s.get("configmaps", "held")?;
    ensure!(object["metadata"]["deletionTimestamp"].is_string(), "not marked");
    s.run("patch cm held --type=merge -p {\"metadata\":{\"finalizers\":null}}")?;
    s.gone("configmaps", "held")?;
    let missing =
        s.kubectl.call(&["delete", "cm", "none", "--ignore-not-found"], b"", Duration::ZERO)?;
    ensure!(missing.code == 0, "{missing:?}");
    s.saw("by selector, all, orphan, foreground, force, finalizer");
    Ok(())
}

pub fn kustomize(s: &Scene<'_>) -> Result<()> {
    s.file(
        "kustomization.yaml",
        "namePrefix: pre-\nresources: [c.yaml]\nlabels: [{pairs: {from: kustomize}}]\n",
    )?;
    s.file("c.yaml", &config("c", "k", "v").to_string())?;
    let folder = s.path("");
    s.run(&format!("apply -k {folder}"))?;
    s.is("configmaps", "pre-c", "/metadata/labels/from", &json!("kustomize"))?;
    s.run(&format!("delete -k {folder}"))?;
    s.gone("configmaps", "pre-c")?;
    s.saw("applied and deleted");
    Ok(())
}
