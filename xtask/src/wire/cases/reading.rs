//! get, describe, explain, events, version, proxy.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::bodies::{config, controller, deployment, pod};
use crate::{
    e2e::{http, waiting::until},
    wire::scene::{SOON, Scene, has},
};

/// One line of a watch.
const LINE: Duration = Duration::from_secs(30);

pub fn version(s: &Scene<'_>) -> Result<()> {
    let version: Value = serde_json::from_str(&s.run("version -o json")?)?;
    let git = version["serverVersion"]["gitVersion"].as_str().context("no server version")?;
    ensure!(git.starts_with("v1.36"), "the server is {git}");
    has(&s.run("cluster-info")?, &["Kubernetes control plane", "is running at"])?;
    has(&s.run("api-versions")?, &["apps/v1", "resource.k8s.io/v1", "autoscaling/v2", "v1"])?;
    let resources = s.run("api-resources -o wide")?;
    has(
        &resources,
        &[
            "deployments",
            "po ",
            "validatingadmissionpolicies",
            "servicecidrs",
            "flowschemas",
            "deviceclasses",
        ],
    )?;
    let namespaced = s.run("api-resources --namespaced=true -o name")?;
    ensure!(!namespaced.contains("nodes"), "nodes are not namespaced");
    has(&s.run("api-resources --categories=all -o name")?, &["pods", "cronjobs.batch"])?;
    s.saw(format!("{git}, {} resources", resources.lines().count() - 1));
    Ok(())
}

pub fn get(s: &Scene<'_>) -> Result<()> {
    for number in 1..=7 {
        let mut object = config(&format!("c{number}"), "k", "v");
        object["metadata"]["labels"] = json!({"odd": (number % 2 == 1).to_string()});
        s.with("create -f -", &object.to_string())?;
    }
    let table = s.run("get configmaps --chunk-size=2")?;
    has(&table, &["NAME", "DATA", "AGE", "c1", "c7", "kube-root-ca.crt"])?;
    let odd = s.run("get configmaps -l odd=true --no-headers")?;
    ensure!(odd.lines().count() == 4, "-l odd=true shows {odd}");
    let notin = s.run("get cm -l odd~notin~(true),odd --no-headers")?;
    ensure!(notin.lines().count() == 3, "notin shows {notin}");
    let one = s.run("get cm --field-selector metadata.name=c3 -o name")?;
    ensure!(one == "configmap/c3", "by name: {one}");
    let columns = s.run("get cm c1 c2 -o custom-columns=N:.metadata.name,K:.data.k")?;
    has(&columns, &["N", "c1", "v"])?;
    has(&s.run("get cm --sort-by=.metadata.name -o wide")?, &["c1"])?;
    ensure!(s.run("get cm c1 -o jsonpath={.data.k}")? == "v", "jsonpath");
    has(&s.run("get cm c1 -o yaml")?, &["apiVersion: v1", "kind: ConfigMap"])?;
    ensure!(!s.run("get cm c1 -o yaml")?.contains("managedFields"), "managedFields are hidden");
    has(&s.run("get cm c1 -o yaml --show-managed-fields")?, &["managedFields", "kubectl-create"])?;
    has(&s.run("get ns,cm --show-labels -L odd")?, &["namespace/default", "configmap/c1", "ODD"])?;
    has(&s.run("get namespaces -A")?, &["kube-system"])?;
    let missing = s.refused("get cm nope", "")?;
    ensure!(missing == "Error from server (NotFound): configmaps \"nope\" not found", "{missing}");
    let unknown = s.refused("get nonsense", "")?;
    has(&unknown, &["the server doesn't have a resource type \"nonsense\""])?;
    let bad = s.refused("get pods --field-selector spec.nothing=1", "")?;
    has(&bad, &["field label not supported"])?;
    let page = s.raw_json("/api/v1/namespaces/{ns}/configmaps?limit=3")?;
    ensure!(page["metadata"]["remainingItemCount"] == 5, "remaining: {}", page["metadata"]);
    s.saw("8 config maps in pages of 2");
    Ok(())
}

