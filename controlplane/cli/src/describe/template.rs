//! Containers, volumes and templates of pods.

use serde_json::Value;

use super::text::{Text, date, or_none};
use crate::json::{entries_at, is_true_at, items_at, number_at, scalar, text_at};

/// A template as `rollout history` shows it.
#[must_use]
pub(crate) fn pod_template(template: &Value) -> String {
    let mut text = Text::default();
    describe(&mut text, template);
    text.finish()
}

/// `Pod Template:` and what is in it.
pub(super) fn describe(text: &mut Text, template: &Value) {
    text.line("Pod Template:");
    text.nested(|text| {
        text.map("Labels", template, "/metadata/labels", "=");
        if !entries_at(template, "/metadata/annotations").is_empty() {
            text.map("Annotations", template, "/metadata/annotations", ": ");
        }
        let spec = &template["spec"];
        text.field_if("Service Account", text_at(spec, "/serviceAccountName"));
        containers(text, "Init Containers", &spec["initContainers"], None);
        containers(text, "Containers", &spec["containers"], None);
        volumes(text, spec);
        text.map("Node-Selectors", spec, "/nodeSelector", "=");
        tolerations(text, spec);
    });
}

/// A list of containers; of a pod, with the states that the named list of its status holds.
pub(super) fn containers(text: &mut Text, label: &str, list: &Value, pod: Option<(&Value, &str)>) {
    if items_at(list, "").next().is_none() {
        return;
    }
    text.line(&format!("{label}:"));
    for container in items_at(list, "") {
        let name = text_at(container, "/name");
        let status = pod.and_then(|(pod, field)| {
            items_at(pod, &format!("/status/{field}"))
                .find(|status| text_at(status, "/name") == name)
        });
        let pod = pod.map(|(pod, _)| pod);
        text.entry(name, |text| one_container(text, container, status, pod));
    }
}

fn one_container(text: &mut Text, container: &Value, status: Option<&Value>, pod: Option<&Value>) {
    if let Some(status) = status {
        text.field("Container ID", text_at(status, "/containerID"));
    }
    text.field("Image", text_at(container, "/image"));
    if let Some(status) = status {
        text.field("Image ID", text_at(status, "/imageID"));
    }
    let ports = |field: &str| {
        let all: Vec<_> = items_at(container, "/ports")
            .map(|port| {
                let protocol = text_at(port, "/protocol");
                let protocol = if protocol.is_empty() { "TCP" } else { protocol };
                format!("{}/{protocol}", number_at(port, field).unwrap_or(0))
            })
            .collect();
        (all.len(), or_none(&all.join(", ")).to_owned())
    };
    let plural =
        |label: &str, count| if count > 1 { format!("{label}s") } else { label.to_owned() };
    let (count, shown) = ports("/containerPort");
    text.field(&plural("Port", count), shown);
    let (count, shown) = ports("/hostPort");
    text.field(&plural("Host Port", count), shown);
    for (label, pointer) in [("Command", "/command"), ("Args", "/args")] {
        let words: Vec<_> = items_at(container, pointer).map(scalar).collect();
        if !words.is_empty() {
            text.line(&format!("{label}:"));
            text.nested(|text| {
                words.iter().flat_map(|word| word.lines()).for_each(|line| text.line(line))
            });
        }
    }
    if let Some(status) = status {
        state(text, "State", &status["state"]);
        if !entries_at(status, "/lastState").is_empty() {
            state(text, "Last State", &status["lastState"]);
        }
        text.field("Ready", if is_true_at(status, "/ready") { "True" } else { "False" });
        text.field("Restart Count", number_at(status, "/restartCount").unwrap_or(0));
    }
    for (label, pointer) in [("Limits", "/resources/limits"), ("Requests", "/resources/requests")] {
        let entries = entries_at(container, pointer);
        if !entries.is_empty() {
            text.line(&format!("{label}:"));
            text.nested(|text| {
                entries.into_iter().for_each(|(key, value)| text.field(key, scalar(value)))
            });
        }
    }
    for (label, pointer) in [
        ("Liveness", "/livenessProbe"),
        ("Readiness", "/readinessProbe"),
        ("Startup", "/startupProbe"),
    ] {
        if let Some(probe) = container.pointer(pointer) {
            text.field(label, probe_text(probe));
        }
    }
    environment(text, container, pod);
    mounts(text, container);
}

/// `State: Running` and its details.
fn state(text: &mut Text, label: &str, state: &Value) {
    let Some((name, details)) = entries_at(state, "").into_iter().next() else {
        text.field(label, "Waiting");
        return;
    };
    let mut title = name.to_owned();
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text.field(label, title);
    text.nested(|text| {
        text.field_if("Reason", text_at(details, "/reason"));
        text.field_if("Message", text_at(details, "/message"));
        if name == "terminated" {
            text.field("Exit Code", number_at(details, "/exitCode").unwrap_or(0));
            if let Some(signal) = number_at(details, "/signal").filter(|signal| *signal > 0) {
                text.field("Signal", signal);
            }
        }
        if name != "waiting" {
            text.field("Started", date(text_at(details, "/startedAt")));
        }
        if name == "terminated" {
            text.field("Finished", date(text_at(details, "/finishedAt")));
        }
    });
}

