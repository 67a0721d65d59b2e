//! IPAddress and ServiceCIDR.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{check_segment, text};
use crate::rules::ip;
use crate::rules::names;
use crate::rules::problems::Problems;

/// One of each family.
const CIDRS_MAX: usize = 2;

pub(super) fn validate(kind: &str, new: &Value, old: Option<&Value>, problems: &mut Problems) {
    match (kind, old) {
        ("IPAddress", None) => check_parent(&new["spec"]["parentRef"], problems),
        ("IPAddress", Some(old)) => {
            let path = "spec.parentRef";
            problems.check_immutable(path, &new["spec"]["parentRef"], &old["spec"]["parentRef"]);
        }
        (_, None) => check_cidrs(&new["spec"], problems),
        (_, Some(old)) => check_cidrs_update(&new["spec"], &old["spec"], problems),
    }
}

fn check_parent(parent: &Value, problems: &mut Problems) {
    if parent.is_null() {
        problems.required("spec.parentRef", "");
        return;
    }
    let group = text(parent, "group");
    if !group.is_empty() {
        problems.check_text("spec.parentRef.group", group, names::dns1123_subdomain(group));
    }
    check_segment(parent, "resource", "spec.parentRef", problems);
    check_segment(parent, "name", "spec.parentRef", problems);
    let namespace = text(parent, "namespace");
    problems.check_text("spec.parentRef.namespace", namespace, names::path_segment(namespace));
}

fn cidrs(spec: &Value) -> &[Value] {
    spec["cidrs"].as_array().map_or(&[][..], Vec::as_slice)
}

fn check_cidrs(spec: &Value, problems: &mut Problems) {
    let ranges = cidrs(spec);
    if ranges.is_empty() {
        problems.required("spec.cidrs", "at least one CIDR required");
        return;
    }
    if ranges.len() > CIDRS_MAX {
        let shown = json!({"CIDRs": spec["cidrs"]});
        problems.invalid("spec.cidrs", &shown, "may only hold up to 2 values");
        return;
    }
    for (index, range) in ranges.iter().enumerate() {
        let range = range.as_str().unwrap_or_default();
        problems.check_text(&format!("spec.cidrs[{index}]"), range, ip::cidr(range));
    }
    let parsed: Vec<IpNet> =
        ranges.iter().filter_map(Value::as_str).filter_map(ip::parse_range).collect();
    if let [first, second] = parsed.as_slice()
        && first.addr().is_ipv4() == second.addr().is_ipv4()
    {
        let detail = "may specify no more than one IP for each IP family, \
            i.e 192.168.0.0/24 and 2001:db8::/64";
        problems.invalid("spec.cidrs", &spec["cidrs"], detail);
    }
}

/// A second range may come; nothing else changes.
fn check_cidrs_update(new: &Value, old: &Value, problems: &mut Problems) {
    let (ranges, before) = (cidrs(new), cidrs(old));
    let grows = (before.len(), ranges.len()) == (1, 2);
    if !grows && before.len() != ranges.len() {
        problems.check_immutable("spec.cidrs", &new["cidrs"], &old["cidrs"]);
        return;
    }
    for (index, (range, before)) in ranges.iter().zip(before).enumerate() {
        problems.check_immutable(&format!("spec.cidrs[{index}]"), range, before);
    }
    if grows {
        check_cidrs(new, problems);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::problems;

    #[test]
    fn addresses_are_checked() {
        let parent = json!({"group": "", "resource": "services", "namespace": "d", "name": "s"});
        let address = |name: &str, parent: &Value| json!({"metadata": {"name": name}, "spec": {"parentRef": parent}});
        let old = address("192.0.2.1", &parent);
        for (object, old, expected) in [
            (old.clone(), None, ""),
            (address("2001:db8::1", &parent), None, ""),
            (
                address("2001:DB8::1", &parent),
                None,
                "metadata.name: Invalid value: \"2001:DB8::1\": must be in canonical form (\"2001:db8::1\")",
            ),
            (address("192.0.2.1", &Value::Null), None, "spec.parentRef: Required value"),
            (
                address("192.0.2.1", &json!({"resource": "a/b"})),
                None,
                "spec.parentRef.resource: Invalid value: \"a/b\": may not contain '/'; \
                 spec.parentRef.name: Required value",
            ),
            (
                address("192.0.2.1", &json!({"resource": "services", "name": "t"})),
                Some(&old),
                "spec.parentRef: Invalid value: {\"name\":\"t\",\"resource\":\"services\"}: field is immutable",
            ),
        ] {
            assert_eq!(problems("IPAddress", &object, old), expected);
        }
    }

    #[test]
    fn service_ranges_are_checked() {
        let ranges = |cidrs: Value| json!({"metadata": {"name": "r"}, "spec": {"cidrs": cidrs}});
        let old = ranges(json!(["10.0.0.0/24"]));
        for (object, old, expected) in [
            (old.clone(), None, ""),
            (ranges(json!(["10.0.0.0/24", "2001:db8::/64"])), None, ""),
            (ranges(json!(["10.0.0.0/24", "2001:db8::/64"])), Some(&old), ""),
            (ranges(json!([])), None, "spec.cidrs: Required value: at least one CIDR required"),
            (
                ranges(json!(["10.0.0.1/24"])),
                None,
                "spec.cidrs[0]: Invalid value: \"10.0.0.1/24\": must not have bits set beyond the prefix length",
            ),
            (
                ranges(json!(["10.0.0.0/24", "10.0.1.0/24"])),
                None,
                "spec.cidrs: Invalid value: [\"10.0.0.0/24\",\"10.0.1.0/24\"]: may specify no more than one \
                 IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            ),
            (
                ranges(json!(["10.0.1.0/24"])),
                Some(&old),
                "spec.cidrs[0]: Invalid value: \"10.0.1.0/24\": field is immutable",
            ),
        ] {
            assert_eq!(problems("ServiceCIDR", &object, old), expected);
        }
    }
}