pub fn get_all(s: &Scene<'_>) -> Result<()> {
    s.with("create -f -", &deployment("web", 1, "a").to_string())?;
    s.run("expose deployment web --port=80")?;
    s.run("create job j --image=x -- true")?;
    s.run("create cronjob cj --image=x --schedule=0~0~1~1~* -- true")?;
    s.run("autoscale deployment web --min=1 --max=2 --cpu-percent=50")
        .or_else(|_| s.run("autoscale deployment web --min=1 --max=2 --cpu=50%"))?;
    until("all kinds are there", SOON, || {
        let all = s.run("get all")?;
        has(
            &all,
            &[
                "pod/web-",
                "service/web",
                "deployment.apps/web",
                "replicaset.apps/web-",
                "job.batch/j",
                "cronjob.batch/cj",
                "horizontalpodautoscaler.autoscaling/web",
            ],
        )
    })?;
    has(
        &s.run("get deploy,rs,svc,job,cj,hpa -o wide")?,
        &["UP-TO-DATE", "CLUSTER-IP", "COMPLETIONS", "SCHEDULE", "MINPODS"],
    )?;
    s.saw("7 kinds");
    Ok(())
}

pub fn watch(s: &Scene<'_>) -> Result<()> {
    s.with("create -f -", &config("w", "k", "0").to_string())?;
    let mut both =
        s.kubectl.stay(&["get", "cm", "w", "-w", "-o", "jsonpath={.data.k}{\"\\n\"}"])?;
    let mut only = s.kubectl.stay(&[
        "get",
        "cm",
        "--field-selector=metadata.name=w",
        "--watch-only",
        "--output-watch-events",
    ])?;
    ensure!(both.line(LINE)?.1 == "0", "the first state");
    // The watch that shows nothing at first is on its way when the server has its request; changes until it shows one.
    let mut number = 0;
    let (_, head) = loop {
        number += 1;
        s.run(&format!("patch cm w --type=merge -p {{\"data\":{{\"k\":\"{number}\"}}}}"))?;
        ensure!(both.line(LINE)?.1 == number.to_string(), "change {number}");
        match only.line(Duration::from_secs(2)) {
            Ok(line) => break line,
            Err(error) if number >= 10 => return Err(error),
            Err(_not_yet) => {}
        }
    };
    has(&head, &["EVENT", "NAME", "DATA"])?;
    has(&only.line(LINE)?.1, &["MODIFIED", "w"])?;
    s.run("delete cm w")?;
    loop {
        let (_, line) = only.line(LINE)?;
        if line.starts_with("DELETED") {
            break;
        }
    }
    s.saw(format!("{number} changes and a deletion"));
    Ok(())
}

pub fn describe(s: &Scene<'_>) -> Result<()> {
    s.with("create -f -", &deployment("web", 1, "a").to_string())?;
    s.run("expose deployment web --port=80 --name=web")?;
    s.with("create -f -", &controller("rc").to_string())?;
    s.run("create quota q --hard=pods=10,services=5")?;
    s.run("create configmap c --from-literal=key=value")?;
    s.run("create secret generic sec --from-literal=password=geheim")?;
    s.run("create ingress i --rule=example.org/path*=web:80")?;
    s.run("create pdb p --selector=app=web --min-available=1")?;
    s.run("create role r --verb=get --resource=pods")?;
    s.run(
        "create rolebinding rb --role=r --serviceaccount={ns}:default"
            .replace("{ns}", &s.namespace)
            .as_str(),
    )?;
    s.becomes("apps/v1/deployments", "web", "/status/readyReplicas", &json!(1))?;
    until("the deployment's event is described", SOON, || {
        has(
            &s.run("describe deployment web")?,
            &["Replicas:", "1 available", "NewReplicaSet:", "ScalingReplicaSet"],
        )
    })?;
    until("the pod's event is described", SOON, || {
        has(
            &s.run("describe pods -l app=web")?,
            &["Controlled By:", "ReplicaSet/web-", "Scheduled", "Node:"],
        )
    })?;
    has(&s.run("describe service web")?, &["Endpoints:", "10.250.", "Selector:", "app=web"])?;
    has(&s.run("describe rs -l app=web")?, &["Replicas:", "1 current / 1 desired"])?;
    has(&s.run("describe rc rc")?, &["Replicas:", "Pods Status:", "Image:"])?;
    has(&s.run("describe quota q")?, &["Resource", "Used", "Hard"])?;
    has(&s.run("describe cm c")?, &["key:", "value"])?;
    let secret = s.run("describe secret sec")?;
    ensure!(secret.contains("6 bytes") && !secret.contains("geheim"), "{secret}");
    has(&s.run("describe ingress i")?, &["example.org", "/path", "web:80"])?;
    has(&s.run("describe pdb p")?, &["Min available:", "1"])?;
    has(&s.run("describe role r")?, &["pods", "[get]"])?;
    has(&s.run("describe rolebinding rb")?, &["ServiceAccount", "default"])?;
    has(&s.run("describe sa default")?, &["default"])?;
    has(
        &s.run("describe node wire-1")?,
        &["wire-1", "Ready", "Lease:", "RenewTime:", "Non-terminated Pods:"],
    )?;
    has(&s.run(&format!("describe namespace {}", s.namespace))?, &["Active", "Resource Quotas"])?;
    has(&s.run("describe storageclass").or_else(|_| Ok::<_, anyhow::Error>(String::new()))?, &[])?;
    s.saw("15 kinds");
    Ok(())
}

