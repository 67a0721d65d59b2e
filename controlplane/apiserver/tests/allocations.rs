//! LIST and WATCH copy the cache's bytes: shown by counting what the server's threads allocate for each object.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
#![allow(unsafe_code, reason = "an allocator that counts is an unsafe trait")]

mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use common::Cluster;
use http_body_util::BodyExt;
use serde_json::{Value, json};

/// Counts on threads that ask for it.
struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: everything is passed on to the system's allocator unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTED.try_with(Cell::get).unwrap_or(false) {
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from the same allocator with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A server on a thread of its own whose allocations are counted.
fn server() -> (Arc<Cluster>, mpsc::Sender<()>) {
    let (ready, started) = mpsc::channel();
    let (stop, stopped) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .on_thread_start(|| COUNTED.with(|counted| counted.set(true)))
            .build()
            .unwrap();
        let cluster = runtime.block_on(async { Arc::new(Cluster::start().await) });
        ready.send(cluster).unwrap();
        // Ends when the test does.
        let _ended = stopped.recv();
    });
    (started.recv().unwrap(), stop)
}

/// An object with many fields: decoding and encoding it would cost hundreds of allocations.
fn object(index: usize) -> Value {
    let data: serde_json::Map<String, Value> =
        (0..100).map(|key| (format!("key-{key}"), json!(format!("value-{key}")))).collect();
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m-{index:04}")}, "data": data})
}

async fn create(cluster: &Cluster, namespace: &str, count: usize) {
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    cluster.post("/api/v1/namespaces", &space).await;
    for index in 0..count {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        assert_eq!(cluster.post(&path, &object(index)).await.0, 201);
    }
}

/// What the server allocated while `work` ran.
async fn counted<T>(work: impl Future<Output = T>) -> (u64, T) {
    let before = COUNT.load(Ordering::Relaxed);
    let done = work.await;
    (COUNT.load(Ordering::Relaxed) - before, done)
}

async fn list(cluster: &Cluster, namespace: &str) -> usize {
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let answer = cluster.send("GET", &path, &[], "").await;
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.unwrap().to_bytes().len()
}

/// What background tasks do in between is small; the smallest of some runs has none of it.
async fn least(cluster: &Cluster, namespace: &str) -> (u64, usize) {
    let mut best = (u64::MAX, 0);
    for _ in 0..5 {
        best = best.min(counted(list(cluster, namespace)).await);
    }
    best
}

#[tokio::test]
async fn serving_an_object_costs_no_decoding() {
    let (cluster, stop) = server();
    create(&cluster, "few", 20).await;
    create(&cluster, "many", 220).await;
    let (few, few_bytes) = least(&cluster, "few").await;
    let (many, many_bytes) = least(&cluster, "many").await;
    let each = many.saturating_sub(few) as f64 / 200.0;
    println!(
        "LIST: {few} allocations for 20 objects ({few_bytes} bytes), {many} for 220 ({many_bytes} bytes): {each:.2} for each object"
    );
    assert!(each < 3.0, "{each} allocations for each listed object of 100 fields");
    let watching = watch(&cluster).await;
    println!("WATCH: {watching:.2} allocations for each event delivered to a further watcher");
    assert!(watching < 30.0, "{watching} allocations for each event");
    drop(stop);
}

/// Allocations for one event at one watcher more.
async fn watch(cluster: &Cluster) -> f64 {
    const EVENTS: u64 = 30;
    let path = "/api/v1/namespaces/few/configmaps?watch=true&resourceVersion=0&sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
    let mut watches = Vec::new();
    let mut costs = Vec::new();
    for wanted in [1_usize, 21] {
        while watches.len() < wanted {
            watches.push(common::Events::new(cluster.send("GET", path, &[], "").await));
        }
        let changes = async {
            for round in 0..EVENTS {
                let patch = json!({"data": {"key-0": format!("{wanted}-{round}")}});
                let headers = [("content-type", "application/merge-patch+json")];
                let target = "/api/v1/namespaces/few/configmaps/m-0000";
                let (code, _, said) = cluster.json("PATCH", target, &headers, &patch).await;
                assert_eq!(code, 200, "{said}");
                for watch in &mut watches {
                    assert_eq!(watch.next().await.unwrap()["type"], "MODIFIED");
                }
            }
        };
        costs.push(counted(changes).await.0);
    }
    costs[1].saturating_sub(costs[0]) as f64 / (20.0 * EVENTS as f64)
}
