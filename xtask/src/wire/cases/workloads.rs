//! run, expose, scale, set, rollout, wait, jobs, debug.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::bodies::{controller, deployment, pod, template};
use crate::{
    e2e::{kubectl::Staying, waiting::until},
    wire::scene::{SOON, Scene, has},
};

const DEPLOYMENTS: &str = "apps/v1/deployments";

pub fn run(s: &Scene<'_>) -> Result<()> {
    s.run("run p --image=img --port=80 --labels=a=b --env=X=1")?;
    s.is("pods", "p", "/spec/containers/0/env/0/value", &json!("1"))?;
    s.becomes("pods", "p", "/status/phase", &json!("Running"))?;
    s.run("expose pod p --port=8080 --target-port=80 --name=p")?;
    s.is("services", "p", "/spec/selector", &json!({"a": "b"}))?;
    let service = s.get("services", "p")?;
    ensure!(
        service["spec"]["clusterIP"].as_str().is_some_and(|ip| ip.starts_with("10.")),
        "{service}"
    );
    until("endpoints of the service", SOON, || {
        let text = s.run("get endpointslices -l kubernetes.io/service-name=p")?;
        has(&text, &["10.250.", "IPv4", "80"])
    })?;
    until("endpoints of the old form", SOON, || {
        has(&s.get("endpoints", "p")?.to_string(), &["10.250.", "\"port\":80"])
    })?;
    s.run("expose pod p --port=80 --name=np --type=NodePort")?;
    let port = s.get("services", "np")?["spec"]["ports"][0]["nodePort"].as_u64().unwrap_or(0);
    ensure!((30000..32768).contains(&port), "node port {port}");
    s.saw("pod with a service and a node port");
    Ok(())
}

pub fn controllers(s: &Scene<'_>) -> Result<()> {
    s.with("create -f -", &controller("rc").to_string())?;
    let running = |count: u64| {
        until(&format!("{count} pods run"), SOON, || {
            let words = [
                "get",
                "pods",
                "-l",
                "app=rc",
                "-o",
                "template",
                "--template={{range .items}}{{.status.phase}} {{end}}",
            ];
            let phases = s.kubectl.run(&words)?;
            let found =
                phases.split_whitespace().filter(|phase| *phase == "Running").count() as u64;
            ensure!(
                found == count && phases.split_whitespace().count() as u64 == count,
                "{phases}"
            );
            Ok(())
        })
    };
    s.becomes("replicationcontrollers", "rc", "/status/availableReplicas", &json!(1))?;
    s.run("scale rc rc --replicas=2 --timeout=5m")?;
    running(2)?;
    s.run("scale rc rc --replicas=1 --timeout=5m")?;
    running(1)?;
    s.run("expose rc rc --name=rm2 --port=1234 --target-port=80")?;
    s.run("expose service rm2 --name=rm3 --port=2345 --target-port=80")?;
    for (service, port) in [("rm2", 1234), ("rm3", 2345)] {
        s.is("services", service, "/spec/ports/0/port", &json!(port))?;
        until("endpoints of the exposed service", SOON, || {
            has(&s.get("endpoints", service)?.to_string(), &["10.250.", "\"port\":80"])
        })?;
    }
    s.run("delete rc rc --grace-period=0 --force")?;
    s.gone("replicationcontrollers", "rc")?;
    until("its pods are gone", SOON, || {
        let left = s.run("get pods -l app=rc -o name")?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })?;
    s.saw("created, scaled, exposed twice, stopped with its pods");
    Ok(())
}

pub fn scale(s: &Scene<'_>) -> Result<()> {
    s.with("create -f -", &deployment("web", 1, "a").to_string())?;
    s.run("scale deployment web --replicas=3")?;
    s.becomes(DEPLOYMENTS, "web", "/status/readyReplicas", &json!(3))?;
    let refused = s.refused("scale deployment web --current-replicas=7 --replicas=1", "")?;
    has(&refused, &["Expected replicas to be 7"])?;
    let set = s.run("get rs -l app=web -o name")?;
    s.run("scale deployment web --replicas=0")?;
    until("no replicas", SOON, || {
        let count = s.get(DEPLOYMENTS, "web")?["status"]["replicas"].as_u64().unwrap_or(0);
        ensure!(count == 0, "{count} replicas");
        Ok(())
    })?;
    s.run(&format!("scale {set} --replicas=0"))?;
    s.run("autoscale deployment web --min=2 --max=5 --cpu-percent=70")
        .or_else(|_| s.run("autoscale deployment web --min=2 --max=5 --cpu=70%"))?;
    s.is("autoscaling/v2/horizontalpodautoscalers", "web", "/spec/maxReplicas", &json!(5))?;
    s.is(
        "autoscaling/v1/horizontalpodautoscalers",
        "web",
        "/spec/targetCPUUtilizationPercentage",
        &json!(70),
    )?;
    s.with("create -f -", &controller("rc").to_string())?;
    s.run("scale rc rc --replicas=2")?;
    s.is("replicationcontrollers", "rc", "/spec/replicas", &json!(2))?;
    s.saw("deployment, replica set, replication controller, autoscaler");
    Ok(())
}

