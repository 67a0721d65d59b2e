//! Frames to bytes and back. Pure: bytes in, frames out, every length checked.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::headers::{Deflater, Headers, Inflater};

const HEADER_BYTES: usize = 8;
/// Largest control frame, in bytes.
const CONTROL_BYTES_MAX: usize = 64 << 10;
/// A longer data frame is passed on in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;
/// Length is a 24-bit field.
const DATA_BYTES_MAX: usize = (1 << 24) - 1;
const VERSION: u16 = 3;
const ID_MASK: u32 = 0x7fff_ffff;
const FLAG_FIN: u8 = 1;
const SETTING_INITIAL_WINDOW: u32 = 7;

/// Codes of RST_STREAM that we send.
pub(super) mod code {
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const REFUSED_STREAM: u32 = 3;
    pub const CANCEL: u32 = 5;
}

/// One SPDY/3.1 frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    SynStream {
        id: u32,
        fin: bool,
        headers: Headers,
    },
    SynReply {
        id: u32,
        fin: bool,
        headers: Headers,
    },
    Headers {
        id: u32,
        fin: bool,
        headers: Headers,
    },
    Rst {
        id: u32,
        code: u32,
    },
    /// Only the setting we act on: the initial window of streams, in bytes.
    Settings {
        initial_window: Option<u32>,
    },
    Ping {
        id: u32,
    },
    GoAway {
        last_good: u32,
        code: u32,
    },
    WindowUpdate {
        id: u32,
        delta: u32,
    },
    /// `fin` is true on the last piece of a frame with that flag.
    Data {
        id: u32,
        fin: bool,
        data: Bytes,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame is of another SPDY version")]
    BadVersion,
    #[error("frame is shorter than its fields")]
    TooShort,
    #[error("frame or header block is larger than allowed")]
    TooLarge,
    #[error("header block is malformed")]
    BadHeaders,
}

/// Makes bytes of frames. Holds the compression state of one direction, so its output must be sent in order.
pub struct Encoder {
    deflater: Deflater,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { deflater: Deflater::new() }
    }
}

impl Encoder {
    /// Appends the frame to `output`.
    pub fn encode(&mut self, frame: &Frame, output: &mut BytesMut) {
        match frame {
            Frame::Data { id, fin, data } => put_data(*id, *fin, data, output),
            Frame::SynStream { id, fin, headers } => {
                let mut body = Vec::new();
                body.put_u32(*id & ID_MASK);
                // No associated stream, priority 0, slot 0.
                body.put_bytes(0, 6);
                self.put_headers(1, *fin, body, headers, output);
            }
            Frame::SynReply { id, fin, headers } => {
                self.put_headers(2, *fin, (*id & ID_MASK).to_be_bytes().to_vec(), headers, output);
            }
            Frame::Headers { id, fin, headers } => {
                self.put_headers(8, *fin, (*id & ID_MASK).to_be_bytes().to_vec(), headers, output);
            }
            Frame::Rst { id, code } => put_words(3, &[*id & ID_MASK, *code], output),
            Frame::Settings { initial_window: None } => put_words(4, &[0], output),
            Frame::Settings { initial_window: Some(bytes) } => {
                put_words(4, &[1, SETTING_INITIAL_WINDOW, *bytes], output);
            }
            Frame::Ping { id } => put_words(6, &[*id], output),
            Frame::GoAway { last_good, code } => {
                put_words(7, &[*last_good & ID_MASK, *code], output)
            }
            Frame::WindowUpdate { id, delta } => {
                put_words(9, &[*id & ID_MASK, *delta & ID_MASK], output);
            }
        }
    }

    fn put_headers(
        &mut self,
        kind: u16,
        fin: bool,
        mut body: Vec<u8>,
        headers: &Headers,
        output: &mut BytesMut,
    ) {
        body.extend_from_slice(&self.deflater.compress(headers));
        put_control(kind, if fin { FLAG_FIN } else { 0 }, &body, output);
    }
}

fn put_data(id: u32, fin: bool, data: &Bytes, output: &mut BytesMut) {
    let mut pieces = data.chunks(DATA_BYTES_MAX).peekable();
    if pieces.peek().is_none() {
        put_data_piece(id, fin, &[], output);
    }
    while let Some(piece) = pieces.next() {
        put_data_piece(id, fin && pieces.peek().is_none(), piece, output);
    }
}

fn put_data_piece(id: u32, fin: bool, data: &[u8], output: &mut BytesMut) {
    output.put_u32(id & ID_MASK);
    output.put_u8(if fin { FLAG_FIN } else { 0 });
    output.put_uint(data.len() as u64, 3);
    output.put_slice(data);
}

