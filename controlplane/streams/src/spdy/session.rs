//! One connection: a task that reads frames and gives them to streams, and one that writes what streams send.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    frame::{Decoder, Encoder, Frame, code},
    headers::Headers,
    stream::{self, Stream, StreamEnd},
    window::INITIAL_BYTES,
};
use crate::Error;

/// Frames that wait to be written.
const OUTGOING_MAX: usize = 64;
/// New streams that wait to be taken.
const ACCEPT_MAX: usize = 16;
/// Streams open at once; more are refused.
const STREAMS_MAX: usize = 1024;
/// Written at once when more frames wait, in bytes.
const BATCH_BYTES: usize = 64 << 10;
const READ_BYTES: usize = 32 << 10;
/// How long the peer may take to close after we did. Closing at once could cut off what it has not read yet.
const LINGER: Duration = Duration::from_secs(5);

/// Which end this is: clients open streams with odd numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

/// A connection. Dropping it ends it at once; [`Session::close`] lets the peer read to the end.
pub struct Session {
    outgoing: mpsc::Sender<Frame>,
    shared: Arc<Shared>,
    next_id: AtomicU32,
    /// No more frames are taken; what waits is written.
    finish: CancellationToken,
    ended: CancellationToken,
    reader: Mutex<Option<JoinHandle<()>>>,
    _end_on_drop: DropGuard,
}

struct Shared {
    streams: Mutex<HashMap<u32, StreamEnd>>,
    is_enforced: Arc<AtomicBool>,
    initial_window: AtomicU32,
}

impl Session {
    /// Starts the two tasks. The receiver yields the streams that the peer opens (SYN_REPLY is sent already) and ends
    /// with the connection.
    pub fn start<T>(io: T, role: Role) -> (Self, mpsc::Receiver<Stream>)
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (outgoing, frames) = mpsc::channel(OUTGOING_MAX);
        let (accept, accepted) = mpsc::channel(ACCEPT_MAX);
        let (ended, finish) = (CancellationToken::new(), CancellationToken::new());
        let shared = Arc::new(Shared {
            streams: Mutex::default(),
            is_enforced: Arc::default(),
            initial_window: AtomicU32::new(INITIAL_BYTES),
        });
        let (read, write) = tokio::io::split(io);
        let writer = Writer { frames, finish: finish.clone(), ended: ended.clone() };
        tokio::spawn(writer.run(write));
        let reader = Reader {
            role,
            shared: Arc::clone(&shared),
            outgoing: outgoing.clone(),
            accept,
            ended: ended.clone(),
            last_id: 0,
        };
        let reader = tokio::spawn(reader.run(read));
        let session = Self {
            outgoing,
            shared,
            next_id: AtomicU32::new(if role == Role::Client { 1 } else { 2 }),
            finish,
            _end_on_drop: ended.clone().drop_guard(),
            ended,
            reader: Mutex::new(Some(reader)),
        };
        (session, accepted)
    }

    /// Opens a stream. It can be used at once; the peer's reply is not waited for.
    pub async fn open(&self, headers: Headers) -> Result<Stream, Error> {
        let id = self.next_id.fetch_add(2, Ordering::Relaxed);
        let stream = self.shared.add(id, headers.clone(), &self.outgoing);
        let frame = Frame::SynStream { id, fin: false, headers };
        self.outgoing.send(frame).await.map_err(|_| Error::Closed)?;
        Ok(stream)
    }

    /// Asks the peer for a sign of life; its answer is not waited for.
    pub async fn ping(&self, id: u32) -> Result<(), Error> {
        self.outgoing.send(Frame::Ping { id }).await.map_err(|_| Error::Closed)
    }

    /// Cancelled when the connection has ended.
    #[must_use]
    pub fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Writes what waits, says goodbye, and gives the peer [`LINGER`] to read and close.
    pub async fn close(self) {
        // A connection that is gone needs no farewell.
        let _ = self.outgoing.send(Frame::GoAway { last_good: 0, code: 0 }).await;
        self.finish.cancel();
        let reader = self.reader.lock().take();
        if let Some(reader) = reader {
            let _ = tokio::time::timeout(LINGER, reader).await;
        }
    }
}

impl Shared {
    fn add(&self, id: u32, headers: Headers, outgoing: &mpsc::Sender<Frame>) -> Stream {
        let window = (&self.is_enforced, self.initial_window.load(Ordering::Relaxed));
        let (stream, end) = stream::new(id, headers, outgoing, window);
        self.streams.lock().insert(id, end);
        stream
    }

    fn is_full(&self) -> bool {
        let mut streams = self.streams.lock();
        streams.retain(|_, end| !end.is_over());
        streams.len() >= STREAMS_MAX
    }

    fn change_window(&self, id: u32, delta: u32) {
        let streams = self.streams.lock();
        if let Some(end) = streams.get(&id) {
            end.window.add(i64::from(delta));
        }
        self.is_enforced.store(true, Ordering::Release);
    }

    fn change_initial_window(&self, bytes: u32) {
        let streams = self.streams.lock();
        let old = self.initial_window.swap(bytes, Ordering::Relaxed);
        self.is_enforced.store(true, Ordering::Release);
        streams.values().for_each(|end| end.window.add(i64::from(bytes) - i64::from(old)));
    }
}

