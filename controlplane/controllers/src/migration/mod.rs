//! StorageVersionMigrations: every object of a resource is written back as it is, so that the server stores it in the newest
//! version. Upstream: `pkg/controller/storageversionmigrator`.
//!
//! A reconciliation's key is the resource (its group as the namespace), so one migration of it runs at a time. After a restart
//! it goes on: objects that an earlier try wrote are newer than the revision that the status has.

mod plan;
mod served;

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::storagemigration::v1beta1::StorageVersionMigration;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::PartialObjectMeta,
};
use plan::{News, Step};
use serde_json::{Value, json};
use served::Served;

use crate::{
    Error,
    driver::{Again, Key, Shared, drive, wait_until},
    error::{ignore_not_found, words},
    informers::wakes,
};

const NAME: &str = "storage-version-migrator-controller";
/// How long a resource may take to be served before its migration fails, as upstream.
const SERVED_AFTER_MAX: SignedDuration = SignedDuration::from_secs(60);
/// How often is looked for it. // interval: discovery has no watch.
const SERVED_INTERVAL: Duration = Duration::from_secs(1);
/// Objects (only their metadata) in one answer.
const PAGE: u32 = 500;

type Migration = Arc<StorageVersionMigration>;

/// Runs until shutdown.
pub(crate) async fn run(shared: Shared) {
    let woken = vec![wakes(&shared.informers.migrations, |migration| {
        plan::resource(migration).into_iter().collect()
    })];
    let owned = shared.clone();
    drive(NAME, &shared, woken, move |key| reconcile(owned.clone(), key)).await;
}

/// One step; what it writes wakes the next.
async fn reconcile(shared: Shared, key: Key) -> Result<Again, Error> {
    match plan::plan(&shared.informers.migrations.all(), &key) {
        Step::Nothing => Ok(None),
        Step::Start(migration) => {
            let name = migration.name_any();
            let now = Timestamp::now();
            tell_definition(&shared.client, &key, |it| plan::begun(it, &name, now)).await?;
            tell(&shared, &migration, News::Running).await
        }
        Step::Run(migration) => migrate(&shared, &key, &migration).await,
        Step::Finish(migration) => {
            let succeeded = plan::has_succeeded(&migration);
            let now = Timestamp::now();
            tell_definition(&shared.client, &key, |it| plan::ended(it, succeeded, now)).await?;
            tell(&shared, &migration, News::Completed).await
        }
    }
}

/// Writes a migration's news and waits until the informer has them. Of two writers the second one is refused.
async fn tell(shared: &Shared, migration: &Migration, news: News<'_>) -> Result<Again, Error> {
    let api: Api<StorageVersionMigration> = Api::all(shared.client.clone());
    let told = plan::told(migration, news, Timestamp::now());
    let name = migration.name_any();
    let replaced = api.replace_status(&name, &PostParams::default(), &told).await;
    let replaced = ignore_not_found(replaced).map_err(Error::api("tell of a migration"))?;
    if replaced.is_some() {
        let before = &migration.metadata.resource_version;
        wait_until(&shared.informers.migrations, |all| {
            all.get(None, &name).is_none_or(|one| one.metadata.resource_version != *before)
        })
        .await?;
    }
    Ok(None)
}

/// Changes the status of the definition of a custom resource; built-in ones have none.
async fn tell_definition(
    client: &Client,
    key: &Key,
    patch: impl FnOnce(&Value) -> Value,
) -> Result<(), Error> {
    if key.namespace.is_empty() {
        return Ok(());
    }
    let definitions = ApiResource {
        group: "apiextensions.k8s.io".into(),
        version: "v1".into(),
        api_version: "apiextensions.k8s.io/v1".into(),
        kind: "CustomResourceDefinition".into(),
        plural: "customresourcedefinitions".into(),
    };
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &definitions);
    let name = format!("{}.{}", key.name, key.namespace);
    let found = api.get_opt(&name).await.map_err(Error::api("read a definition"))?;
    let Some(definition) = found else { return Ok(()) };
    let patch = Patch::Merge(patch(&json!(definition)));
    let patched = api.patch_status(&name, &PatchParams::default(), &patch).await;
    ignore_not_found(patched).map_err(Error::api("tell of a migration in a definition"))?;
    Ok(())
}

