//! One stream of a connection, as its user sees it: headers, a reader and a writer.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    frame::{Frame, code},
    headers::Headers,
    window::{INITIAL_BYTES, SendWindow},
};
use crate::Error;

/// Pieces that wait for a stream's reader.
pub(super) const PIECES_MAX: usize = 64;
/// Consumed bytes are reported to the peer in steps of this size.
const UPDATE_BYTES: u32 = INITIAL_BYTES / 2;
/// Largest data frame that is sent, in bytes.
const FRAME_BYTES_MAX: usize = 32 << 10;

/// A stream that the peer opened, or that we did.
pub struct Stream {
    pub headers: Headers,
    pub reader: StreamReader,
    pub writer: StreamWriter,
}

impl Stream {
    #[must_use]
    pub fn id(&self) -> u32 {
        self.writer.id
    }
}

/// What the peer sends on a stream.
pub struct StreamReader {
    id: u32,
    pieces: mpsc::Receiver<Bytes>,
    outgoing: mpsc::Sender<Frame>,
    consumed: u32,
    is_reset: CancellationToken,
}

impl StreamReader {
    /// The next piece; `None` at the stream's end, after a reset, and when the connection is gone.
    pub async fn read(&mut self) -> Option<Bytes> {
        let piece = tokio::select! {
            biased;
            // A reset stream's data is not worth anything any more.
            () = self.is_reset.cancelled() => None,
            piece = self.pieces.recv() => piece,
        }?;
        self.consumed =
            self.consumed.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        if self.consumed >= UPDATE_BYTES {
            let update = Frame::WindowUpdate { id: self.id, delta: self.consumed };
            // When the queue is full the update goes out with a later piece.
            if self.outgoing.try_send(update).is_ok() {
                self.consumed = 0;
            }
        }
        Some(piece)
    }

    /// Whether the peer reset the stream.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.is_reset.is_cancelled()
    }
}

/// What we send on a stream. Dropping it does not end the stream: [`Self::finish`] does.
#[derive(Clone)]
pub struct StreamWriter {
    id: u32,
    outgoing: mpsc::Sender<Frame>,
    window: Arc<SendWindow>,
    is_finished: Arc<AtomicBool>,
    is_reset: CancellationToken,
}

impl StreamWriter {
    /// Sends all of `data`, waiting for the peer where it must.
    pub async fn write(&self, mut data: Bytes) -> Result<(), Error> {
        while !data.is_empty() {
            let taken = tokio::select! {
                biased;
                // Nothing more will be read.
                () = self.closed() => return Err(Error::Closed),
                taken = self.window.take(data.len().min(FRAME_BYTES_MAX)) => taken,
            };
            self.send(Frame::Data { id: self.id, fin: false, data: data.split_to(taken) }).await?;
        }
        Ok(())
    }

    /// Ends our direction.
    pub async fn finish(&self) -> Result<(), Error> {
        if self.is_finished.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.send(Frame::Data { id: self.id, fin: true, data: Bytes::new() }).await
    }

    /// Ends both directions at once.
    pub async fn reset(&self) -> Result<(), Error> {
        self.is_reset.cancel();
        let frame = Frame::Rst { id: self.id, code: code::CANCEL };
        self.outgoing.send(frame).await.map_err(|_| Error::Closed)
    }

    /// Resolves when the stream was reset or its connection is gone.
    pub async fn closed(&self) {
        tokio::select! {
            () = self.is_reset.cancelled() => {}
            () = self.outgoing.closed() => {}
        }
    }

    async fn send(&self, frame: Frame) -> Result<(), Error> {
        if self.is_reset.is_cancelled() {
            return Err(Error::Closed);
        }
        self.outgoing.send(frame).await.map_err(|_| Error::Closed)
    }
}

/// The connection's side of a stream.
pub(super) struct StreamEnd {
    /// `None` once the peer has finished.
    pub pieces: Option<mpsc::Sender<Bytes>>,
    pub window: Arc<SendWindow>,
    /// Our side has finished.
    is_finished: Arc<AtomicBool>,
    pub is_reset: CancellationToken,
}

impl StreamEnd {
    /// Nothing comes or goes any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_reset.is_cancelled()
            || (self.pieces.is_none() && self.is_finished.load(Ordering::Acquire))
    }
}

/// Both sides of a new stream.
pub(super) fn new(
    id: u32,
    headers: Headers,
    outgoing: &mpsc::Sender<Frame>,
    (is_enforced, initial): (&Arc<AtomicBool>, u32),
) -> (Stream, StreamEnd) {
    let (sender, pieces) = mpsc::channel(PIECES_MAX);
    let window = Arc::new(SendWindow::new(Arc::clone(is_enforced), initial));
    let (is_reset, is_finished) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
    let reader = StreamReader {
        id,
        pieces,
        outgoing: outgoing.clone(),
        consumed: 0,
        is_reset: is_reset.clone(),
    };
    let writer = StreamWriter {
        id,
        outgoing: outgoing.clone(),
        window: Arc::clone(&window),
        is_finished: Arc::clone(&is_finished),
        is_reset: is_reset.clone(),
    };
    let end = StreamEnd { pieces: Some(sender), window, is_finished, is_reset };
    (Stream { headers, reader, writer }, end)
}
