//! Namespaces: their labels must be readable, and a stricter one warns of pods that are there already.

use std::collections::BTreeMap;

use access::Lookup;
use api::{Status, meta, status::Cause};
use serde_json::Value;

use super::{
    evaluate::evaluate,
    policy::{BadLabel, Level, Policy, Standard},
};
use crate::admission::request::Request;

/// Pods that are looked at, as upstream.
const PODS_MAX: usize = 3000;

pub fn validate(request: &Request<'_>, namespace: &Value, old: &Value) -> Result<(), Status> {
    let defaults = &super::config(request).defaults;
    let (policy, bad) = Policy::of(namespace, defaults);
    let (before, bad_before) = Policy::of(old, defaults);
    // What was wrong before may stay.
    let news: Vec<&BadLabel> = bad.iter().filter(|one| !bad_before.contains(one)).collect();
    if !news.is_empty() {
        let causes = news.into_iter().map(cause).collect();
        return Err(api::rules::invalid(request.kind(), meta::name(namespace), causes));
    }
    if request.is_update() && is_stricter(&policy.enforce, &before.enforce) {
        warn_about_pods(request, meta::name(namespace), &policy.enforce);
    }
    Ok(())
}

fn cause(bad: &BadLabel) -> Cause {
    Cause {
        reason: "FieldValueInvalid".into(),
        message: format!("Invalid value: {:?}: {}", bad.value, bad.problem),
        field: format!("metadata.labels[{}]", bad.key),
    }
}

fn is_stricter(new: &Standard, old: &Standard) -> bool {
    new.level != Level::Privileged
        && (new.level > old.level || new.version != old.version)
        && new != old
}

fn warn_about_pods(request: &Request<'_>, namespace: &str, standard: &Standard) {
    let exemptions = &super::config(request).exemptions;
    if exemptions.reason(namespace, "", "").is_some() {
        return;
    }
    let pods = Lookup::list(&*request.call.app.cache, "", "pods", Some(namespace));
    let mut by_reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX) {
        let class = pod["spec"]["runtimeClassName"].as_str().unwrap_or_default();
        if exemptions.reason("", "", class).is_some() {
            continue;
        }
        if let Some(found) = evaluate(standard, &pod["metadata"], &pod["spec"]) {
            by_reasons.entry(found.reasons()).or_default().push(meta::name(pod).to_owned());
        }
    }
    if by_reasons.is_empty() {
        return;
    }
    request.warn(format!(
        "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{standard}\""
    ));
    for text in grouped(by_reasons) {
        request.warn(text);
    }
}

/// One text per set of reasons, in the order of the first pod of each.
fn grouped(by_reasons: BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut groups: Vec<(String, usize, String)> = by_reasons
        .into_iter()
        .filter_map(|(reasons, mut pods)| {
            pods.sort_unstable();
            Some((pods.first()?.clone(), pods.len() - 1, reasons))
        })
        .collect();
    groups.sort();
    groups
        .into_iter()
        .map(|(first, others, reasons)| match others {
            0 => format!("{first}: {reasons}"),
            1 => format!("{first} (and 1 other pod): {reasons}"),
            many => format!("{first} (and {many} other pods): {reasons}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_grouped_by_what_is_wrong() {
        let pods = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let groups = BTreeMap::from([
            ("privileged".to_owned(), pods(&["c", "b", "d"])),
            ("hostPort".to_owned(), pods(&["a"])),
        ]);
        assert_eq!(grouped(groups), ["a: hostPort", "b (and 2 other pods): privileged"]);
    }
}
