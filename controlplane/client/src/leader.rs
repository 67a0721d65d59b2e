//! One leader among several control planes: a Lease in kube-system, held by renewing it.
//!
//! The rules are client-go's `tools/leaderelection`: a Lease is free when nobody holds it or when its record did not change
//! for its duration *as seen from here*, so that clocks of different machines are never compared.

use std::{sync::LazyLock, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Client, api::PostParams};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::retry::{is_already_exists, is_conflict, is_not_found};

/// Where the Leases of the control plane's parts are.
const NAMESPACE: &str = "kube-system";
/// Others take the Lease when they saw no renewal for so long (kube-controller-manager's default).
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// A leader that could not renew for so long stops leading.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Pause between two tries to take or renew.
const RETRY_PERIOD: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    name: String,
}

/// As client-go names it.
static MASTER: LazyLock<Family<Name, Gauge>> = LazyLock::new(|| {
    let help = "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master.";
    crate::metrics::register("leader_election_master_status", help, Family::default())
});

/// Who wants to lead what.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Name of the Lease (`kube-controller-manager`, `kube-scheduler`).
    pub lease: String,
    /// The same over restarts of one control plane, different for two: a restarted leader goes on at once.
    pub identity: String,
}

/// Leads whenever it can until `shutdown`: runs `work` while the Lease is held, and cancels its token and waits for its end when the
/// Lease is lost. The Lease is given back at the end.
///
/// # Errors
/// What `work` ended with, when it ended by itself.
pub async fn lead<E, Work, Run>(
    client: Client,
    candidate: Candidate,
    shutdown: CancellationToken,
    mut work: Work,
) -> Result<(), E>
where
    Work: FnMut(CancellationToken) -> Run,
    Run: Future<Output = Result<(), E>>,
{
    let mut election = Election { api: Api::namespaced(client, NAMESPACE), candidate, seen: None };
    while shutdown.run_until_cancelled(election.take()).await.is_some() {
        let master = MASTER.get_or_create_owned(&Name { name: election.candidate.lease.clone() });
        master.set(1);
        tracing::info!(
            lease = election.candidate.lease,
            identity = election.candidate.identity,
            "leading"
        );
        let term = shutdown.child_token();
        let running = work(term.clone());
        tokio::pin!(running);
        tokio::select! {
            ended = &mut running => {
                election.release().await;
                return ended;
            }
            () = election.keep() => {
                tracing::warn!(lease = election.candidate.lease, "the lease was lost");
                master.set(0);
                term.cancel();
                running.await?;
            }
        }
    }
    Ok(())
}

/// What the Lease says now, and since when it says that.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    spec: LeaseSpec,
    at: Instant,
}

struct Election {
    api: Api<Lease>,
    candidate: Candidate,
    seen: Option<Seen>,
}