pub fn explain(s: &Scene<'_>) -> Result<()> {
    has(
        &s.run("explain pod")?,
        &[
            "KIND:       Pod",
            "VERSION:    v1",
            "DESCRIPTION:",
            "Pod is a collection of containers",
            "spec\t<PodSpec>",
        ],
    )?;
    has(&s.run("explain pod.spec.containers.image")?, &["FIELD: image <string>", "image"])?;
    has(
        &s.run("explain deployment.spec.strategy")?,
        &["GROUP:      apps", "rollingUpdate\t<RollingUpdateDeployment>", "strategy"],
    )?;
    let recursive = s.run("explain deployment.spec.template.spec.affinity --recursive")?;
    has(&recursive, &["topologyKey\t<string> -required-"])?;
    has(
        &s.run("explain deploy.spec.replicas")?,
        &["FIELD: replicas <integer>", "Number of desired pods"],
    )?;
    let missing = s.refused("explain pod.spec.nonsense", "")?;
    has(&missing, &["field \"nonsense\" does not exist"])?;
    let plain = s.run("explain services --output=plaintext-openapiv2");
    // The old form was dropped by newer kubectls.
    let old = match plain {
        Ok(text) => text.contains("Service"),
        Err(_) => false,
    };
    s.saw(format!("descriptions, fields, recursion{}", if old { ", OpenAPI v2" } else { "" }));
    Ok(())
}

pub fn events(s: &Scene<'_>) -> Result<()> {
    s.with("create -f -", &pod("p").to_string())?;
    let seen = until("an event of the pod", SOON, || {
        let text = s.run("events --for pod/p")?;
        has(&text, &["Scheduled", "Pod/p"]).map(|()| text)
    })?;
    has(&s.run("get events")?, &["LAST SEEN", "Scheduled"])?;
    has(
        &s.run("get events --field-selector involvedObject.name=p,reason=Scheduled")?,
        &["Scheduled"],
    )?;
    has(&s.run("get events.events.k8s.io")?, &["Scheduled"])?;
    has(&s.run("events --types=Normal -o json")?, &["\"reason\": \"Scheduled\""])?;
    s.saw(format!("{} lines", seen.lines().count()));
    Ok(())
}

pub fn proxy(s: &Scene<'_>) -> Result<()> {
    s.with("create -f -", &config("c", "k", "through").to_string())?;
    let mut proxy = s.kubectl.stay(&["proxy", "--port=0"])?;
    let (_, line) = proxy.line(LINE)?;
    let address = line.strip_prefix("Starting to serve on ").with_context(|| line.clone())?;
    let path = format!("/api/v1/namespaces/{}/configmaps/c", s.namespace);
    let object: Value = serde_json::from_str(&http::get(address, &path)?)?;
    ensure!(object["data"]["k"] == "through", "{object}");
    has(&http::get(address, "/version")?, &["v1.36"])?;
    let socket = s.path("proxy.sock");
    let _proxy = s.kubectl.stay(&["proxy", &format!("--unix-socket={socket}")])?;
    until("the proxy listens on its socket", SOON, || {
        has(&http::get_unix(&socket, "/version")?, &["v1.36"])
    })?;
    s.saw("object and /version; by port and by socket");
    Ok(())
}
