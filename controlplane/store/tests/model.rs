//! Random transactions against a model that keeps every revision as a whole map.
#![allow(clippy::unwrap_used, reason = "a test ends where it is surprised")]

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::StreamExt;
use store::{
    ChangeKind, Entry, Guard, Outcome, Range, Revision, Store, Transaction, WatchEvent, Write,
    embedded::Embedded,
};

const SEEDS: u64 = 12;
const STEPS: usize = 120;
const KEYS: [&str; 8] = ["/a", "/a/1", "/a/2", "/a/20", "/a0", "/b/1", "/b/2", "/c"];
const PREFIXES: [&str; 5] = ["", "/", "/a", "/a/", "/b/"];

/// xorshift64*: enough to pick cases, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize) % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

type State = BTreeMap<String, Entry>;

/// Every revision's whole state; the index is the revision.
struct Model(Vec<State>);

impl Model {
    fn newest(&self) -> Revision {
        Revision(self.0.len() as u64 - 1)
    }

    fn now(&self) -> &State {
        self.0.last().unwrap()
    }

    fn apply(&mut self, transaction: &Transaction) -> Outcome {
        let present = |key: &str| self.now().get(key).cloned();
        let holds = |guard: &Guard| match guard {
            Guard::Absent(key) => present(key).is_none(),
            Guard::Unchanged(key, at) => present(key).is_some_and(|entry| entry.modified == *at),
        };
        if !transaction.guards.iter().all(holds) {
            return Outcome::Refused(
                transaction.guards.iter().map(|guard| present(guard.key())).collect(),
            );
        }
        let revision = Revision(self.newest().0 + 1);
        let mut next = self.now().clone();
        for write in &transaction.writes {
            match write {
                Write::Put(key, value) => {
                    let created = next.get(key).map_or(revision, |entry| entry.created);
                    let entry = Entry {
                        key: key.as_str().into(),
                        value: value.clone(),
                        created,
                        modified: revision,
                    };
                    next.insert(key.clone(), entry);
                }
                Write::Delete(key) => drop(next.remove(key)),
            }
        }
        if next == *self.now() {
            return Outcome::Committed(self.newest());
        }
        self.0.push(next);
        Outcome::Committed(revision)
    }

    fn range(&self, range: &Range) -> (Vec<Entry>, u64) {
        let state = &self.0[range.at.unwrap_or(self.newest()).0 as usize];
        let all: Vec<_> = state
            .values()
            .filter(|entry| entry.key.starts_with(&range.prefix))
            .filter(|entry| range.after.as_ref().is_none_or(|after| &*entry.key > after.as_str()))
            .cloned()
            .collect();
        let taken = if range.limit == 0 { all.len() } else { all.len().min(range.limit) };
        ((all[..taken]).to_vec(), (all.len() - taken) as u64)
    }
}

fn random_transaction(random: &mut Random, model: &Model) -> Transaction {
    let mut keys = KEYS.to_vec();
    let mut transaction = Transaction::default();
    for _ in 0..random.below(4) {
        let key = keys.remove(random.below(keys.len())).to_owned();
        transaction.writes.push(match random.below(3) {
            0 => Write::Delete(key),
            _ => Write::Put(key, Bytes::from(random.below(1000).to_string())),
        });
    }
    for _ in 0..random.below(3) {
        let key = random.pick(&KEYS).to_owned();
        let known = model.now().get(&key).map(|entry| entry.modified);
        transaction.guards.push(match known {
            Some(at) if random.below(4) > 0 => Guard::Unchanged(key, at),
            Some(at) => Guard::Unchanged(key, Revision(at.0.saturating_sub(1))),
            None => Guard::Absent(key),
        });
    }
    transaction
}

fn random_range(random: &mut Random, newest: Revision) -> Range {
    let prefix = random.pick(&PREFIXES).to_owned();
    let after = Some(random.pick(&KEYS))
        .filter(|key| key.starts_with(&prefix) && random.0.is_multiple_of(2));
    Range {
        after: after.map(str::to_owned),
        prefix,
        limit: random.below(4),
        at: (random.below(2) == 0).then(|| Revision(random.below(newest.0 as usize + 1) as u64)),
    }
}

/// Rebuilds states from a watch and compares each with the model's.
async fn check_watch(store: &Embedded, model: &Model, prefix: &str, after: Revision, seed: u64) {
    let matching = |state: &State| -> State {
        state
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(k, e)| (k.clone(), e.clone()))
            .collect()
    };
    let mut state = matching(&model.0[after.0 as usize]);
    let mut events = store.watch(prefix, after).await.unwrap();
    loop {
        match events.next().await.unwrap().unwrap() {
            WatchEvent::Progress(revision) => {
                assert!(revision >= model.newest(), "seed {seed}");
                break;
            }
            WatchEvent::Changes { revision, changes } => {
                for change in changes {
                    let key = change.key.to_string();
                    assert_eq!(
                        change.previous,
                        state.remove(&key),
                        "seed {seed}, {key} at {revision}"
                    );
                    if let ChangeKind::Put { value, created } = change.kind {
                        state.insert(
                            key,
                            Entry { key: change.key, value, created, modified: revision },
                        );
                    }
                }
                assert_eq!(
                    state,
                    matching(&model.0[revision.0 as usize]),
                    "seed {seed} at {revision}"
                );
            }
        }
    }
    assert_eq!(state, matching(model.now()), "seed {seed}, watch of {prefix:?} after {after}");
}

#[tokio::test]
async fn behaves_like_the_model() {
    for seed in 1..=SEEDS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        let mut store = Embedded::open(&path).await.unwrap();
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut model = Model(vec![State::new()]);
        let mut oldest = Revision(0);
        for _ in 0..STEPS {
            let transaction = random_transaction(&mut random, &model);
            let outcome = store.commit(transaction.clone()).await.unwrap();
            assert_eq!(outcome, model.apply(&transaction), "seed {seed}, {transaction:?}");
            let range = random_range(&mut random, model.newest());
            if range.at.is_some_and(|at| at < oldest) {
                assert!(store.range(range).await.is_err(), "seed {seed}");
                continue;
            }
            let page = store.range(range.clone()).await.unwrap();
            assert_eq!(
                (page.entries, page.remaining),
                model.range(&range),
                "seed {seed}, {range:?}"
            );
            match random.below(24) {
                0 => {
                    drop(store);
                    store = Embedded::open(&path).await.unwrap();
                }
                1 => {
                    let span = (model.newest().0 - oldest.0) as usize;
                    oldest.0 += random.below(span / 2 + 1) as u64;
                    store.compact(oldest).await.unwrap();
                }
                _ => {}
            }
        }
        for prefix in PREFIXES {
            check_watch(&store, &model, prefix, oldest, seed).await;
            let after = oldest.0 + random.below((model.newest().0 - oldest.0) as usize + 1) as u64;
            check_watch(&store, &model, prefix, Revision(after), seed).await;
        }
    }
}
