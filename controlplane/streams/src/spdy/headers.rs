//! Header blocks: names and values, compressed by one zlib stream in each direction for the life of a connection.

use bytes::{Buf as _, BufMut as _};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::{
    dictionary::{DICTIONARY, DICTIONARY_ID},
    frame::FrameError,
};

/// Largest header block, in bytes without compression.
const BLOCK_BYTES_MAX: usize = 64 << 10;
/// Most headers in one block.
const HEADERS_MAX: u32 = 256;
const CHUNK_BYTES: usize = 4 << 10;

/// Names (lower case) and values. Several values of one name stand in one value, separated by NUL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    #[must_use]
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        Self(
            pairs
                .iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned()))
                .collect(),
        )
    }

    /// The first value of a header, its name in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(own, _)| own == name)?;
        value.split('\0').next()
    }
}

pub(super) struct Deflater {
    zlib: Compress,
}

impl Deflater {
    pub(super) fn new() -> Self {
        let mut zlib = Compress::new(Compression::fast(), true);
        zlib.set_dictionary(&DICTIONARY).expect("a new zlib stream takes a dictionary");
        Self { zlib }
    }

    pub(super) fn compress(&mut self, headers: &Headers) -> Vec<u8> {
        let mut block = Vec::new();
        block.put_u32(length(headers.0.len()));
        for text in headers.0.iter().flat_map(|(name, value)| [name, value]) {
            block.put_u32(length(text.len()));
            block.put_slice(text.as_bytes());
        }
        let mut output = Vec::with_capacity(block.len() + CHUNK_BYTES);
        let start = self.zlib.total_in();
        loop {
            output.reserve(CHUNK_BYTES);
            let done = usize::try_from(self.zlib.total_in() - start).unwrap_or(block.len());
            // A sync flush is complete when it leaves room in the output.
            let result = self.zlib.compress_vec(&block[done..], &mut output, FlushCompress::Sync);
            let done = usize::try_from(self.zlib.total_in() - start).unwrap_or(block.len());
            if result.is_err() || (done == block.len() && output.len() < output.capacity()) {
                return output;
            }
        }
    }
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("headers of our own are small")
}

pub(super) struct Inflater {
    zlib: Decompress,
}

impl Inflater {
    pub(super) fn new() -> Self {
        Self { zlib: Decompress::new(true) }
    }

    pub(super) fn decompress(&mut self, mut input: &[u8]) -> Result<Headers, FrameError> {
        let mut block = Vec::new();
        let mut chunk = [0; CHUNK_BYTES];
        loop {
            let (read, wrote) = (self.zlib.total_in(), self.zlib.total_out());
            let result = self.zlib.decompress(input, &mut chunk, FlushDecompress::Sync);
            let read = usize::try_from(self.zlib.total_in() - read).unwrap_or(usize::MAX);
            let wrote = usize::try_from(self.zlib.total_out() - wrote).unwrap_or(usize::MAX);
            input = input.get(read..).ok_or(FrameError::BadHeaders)?;
            block.extend_from_slice(chunk.get(..wrote).ok_or(FrameError::BadHeaders)?);
            if block.len() > BLOCK_BYTES_MAX {
                return Err(FrameError::TooLarge);
            }
            match result {
                Err(error) if error.needs_dictionary() == Some(DICTIONARY_ID) => {
                    self.zlib.set_dictionary(&DICTIONARY).map_err(|_| FrameError::BadHeaders)?;
                    continue;
                }
                Err(_) => return Err(FrameError::BadHeaders),
                Ok(_) => {}
            }
            if wrote < CHUNK_BYTES && (input.is_empty() || (read == 0 && wrote == 0)) {
                return parse(&block);
            }
        }
    }
}

fn parse(mut block: &[u8]) -> Result<Headers, FrameError> {
    let count = block.try_get_u32().map_err(|_| FrameError::BadHeaders)?;
    if count > HEADERS_MAX {
        return Err(FrameError::TooLarge);
    }
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = text(&mut block)?.to_ascii_lowercase();
        headers.push((name, text(&mut block)?));
    }
    Ok(Headers(headers))
}

fn text(block: &mut &[u8]) -> Result<String, FrameError> {
    let length = block.try_get_u32().map_err(|_| FrameError::BadHeaders)? as usize;
    let (text, rest) = block.split_at_checked(length).ok_or(FrameError::BadHeaders)?;
    *block = rest;
    String::from_utf8(text.to_vec()).map_err(|_| FrameError::BadHeaders)
}