pub fn set(s: &Scene<'_>) -> Result<()> {
    s.with("create -f -", &deployment("web", 0, "a").to_string())?;
    s.run("set image deployment/web main=b")?;
    let main = "/spec/template/spec/containers/0";
    s.is(DEPLOYMENTS, "web", &format!("{main}/image"), &json!("b"))?;
    s.run("set env deployment/web A=1")?;
    s.is(DEPLOYMENTS, "web", &format!("{main}/env"), &json!([{"name": "A", "value": "1"}]))?;
    s.run("set env deployment/web A-")?;
    s.is(DEPLOYMENTS, "web", &format!("{main}/env"), &json!(null))?;
    s.run("set resources deployment/web --limits=cpu=200m,memory=64Mi")?;
    s.is(DEPLOYMENTS, "web", &format!("{main}/resources/limits/memory"), &json!("64Mi"))?;
    s.run("create serviceaccount robot")?;
    s.run("set serviceaccount deployment web robot")?;
    s.is(DEPLOYMENTS, "web", "/spec/template/spec/serviceAccountName", &json!("robot"))?;
    s.run("create service clusterip svc --tcp=80")?;
    s.run("set selector service svc app=web")?;
    s.is("services", "svc", "/spec/selector", &json!({"app": "web"}))?;
    s.run("create rolebinding rb --clusterrole=view --user=a")?;
    s.run("set subject rolebinding rb --user=b")?;
    s.is("rbac.authorization.k8s.io/v1/rolebindings", "rb", "/subjects/1/name", &json!("b"))?;
    s.saw("6 setters");
    Ok(())
}

pub fn rollout(s: &Scene<'_>) -> Result<()> {
    s.with("create -f -", &deployment("web", 2, "a").to_string())?;
    has(&s.run("rollout status deployment/web --timeout=60s")?, &["successfully rolled out"])?;
    s.run("set image deployment/web main=b")?;
    s.run("annotate deployment/web kubernetes.io/change-cause=to-b --overwrite")?;
    has(&s.run("rollout status deployment/web --timeout=60s")?, &["successfully rolled out"])?;
    let history = s.run("rollout history deployment/web")?;
    has(&history, &["REVISION", "1", "2"])?;
    has(&s.run("rollout history deployment/web --revision=1")?, &["Image:\ta"])?;
    s.run("rollout undo deployment/web")?;
    s.run("rollout status deployment/web --timeout=60s")?;
    s.is(DEPLOYMENTS, "web", "/spec/template/spec/containers/0/image", &json!("a"))?;
    s.run("rollout undo deployment/web --to-revision=2")?;
    s.is(DEPLOYMENTS, "web", "/spec/template/spec/containers/0/image", &json!("b"))?;
    s.run("rollout restart deployment/web")?;
    let object = s.get(DEPLOYMENTS, "web")?;
    let stamp =
        object.pointer("/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt");
    ensure!(stamp.is_some(), "not restarted");
    s.run("rollout status deployment/web --timeout=60s")?;
    s.run("rollout pause deployment/web")?;
    s.is(DEPLOYMENTS, "web", "/spec/paused", &json!(true))?;
    has(&s.refused("rollout restart deployment/web", "")?, &["paused"])?;
    s.run("rollout resume deployment/web")?;
    s.is(DEPLOYMENTS, "web", "/spec/paused", &json!(null))?;
    s.saw("status, history, undo, restart, pause");
    Ok(())
}