async fn migrate(shared: &Shared, key: &Key, migration: &Migration) -> Result<Again, Error> {
    let Some(served) = served::find(&shared.client, key).await? else {
        let born = migration.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        if Timestamp::now().duration_since(born) < SERVED_AFTER_MAX {
            return Ok(Some(SERVED_INTERVAL));
        }
        let why = "resource does not exist in discovery";
        return tell(shared, migration, News::Failed(why)).await;
    };
    if let Some(why) = served.unfit() {
        return tell(shared, migration, News::Failed(&why)).await;
    }
    let Some(since) = plan::since(migration) else {
        let newest = newest(&shared.client, &served).await?;
        if plan::is_to_write(&newest, &newest).is_none() {
            let why = served.without_revisions(&newest);
            return tell(shared, migration, News::Failed(&why)).await;
        }
        return tell(shared, migration, News::Since(&newest)).await;
    };
    match rewrite(shared, migration, &served, since).await? {
        Ended::All => tell(shared, migration, News::Succeeded).await,
        Ended::Refused(why) => {
            let why = format!("migration encountered unhandled error: {why}");
            tell(shared, migration, News::Failed(&why)).await
        }
        Ended::Abandoned => Ok(None),
    }
}

/// The newest revision of the resource.
async fn newest(client: &Client, served: &Served) -> Result<String, Error> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &served.resource);
    let page = api.list_metadata(&ListParams::default().limit(1)).await;
    let page = page.map_err(Error::api("find the newest revision of a resource"))?;
    Ok(page.metadata.resource_version.unwrap_or_default())
}

/// How a rewriting ended.
enum Ended {
    All,
    /// An object was refused: the server's words.
    Refused(String),
    /// The migration is not there any more.
    Abandoned,
}

async fn rewrite(
    shared: &Shared,
    migration: &Migration,
    served: &Served,
    since: &str,
) -> Result<Ended, Error> {
    let api: Api<DynamicObject> = Api::all_with(shared.client.clone(), &served.resource);
    let (name, uid) = (migration.name_any(), &migration.metadata.uid);
    let mut next = ListParams::default().limit(PAGE);
    loop {
        let page = api.list_metadata(&next).await;
        let page = page.map_err(Error::api("list the objects of a migration"))?;
        for object in &page.items {
            let now = shared.informers.migrations.get(None, &name);
            if now.is_none_or(|now| now.metadata.uid != *uid) {
                return Ok(Ended::Abandoned);
            }
            if let Err(error) = write_back(&shared.client, served, object, since).await {
                if is_passing(&error) {
                    return Err(Error::api("rewrite an object")(error));
                }
                return Ok(Ended::Refused(words(&error)));
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => next = next.continue_token(&token),
            None => return Ok(Ended::All),
        }
    }
}

/// Writes one object as it is. Whoever changed or deleted it meanwhile has done the work.
async fn write_back(
    client: &Client,
    served: &Served,
    object: &PartialObjectMeta<DynamicObject>,
    since: &str,
) -> Result<(), kube::Error> {
    let metadata = &object.metadata;
    let version = metadata.resource_version.as_deref().unwrap_or_default();
    // A revision of an aggregated server that is no number is nothing to compare: then all are written.
    if plan::is_to_write(version, since) == Some(false) {
        return Ok(());
    }
    let api: Api<DynamicObject> = match &metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &served.resource),
        None => Api::all_with(client.clone(), &served.resource),
    };
    let patch = json!({"metadata": {"uid": metadata.uid, "resourceVersion": version}});
    let params = PatchParams { field_manager: Some(NAME.to_owned()), ..PatchParams::default() };
    match ignore_not_found(api.patch(&object.name_any(), &params, &Patch::Merge(patch)).await) {
        Err(error) if client::is_conflict(&error) => Ok(()),
        done => done.map(drop),
    }
}

/// Whether another try may help: the server was busy, ended, or was not reached.
fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 500 | 503 | 504),
        _ => true,
    }
}
