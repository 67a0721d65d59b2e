//! CronJobs: jobs at their times.

mod plan;
mod schedule;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
};

use crate::{
    Error,
    driver::{Again, Key, Shared, drive, wait_until},
    error::{ignore_not_found, words},
    informers::{is_controlled_by, own_key, owner_key, wakes},
};

/// Runs until shutdown.
pub(crate) async fn run(shared: Shared) {
    let informers = &shared.informers;
    let woken = vec![
        wakes(&informers.cron_jobs, |cron| vec![own_key(cron)]),
        wakes(&informers.jobs, |job| owner_key(job, "CronJob")),
    ];
    let owned = shared.clone();
    drive("cronjob", &shared, woken, move |key| reconcile(owned.clone(), key)).await;
}

async fn reconcile(shared: Shared, key: Key) -> Result<Again, Error> {
    let informers = &shared.informers;
    let Some(cron) = informers.cron_jobs.get(Some(&key.namespace), &key.name) else {
        return Ok(None);
    };
    let uid = cron.uid().unwrap_or_default();
    let mut jobs: Vec<Arc<Job>> = informers.jobs.all();
    jobs.retain(|job| is_controlled_by(&**job, &uid));
    let plan = plan::plan(&cron, &jobs, Timestamp::now());
    if let Some((reason, note)) = &plan.warning {
        shared.warning(&*cron, reason, note);
    }
    let api: Api<Job> = Api::namespaced(shared.client.clone(), &key.namespace);
    for name in &plan.delete {
        let deleted = ignore_not_found(api.delete(name, &DeleteParams::background()).await)
            .map_err(Error::api("delete a job"))?;
        if deleted.is_some() {
            shared.normal(&*cron, "SuccessfulDelete", &format!("Deleted job {name}"));
        }
    }
    if let Some(job) = &plan.create {
        create(&shared, &cron, &api, job).await?;
    }
    if cron.status.as_ref() != Some(&plan.status) {
        let crons: Api<CronJob> = Api::namespaced(shared.client.clone(), &key.namespace);
        let mut changed = (*cron).clone();
        changed.status = Some(plan.status.clone());
        let replaced = crons.replace_status(&key.name, &PostParams::default(), &changed).await;
        ignore_not_found(replaced).map_err(Error::api("write a cron job's status"))?;
    }
    Ok(plan.again)
}

async fn create(shared: &Shared, cron: &CronJob, api: &Api<Job>, job: &Job) -> Result<(), Error> {
    let name = job.name_any();
    match api.create(&PostParams::default(), job).await {
        Ok(_) => shared.normal(cron, "SuccessfulCreate", &format!("Created job {name}")),
        // Of an earlier try: its name says for when it is.
        Err(error) if client::is_already_exists(&error) => {}
        Err(error) => {
            shared.warning(cron, "FailedCreate", &format!("Error creating job: {}", words(&error)));
            return Err(Error::api("create a job")(error));
        }
    }
    let namespace = cron.namespace().unwrap_or_default();
    wait_until(&shared.informers.jobs, |jobs| jobs.get(Some(&namespace), &name).is_some()).await
}
