//! What every store must do, as one suite: call [`run`] from a test with a store of one's own.
//!
//! It panics at the first rule that is broken. It may be the only writer, and it compacts.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, future, stream::BoxStream};

use crate::{
    Change, ChangeKind, Entry, Error, Guard, Outcome, Page, Range, Revision, Store, Transaction,
    WatchEvent, Write, embedded::Embedded,
};

type Events = BoxStream<'static, Result<WatchEvent, Error>>;

/// How long one expected event may take.
const EVENT_DEADLINE: Duration = Duration::from_secs(10);
/// Tasks that increment one counter against each other.
const RACERS: usize = 8;
/// Increments of each.
const RACES: usize = 10;

/// Runs every rule; `scratch` is an empty folder for the backup.
///
/// # Panics
/// When the store breaks a rule.
pub async fn run(store: Arc<dyn Store>, scratch: &Path) {
    let store = &*store;
    revisions_grow_by_one(store).await;
    guards_decide(store).await;
    transactions_that_change_nothing_take_no_revision(store).await;
    impossible_transactions_are_refused(store).await;
    ranges_are_paged(store).await;
    the_past_can_be_read(store).await;
    the_future_cannot(store).await;
    watches_replay_and_follow(store).await;
    watches_see_only_their_prefix(store).await;
    watches_have_no_gaps_under_writes(store).await;
    racing_writers_lose_nothing(store).await;
    backups_hold_what_is_current(store, scratch).await;
    compaction_forgets_only_history(store).await;
}

fn put(key: &str, value: &str) -> Write {
    Write::Put(key.to_owned(), Bytes::copy_from_slice(value.as_bytes()))
}

fn delete(key: &str) -> Write {
    Write::Delete(key.to_owned())
}

async fn write(store: &dyn Store, writes: Vec<Write>) -> Revision {
    match store.commit(Transaction { guards: Vec::new(), writes }).await {
        Ok(Outcome::Committed(revision)) => revision,
        other => panic!("an unguarded transaction ended as {other:?}"),
    }
}

async fn list(store: &dyn Store, range: Range) -> Page {
    store.range(range).await.expect("the range can be read")
}

fn text(entry: &Entry) -> (&str, &str) {
    (&entry.key, str::from_utf8(&entry.value).expect("the suite writes text"))
}

fn under(prefix: &str, at: Option<Revision>) -> Range {
    Range { prefix: prefix.to_owned(), at, ..Range::default() }
}

async fn revisions_grow_by_one(store: &dyn Store) {
    let start = store.revision().await.expect("the store is open");
    let first = write(store, vec![put("/grow/a", "1"), put("/grow/b", "1")]).await;
    let second = write(store, vec![put("/grow/a", "2")]).await;
    assert_eq!((first.0, second.0), (start.0 + 1, start.0 + 2), "one revision per transaction");
    assert_eq!(store.revision().await.expect("the store is open"), second);
    let a = store.get("/grow/a", None).await.expect("readable").expect("written");
    assert_eq!((text(&a).1, a.created, a.modified), ("2", first, second));
    let third = write(store, vec![delete("/grow/a")]).await;
    assert_eq!(store.get("/grow/a", None).await.expect("readable"), None);
    let fourth = write(store, vec![put("/grow/a", "3")]).await;
    let a = store.get("/grow/a", None).await.expect("readable").expect("written");
    assert_eq!((a.created, a.modified), (fourth, fourth), "a deletion ends the key's life");
    assert_eq!(fourth.0, third.0 + 1);
}

async fn guards_decide(store: &dyn Store) {
    let at = write(store, vec![put("/guard/a", "1")]).await;
    let present = store.get("/guard/a", None).await.expect("readable");
    let absent = |key: &str| Guard::Absent(key.to_owned());
    let unchanged = |key: &str, at| Guard::Unchanged(key.to_owned(), at);
    let cases = [
        (vec![absent("/guard/a")], vec![present.clone()]),
        (vec![unchanged("/guard/a", Revision(at.0 - 1))], vec![present.clone()]),
        (vec![unchanged("/guard/b", Revision(0))], vec![None]),
        (vec![unchanged("/guard/b", at)], vec![None]),
        (vec![unchanged("/guard/a", at), absent("/guard/a")], vec![present.clone(), present]),
    ];
    for (guards, expected) in cases {
        let transaction =
            Transaction { guards, writes: vec![put("/guard/a", "x"), put("/guard/c", "x")] };
        let outcome = store.commit(transaction.clone()).await.expect("an answer");
        assert_eq!(outcome, Outcome::Refused(expected), "{transaction:?}");
    }
    assert_eq!(
        store.revision().await.expect("the store is open"),
        at,
        "a refusal takes no revision"
    );
    assert_eq!(
        store.get("/guard/c", None).await.expect("readable"),
        None,
        "nothing of it happened"
    );
    let guards = vec![unchanged("/guard/a", at), absent("/guard/b")];
    let transaction =
        Transaction { guards, writes: vec![put("/guard/a", "2"), put("/guard/b", "2")] };
    let outcome = store.commit(transaction).await.expect("an answer");
    assert_eq!(outcome, Outcome::Committed(Revision(at.0 + 1)));
}