fn put_words(kind: u16, words: &[u32], output: &mut BytesMut) {
    let body: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    put_control(kind, 0, &body, output);
}

fn put_control(kind: u16, flags: u8, body: &[u8], output: &mut BytesMut) {
    output.put_u16(0x8000 | VERSION);
    output.put_u16(kind);
    output.put_u8(flags);
    output.put_uint(body.len() as u64, 3);
    output.put_slice(body);
}

/// Makes frames of bytes. Holds the decompression state of one direction.
pub struct Decoder {
    inflater: Inflater,
    /// A data frame of which a part is still to come: stream, fin, bytes missing.
    open: Option<(u32, bool, usize)>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { inflater: Inflater::new(), open: None }
    }
}

impl Decoder {
    /// Takes the next frame off the front of `input`; `None` when more bytes are needed. After an error the
    /// connection is unusable.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(open) = self.open {
                return Ok(self.take_data(open, input));
            }
            let Some(header) = input.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
            let mut header = &header[..];
            let (first, second) = (header.get_u32(), header.get_u32());
            let (flags, length) = (second.to_be_bytes()[0], (second & 0x00ff_ffff) as usize);
            if first & !ID_MASK == 0 {
                input.advance(HEADER_BYTES);
                self.open = Some((first, flags & FLAG_FIN != 0, length));
                continue;
            }
            if (first >> 16) & 0x7fff != u32::from(VERSION) {
                return Err(FrameError::BadVersion);
            }
            if length > CONTROL_BYTES_MAX {
                return Err(FrameError::TooLarge);
            }
            if input.len() < HEADER_BYTES + length {
                return Ok(None);
            }
            input.advance(HEADER_BYTES);
            let body = input.split_to(length).freeze();
            if let Some(frame) = self.control(first & 0xffff, flags & FLAG_FIN != 0, body)? {
                return Ok(Some(frame));
            }
        }
    }

    /// A piece of a data frame, or `None` when nothing of it is there yet. An empty frame is a piece.
    fn take_data(
        &mut self,
        (id, fin, missing): (u32, bool, usize),
        input: &mut BytesMut,
    ) -> Option<Frame> {
        let take = missing.min(input.len()).min(PIECE_BYTES);
        if take == 0 && missing > 0 {
            return None;
        }
        let data = input.split_to(take).freeze();
        let rest = missing - take;
        self.open = (rest > 0).then_some((id, fin, rest));
        Some(Frame::Data { id, fin: fin && rest == 0, data })
    }

    /// `None` for kinds that we do not know: they are skipped.
    fn control(
        &mut self,
        kind: u32,
        fin: bool,
        mut body: Bytes,
    ) -> Result<Option<Frame>, FrameError> {
        let word = |body: &mut Bytes| body.try_get_u32().map_err(|_| FrameError::TooShort);
        Ok(Some(match kind {
            1 => {
                let id = word(&mut body)? & ID_MASK;
                if body.len() < 6 {
                    return Err(FrameError::TooShort);
                }
                body.advance(6);
                Frame::SynStream { id, fin, headers: self.inflater.decompress(&body)? }
            }
            2 => {
                let id = word(&mut body)? & ID_MASK;
                Frame::SynReply { id, fin, headers: self.inflater.decompress(&body)? }
            }
            3 => Frame::Rst { id: word(&mut body)? & ID_MASK, code: word(&mut body)? },
            4 => Frame::Settings { initial_window: initial_window(body)? },
            6 => Frame::Ping { id: word(&mut body)? },
            7 => Frame::GoAway { last_good: word(&mut body)? & ID_MASK, code: word(&mut body)? },
            8 => {
                let id = word(&mut body)? & ID_MASK;
                Frame::Headers { id, fin, headers: self.inflater.decompress(&body)? }
            }
            9 => Frame::WindowUpdate {
                id: word(&mut body)? & ID_MASK,
                delta: word(&mut body)? & ID_MASK,
            },
            _ => return Ok(None),
        }))
    }
}

fn initial_window(mut body: Bytes) -> Result<Option<u32>, FrameError> {
    let mut word = || body.try_get_u32().map_err(|_| FrameError::TooShort);
    let count = word()?;
    let mut window = None;
    // The frame's length bounds the loop: a wrong count runs out of bytes.
    for _ in 0..count {
        let (id, value) = (word()? & 0x00ff_ffff, word()?);
        if id == SETTING_INITIAL_WINDOW {
            window = Some(value & ID_MASK);
        }
    }
    Ok(window)
}
