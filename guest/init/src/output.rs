//! What a container wrote and the agent has not read yet: bounded, and when full the container waits.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use proto::guest::OutputChunk;
use proto::guest::output_chunk::Stream;
use tokio::sync::Notify;

/// Unread bytes kept per container; part of the contract (guest.proto).
const BUFFER_BYTES_MAX: usize = 256 * 1024;

/// The buffer between one container's streams and whoever reads them.
#[derive(Debug, Default)]
pub struct Output {
    ring: Mutex<Ring>,
    data: Notify,
    room: Notify,
}

#[derive(Debug, Default)]
struct Ring {
    chunks: VecDeque<OutputChunk>,
    bytes: usize,
    /// Offset of the next byte to be written.
    end: u64,
    /// Everything before it has been read and may go when room is needed.
    read: u64,
    writers: u32,
    closed: bool,
}

/// What a reader finds.
#[derive(Debug, PartialEq)]
enum Found {
    Chunk(OutputChunk),
    Nothing,
    End,
}

impl Ring {
    /// Drops what was read until `length` more bytes fit; whether they do.
    fn make_room(&mut self, length: usize) -> bool {
        while self.bytes + length > BUFFER_BYTES_MAX {
            match self.chunks.front() {
                Some(first) if end_of(first) <= self.read => {
                    self.bytes -= first.data.len();
                    self.chunks.pop_front();
                }
                _ => return self.chunks.is_empty(),
            }
        }
        true
    }

    fn append(&mut self, stream: Stream, data: Vec<u8>, unix_nanos: i64) {
        let offset = self.end;
        self.end += data.len() as u64;
        self.bytes += data.len();
        let stream = stream.into();
        self.chunks.push_back(OutputChunk { offset, stream, data: data.into(), unix_nanos });
    }

    /// Asking for `offset` says that everything before it has been read.
    fn find(&mut self, offset: u64) -> Found {
        self.read = self.read.max(offset.min(self.end));
        let at = self.chunks.partition_point(|chunk| end_of(chunk) <= offset);
        match self.chunks.get(at) {
            Some(chunk) if chunk.offset < offset => {
                let skip = usize::try_from(offset - chunk.offset).unwrap_or(usize::MAX);
                let data = chunk.data[skip.min(chunk.data.len())..].to_vec().into();
                Found::Chunk(OutputChunk { offset, data, ..chunk.clone() })
            }
            Some(chunk) => Found::Chunk(chunk.clone()),
            None if self.closed && self.writers == 0 => Found::End,
            None => Found::Nothing,
        }
    }
}

fn end_of(chunk: &OutputChunk) -> u64 {
    chunk.offset + chunk.data.len() as u64
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a stream will be written; see [`Output::remove_writer`].
    pub fn add_writer(&self) {
        self.lock().writers += 1;
    }

    /// One stream has ended.
    pub fn remove_writer(&self) {
        let mut ring = self.lock();
        ring.writers = ring.writers.saturating_sub(1);
        drop(ring);
        self.data.notify_waiters();
    }

    /// The container is gone: readers end once they have read all.
    pub fn close(&self) {
        self.lock().closed = true;
        self.data.notify_waiters();
    }

    /// Nobody will ever read: writers need not wait any more.
    pub fn abandon(&self) {
        let mut ring = self.lock();
        ring.closed = true;
        ring.read = u64::MAX;
        drop(ring);
        self.room.notify_waiters();
        self.data.notify_waiters();
    }

    /// Adds a chunk, waiting for room.
    pub async fn push(&self, stream: Stream, data: Vec<u8>, unix_nanos: i64) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Registered before looking, so that a reader in between is not missed.
            room.as_mut().enable();
            {
                let mut ring = self.lock();
                if ring.make_room(data.len()) {
                    ring.append(stream, data, unix_nanos);
                    break;
                }
            }
            room.await;
        }
        self.data.notify_waiters();
    }

    /// The next chunk at or after `offset`, waiting for it; None at the end.
    pub async fn next(&self, offset: u64) -> Option<OutputChunk> {
        loop {
            let data = self.data.notified();
            tokio::pin!(data);
            data.as_mut().enable();
            let found = self.lock().find(offset);
            self.room.notify_waiters();
            match found {
                Found::Chunk(chunk) => return Some(chunk),
                Found::End => return None,
                Found::Nothing => data.await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn chunk(ring: &mut Ring, offset: u64) -> (u64, usize) {
        match ring.find(offset) {
            Found::Chunk(chunk) => (chunk.offset, chunk.data.len()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reading_starts_anywhere() {
        let mut ring = Ring::default();
        ring.append(Stream::Stdout, vec![1; 10], 0);
        ring.append(Stream::Stderr, vec![2; 5], 0);
        assert_eq!(chunk(&mut ring, 0), (0, 10));
        assert_eq!(chunk(&mut ring, 4), (4, 6));
        assert_eq!(chunk(&mut ring, 10), (10, 5));
        assert_eq!(ring.find(15), Found::Nothing);
        ring.closed = true;
        assert_eq!(ring.find(15), Found::End);
    }

    #[test]
    fn only_what_was_read_makes_room() {
        let mut ring = Ring::default();
        ring.append(Stream::Stdout, vec![0; BUFFER_BYTES_MAX / 2], 0);
        ring.append(Stream::Stdout, vec![0; BUFFER_BYTES_MAX / 2], 0);
        assert!(!ring.make_room(1));
        ring.find(BUFFER_BYTES_MAX as u64 / 2);
        assert!(ring.make_room(1));
        assert_eq!(ring.chunks.len(), 1);
        // What is gone is not made up: reading resumes where the buffer begins.
        assert_eq!(chunk(&mut ring, 0).0, BUFFER_BYTES_MAX as u64 / 2);
    }

    #[tokio::test]
    async fn a_full_buffer_holds_the_writer_until_a_reader_comes() {
        let output = Arc::new(Output::default());
        output.push(Stream::Stdout, vec![0; BUFFER_BYTES_MAX], 0).await;
        let writer = {
            let output = Arc::clone(&output);
            tokio::spawn(async move { output.push(Stream::Stdout, vec![1; 3], 0).await })
        };
        tokio::task::yield_now().await;
        assert!(!writer.is_finished());
        assert_eq!(output.next(0).await.unwrap().data.len(), BUFFER_BYTES_MAX);
        assert_eq!(output.next(BUFFER_BYTES_MAX as u64).await.unwrap().data.len(), 3);
        writer.await.unwrap();
        output.close();
        assert_eq!(output.next(BUFFER_BYTES_MAX as u64 + 3).await, None);
    }
}