fn probe_text(probe: &Value) -> String {
    let number = |name: &str, default| number_at(probe, &format!("/{name}")).unwrap_or(default);
    let times = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        number("initialDelaySeconds", 0),
        number("timeoutSeconds", 1),
        number("periodSeconds", 10),
        number("successThreshold", 1),
        number("failureThreshold", 3),
    );
    let port = |pointer: &str| probe.pointer(pointer).map(scalar).unwrap_or_default();
    let how = if probe.get("exec").is_some() {
        let words: Vec<_> = items_at(probe, "/exec/command").map(scalar).collect();
        format!("exec [{}]", words.join(" "))
    } else if probe.get("httpGet").is_some() {
        let scheme = text_at(probe, "/httpGet/scheme").to_lowercase();
        let scheme = if scheme.is_empty() { "http" } else { &scheme };
        format!(
            "http-get {scheme}://{}:{}{}",
            text_at(probe, "/httpGet/host"),
            port("/httpGet/port"),
            text_at(probe, "/httpGet/path")
        )
    } else if probe.get("tcpSocket").is_some() {
        format!("tcp-socket {}:{}", text_at(probe, "/tcpSocket/host"), port("/tcpSocket/port"))
    } else if probe.get("grpc").is_some() {
        format!("grpc <pod>:{} {}", port("/grpc/port"), text_at(probe, "/grpc/service"))
    } else {
        "unknown".to_owned()
    };
    format!("{how} {times}")
}

fn environment(text: &mut Text, container: &Value, pod: Option<&Value>) {
    for source in items_at(container, "/envFrom").take(1) {
        text.line("Environment Variables from:");
        let from =
            ["configMapRef", "secretRef"].iter().find_map(|kind| Some((*kind, source.get(kind)?)));
        if let Some((kind, reference)) = from {
            let kind = if kind == "secretRef" { "Secret" } else { "ConfigMap" };
            let optional = is_true_at(reference, "/optional");
            text.nested(|text| {
                text.line(&format!("{}\t{kind}\tOptional: {optional}", text_at(reference, "/name")))
            });
        }
    }
    if items_at(container, "/env").next().is_none() {
        text.field("Environment", "<none>");
        return;
    }
    text.line("Environment:");
    text.nested(|text| {
        for variable in items_at(container, "/env") {
            text.field(text_at(variable, "/name"), variable_text(variable, container, pod));
        }
    });
}

/// A variable's value or where it comes from; what comes from the pod itself is looked up.
fn variable_text(variable: &Value, container: &Value, pod: Option<&Value>) -> String {
    let key_of = |kind: &str| {
        let source = variable.pointer(&format!("/valueFrom/{kind}"))?;
        Some((text_at(source, "/key"), text_at(source, "/name"), is_true_at(source, "/optional")))
    };
    if let Some((key, name, optional)) = key_of("secretKeyRef") {
        return format!("<set to the key '{key}' in secret '{name}'>\tOptional: {optional}");
    }
    if let Some((key, name, optional)) = key_of("configMapKeyRef") {
        return format!("<set to the key '{key}' of config map '{name}'>\tOptional: {optional}");
    }
    if let Some(field) = variable.pointer("/valueFrom/fieldRef") {
        let path = text_at(field, "/fieldPath");
        let value = pod.map(|pod| field_value(pod, path)).unwrap_or_default();
        return format!("{value} ({}:{path})", text_at(field, "/apiVersion"));
    }
    if let Some(resource) = variable.pointer("/valueFrom/resourceFieldRef") {
        let path = text_at(resource, "/resource");
        let value = container.pointer(&format!("/resources/{}", path.replace('.', "/")));
        return format!("{} ({path})", value.map(scalar).unwrap_or_default());
    }
    text_at(variable, "/value").replace('\n', "\\n")
}

/// The value at a downward path: `metadata.name`, `metadata.labels['x']`.
fn field_value(pod: &Value, path: &str) -> String {
    let pointer = match path.split_once("['") {
        Some((map, key)) => {
            let key = crate::json::pointer_segment(key.trim_end_matches("']"));
            format!("/{}/{key}", map.replace('.', "/"))
        }
        None => format!("/{}", path.replace('.', "/")),
    };
    pod.pointer(&pointer).map(scalar).unwrap_or_default()
}

fn mounts(text: &mut Text, container: &Value) {
    let mut lines: Vec<_> = items_at(container, "/volumeMounts")
        .map(|mount| {
            let mode = if is_true_at(mount, "/readOnly") { "ro" } else { "rw" };
            let sub = match text_at(mount, "/subPath") {
                "" => String::new(),
                path => format!(",path=\"{path}\""),
            };
            format!(
                "{} from {} ({mode}{sub})",
                text_at(mount, "/mountPath"),
                text_at(mount, "/name")
            )
        })
        .collect();
    lines.sort();
    if lines.is_empty() {
        text.field("Mounts", "<none>");
        return;
    }
    text.line("Mounts:");
    text.nested(|text| lines.iter().for_each(|line| text.line(line)));
}

