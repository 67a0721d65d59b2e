//! Which objects a controller manages: those it controls, orphans that its selector matches (adopted), and no longer those whose labels
//! left it (released). The rules are upstream's `pkg/controller/controller_ref_manager.go`.

use std::{fmt::Debug, sync::Arc};

use client::Informer;
use futures::stream::BoxStream;
use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::{Selector, SelectorExt},
};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{
    Error,
    driver::{Key, Shared},
    error::ignore_not_found,
    informers::{own_key, owner_key, wakes},
};

/// What a controller does about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Own,
    Adopt,
    Release,
    Leave,
}

/// A kind whose objects the controllers keep and read.
pub(crate) trait Kept:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static
{
}

impl<K> Kept for K where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static
{
}

/// One whose objects are in namespaces, so that they can own others and be owned there.
pub(crate) trait Owned:
    Kept + Resource<DynamicType = (), Scope = NamespaceResourceScope>
{
}

impl<K: Kept + Resource<DynamicType = (), Scope = NamespaceResourceScope>> Owned for K {}

/// Whether a selector matches an object; one that cannot be parsed, and an empty one, match nothing (validation refuses both).
pub(crate) fn selects<K: Resource>(selector: &LabelSelector, object: &K) -> bool {
    let Ok(selector) = Selector::try_from(selector.clone()) else { return false };
    !selector.selects_all() && selector.matches(object.labels())
}

/// Keys of owners to look at: of those that changed, that control what changed, and that would adopt it.
pub(crate) fn owner_wakes<O: Owned, K: Owned>(
    owners: &Informer<O>,
    objects: &Informer<K>,
    selector: impl Fn(&O) -> Option<LabelSelector> + Send + 'static,
) -> Vec<BoxStream<'static, Key>> {
    let known = owners.clone();
    vec![
        wakes(owners, |owner| vec![own_key(owner)]),
        wakes(objects, move |object| {
            let mut keys = owner_key(object, &O::kind(&()));
            keys.extend(adopters(&known.all(), &selector, object));
            keys
        }),
    ]
}

/// Keys of those owners that would adopt an object that nobody controls.
fn adopters<O: Owned, K: Owned>(
    owners: &[Arc<O>],
    selector: impl Fn(&O) -> Option<LabelSelector>,
    object: &K,
) -> Vec<Key> {
    if controller(object.meta()).is_some() {
        return Vec::new();
    }
    let here = owners.iter().filter(|owner| owner.namespace() == object.namespace());
    let adopt = here.filter(|owner| selector(owner).is_some_and(|it| selects(&it, object)));
    adopt.map(|owner| own_key(&**owner)).collect()
}

fn controller(meta: &ObjectMeta) -> Option<&str> {
    let owners = meta.owner_references.iter().flatten();
    let mut controllers = owners.filter(|owner| owner.controller == Some(true));
    controllers.next().map(|owner| owner.uid.as_str())
}

fn decide(object: &ObjectMeta, owner: &ObjectMeta, selected: bool) -> Claim {
    let going = |meta: &ObjectMeta| meta.deletion_timestamp.is_some();
    match controller(object) {
        Some(uid) if Some(uid) != owner.uid.as_deref() => Claim::Leave,
        Some(_) if selected => Claim::Own,
        Some(_) if going(owner) => Claim::Leave,
        Some(_) => Claim::Release,
        None if !selected || going(owner) || going(object) => Claim::Leave,
        None => Claim::Adopt,
    }
}

/// The objects of the owner's namespace that it manages, after adopting and releasing.
///
/// # Errors
/// When the server refuses to change an object's owners.
pub(crate) async fn claim<O: Owned, K: Owned>(
    shared: &Shared,
    owner: &O,
    selector: &LabelSelector,
    objects: Vec<Arc<K>>,
) -> Result<Vec<Arc<K>>, Error> {
    let namespace = owner.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(shared.client.clone(), &namespace);
    let mut owned = Vec::new();
    for object in objects {
        if object.namespace().as_deref() != Some(&namespace) {
            continue;
        }
        match decide(object.meta(), owner.meta(), selects(selector, &*object)) {
            Claim::Own => owned.push(object),
            Claim::Leave => {}
            Claim::Adopt => {
                if is_there(shared, owner).await? {
                    let reference = owner.controller_owner_ref(&());
                    owned.extend(patch(&api, &*object, json!([reference])).await?.map(Arc::new));
                }
            }
            Claim::Release => {
                let gone = json!([{"$patch": "delete", "uid": owner.meta().uid}]);
                patch(&api, &*object, gone).await?;
            }
        }
    }
    Ok(owned)
}

/// Asks the server: an owner that is gone by now must not adopt, or its new dependents would be collected.
async fn is_there<O: Owned>(shared: &Shared, owner: &O) -> Result<bool, Error> {
    let namespace = owner.namespace().unwrap_or_default();
    let api: Api<O> = Api::namespaced(shared.client.clone(), &namespace);
    let found = api.get_opt(&owner.name_any()).await.map_err(Error::api("read an owner"))?;
    Ok(found.is_some_and(|found| {
        found.meta().uid == owner.meta().uid && found.meta().deletion_timestamp.is_none()
    }))
}

async fn patch<K: Owned>(
    api: &Api<K>,
    object: &K,
    owners: serde_json::Value,
) -> Result<Option<K>, Error> {
    let patch = json!({"metadata": {"uid": object.meta().uid, "ownerReferences": owners}});
    let patched =
        api.patch(&object.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await;
    ignore_not_found(patched).map_err(Error::api("change an object's owner"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(owner: Option<&str>, deleting: bool) -> ObjectMeta {
        let owners = owner.map(|uid| {
            json!([{"apiVersion": "apps/v1", "kind": "K", "name": "n", "uid": uid, "controller": true}])
        });
        let deleted = deleting.then_some("2026-01-01T00:00:00Z");
        let meta = json!({"uid": "me", "ownerReferences": owners, "deletionTimestamp": deleted});
        serde_json::from_value(meta).expect("metadata")
    }

    #[test]
    fn orphans_are_adopted_and_strays_released() {
        let (alive, going) = (meta(None, false), meta(None, true));
        let cases = [
            (meta(Some("me"), false), &alive, true, Claim::Own),
            (meta(Some("me"), false), &alive, false, Claim::Release),
            (meta(Some("me"), false), &going, false, Claim::Leave),
            (meta(Some("other"), false), &alive, true, Claim::Leave),
            (meta(None, false), &alive, true, Claim::Adopt),
            (meta(None, false), &alive, false, Claim::Leave),
            (meta(None, true), &alive, true, Claim::Leave),
            (meta(None, false), &going, true, Claim::Leave),
        ];
        for (object, owner, selected, expected) in cases {
            assert_eq!(
                decide(&object, owner, selected),
                expected,
                "{object:?} {owner:?} {selected}"
            );
        }
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        let pod = k8s_openapi::api::core::v1::Pod::default();
        assert!(!selects(&LabelSelector::default(), &pod));
    }
}