impl Election {
    /// Returns when the Lease is ours.
    async fn take(&mut self) {
        loop {
            match self.try_once().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(lease = self.candidate.lease, %error, "failed to take the lease");
                }
            }
            // interval: a held Lease is looked at again, as client-go does; with one control plane it is never reached.
            tokio::time::sleep(RETRY_PERIOD).await;
        }
    }

    /// Renews; returns when that failed for the deadline or another took the Lease.
    async fn keep(&mut self) {
        let mut renewed = Instant::now();
        loop {
            // interval: renewals of a Lease are periodic by nature.
            tokio::time::sleep(RETRY_PERIOD).await;
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            match tokio::time::timeout(left, self.try_once()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => {
                    tracing::debug!(lease = self.candidate.lease, %error, "failed to renew the lease");
                }
                Err(_) => return,
            }
        }
    }

    /// One try; `false` when another holds the Lease.
    async fn try_once(&mut self) -> Result<bool, kube::Error> {
        let now = MicroTime(Timestamp::now());
        let held = match self.api.get(&self.candidate.lease).await {
            Ok(lease) => lease,
            Err(error) if is_not_found(&error) => {
                let mut lease = Lease::default();
                lease.metadata.name = Some(self.candidate.lease.clone());
                lease.spec = Some(next(&LeaseSpec::default(), &self.candidate.identity, now));
                let created = self.api.create(&PostParams::default(), &lease).await;
                return won(created);
            }
            Err(error) => return Err(error),
        };
        let spec = held.spec.clone().unwrap_or_default();
        let at = match &self.seen {
            Some(seen) if seen.spec == spec => seen.at,
            _ => Instant::now(),
        };
        self.seen = Some(Seen { spec: spec.clone(), at });
        if !is_free(&spec, &self.candidate.identity, at.elapsed()) {
            return Ok(false);
        }
        let lease = Lease { spec: Some(next(&spec, &self.candidate.identity, now)), ..held };
        won(self.api.replace(&self.candidate.lease, &PostParams::default(), &lease).await)
    }

    /// Gives the Lease back, so that another need not wait; best effort.
    async fn release(&self) {
        let release = async {
            let mut lease = self.api.get(&self.candidate.lease).await?;
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() == Some(&self.candidate.identity) {
                spec.holder_identity = Some(String::new());
                spec.lease_duration_seconds = Some(1);
                self.api.replace(&self.candidate.lease, &PostParams::default(), &lease).await?;
            }
            Ok::<(), kube::Error>(())
        };
        if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(1), release).await {
            tracing::debug!(lease = self.candidate.lease, %error, "failed to give the lease back");
        }
    }
}

/// A conflict means that another was faster.
fn won(answer: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match answer {
        Ok(_) => Ok(true),
        Err(error) if is_conflict(&error) || is_already_exists(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether `identity` may take or renew a Lease that has said the same for `unchanged`.
fn is_free(spec: &LeaseSpec, identity: &str, unchanged: Duration) -> bool {
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let duration = spec.lease_duration_seconds.map_or(LEASE_DURATION, |seconds| {
        Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    });
    holder.is_empty() || holder == identity || unchanged > duration
}

/// The record after `identity` took or renewed it.
fn next(old: &LeaseSpec, identity: &str, now: MicroTime) -> LeaseSpec {
    let renewed = old.holder_identity.as_deref() == Some(identity);
    let transitions = old.lease_transitions.unwrap_or_default();
    let first = old.holder_identity.is_none();
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
        acquire_time: if renewed { old.acquire_time.clone() } else { Some(now.clone()) },
        renew_time: Some(now),
        lease_transitions: Some(transitions + i32::from(!renewed && !first)),
        ..LeaseSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str) -> LeaseSpec {
        next(&LeaseSpec::default(), holder, MicroTime(Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn a_lease_is_free_when_nobody_renews_it() {
        let second = Duration::from_secs(1);
        let cases = [
            (LeaseSpec::default(), second, true),
            (held_by("me"), second, true),
            (held_by("other"), second, false),
            (held_by("other"), LEASE_DURATION, false),
            (held_by("other"), LEASE_DURATION + second, true),
            (LeaseSpec { holder_identity: Some(String::new()), ..held_by("other") }, second, true),
        ];
        for (spec, unchanged, free) in cases {
            assert_eq!(is_free(&spec, "me", unchanged), free, "{spec:?} after {unchanged:?}");
        }
    }

    #[test]
    fn transitions_count_changes_of_the_holder() {
        let later = MicroTime(Timestamp::from_second(60).unwrap());
        let mine = held_by("me");
        assert_eq!(mine.lease_transitions, Some(0));
        let renewed = next(&mine, "me", later.clone());
        assert_eq!(
            (renewed.lease_transitions, &renewed.acquire_time),
            (Some(0), &mine.acquire_time)
        );
        assert_eq!(renewed.renew_time, Some(later.clone()));
        let taken = next(&renewed, "other", later.clone());
        assert_eq!((taken.lease_transitions, taken.acquire_time), (Some(1), Some(later)));
    }
}