/// `Volumes:` of a pod's specification.
pub(super) fn volumes(text: &mut Text, spec: &Value) {
    if items_at(spec, "/volumes").next().is_none() {
        text.field("Volumes", "<none>");
        return;
    }
    text.line("Volumes:");
    for volume in items_at(spec, "/volumes") {
        text.entry(text_at(volume, "/name"), |text| one_volume(text, volume));
    }
}

fn one_volume(text: &mut Text, volume: &Value) {
    let source = entries_at(volume, "").into_iter().find(|(key, _)| *key != "name");
    let Some((kind, source)) = source else { return };
    let optional = is_true_at(source, "/optional");
    match kind {
        "emptyDir" => {
            text.field("Type", "EmptyDir (a temporary directory that shares a pod's lifetime)");
            text.field("Medium", text_at(source, "/medium"));
            text.field("SizeLimit", source.get("sizeLimit").map_or("<unset>".to_owned(), scalar));
        }
        "configMap" => {
            text.field("Type", "ConfigMap (a volume populated by a ConfigMap)");
            text.field("Name", text_at(source, "/name"));
            text.field("Optional", optional);
        }
        "secret" => {
            text.field("Type", "Secret (a volume populated by a Secret)");
            text.field("SecretName", text_at(source, "/secretName"));
            text.field("Optional", optional);
        }
        "hostPath" => {
            text.field("Type", "HostPath (bare host directory volume)");
            text.field("Path", text_at(source, "/path"));
            text.field("HostPathType", text_at(source, "/type"));
        }
        "persistentVolumeClaim" => {
            text.field("Type", "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)");
            text.field("ClaimName", text_at(source, "/claimName"));
            text.field("ReadOnly", is_true_at(source, "/readOnly"));
        }
        "projected" => {
            text.field(
                "Type",
                "Projected (a volume that contains injected data from multiple sources)",
            );
            items_at(source, "/sources").for_each(|source| projected(text, source));
        }
        other => text.field("Type", other),
    }
}

fn projected(text: &mut Text, source: &Value) {
    if let Some(token) = source.get("serviceAccountToken") {
        text.field(
            "TokenExpirationSeconds",
            number_at(token, "/expirationSeconds").unwrap_or(3600),
        );
    }
    if let Some(map) = source.get("configMap") {
        text.field("ConfigMapName", text_at(map, "/name"));
        text.field("Optional", is_true_at(map, "/optional"));
    }
    if let Some(secret) = source.get("secret") {
        text.field("SecretName", text_at(secret, "/name"));
        text.field("Optional", is_true_at(secret, "/optional"));
    }
    if source.get("downwardAPI").is_some() {
        text.field("DownwardAPI", true);
    }
}

/// `Tolerations:` of a pod's specification.
pub(super) fn tolerations(text: &mut Text, spec: &Value) {
    let lines: Vec<_> = items_at(spec, "/tolerations").map(toleration).collect();
    text.list("Tolerations", &lines);
}

fn toleration(toleration: &Value) -> String {
    let mut line = text_at(toleration, "/key").to_owned();
    if !text_at(toleration, "/value").is_empty() {
        line.push_str(&format!("={}", text_at(toleration, "/value")));
    }
    if !text_at(toleration, "/effect").is_empty() {
        line.push_str(&format!(":{}", text_at(toleration, "/effect")));
    }
    if text_at(toleration, "/operator") == "Exists" && text_at(toleration, "/value").is_empty() {
        let space = if text_at(toleration, "/key").is_empty()
            && text_at(toleration, "/effect").is_empty()
        {
            ""
        } else {
            " "
        };
        line.push_str(&format!("{space}op=Exists"));
    }
    if let Some(seconds) = number_at(toleration, "/tolerationSeconds") {
        line.push_str(&format!(" for {seconds}s"));
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tolerations_and_probes_are_short() {
        let exists = json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
        assert_eq!(
            toleration(&exists),
            "node.kubernetes.io/not-ready:NoExecute op=Exists for 300s"
        );
        assert_eq!(toleration(&json!({"operator": "Exists"})), "op=Exists");
        assert_eq!(
            toleration(&json!({"key": "a", "value": "b", "effect": "NoSchedule"})),
            "a=b:NoSchedule"
        );
        let probe =
            json!({"httpGet": {"path": "/x", "port": 80, "scheme": "HTTP"}, "periodSeconds": 5});
        assert_eq!(
            probe_text(&probe),
            "http-get http://:80/x delay=0s timeout=1s period=5s #success=1 #failure=3"
        );
    }

    #[test]
    fn templates_are_described() {
        let template = json!({
            "metadata": {"labels": {"app": "x"}},
            "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}], "command": ["sh"]}]},
        });
        let expected = "\
Pod Template:
  Labels:  app=x
  Containers:
   c:
    Image:      i
    Port:       80/TCP
    Host Port:  0/TCP
    Command:
      sh
    Environment:   <none>
    Mounts:        <none>
  Volumes:         <none>
  Node-Selectors:  <none>
  Tolerations:     <none>
";
        assert_eq!(pod_template(&template), expected);
    }
}