pub fn sets(s: &Scene<'_>) -> Result<()> {
    let daemons = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": template("d", "a")}});
    let stateful = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "st"},
        "spec": {"serviceName": "st", "replicas": 2, "selector": {"matchLabels": {"app": "st"}}, "template": template("st", "a")}});
    for (kind, name, object) in [("DaemonSet", "d", daemons), ("StatefulSet", "st", stateful)] {
        let resource = kind.to_lowercase();
        let path = format!("apps/v1/{resource}s");
        s.with("create -f -", &object.to_string())?;
        s.run(&format!("rollout status {resource}/{name} --timeout=60s"))?;
        s.run(&format!("set image {resource}/{name} main=b"))?;
        s.is(&path, name, "/metadata/generation", &json!(2))?;
        s.run(&format!("rollout status {resource}/{name} --timeout=120s"))?;
        has(&s.run(&format!("rollout history {resource}/{name}"))?, &["REVISION", "1", "2"])?;
        s.run(&format!("rollout undo {resource}/{name} --to-revision=1"))?;
        s.is(&path, name, "/spec/template/spec/containers/0/image", &json!("a"))?;
        s.run(&format!("rollout restart {resource}/{name}"))?;
    }
    s.run("scale statefulset st --replicas=1")?;
    s.is("apps/v1/statefulsets", "st", "/spec/replicas", &json!(1))?;
    s.saw("status, history, undo, restart, scale");
    Ok(())
}

const LINE: Duration = Duration::from_secs(60);

/// One of the texts comes before the end.
fn ended(command: &mut Staying, texts: &[&str]) -> Result<()> {
    loop {
        let (_, line) = command.line(LINE)?;
        if texts.iter().any(|text| line.contains(text)) {
            return Ok(());
        }
    }
}

pub fn wait(s: &Scene<'_>) -> Result<()> {
    let mut creation = s.kubectl.stay(&["wait", "--for=create", "pod/late", "--timeout=60s"])?;
    s.with("create -f -", &pod("p").to_string())?;
    has(&s.run("wait pod/p --for=condition=Ready --timeout=60s")?, &["pod/p condition met"])?;
    has(
        &s.run("wait pod/p --for=jsonpath={.status.phase}=Running --timeout=60s")?,
        &["condition met"],
    )?;
    let timeout = s.refused("wait pod/p --for=condition=Never --timeout=1s", "")?;
    has(&timeout, &["timed out waiting for the condition"])?;
    s.with("create -f -", &pod("late").to_string())?;
    has(&creation.line(Duration::from_secs(60))?.1, &["pod/late condition met"])?;
    s.run("delete pod p --wait=false")?;
    s.run("wait pod/p --for=delete --timeout=60s")?;
    s.gone("pods", "p")?;
    s.saw("condition, jsonpath, create, delete, timeout");
    Ok(())
}

pub fn jobs(s: &Scene<'_>) -> Result<()> {
    s.run("create job j --image=img -- true")?;
    let mut waiting =
        s.kubectl.stay(&["wait", "job/j", "--for=condition=complete", "--timeout=60s"])?;
    ended(&mut waiting, &["job.batch/j condition met"])?;
    s.run("create cronjob cj --image=img --schedule=0~0~1~1~* -- true")?;
    s.run("create job manual --from=cronjob/cj")?;
    let owner = s.get("batch/v1/jobs", "manual")?;
    ensure!(owner["metadata"]["ownerReferences"][0]["kind"] == "CronJob", "{owner}");
    has(&s.run("get jobs")?, &["STATUS", "Complete", "1/1"])?;
    s.saw("completed, and one from a cron job");
    Ok(())
}

pub fn debug(s: &Scene<'_>) -> Result<()> {
    s.with("create -f -", &pod("p").to_string())?;
    s.becomes("pods", "p", "/status/phase", &json!("Running"))?;
    s.run("debug p --image=busybox -c look --target=main --attach=false -- sleep 1")?;
    s.is("pods", "p", "/spec/ephemeralContainers/0/name", &json!("look"))?;
    s.becomes("pods", "p", "/status/ephemeralContainerStatuses/0/name", &json!("look"))?;
    let removed = s.refused("patch pod p --subresource=ephemeralcontainers --type=json -p [{\"op\":\"remove\",\"path\":\"/spec/ephemeralContainers/0\"}]", "")?;
    has(&removed, &["ephemeral"])?;
    s.run("debug p --copy-to=copy --set-image=main=other --attach=false --image=busybox -c look")?;
    let copy = s.get("pods", "copy")?;
    ensure!(copy["spec"]["containers"][0]["image"] == "other", "{copy}");
    let said = s.run("debug node/wire-1 --image=busybox --attach=false -- sleep 1")?;
    let name = said
        .split_whitespace()
        .find(|word| word.starts_with("node-debugger-wire-1"))
        .unwrap_or_default()
        .to_owned();
    let object = s.get("pods", &name)?;
    ensure!(
        object["spec"]["hostPID"] == true && object["spec"]["nodeName"] == "wire-1",
        "{object}"
    );
    s.saw("ephemeral container, copy, node");
    Ok(())
}
