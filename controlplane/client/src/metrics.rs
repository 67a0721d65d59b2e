//! Metrics of the control plane's clients (controllers, scheduler, elections), under upstream's names, in one registry per process.

use std::sync::{LazyLock, Mutex, PoisonError};

use prometheus_client::{
    encoding::text::encode,
    registry::{Metric, Registry},
};

static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(Mutex::default);

/// Adds a family and returns it. The text format adds `_total` to a counter's name.
pub fn register<M: Metric + Clone>(name: &str, help: &str, metric: M) -> M {
    let mut registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
    registry.register(name, help, metric.clone());
    metric
}

/// Appends all families in the Prometheus text format, without an end mark.
pub fn append(page: &mut String) {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = encode(&mut text, &REGISTRY.lock().unwrap_or_else(PoisonError::into_inner));
    page.push_str(text.trim_end_matches("# EOF\n"));
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn what_is_registered_is_on_the_page() {
        let counter: Counter = register("tests_run", "Tests", Counter::default());
        counter.inc();
        let mut page = "before\n".to_owned();
        append(&mut page);
        assert!(page.starts_with("before\n"), "{page}");
        assert!(page.contains("\ntests_run_total 1\n"), "{page}");
        assert!(!page.contains("# EOF"), "{page}");
    }
}
