//! One resource's objects in order, its bounded history, and its watchers.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

use parking_lot::RwLock;
use tokio::sync::mpsc;

use super::Item;

/// Events kept per resource for watches that start in the past.
const HISTORY_EVENTS_MAX: usize = 4096;
/// Bytes of objects kept per resource for the same.
const HISTORY_BYTES_MAX: usize = 16 << 20;
/// Events that a watcher may fall behind before it is cut.
const WATCHER_QUEUE: usize = 1024;

/// One change to one object.
#[derive(Debug)]
pub struct Event {
    pub revision: u64,
    /// The object after the change; for a deletion its last state at the deletion's revision.
    pub item: Arc<Item>,
    pub previous: Option<Arc<Item>>,
    pub deleted: bool,
}

/// The revision asked for lies before the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    pub oldest: u64,
}

/// Which objects a watcher wants to be woken for.
#[derive(Debug, Clone, Default)]
pub struct Interest {
    /// Empty: all.
    pub namespace: String,
    /// Empty: all.
    pub name: String,
}

impl Interest {
    fn covers(&self, item: &Item) -> bool {
        (self.namespace.is_empty() || item.namespace() == self.namespace)
            && (self.name.is_empty() || item.name() == self.name)
    }
}

#[derive(Debug)]
struct Watcher {
    interest: Interest,
    queue: mpsc::Sender<Arc<Event>>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<Arc<str>, Arc<Item>>,
    history: VecDeque<Arc<Event>>,
    history_bytes: usize,
    /// Every event after this revision is in `history`.
    history_start: u64,
    /// The last revision that changed this resource.
    changed: u64,
    watchers: Vec<Watcher>,
}

/// The objects of one resource.
#[derive(Debug, Default)]
pub struct Cached {
    state: RwLock<State>,
}

/// A subscription: what happened since, then what happens.
#[derive(Debug)]
pub struct Subscription {
    pub past: Vec<Arc<Event>>,
    pub future: mpsc::Receiver<Arc<Event>>,
}

impl Cached {
    pub(super) fn new(start: u64) -> Self {
        let state = State { history_start: start, changed: start, ..State::default() };
        Self { state: RwLock::new(state) }
    }

    /// Replaces everything; the history starts anew and all watchers are cut.
    pub(super) fn reset(&self, items: Vec<Arc<Item>>, revision: u64) {
        let mut state = self.state.write();
        *state = State { history_start: revision, changed: revision, ..State::default() };
        state.objects = items.into_iter().map(|item| (item.key.clone(), item)).collect();
    }

    /// Applies one revision's changes and tells the watchers.
    pub(super) fn apply(&self, events: impl IntoIterator<Item = Update>) {
        let mut state = self.state.write();
        for update in events {
            let event = state.record(update);
            state.notify(&event);
            state.remember(event);
        }
    }

    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<Item>> {
        self.state.read().objects.get(key).cloned()
    }

    /// The objects of a namespace ("" is all) and the last revision that changed the resource.
    #[must_use]
    pub fn list(&self, namespace: &str) -> (Vec<Arc<Item>>, u64) {
        let state = self.state.read();
        (state.range(namespace).cloned().collect(), state.changed)
    }

    /// The objects as they were at a revision, from the present ones and the history.
    pub fn list_at(&self, namespace: &str, revision: u64) -> Result<Vec<Arc<Item>>, Expired> {
        let state = self.state.read();
        if revision < state.history_start {
            return Err(Expired { oldest: state.history_start });
        }
        let mut objects: BTreeMap<Arc<str>, Arc<Item>> =
            state.range(namespace).map(|item| (item.key.clone(), item.clone())).collect();
        let interest = Interest { namespace: namespace.to_owned(), name: String::new() };
        for event in state.history.iter().rev().take_while(|event| event.revision > revision) {
            if interest.covers(&event.item) {
                match &event.previous {
                    Some(previous) => objects.insert(previous.key.clone(), previous.clone()),
                    None => objects.remove(&event.item.key),
                };
            }
        }
        Ok(objects.into_values().collect())
    }

    /// Everything after a revision, without gap.
    pub fn subscribe(&self, interest: Interest, after: u64) -> Result<Subscription, Expired> {
        let mut state = self.state.write();
        let mut past = state.after(after)?;
        past.retain(|event| interest.covers(&event.item));
        Ok(Subscription { past, future: state.add_watcher(interest) })
    }

    /// Everything after a revision, and the last revision that changed the resource.
    pub(super) fn changes(&self, after: u64) -> Result<(Vec<Arc<Event>>, u64), Expired> {
        let state = self.state.read();
        Ok((state.after(after)?, state.changed))
    }

    /// The present objects, their revision, and everything after it.
    #[must_use]
    pub fn subscribe_now(&self, interest: Interest) -> (Vec<Arc<Item>>, u64, Subscription) {
        let mut state = self.state.write();
        let items = state
            .range(&interest.namespace)
            .filter(|item| interest.covers(item))
            .cloned()
            .collect();
        let subscription = Subscription { past: Vec::new(), future: state.add_watcher(interest) };
        (items, state.changed, subscription)
    }

    #[must_use]
    pub fn changed(&self) -> u64 {
        self.state.read().changed
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.state.read().objects.len()
    }
}

/// What the store says about one key.
#[derive(Debug)]
pub(super) struct Update {
    pub revision: u64,
    pub key: Arc<str>,
    /// `None`: deleted.
    pub item: Option<Arc<Item>>,
}

