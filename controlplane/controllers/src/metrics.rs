//! The work queues' metrics, as client-go names them (`util/workqueue/metrics.go`).

use std::{sync::LazyLock, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    name: &'static str,
}

struct Families {
    depth: Family<Labels, Gauge>,
    adds: Family<Labels, Counter>,
    retries: Family<Labels, Counter>,
    work: Family<Labels, Histogram>,
}

/// Upper bounds in seconds, as upstream.
const BUCKETS: [f64; 10] = [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];

static FAMILIES: LazyLock<Families> = LazyLock::new(|| {
    use client::metrics::register;
    Families {
        depth: register("workqueue_depth", "Current depth of workqueue", Family::default()),
        adds: register(
            "workqueue_adds",
            "Total number of adds handled by workqueue",
            Family::default(),
        ),
        retries: register(
            "workqueue_retries",
            "Total number of retries handled by workqueue",
            Family::default(),
        ),
        work: register(
            "workqueue_work_duration_seconds",
            "How long in seconds processing an item from workqueue takes",
            Family::new_with_constructor(|| Histogram::new(BUCKETS)),
        ),
    }
});

/// One controller's queue.
#[derive(Debug, Clone)]
pub(crate) struct QueueMetrics {
    pub depth: Gauge,
    pub adds: Counter,
    pub retries: Counter,
    work: Histogram,
}

impl QueueMetrics {
    pub(crate) fn of(name: &'static str) -> Self {
        let labels = Labels { name };
        Self {
            depth: FAMILIES.depth.get_or_create_owned(&labels),
            adds: FAMILIES.adds.get_or_create_owned(&labels),
            retries: FAMILIES.retries.get_or_create_owned(&labels),
            work: FAMILIES.work.get_or_create_owned(&labels),
        }
    }

    pub(crate) fn worked(&self, time: Duration) {
        self.work.observe(time.as_secs_f64());
    }
}
