//! Many watchers of the same changes: what is delivered, and how late.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::{
    Bench, Figure,
    client::{Asked, Client},
    objects,
    phases::Clock,
    server::Server,
};
use crate::percentile;

const MAPS: &str = "/api/v1/namespaces/bench/configmaps";
/// Objects that change in turn.
const OBJECTS: usize = 100;
/// The changes of one tick of the pacing are sent at once.
const TICK: Duration = Duration::from_millis(10);
/// Every so many deliveries of a watcher have their lag kept.
const SAMPLE: u64 = 16;
/// After the last change, how long deliveries are waited for.
const TAIL: Duration = Duration::from_secs(20);
/// Stands before the time at which a change was sent.
const MARK: &[u8] = b"\"sent\":\"";

/// What all watchers have seen.
#[derive(Default)]
struct Seen {
    events: AtomicU64,
    ended: AtomicU64,
    /// Of some events, in seconds.
    lags: Mutex<Vec<f64>>,
}

fn micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

impl Bench<'_> {
    pub async fn watches(&self, server: &Server) -> Result<Vec<Figure>> {
        let make = |index: usize| {
            Asked::with(
                Method::POST,
                MAPS,
                "application/json",
                &objects::config_map(&format!("map-{index}")),
            )
        };
        self.client.many(OBJECTS, self.options.in_flight, make).await?;
        let seen = Arc::new(Seen::default());
        let mut watchers = JoinSet::new();
        let started = Instant::now();
        // Connections carry 250 streams at most: as many as are needed.
        let mut clients = Vec::new();
        for index in 0..self.options.watchers {
            if index % 1000 == 0 {
                clients.push(Client::connect(server).await?);
            }
            let watch = Asked::get(format!("{MAPS}?watch=true&resourceVersion=0"));
            let response = clients[index / 1000].start(&watch).await.context("a watch failed")?;
            ensure!(response.status().is_success(), "a watch was refused: {}", response.status());
            let seen = seen.clone();
            watchers.spawn(follow(response.into_body(), seen));
        }
        let opened = started.elapsed().as_secs_f64();
        let clock = Clock::start(server)?;
        let sent = self.change().await?;
        let expected = sent * self.options.watchers as u64;
        let end = Instant::now() + TAIL;
        while seen.events.load(Ordering::Relaxed) < expected && Instant::now() < end {
            // interval: the watchers do not wake anybody for each event; the measurement is not disturbed.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let usage = clock.stop(server)?;
        let delivered = seen.events.load(Ordering::Relaxed);
        let cut = seen.ended.load(Ordering::Relaxed);
        watchers.abort_all();
        while watchers.join_next().await.is_some() {}
        let lags = std::mem::take(&mut *seen.lags.lock().unwrap_or_else(PoisonError::into_inner));
        let p99 = percentile(&lags, 99).unwrap_or_default() * 1e3;
        Ok(vec![
            Figure {
                name: "watches: events delivered",
                value: format!(
                    "{:.0}/s of {sent} x {}",
                    delivered as f64 / usage.seconds,
                    self.options.watchers
                ),
                bound: self.bound(usage, false),
            },
            Figure {
                name: "watches: lag from sending a change to its event",
                value: format!(
                    "p99 {p99:.0} ms, {cut} cut, {:.0}% came",
                    delivered as f64 / expected.max(1) as f64 * 100.0
                ),
                bound: "as above; a change waits for its commit first".into(),
            },
            Figure {
                name: "watches: opening all",
                value: format!("{opened:.2} s"),
                bound: "one after the other".into(),
            },
        ])
    }

    /// Changes objects at the wanted rate; how many changes were made.
    async fn change(&self) -> Result<u64> {
        let permits = Arc::new(Semaphore::new(256));
        let mut changes = JoinSet::new();
        // interval: a steady rate of changes is what is measured.
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let total = self.options.events as u64 * self.options.watch_seconds;
        let each = (self.options.events as u64 * TICK.as_millis() as u64 / 1000).max(1);
        let mut sent = 0;
        while sent < total {
            ticks.tick().await;
            for _ in 0..each.min(total - sent) {
                let permit = permits.clone().acquire_owned().await?;
                let client = self.client.clone();
                let name = format!("{MAPS}/map-{}", sent % OBJECTS as u64);
                changes.spawn(async move {
                    let body = json!({"data": {"sent": micros().to_string()}});
                    let asked =
                        Asked::with(Method::PATCH, name, "application/merge-patch+json", &body);
                    let done = client.finish(&asked).await;
                    drop(permit);
                    done
                });
                sent += 1;
            }
        }
        while let Some(change) = changes.join_next().await {
            change.context("a change panicked")??;
        }
        Ok(sent)
    }
}

/// Reads a watch to its end.
async fn follow(mut body: Incoming, seen: Arc<Seen>) {
    let mut rest: Vec<u8> = Vec::new();
    let mut own = 0;
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let now = micros();
        rest.extend_from_slice(&data);
        let mut from = 0;
        let mut count = 0;
        while let Some(end) = rest[from..].iter().position(|byte| *byte == b'\n') {
            if let Some(sent) = sent_at(&rest[from..from + end]) {
                count += 1;
                own += 1;
                if own % SAMPLE == 0 {
                    let lag = now.saturating_sub(sent) as f64 / 1e6;
                    seen.lags.lock().unwrap_or_else(PoisonError::into_inner).push(lag);
                }
            }
            from += end + 1;
        }
        rest.drain(..from);
        seen.events.fetch_add(count, Ordering::Relaxed);
    }
    seen.ended.fetch_add(1, Ordering::Relaxed);
}

/// When the change of an event was sent; `None` for what was there before.
fn sent_at(line: &[u8]) -> Option<u64> {
    let at = line.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let digits = &line[at..];
    let end = digits.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_change_is_in_its_event() {
        assert_eq!(sent_at(br#"{"data":{"key":"value","sent":"123"}}"#), Some(123));
        assert_eq!(sent_at(br#"{"data":{"key":"value"}}"#), None);
    }
}
