//! Kills a writing process at random moments: what it acknowledged is there, and no transaction is there in half.
#![allow(clippy::unwrap_used, reason = "a test ends where it is surprised")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use store::{Outcome, Range, Revision, Store, Transaction, Write, embedded::Embedded};

const ROUNDS: u64 = 25;
const WRITERS: u64 = 8;
const FILE: &str = "BULKHEAD_STORE_CRASH_FILE";

/// Keys that each transaction writes together.
const PARTS: [&str; 3] = ["a", "b", "c"];

fn transaction(writer: u64, number: u64) -> Transaction {
    let value = Bytes::from(format!("{number}:{}", "x".repeat((number % 700) as usize)));
    let key = |part| format!("/{part}/{writer}-{number}");
    let mut writes: Vec<_> = PARTS.map(|part| Write::Put(key(part), value.clone())).into();
    writes.push(Write::Put(format!("/last/{writer}"), Bytes::from(number.to_string())));
    Transaction { guards: Vec::new(), writes }
}

/// Not a test: the process that is killed. Runs only when the other test starts it.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Some(file) = std::env::var_os(FILE) else { return };
    let store = Arc::new(Embedded::open(Path::new(&file)).await.unwrap());
    let tasks = (0..WRITERS).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let last = store.get(&format!("/last/{writer}"), None).await.unwrap();
            let last =
                last.map_or(0, |entry| str::from_utf8(&entry.value).unwrap().parse().unwrap());
            for number in last + 1.. {
                let outcome = store.commit(transaction(writer, number)).await.unwrap();
                let Outcome::Committed(revision) = outcome else { unreachable!("no guards") };
                let line = format!("ack {writer} {number} {revision}\n");
                std::io::stdout().write_all(line.as_bytes()).unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

/// Runs the child, kills it, and returns what it acknowledged: (writer, number) → revision.
fn run_and_kill(file: &Path, after: Duration) -> BTreeMap<(u64, u64), Revision> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let mut acknowledged = BTreeMap::new();
        let mut line = String::new();
        // A line that the kill cut in half was not read by anyone.
        while lines.read_line(&mut line).unwrap_or(0) > 0 && line.ends_with('\n') {
            let words: Vec<_> = line.split_whitespace().collect();
            if let ["ack", writer, number, revision] = words[..] {
                let key = (writer.parse().unwrap(), number.parse().unwrap());
                acknowledged.insert(key, Revision(revision.parse().unwrap()));
            }
            line.clear();
        }
        acknowledged
    });
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

async fn check(file: &Path, acknowledged: &BTreeMap<(u64, u64), Revision>) -> usize {
    let store = Embedded::open(file).await.unwrap();
    let mut found = BTreeMap::new();
    for part in PARTS {
        let prefix = format!("/{part}/");
        let page = store.range(Range { prefix: prefix.clone(), ..Range::default() }).await.unwrap();
        for entry in page.entries {
            let name = entry.key[prefix.len()..].to_owned();
            found.entry(name).or_insert_with(Vec::new).push((entry.modified, entry.value));
        }
    }
    for (name, parts) in &found {
        assert_eq!(parts.len(), PARTS.len(), "{name} is there in part");
        assert!(parts.iter().all(|part| *part == parts[0]), "{name} is mixed");
        let (writer, number) = name.split_once('-').unwrap();
        let number = number.parse::<u64>().unwrap();
        let Write::Put(_, expected) = &transaction(writer.parse().unwrap(), number).writes[0]
        else {
            unreachable!("the first write is a put");
        };
        assert_eq!(parts[0].1, *expected, "{name} has another value");
    }
    for ((writer, number), revision) in acknowledged {
        let parts = found.get(&format!("{writer}-{number}"));
        assert_eq!(
            parts.map(|parts| parts[0].0),
            Some(*revision),
            "{writer}-{number} was acknowledged"
        );
    }
    let newest = store.revision().await.unwrap();
    assert_eq!(newest.0, found.len() as u64, "one revision for each transaction, none lost");
    found.len()
}

#[test]
fn acknowledged_writes_survive_kill() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.redb");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut acknowledged = BTreeMap::new();
    let mut present = 0;
    for round in 0..ROUNDS {
        // Spread over opening, the first writes and steady state; the scheduler adds the randomness.
        let after = Duration::from_millis(10 + round * 37 % 240);
        acknowledged.extend(run_and_kill(&file, after));
        if file.exists() {
            present = runtime.block_on(check(&file, &acknowledged));
        }
    }
    println!("{} acknowledged, {present} present after {ROUNDS} kills", acknowledged.len());
    assert!(!acknowledged.is_empty(), "the child never got to write");
}

#[tokio::test]
async fn a_store_that_was_killed_while_it_was_made_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("store.unfinished"), [0; 4096]).unwrap();
    let file = folder.path().join("store.redb");
    drop(Embedded::open(&file).await.unwrap());
    assert!(file.exists() && !folder.path().join("store.unfinished").exists());
    drop(Embedded::open(&file).await.unwrap());
}
