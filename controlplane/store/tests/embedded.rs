//! The embedded store: the shared suite, and what only it promises.
#![allow(clippy::unwrap_used, reason = "a test ends where it is surprised")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use store::{
    Error, Outcome, Range, Revision, Store, Transaction, WatchEvent, Write, conformance,
    embedded::{Embedded, HistoryBound},
};

async fn put(store: &Embedded, key: &str, value: impl Into<Bytes>) -> Revision {
    let writes = vec![Write::Put(key.to_owned(), value.into())];
    match store.commit(Transaction { guards: Vec::new(), writes }).await.unwrap() {
        Outcome::Committed(revision) => revision,
        Outcome::Refused(_) => unreachable!("no guards"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_the_suite() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(&folder.path().join("store.redb")).await.unwrap();
    conformance::run(Arc::new(store), folder.path()).await;
}

#[tokio::test]
async fn reopens_with_history() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Embedded::open(&path).await.unwrap();
    let one = put(&store, "/a", "1").await;
    let two = put(&store, "/a", "2").await;
    drop(store);
    let store = Embedded::open(&path).await.unwrap();
    assert_eq!(store.revision().await.unwrap(), two);
    let then = store.get("/a", Some(one)).await.unwrap().unwrap();
    assert_eq!(&then.value[..], b"1");
    let mut events = store.watch("/", Revision(0)).await.unwrap();
    for expected in [one, two] {
        let Some(Ok(WatchEvent::Changes { revision, .. })) = events.next().await else {
            panic!("history ended early");
        };
        assert_eq!(revision, expected);
    }
    assert_eq!(put(&store, "/a", "3").await, Revision(two.0 + 1));
}

#[tokio::test]
async fn reports_progress_of_other_keys() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(&folder.path().join("store.redb")).await.unwrap();
    let mut events = store.watch("/mine/", Revision(0)).await.unwrap();
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Progress(Revision(0))))));
    for n in 1..5 {
        let at = put(&store, "/other/a", "x").await;
        assert_eq!(at, Revision(n));
        let Some(Ok(WatchEvent::Progress(seen))) = events.next().await else {
            panic!("not progress");
        };
        assert_eq!(seen, at);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cuts_a_watcher_that_does_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(&folder.path().join("store.redb")).await.unwrap());
    let mut slow = store.watch("/", Revision(0)).await.unwrap();
    let writers = (0..32).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for _ in 0..256 {
                put(&store, &format!("/{writer}"), "x").await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let mut last = None;
    while let Some(event) = slow.next().await {
        last = Some(event);
    }
    assert!(matches!(last, Some(Err(Error::SlowWatcher))), "{last:?}");
}

#[tokio::test]
async fn tells_watchers_that_it_closes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Embedded::open(&path).await.unwrap();
    let mut events = store.watch("/", Revision(0)).await.unwrap();
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Progress(_)))));
    drop(store);
    assert!(matches!(events.next().await, Some(Err(Error::Closed))));
    assert!(events.next().await.is_none());
    Embedded::open(&path).await.unwrap();
}

/// Waits until `revision` cannot be read any more.
async fn forgotten(store: &Embedded, revision: Revision) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while store.get("/a", Some(revision)).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "history was kept");
        put(store, "/tick", "x").await;
    }
}

#[tokio::test]
async fn bounds_history_by_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let bound = HistoryBound { revisions: u64::MAX, bytes: 1 << 20 };
    let path = folder.path().join("store.redb");
    let store = Embedded::open_bounded(&path, bound).await.unwrap();
    let one = put(&store, "/a", "1").await;
    for _ in 0..24 {
        put(&store, "/a", vec![b'x'; 64 << 10]).await;
    }
    forgotten(&store, one).await;
    assert_eq!(store.get("/a", None).await.unwrap().unwrap().value.len(), 64 << 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn compacts_much_history_while_it_writes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(&folder.path().join("store.redb")).await.unwrap());
    let writers = (0..64).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for _ in 0..100 {
                put(&store, &format!("/{writer}"), "x").await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let newest = store.revision().await.unwrap();
    store.compact(newest).await.unwrap();
    for n in 0..30 {
        assert_eq!(put(&store, "/after", "x").await, Revision(newest.0 + n + 1));
    }
    let page = store.range(Range { prefix: "/".to_owned(), ..Range::default() }).await.unwrap();
    assert_eq!(page.entries.len(), 65);
}