async fn transactions_that_change_nothing_take_no_revision(store: &dyn Store) {
    let start = store.revision().await.expect("the store is open");
    assert_eq!(write(store, Vec::new()).await, start);
    assert_eq!(write(store, vec![delete("/nothing/here")]).await, start);
    assert_eq!(store.revision().await.expect("the store is open"), start);
    let changed = write(store, vec![delete("/nothing/here"), put("/nothing/now", "1")]).await;
    assert_eq!(changed.0, start.0 + 1);
}

async fn impossible_transactions_are_refused(store: &dyn Store) {
    let twice = vec![put("/twice/a", "1"), delete("/twice/a")];
    let many = (0..=crate::WRITES_MAX).map(|n| put(&format!("/many/{n}"), "1")).collect();
    for writes in [twice, many] {
        let outcome = store.commit(Transaction { guards: Vec::new(), writes }).await;
        assert!(matches!(outcome, Err(Error::Backend { .. })), "{outcome:?}");
    }
}

async fn ranges_are_paged(store: &dyn Store) {
    let keys: Vec<String> = (0..25).map(|n| format!("/page/{n:02}")).collect();
    let revision = write(store, keys.iter().map(|key| put(key, key)).collect()).await;
    write(store, vec![put("/page", "before"), put("/page0", "behind")]).await;
    let whole = list(store, under("/page/", None)).await;
    assert_eq!(whole.entries.iter().map(|entry| &*entry.key).collect::<Vec<_>>(), keys);
    assert_eq!(whole.remaining, 0);
    let mut range = Range { limit: 10, ..under("/page/", Some(revision)) };
    let mut seen = Vec::new();
    for (page_length, remaining) in [(10, 15), (10, 5), (5, 0)] {
        let page = list(store, range.clone()).await;
        assert_eq!((page.entries.len(), page.remaining), (page_length, remaining));
        assert_eq!(page.revision, revision);
        // Later writes must not show in the later pages.
        write(store, vec![delete("/page/20"), put("/page/155", "new")]).await;
        range.after = page.entries.last().map(|entry| entry.key.to_string());
        seen.extend(page.entries.into_iter().map(|entry| entry.key.to_string()));
    }
    assert_eq!(seen, keys);
    let past_the_end = Range { after: Some("/page/99".to_owned()), ..under("/page/", None) };
    assert!(list(store, past_the_end).await.entries.is_empty());
}

async fn the_past_can_be_read(store: &dyn Store) {
    let before = store.revision().await.expect("the store is open");
    let one = write(store, vec![put("/past/a", "1"), put("/past/b", "1")]).await;
    let two = write(store, vec![put("/past/a", "2"), delete("/past/b"), put("/past/c", "2")]).await;
    let three = write(store, vec![delete("/past/a"), put("/past/b", "3")]).await;
    let expected = [
        (before, vec![]),
        (one, vec![("/past/a", "1"), ("/past/b", "1")]),
        (two, vec![("/past/a", "2"), ("/past/c", "2")]),
        (three, vec![("/past/b", "3"), ("/past/c", "2")]),
    ];
    for (revision, entries) in &expected {
        let page = list(store, under("/past/", Some(*revision))).await;
        assert_eq!(page.entries.iter().map(text).collect::<Vec<_>>(), *entries, "at {revision}");
        assert_eq!(page.revision, *revision);
        for key in ["/past/a", "/past/b", "/past/c"] {
            let entry = store.get(key, Some(*revision)).await.expect("readable");
            let known = entries.iter().find(|(name, _)| *name == key);
            assert_eq!(entry.as_ref().map(text), known.copied(), "{key} at {revision}");
        }
    }
    let a = store.get("/past/a", Some(two)).await.expect("readable").expect("it was there");
    assert_eq!((a.created, a.modified), (one, two));
}

