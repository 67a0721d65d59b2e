//! Prometheus metrics under upstream's names.

use std::{fmt::Write, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{cache::Cache, call::Call};

/// Labels of `apiserver_request_total`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Request {
    pub verb: String,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub scope: String,
    pub component: String,
    pub dry_run: String,
    pub code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Timed {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Inflight {
    request_kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Watched {
    group: String,
    version: String,
    resource: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

/// The server's counters. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    requests: Family<Request, Counter>,
    durations: Family<Timed, Histogram>,
    long_running: Family<Timed, Gauge>,
    inflight: Family<Inflight, Gauge>,
    authentications: Family<Attempt, Counter>,
    watch_events: Family<Watched, Counter>,
    watch_bytes: Family<Watched, Counter>,
    store: Family<Operation, Histogram>,
}

/// Upper bounds of the duration histogram in seconds, as upstream.
const BUCKETS: [f64; 14] =
    [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

impl Default for Metrics {
    fn default() -> Self {
        let requests = Family::default();
        let durations: Family<Timed, Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        let long_running = Family::default();
        let inflight = Family::default();
        let authentications = Family::default();
        let watch_events = Family::default();
        let watch_bytes = Family::default();
        let store: Family<Operation, Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        let mut registry = Registry::default();
        registry.register("apiserver_request", "Requests by verb and resource", requests.clone());
        registry.register(
            "apiserver_request_duration_seconds",
            "Response latency of requests that are not long-running",
            durations.clone(),
        );
        registry.register(
            "apiserver_longrunning_requests",
            "Watches and streams that are open now",
            long_running.clone(),
        );
        registry.register(
            "apiserver_current_inflight_requests",
            "Requests that are served now",
            inflight.clone(),
        );
        registry.register(
            "authentication_attempts",
            "Attempts to authenticate by their result",
            authentications.clone(),
        );
        registry.register(
            "apiserver_watch_events",
            "Events sent to watchers",
            watch_events.clone(),
        );
        registry.register(
            "apiserver_watch_events_bytes",
            "Bytes of events sent to watchers",
            watch_bytes.clone(),
        );
        registry.register(
            "etcd_request_duration_seconds",
            "Latency of requests to the store, whichever it is",
            store.clone(),
        );
        let registry = Arc::new(Mutex::new(registry));
        Self {
            registry,
            requests,
            durations,
            long_running,
            inflight,
            authentications,
            watch_events,
            watch_bytes,
            store,
        }
    }
}

/// Counts one open watch or stream until it is dropped.
pub struct LongRunning(Gauge);

impl Drop for LongRunning {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts one request being served until it is dropped.
pub struct InflightGuard(Gauge);

impl Drop for InflightGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    #[must_use]
    pub fn long_running(&self, call: &Call) -> LongRunning {
        let labels = Timed {
            verb: call.verb.to_uppercase(),
            group: call.target.group.clone(),
            version: call.target.version.clone(),
            resource: call.target.resource.clone(),
            subresource: call.target.subresource.clone(),
            scope: scope(&call.target).into(),
        };
        let gauge = self.long_running.get_or_create(&labels).clone();
        gauge.inc();
        LongRunning(gauge)
    }

    /// One open connection that is no [`Call`].
    #[must_use]
    pub fn open(&self, verb: &str, target: &crate::route::Target) -> LongRunning {
        let labels = Timed {
            verb: verb.to_owned(),
            group: target.group.clone(),
            version: target.version.clone(),
            resource: target.resource.clone(),
            subresource: target.subresource.clone(),
            scope: scope(target).into(),
        };
        let gauge = self.long_running.get_or_create(&labels).clone();
        gauge.inc();
        LongRunning(gauge)
    }

    /// Counts an attempt to authenticate: `success` or `failure`.
    pub fn authentication(&self, result: &'static str) {
        self.authentications.get_or_create(&Attempt { result }).inc();
    }

    /// Counts events that a watch has sent.
    pub fn watch_events(&self, call: &Call, count: u64, bytes: usize) {
        let labels = Watched {
            group: call.target.group.clone(),
            version: call.target.version.clone(),
            resource: call.target.resource.clone(),
        };
        self.watch_events.get_or_create(&labels).inc_by(count);
        self.watch_bytes.get_or_create(&labels).inc_by(bytes as u64);
    }

    /// Measures one request to the store.
    pub fn store(&self, operation: &'static str, elapsed: Duration) {
        self.store.get_or_create(&Operation { operation }).observe(elapsed.as_secs_f64());
    }

    #[must_use]
    pub fn inflight(&self, mutating: bool) -> InflightGuard {
        let request_kind = if mutating { "mutating" } else { "readOnly" };
        let gauge = self.inflight.get_or_create(&Inflight { request_kind }).clone();
        gauge.inc();
        InflightGuard(gauge)
    }

    /// Counts a finished request; `elapsed` is `None` for long-running ones.
    pub fn observe(&self, request: Request, elapsed: Option<Duration>) {
        if let Some(elapsed) = elapsed {
            let labels = Timed {
                verb: request.verb.clone(),
                group: request.group.clone(),
                version: request.version.clone(),
                resource: request.resource.clone(),
                subresource: request.subresource.clone(),
                scope: request.scope.clone(),
            };
            self.durations.get_or_create(&labels).observe(elapsed.as_secs_f64());
        }
        self.requests.get_or_create(&request).inc();
    }

    /// Other parts of the server add their metrics here.
    pub fn register<T>(&self, add: impl FnOnce(&mut Registry) -> T) -> T {
        add(&mut self.registry.lock())
    }

    /// The whole page.
    #[must_use]
    pub fn page(&self, cache: &Cache) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry.lock());
        if let Some(end) = text.rfind("# EOF") {
            text.truncate(end);
        }
        put_objects(&mut text, cache);
        put_process(&mut text);
        text
    }
}

/// `cluster`, `namespace` or `resource`, as upstream's scope label.
#[must_use]
pub fn scope(target: &crate::route::Target) -> &'static str {
    match (target.name.is_empty(), target.namespace.is_empty()) {
        (false, _) => "resource",
        (true, false) => "namespace",
        (true, true) => "cluster",
    }
}

fn put_objects(text: &mut String, cache: &Cache) {
    text.push_str("# HELP apiserver_storage_objects Objects by resource\n# TYPE apiserver_storage_objects gauge\n");
    for (collection, count) in cache.sizes() {
        let dot = if collection.group.is_empty() { "" } else { "." };
        let name = format!("{}{dot}{}", collection.resource, collection.group);
        let _ = writeln!(text, "apiserver_storage_objects{{resource={name:?}}} {count}");
    }
}

/// Resident memory, CPU and open files of this process, from procfs.
fn put_process(text: &mut String) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = resident
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0);
    let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let cpu = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_seconds(&stat));
    let gauges = [
        ("process_resident_memory_bytes", "gauge", (kib * 1024) as f64),
        ("process_cpu_seconds_total", "counter", cpu.unwrap_or(0.0)),
        ("process_open_fds", "gauge", files as f64),
    ];
    for (name, kind, value) in gauges {
        let _ =
            writeln!(text, "# HELP {name} Of this process\n# TYPE {name} {kind}\n{name} {value}");
    }
}

/// User and system time in seconds from `/proc/<pid>/stat` (fields 14 and 15 in ticks of 10 ms).
fn cpu_seconds(stat: &str) -> Option<f64> {
    let rest = &stat[stat.rfind(')')? + 1..];
    let mut fields = rest.split_whitespace().skip(11);
    let ticks: f64 = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}