impl State {
    fn range(&self, namespace: &str) -> impl Iterator<Item = &Arc<Item>> {
        let bounds: (Bound<Arc<str>>, Bound<Arc<str>>) = if namespace.is_empty() {
            (Bound::Unbounded, Bound::Unbounded)
        } else {
            // '0' follows '/'.
            let from = Bound::Included(Arc::from(format!("{namespace}/")));
            (from, Bound::Excluded(Arc::from(format!("{namespace}0"))))
        };
        self.objects.range::<Arc<str>, _>(bounds).map(|(_, item)| item)
    }

    /// The events after a revision, oldest first.
    fn after(&self, revision: u64) -> Result<Vec<Arc<Event>>, Expired> {
        if revision < self.history_start {
            return Err(Expired { oldest: self.history_start });
        }
        let newer = self.history.iter().rev().take_while(|event| event.revision > revision);
        let mut events: Vec<Arc<Event>> = newer.cloned().collect();
        events.reverse();
        Ok(events)
    }

    fn record(&mut self, update: Update) -> Option<Arc<Event>> {
        let Update { revision, key, item } = update;
        self.changed = self.changed.max(revision);
        match item {
            Some(item) => {
                let previous = self.objects.insert(key, item.clone());
                Some(Arc::new(Event { revision, item, previous, deleted: false }))
            }
            None => {
                let previous = self.objects.remove(&key)?;
                let item = Arc::new(previous.at_revision(revision));
                Some(Arc::new(Event { revision, item, previous: Some(previous), deleted: true }))
            }
        }
    }

    fn notify(&mut self, event: &Option<Arc<Event>>) {
        let Some(event) = event else { return };
        self.watchers.retain(|watcher| {
            if !watcher.interest.covers(&event.item) {
                return !watcher.queue.is_closed();
            }
            // A full queue cuts the watcher: its stream ends after what it already has.
            watcher.queue.try_send(event.clone()).is_ok()
        });
    }

    fn remember(&mut self, event: Option<Arc<Event>>) {
        let Some(event) = event else { return };
        self.history_bytes += event.item.json.len();
        self.history.push_back(event);
        while self.history.len() > HISTORY_EVENTS_MAX || self.history_bytes > HISTORY_BYTES_MAX {
            let Some(gone) = self.history.pop_front() else { break };
            self.history_bytes -= gone.item.json.len();
            self.history_start = gone.revision;
        }
    }

    fn add_watcher(&mut self, interest: Interest) -> mpsc::Receiver<Arc<Event>> {
        let (queue, future) = mpsc::channel(WATCHER_QUEUE);
        self.watchers.retain(|watcher| !watcher.queue.is_closed());
        self.watchers.push(Watcher { interest, queue });
        future
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cache::encode;

    fn put(revision: u64, key: &str) -> Update {
        let object = json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": key}});
        let item = Arc::new(Item::new(key.into(), &encode(&object), revision));
        Update { revision, key: key.into(), item: Some(item) }
    }

    fn delete(revision: u64, key: &str) -> Update {
        Update { revision, key: key.into(), item: None }
    }

    fn filled() -> Cached {
        let cached = Cached::new(1);
        for update in [put(2, "a/x"), put(3, "b/y"), put(4, "a/z"), delete(5, "a/x"), put(6, "b/y")]
        {
            cached.apply([update]);
        }
        cached
    }

    fn keys(items: &[Arc<Item>]) -> Vec<String> {
        items.iter().map(|item| format!("{}@{}", item.key, item.revision)).collect()
    }

    #[test]
    fn lists_are_served_as_of_any_revision_in_the_history() {
        let cached = filled();
        for (namespace, revision, expect) in [
            ("", 6, vec!["a/z@4", "b/y@6"]),
            ("", 4, vec!["a/x@2", "a/z@4", "b/y@3"]),
            ("a", 4, vec!["a/x@2", "a/z@4"]),
            ("", 2, vec!["a/x@2"]),
            ("", 1, vec![]),
        ] {
            assert_eq!(keys(&cached.list_at(namespace, revision).unwrap()), expect, "{revision}");
        }
        assert_eq!(cached.list_at("", 0).unwrap_err(), Expired { oldest: 1 });
    }

    #[test]
    fn subscriptions_have_no_gap() {
        let cached = filled();
        let interest = Interest { namespace: "a".into(), name: String::new() };
        let mut subscription = cached.subscribe(interest, 2).unwrap();
        let past: Vec<_> = subscription.past.iter().map(|e| (e.revision, e.deleted)).collect();
        assert_eq!(past, [(4, false), (5, true)]);
        cached.apply([put(7, "b/q")]);
        cached.apply([put(8, "a/q")]);
        assert_eq!(subscription.future.try_recv().unwrap().revision, 8);
        assert!(subscription.future.try_recv().is_err());
    }

    #[test]
    fn a_slow_watcher_is_cut() {
        let cached = Cached::new(0);
        let mut subscription = cached.subscribe(Interest::default(), 0).unwrap();
        for revision in 1..=(WATCHER_QUEUE as u64 + 1) {
            cached.apply([put(revision, "a/x")]);
        }
        for _ in 0..WATCHER_QUEUE {
            subscription.future.try_recv().unwrap();
        }
        let end = subscription.future.try_recv().unwrap_err();
        assert_eq!(end, mpsc::error::TryRecvError::Disconnected);
    }
}
