//! Which events are created, counted or held back. No I/O.

use std::collections::HashMap;

use k8s_openapi::{
    api::core::v1::{Event, EventSource},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};

use super::Occurrence;

/// Different events remembered; the one that was seen longest ago is forgotten first.
const EVENTS_MAX: usize = 4096;
/// Events of one object at once (client-go `defaultSpamBurst`).
const BURST: f64 = 25.0;
/// Seconds until an object may have one more (client-go `defaultSpamQPS` is 1/300).
const SECONDS_PER_EVENT: f64 = 300.0;

/// What to write.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Effect {
    Nothing,
    Create(Event),
    /// The event is known: write its count and time.
    Count(Event),
}

/// Object, severity, reason, message.
type Key = (String, &'static str, String, String);

/// A token bucket per object.
#[derive(Debug, Clone, Copy)]
struct Budget {
    tokens: f64,
    at: Timestamp,
}

#[derive(Debug)]
pub(super) struct Aggregator {
    source: EventSource,
    known: HashMap<Key, Event>,
    budgets: HashMap<String, Budget>,
}

impl Aggregator {
    pub fn new(source: EventSource) -> Self {
        Self { source, known: HashMap::new(), budgets: HashMap::new() }
    }

    pub fn observe(&mut self, occurrence: &Occurrence) -> Effect {
        let object = object_key(occurrence);
        if !self.afford(&object, occurrence.at) {
            return Effect::Nothing;
        }
        let key = (
            object,
            occurrence.severity.as_str(),
            occurrence.reason.clone(),
            occurrence.message.clone(),
        );
        if let Some(event) = self.known.get_mut(&key) {
            event.count = Some(event.count.unwrap_or(1) + 1);
            event.last_timestamp = Some(Time(occurrence.at));
            return Effect::Count(event.clone());
        }
        let event = new_event(occurrence, &self.source);
        self.make_room();
        self.known.insert(key, event.clone());
        Effect::Create(event)
    }

    fn afford(&mut self, object: &str, now: Timestamp) -> bool {
        if self.budgets.len() >= EVENTS_MAX && !self.budgets.contains_key(object) {
            // A full budget is the same as none that is remembered.
            self.budgets.retain(|_, budget| refill(*budget, now).tokens < BURST);
            if self.budgets.len() >= EVENTS_MAX {
                return false;
            }
        }
        let budget =
            self.budgets.entry(object.to_owned()).or_insert(Budget { tokens: BURST, at: now });
        *budget = refill(*budget, now);
        let afforded = budget.tokens >= 1.0;
        if afforded {
            budget.tokens -= 1.0;
        }
        afforded
    }

    fn make_room(&mut self) {
        if self.known.len() < EVENTS_MAX {
            return;
        }
        let last = |event: &Event| event.last_timestamp.as_ref().map(|time| time.0);
        let mut times: Vec<_> = self.known.values().map(last).collect();
        times.sort_unstable();
        // A quarter at once, so that room is not made at every event.
        let limit = times[EVENTS_MAX / 4];
        self.known.retain(|_, event| last(event) > limit);
    }
}

fn refill(budget: Budget, now: Timestamp) -> Budget {
    let seconds = now.duration_since(budget.at).as_secs_f64().max(0.0);
    Budget { tokens: (budget.tokens + seconds / SECONDS_PER_EVENT).min(BURST), at: now }
}

fn object_key(occurrence: &Occurrence) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let regarding = &occurrence.regarding;
    [
        part(&regarding.api_version),
        part(&regarding.kind),
        part(&regarding.namespace),
        part(&regarding.name),
        part(&regarding.uid),
        part(&regarding.field_path),
    ]
    .join("/")
}

fn new_event(occurrence: &Occurrence, source: &EventSource) -> Event {
    let regarding = &occurrence.regarding;
    let namespace = regarding.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let name = regarding.name.as_deref().unwrap_or("unknown");
    let time = Some(Time(occurrence.at));
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", occurrence.at.as_nanosecond())),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: regarding.clone(),
        type_: Some(occurrence.severity.as_str().to_owned()),
        reason: Some(occurrence.reason.clone()),
        message: Some(occurrence.message.clone()),
        source: Some(source.clone()),
        reporting_component: source.component.clone(),
        reporting_instance: source.host.clone(),
        first_timestamp: time.clone(),
        last_timestamp: time,
        count: Some(1),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;
    use crate::events::Severity;

    fn occurrence(pod: &str, message: &str, second: i64) -> Occurrence {
        let regarding = ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: Some("default".to_owned()),
            name: Some(pod.to_owned()),
            ..ObjectReference::default()
        };
        Occurrence {
            regarding,
            severity: Severity::Warning,
            reason: "BackOff".to_owned(),
            message: message.to_owned(),
            at: Timestamp::from_second(second).unwrap(),
        }
    }

    #[test]
    fn equal_events_are_counted() {
        let mut aggregator = Aggregator::new(EventSource::default());
        let Effect::Create(first) = aggregator.observe(&occurrence("a", "x", 10)) else {
            panic!("the first is created");
        };
        assert_eq!(first.metadata.name.as_deref(), Some("a.2540be400"));
        let Effect::Count(second) = aggregator.observe(&occurrence("a", "x", 11)) else {
            panic!("the second is counted");
        };
        assert_eq!((second.count, &second.metadata.name), (Some(2), &first.metadata.name));
        assert_eq!(second.first_timestamp, first.first_timestamp);
        assert!(matches!(aggregator.observe(&occurrence("a", "y", 12)), Effect::Create(_)));
        assert!(matches!(aggregator.observe(&occurrence("b", "x", 12)), Effect::Create(_)));
    }

    #[test]
    fn a_noisy_object_is_held_back() {
        let mut aggregator = Aggregator::new(EventSource::default());
        let written = (0..100)
            .filter(|_| aggregator.observe(&occurrence("a", "x", 0)) != Effect::Nothing)
            .count();
        assert_eq!(written, 25);
        assert_eq!(aggregator.observe(&occurrence("a", "x", 299)), Effect::Nothing);
        assert!(matches!(aggregator.observe(&occurrence("a", "x", 301)), Effect::Count(_)));
        assert!(matches!(aggregator.observe(&occurrence("b", "x", 0)), Effect::Create(_)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut aggregator = Aggregator::new(EventSource::default());
        for n in 0..3 * EVENTS_MAX as i64 {
            aggregator.observe(&occurrence(&n.to_string(), "x", n * 400));
        }
        assert!(aggregator.known.len() <= EVENTS_MAX && aggregator.budgets.len() <= EVENTS_MAX);
    }
}
