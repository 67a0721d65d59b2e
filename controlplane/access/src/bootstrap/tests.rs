//! The default objects are complete and consistent with each other.

use std::collections::BTreeSet;

use super::*;

#[test]
fn every_object_is_named_once_and_every_binding_finds_its_role() {
    let objects = default_objects();
    let key = |object: &Value| {
        format!("{} {}/{}", object["kind"], api::meta::namespace(object), api::meta::name(object))
    };
    let names: BTreeSet<String> = objects.iter().map(key).collect();
    assert_eq!(names.len(), objects.len());
    for binding in objects.iter().filter(|object| object["roleRef"].is_object()) {
        let role = &binding["roleRef"];
        let namespace = if role["kind"] == "Role" { api::meta::namespace(binding) } else { "" };
        let wanted = format!("{} {namespace}/{}", role["kind"], role["name"].as_str().unwrap());
        assert!(names.contains(&wanted), "{wanted}");
    }
}

#[test]
fn admin_contains_edit_contains_view() {
    let objects = default_objects();
    let rules = |name: &str| {
        let is_it =
            |object: &&Value| object["kind"] == "ClusterRole" && api::meta::name(object) == name;
        objects.iter().find(is_it).unwrap()["rules"].as_array().unwrap().clone()
    };
    let (admin, edit, view) = (rules("admin"), rules("edit"), rules("view"));
    assert!(view.len() > 5 && edit.len() > view.len() && admin.len() > edit.len());
    assert!(view.iter().all(|rule| edit.contains(rule)));
    assert!(edit.iter().all(|rule| admin.contains(rule)));
}

#[test]
fn a_token_has_the_form_that_joining_nodes_know() {
    let (token, secret) = bootstrap_token(None);
    let (id, rest) = token.split_once('.').unwrap();
    assert_eq!((id.len(), rest.len()), (6, 16));
    assert_eq!(api::meta::name(&secret), format!("bootstrap-token-{id}"));
    assert!(secret["data"]["expiration"].is_null());
    let (_, secret) = bootstrap_token(Some(std::time::Duration::from_secs(60)));
    assert!(secret["data"]["expiration"].is_string());
}
