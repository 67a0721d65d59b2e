//! Reads a log as a client asked: tail, since, limit, timestamps, follow over rotations.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, watch};

use super::query::Query;
use super::{Growth, line};

/// Chunks on their way to one client.
pub const CHUNKS: usize = 16;
const READ_BYTES: usize = 64 << 10;

/// Sends the log to `out` until its end, or until the client has gone. `growth` is absent when nobody
/// writes the log any more.
pub async fn read(
    path: PathBuf,
    query: Query,
    mut growth: Option<watch::Receiver<Growth>>,
    out: mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let mut sink = Sink { query: query.clone(), out, sent: 0, at_line_start: true };
    let mut rotations = growth.as_mut().map_or(0, |growth| growth.borrow_and_update().rotations);
    let mut source = Source::open(&path).await?;
    sink.first(&mut source).await?;
    let Some(growth) = growth.as_mut().filter(|_| query.follow) else { return Ok(()) };
    loop {
        if sink.is_full() {
            return Ok(());
        }
        let seen = *growth.borrow_and_update();
        sink.all(&mut source).await?;
        if seen.rotations != rotations {
            rotations = seen.rotations;
            source = Source::open(&path).await?;
            continue;
        }
        if seen.ended || sink.out.is_closed() {
            return Ok(());
        }
        tokio::select! {
            changed = growth.changed() => if changed.is_err() {
                return sink.all(&mut source).await;
            },
            () = sink.out.closed() => return Ok(()),
        }
    }
}

/// Whole lines of one file.
struct Source {
    file: File,
    buffer: BytesMut,
}

impl Source {
    async fn open(path: &PathBuf) -> io::Result<Self> {
        Ok(Self { file: File::open(path).await?, buffer: BytesMut::new() })
    }

    /// The next whole line without its newline; `None` at the present end.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(at + 1).freeze();
                return Ok(Some(line.slice(..at)));
            }
            self.buffer.reserve(READ_BYTES);
            if self.file.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

struct Sink {
    query: Query,
    out: mpsc::Sender<Bytes>,
    sent: u64,
    at_line_start: bool,
}

impl Sink {
    fn is_full(&self) -> bool {
        self.query.limit_bytes.is_some_and(|limit| self.sent >= limit)
    }

    /// What is there now, cut to the last `tailLines`.
    async fn first(&mut self, source: &mut Source) -> io::Result<()> {
        let Some(tail) = self.query.tail_lines else { return self.all(source).await };
        let mut kept: VecDeque<Vec<Bytes>> = VecDeque::new();
        let mut open_line = false;
        while let Some(entry) = source.next().await? {
            let Some(decoded) = line::decode(&entry) else { continue };
            let partial = decoded.partial;
            match kept.back_mut() {
                Some(last) if open_line => last.push(entry),
                Some(_) | None => kept.push_back(vec![entry]),
            }
            open_line = partial;
            if kept.len() > tail {
                kept.pop_front();
            }
        }
        for entry in kept.into_iter().flatten() {
            self.send(&entry).await;
        }
        Ok(())
    }

    async fn all(&mut self, source: &mut Source) -> io::Result<()> {
        while let Some(entry) = source.next().await? {
            if !self.send(&entry).await {
                break;
            }
        }
        Ok(())
    }

    /// Says whether more may be sent.
    async fn send(&mut self, entry: &[u8]) -> bool {
        let Some(entry) = line::decode(entry) else { return true };
        let other_stream = self.query.stderr_only.is_some_and(|stderr| stderr != entry.stderr);
        let too_old = self.query.since.is_some_and(|since| entry.time().is_none_or(|t| t < since));
        if other_stream || too_old {
            return true;
        }
        let mut text = Vec::with_capacity(entry.text.len() + 40);
        if self.query.timestamps && self.at_line_start {
            text.extend_from_slice(entry.stamp.as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(entry.text);
        if !entry.partial {
            text.push(b'\n');
        }
        self.at_line_start = !entry.partial;
        if let Some(limit) = self.query.limit_bytes {
            let left = usize::try_from(limit - self.sent).unwrap_or(usize::MAX);
            text.truncate(left);
        }
        self.sent += text.len() as u64;
        self.out.send(text.into()).await.is_ok() && !self.is_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(text: &str, query: Query) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        std::fs::write(&path, text).unwrap();
        let (out, mut chunks) = mpsc::channel(CHUNKS);
        let reading = tokio::spawn(read(path, query, None, out));
        let mut all = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            all.extend_from_slice(&chunk);
        }
        reading.await.unwrap().unwrap();
        String::from_utf8(all).unwrap()
    }

    #[tokio::test]
    async fn options_are_honoured() {
        let log = "1970-01-01T00:00:01.000000000Z stdout F one\n\
                   1970-01-01T00:00:02.000000000Z stdout P tw\n\
                   1970-01-01T00:00:02.500000000Z stdout F o\n\
                   1970-01-01T00:00:03.000000000Z stderr F three\n";
        let query = Query::default;
        let since = Some(jiff::Timestamp::from_second(3).unwrap());
        for (query, expect) in [
            (query(), "one\ntwo\nthree\n"),
            (Query { tail_lines: Some(2), ..query() }, "two\nthree\n"),
            (Query { tail_lines: Some(0), ..query() }, ""),
            (Query { since, ..query() }, "three\n"),
            (Query { limit_bytes: Some(5), ..query() }, "one\nt"),
            (Query { stderr_only: Some(true), ..query() }, "three\n"),
            (
                Query { timestamps: true, tail_lines: Some(1), ..query() },
                "1970-01-01T00:00:03.000000000Z three\n",
            ),
        ] {
            assert_eq!(run(log, query.clone()).await, expect, "{query:?}");
        }
    }
}