async fn the_future_cannot(store: &dyn Store) {
    let newest = store.revision().await.expect("the store is open");
    let asked = Revision(newest.0 + 100);
    let is_future = |error: &Error| match error {
        Error::FutureRevision { asked: a, newest: n } => (*a, *n) == (asked, newest),
        _ => false,
    };
    let errors = [
        store.get("/future", Some(asked)).await.err(),
        store.range(under("/", Some(asked))).await.err(),
        store.watch("/", asked).await.err(),
    ];
    for error in errors {
        assert!(error.as_ref().is_some_and(is_future), "{error:?}");
    }
}

/// The next changes, without what only reports progress.
async fn next_changes(events: &mut Events) -> (Revision, Vec<Change>) {
    loop {
        let event = tokio::time::timeout(EVENT_DEADLINE, events.next()).await;
        match event.expect("an event before the deadline").expect("the watch goes on") {
            Ok(WatchEvent::Changes { revision, changes }) => return (revision, changes),
            Ok(WatchEvent::Progress(_)) => {}
            Err(error) => panic!("the watch failed: {error}"),
        }
    }
}

async fn watches_replay_and_follow(store: &dyn Store) {
    let start = store.revision().await.expect("the store is open");
    let one = write(store, vec![put("/watch/a", "1"), put("/watch/b", "1")]).await;
    let two = write(store, vec![put("/watch/a", "2")]).await;
    let mut events = store.watch("/watch/", start).await.expect("the watch starts");
    let entry = |key: &str, value: &'static str, created, modified| Entry {
        key: key.into(),
        value: Bytes::from_static(value.as_bytes()),
        created,
        modified,
    };
    let change =
        |key: &str, revision, kind, previous| Change { key: key.into(), revision, kind, previous };
    let put_of = |value: &'static str, created| ChangeKind::Put { value: value.into(), created };
    let expected = vec![
        change("/watch/a", one, put_of("1", one), None),
        change("/watch/b", one, put_of("1", one), None),
    ];
    assert_eq!(next_changes(&mut events).await, (one, expected));
    let was = Some(entry("/watch/a", "1", one, one));
    assert_eq!(
        next_changes(&mut events).await,
        (two, vec![change("/watch/a", two, put_of("2", one), was)])
    );
    let three = write(store, vec![delete("/watch/a")]).await;
    let was = Some(entry("/watch/a", "2", one, two));
    assert_eq!(
        next_changes(&mut events).await,
        (three, vec![change("/watch/a", three, ChangeKind::Delete, was)])
    );
    let four = write(store, vec![put("/watch/a", "4")]).await;
    assert_eq!(
        next_changes(&mut events).await,
        (four, vec![change("/watch/a", four, put_of("4", four), None)])
    );
    let mut again = store.watch("/watch/", two).await.expect("the watch starts");
    assert_eq!(next_changes(&mut again).await.0, three, "a watch resumes behind its revision");
}

async fn watches_see_only_their_prefix(store: &dyn Store) {
    let start = store.revision().await.expect("the store is open");
    let mut mine = store.watch("/mine/", start).await.expect("the watch starts");
    let mut all = store.watch("", start).await.expect("the watch starts");
    write(store, vec![put("/mine", "x"), put("/other/a", "x"), put("/mine0", "x")]).await;
    let at = write(store, vec![put("/other/a", "y"), put("/mine/a", "y")]).await;
    let (revision, changes) = next_changes(&mut mine).await;
    assert_eq!((revision, changes.len(), &*changes[0].key), (at, 1, "/mine/a"));
    assert_eq!(next_changes(&mut all).await.1.len(), 3);
    assert_eq!(next_changes(&mut all).await.1.len(), 2);
}

async fn watches_have_no_gaps_under_writes(store: &dyn Store) {
    let start = store.revision().await.expect("the store is open");
    let writes = async {
        for n in 0..200 {
            write(store, vec![put("/gap/a", &n.to_string())]).await;
        }
    };
    let watches = future::join_all((0..5_u64).map(|n| async move {
        let mut at = start;
        // Each watch starts at another moment and comes back twice.
        for part in [60, 70, 70] {
            tokio::time::sleep(Duration::from_millis(n)).await;
            let mut events = store.watch("/gap/", at).await.expect("the watch starts");
            for _ in 0..part {
                let (revision, _) = next_changes(&mut events).await;
                assert_eq!(revision.0, at.0 + 1, "no revision is missed or seen twice");
                at = revision;
            }
        }
    }));
    tokio::join!(writes, watches);
}

