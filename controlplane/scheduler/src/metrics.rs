//! The scheduler's metrics, as upstream names them (`pkg/scheduler/metrics/metrics.go`).

use std::{sync::LazyLock, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

use crate::SCHEDULER_NAME;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    result: &'static str,
    profile: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queue {
    queue: &'static str,
}

struct Families {
    attempts: Family<Attempt, Counter>,
    durations: Family<Attempt, Histogram>,
    pending: Family<Queue, Gauge>,
}

static FAMILIES: LazyLock<Families> = LazyLock::new(|| {
    use client::metrics::register;
    Families {
        attempts: register(
            "scheduler_schedule_attempts",
            "Number of attempts to schedule pods, by the result",
            Family::default(),
        ),
        durations: register(
            "scheduler_scheduling_attempt_duration_seconds",
            "Scheduling attempt latency in seconds (scheduling algorithm, without the binding)",
            Family::new_with_constructor(|| {
                // 1 ms doubled fifteen times, as upstream.
                Histogram::new((0..15).map(|power| 0.001 * f64::from(1 << power)))
            }),
        ),
        pending: register(
            "scheduler_pending_pods",
            "Number of pending pods, by the queue type",
            Family::default(),
        ),
    }
});

/// A cycle ended; `placed` when it found a node.
pub(crate) fn attempted(placed: bool, time: Duration) {
    let result = if placed { "scheduled" } else { "unschedulable" };
    let labels = Attempt { result, profile: SCHEDULER_NAME };
    FAMILIES.attempts.get_or_create(&labels).inc();
    FAMILIES.durations.get_or_create(&labels).observe(time.as_secs_f64());
}

/// Pods that are due, and pods that wait for a change or for their back-off.
pub(crate) fn pending(active: usize, waiting: usize) {
    for (queue, count) in [("active", active), ("unschedulable", waiting)] {
        let gauge = FAMILIES.pending.get_or_create_owned(&Queue { queue });
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