struct Writer {
    frames: mpsc::Receiver<Frame>,
    finish: CancellationToken,
    ended: CancellationToken,
}

impl Writer {
    async fn run(mut self, mut io: impl AsyncWrite + Unpin) {
        let ended = self.ended.clone();
        tokio::select! {
            biased;
            // The peer is gone or the session was dropped: nobody reads what waits.
            () = ended.cancelled() => {}
            result = self.write_all(&mut io) => match result {
                // The reader goes on until the peer closes too.
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "could not write to a SPDY connection"),
            },
        }
        self.ended.cancel();
    }

    async fn write_all(&mut self, io: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let mut encoder = Encoder::default();
        let mut batch = BytesMut::new();
        loop {
            let frame = tokio::select! {
                biased;
                // Frames first: what was queued before the farewell is written before it.
                frame = self.frames.recv() => frame,
                () = self.finish.cancelled() => None,
            };
            let Some(frame) = frame else { break };
            encoder.encode(&frame, &mut batch);
            while batch.len() < BATCH_BYTES {
                let Ok(frame) = self.frames.try_recv() else { break };
                encoder.encode(&frame, &mut batch);
            }
            io.write_all_buf(&mut batch).await?;
            io.flush().await?;
        }
        io.shutdown().await
    }
}

struct Reader {
    role: Role,
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Frame>,
    accept: mpsc::Sender<Stream>,
    ended: CancellationToken,
    last_id: u32,
}

impl Reader {
    async fn run(mut self, io: impl AsyncRead + Unpin) {
        let ended = self.ended.clone();
        tokio::select! {
            biased;
            () = ended.cancelled() => {}
            result = self.read_all(io) => {
                if let Err(reason) = result {
                    tracing::debug!(reason, "a SPDY connection broke");
                }
            }
        }
        self.ended.cancel();
        // Readers see the end after what is queued; writers see it when the writing task is gone.
        self.shared.streams.lock().clear();
    }

    async fn read_all(&mut self, mut io: impl AsyncRead + Unpin) -> Result<(), String> {
        let mut decoder = Decoder::default();
        let mut input = BytesMut::with_capacity(READ_BYTES);
        loop {
            while let Some(frame) = decoder.decode(&mut input).map_err(|error| error.to_string())? {
                self.handle(frame).await;
            }
            input.reserve(READ_BYTES);
            if io.read_buf(&mut input).await.map_err(|error| error.to_string())? == 0 {
                return Ok(());
            }
        }
    }

    async fn handle(&mut self, frame: Frame) {
        match frame {
            Frame::SynStream { id, fin, headers } => self.accept(id, fin, headers).await,
            Frame::SynReply { id, fin: true, .. } | Frame::Headers { id, fin: true, .. } => {
                self.finish(id)
            }
            Frame::Data { id, fin, data } => self.deliver(id, fin, data).await,
            Frame::Rst { id, .. } => {
                if let Some(end) = self.shared.streams.lock().remove(&id) {
                    end.is_reset.cancel();
                }
            }
            // The peer's own pings come back; answers to ours need nothing.
            Frame::Ping { id } if (id % 2 == 1) == (self.role == Role::Server) => {
                self.send(Frame::Ping { id }).await;
            }
            Frame::WindowUpdate { id, delta } => self.shared.change_window(id, delta),
            Frame::Settings { initial_window: Some(bytes) } => {
                self.shared.change_initial_window(bytes)
            }
            Frame::SynReply { .. }
            | Frame::Headers { .. }
            | Frame::Ping { .. }
            | Frame::GoAway { .. }
            | Frame::Settings { .. } => {}
        }
    }

    async fn accept(&mut self, id: u32, fin: bool, headers: Headers) {
        let is_peers = (id % 2 == 1) == (self.role == Role::Server);
        if !is_peers || id <= self.last_id {
            return self.send(Frame::Rst { id, code: code::PROTOCOL_ERROR }).await;
        }
        self.last_id = id;
        if self.shared.is_full() {
            return self.send(Frame::Rst { id, code: code::REFUSED_STREAM }).await;
        }
        let stream = self.shared.add(id, headers, &self.outgoing);
        self.send(Frame::SynReply { id, fin: false, headers: Headers::default() }).await;
        // With the receiver gone no stream is wanted any more; its reset tells the peer.
        if let Err(refused) = self.accept.send(stream).await {
            let _ = refused.0.writer.reset().await;
        }
        if fin {
            self.finish(id);
        }
    }

    async fn deliver(&mut self, id: u32, fin: bool, data: bytes::Bytes) {
        let pieces = self.shared.streams.lock().get(&id).and_then(|end| end.pieces.clone());
        if let Some(pieces) = pieces
            && !data.is_empty()
        {
            // A reader that is gone does not want the rest.
            let _ = pieces.send(data).await;
        }
        if fin {
            self.finish(id);
        }
    }

    /// The peer has finished: the reader ends after what is queued, the writer goes on.
    fn finish(&self, id: u32) {
        if let Some(end) = self.shared.streams.lock().get_mut(&id) {
            end.pieces = None;
        }
    }

    async fn send(&self, frame: Frame) {
        // When the writer is gone the connection is ending.
        let _ = self.outgoing.send(frame).await;
    }
}