async fn increment(store: &dyn Store, key: &str) {
    loop {
        let entry = store.get(key, None).await.expect("readable");
        let guard = match &entry {
            Some(entry) => Guard::Unchanged(key.to_owned(), entry.modified),
            None => Guard::Absent(key.to_owned()),
        };
        let count = entry.map_or(0, |entry| text(&entry).1.parse::<usize>().expect("a number"));
        let writes = vec![put(key, &(count + 1).to_string())];
        let outcome = store.commit(Transaction { guards: vec![guard], writes }).await;
        if matches!(outcome.expect("an answer"), Outcome::Committed(_)) {
            return;
        }
    }
}

async fn racing_writers_lose_nothing(store: &dyn Store) {
    let start = store.revision().await.expect("the store is open");
    future::join_all((0..RACERS).map(|_| async {
        for _ in 0..RACES {
            increment(store, "/race/count").await;
        }
    }))
    .await;
    let entry = store.get("/race/count", None).await.expect("readable").expect("written");
    assert_eq!(text(&entry).1, (RACERS * RACES).to_string());
    assert_eq!(entry.modified.0, start.0 + (RACERS * RACES) as u64);
}

async fn backups_hold_what_is_current(store: &dyn Store, scratch: &Path) {
    write(store, vec![put("/backup/kept", "1"), put("/backup/gone", "1")]).await;
    write(store, vec![delete("/backup/gone")]).await;
    let path = scratch.join("backup.redb");
    let revision = store.backup(&path).await.expect("the backup is written");
    write(store, vec![put("/backup/late", "1")]).await;
    let restored = Embedded::open(&path).await.expect("a backup opens");
    let now = list(&restored, under("", None)).await;
    assert_eq!(now.revision, revision);
    assert_eq!(now.entries, list(store, under("", Some(revision))).await.entries);
    let next = write(&restored, vec![put("/backup/on", "1")]).await;
    assert_eq!(next.0, revision.0 + 1, "the copy goes on where the original was");
}

async fn compaction_forgets_only_history(store: &dyn Store) {
    let one = write(store, vec![put("/compact/a", "1"), put("/compact/b", "1")]).await;
    let two = write(store, vec![put("/compact/a", "2")]).await;
    let three = write(store, vec![delete("/compact/a"), put("/compact/c", "3")]).await;
    let future = store.compact(Revision(three.0 + 100)).await;
    assert!(matches!(future, Err(Error::FutureRevision { .. })), "{future:?}");
    store.compact(two).await.expect("history can be forgotten");
    store.compact(one).await.expect("what is gone is gone");
    let errors = [
        store.get("/compact/a", Some(one)).await.err(),
        store.range(under("/compact/", Some(one))).await.err(),
        first_error(store, Revision(one.0 - 1)).await,
    ];
    for error in errors {
        let oldest = match &error {
            Some(Error::Compacted { oldest, .. }) => *oldest,
            _ => panic!("not compacted: {error:?}"),
        };
        assert_eq!(oldest, two);
    }
    let page = list(store, under("/compact/", Some(two))).await;
    assert_eq!(
        page.entries.iter().map(text).collect::<Vec<_>>(),
        [("/compact/a", "2"), ("/compact/b", "1")]
    );
    let mut events = store.watch("/compact/", two).await.expect("the watch starts");
    let (revision, changes) = next_changes(&mut events).await;
    assert_eq!((revision, changes.len()), (three, 2));
    assert_eq!(changes[0].previous.as_ref().map(text), Some(("/compact/a", "2")));
    store.compact(three).await.expect("everything but the present can be forgotten");
    let page = list(store, under("/compact/", None)).await;
    assert_eq!(
        page.entries.iter().map(text).collect::<Vec<_>>(),
        [("/compact/b", "1"), ("/compact/c", "3")]
    );
}

/// How a watch fails, at once or as its first item.
async fn first_error(store: &dyn Store, after: Revision) -> Option<Error> {
    match store.watch("/compact/", after).await {
        Err(error) => Some(error),
        Ok(mut events) => events.next().await?.err(),
    }
}
