//! Asking a remote server whether it answers and what it has.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use serde_json::{Value, json};

use super::{Discovered, Remote, pass};
use crate::{app::App, reach};

/// How long a server may take, as upstream's discovery check.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// The resources of its group and version; the error is the condition's message.
pub async fn discover(app: &App, remote: &Remote) -> Result<Discovered, String> {
    let path = format!("/apis/{}/{}", remote.group, remote.version);
    let url = format!("https://{}{path}", remote.authority());
    let mut request = Request::get(&path)
        .header(header::HOST, remote.authority())
        .header(header::ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|error| error.to_string())?;
    let own = access::User::new("system:kube-aggregator", &["system:masters"]);
    pass::identify(request.headers_mut(), &own);
    let tls = pass::tls(app, remote);
    let failed = |why: &str| format!("failing or missing response from {url}: {why}");
    let answer = reach::call(app, &remote.target, Some(&tls), request, PROBE_MAX).await;
    let answer = answer.map_err(|error| failed(&format!("Get {url:?}: {error}")))?;
    if !answer.status().is_success() {
        return Err(failed(&format!("bad status from {url}: {}", answer.status().as_u16())));
    }
    // A server may have nothing to say and still answer.
    let resources = serde_json::from_slice(answer.body()).unwrap_or(Value::Null);
    Ok(Discovered { group: remote.group.clone(), version: remote.version.clone(), resources })
}

/// An `APIResourceList`'s resources in the form of aggregated discovery.
#[must_use]
pub fn aggregated(known: &Discovered) -> Vec<Value> {
    let list = known.resources["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |resource: &Value| resource["name"].as_str().unwrap_or_default().to_owned();
    let kind = |resource: &Value| {
        let or = |field: &str, own: &str| {
            resource[field].as_str().filter(|t| !t.is_empty()).unwrap_or(own).to_owned()
        };
        json!({"group": or("group", &known.group), "version": or("version", &known.version), "kind": resource["kind"]})
    };
    let mut all = Vec::new();
    for resource in list.iter().filter(|resource| !name(resource).contains('/')) {
        let own = name(resource);
        let mut item = json!({
            "resource": own, "responseKind": kind(resource), "singularResource": resource["singularName"],
            "scope": if resource["namespaced"] == true { "Namespaced" } else { "Cluster" },
            "verbs": resource["verbs"],
        });
        for field in ["shortNames", "categories"] {
            if resource[field].is_array() {
                item[field] = resource[field].clone();
            }
        }
        let subresources: Vec<Value> = list
            .iter()
            .filter_map(|sub| {
                let full = name(sub);
                let (parent, short) = full.split_once('/')?;
                (parent == own).then(|| json!({"subresource": short, "responseKind": kind(sub), "verbs": sub["verbs"]}))
            })
            .collect();
        if !subresources.is_empty() {
            item["subresources"] = json!(subresources);
        }
        all.push(item);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subresources_move_below_their_parents() {
        let known = Discovered {
            group: "g".into(),
            version: "v1".into(),
            resources: json!({"resources": [
            {"name": "fish", "singularName": "fish", "kind": "Fish", "namespaced": true, "verbs": ["get"], "shortNames": ["fi"]},
            {"name": "fish/status", "singularName": "", "kind": "Fish", "namespaced": true, "verbs": ["get"]},
            {"name": "seas", "singularName": "sea", "kind": "Sea", "namespaced": false, "verbs": ["list"]}]}),
        };
        let found = aggregated(&known);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0]["subresources"][0]["subresource"], "status");
        assert_eq!(
            found[0]["responseKind"],
            json!({"group": "g", "version": "v1", "kind": "Fish"})
        );
        assert_eq!(found[1]["scope"], "Cluster");
    }
}
