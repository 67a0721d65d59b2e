//! Reads a file by position, so that several VMs may share one open file.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use vm_memory::bitmap::BitmapSlice;
use vm_memory::{ReadVolatile, VolatileMemoryError, VolatileSlice};

/// Bytes copied at a time on the way to guest memory.
const COPY_BYTES: usize = 64 << 10;

/// A file with a position of its own.
pub struct Image<'a> {
    file: &'a File,
    position: u64,
    bytes: u64,
    buffer: Vec<u8>,
}

impl<'a> Image<'a> {
    /// Starts at the beginning of `file`.
    pub fn new(file: &'a File) -> Result<Self> {
        let bytes = file.metadata()?.len();
        Ok(Self { file, position: 0, bytes, buffer: vec![0; COPY_BYTES] })
    }

    /// Length of the file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.bytes
    }
}

impl Read for Image<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Image<'_> {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.bytes.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = target.ok_or_else(|| Error::from(ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

impl ReadVolatile for Image<'_> {
    fn read_volatile<B: BitmapSlice>(
        &mut self,
        target: &mut VolatileSlice<B>,
    ) -> std::result::Result<usize, VolatileMemoryError> {
        let mut done = 0;
        // The caller takes a short count for the end of the file, so the target is filled.
        while done < target.len() {
            let wanted = (target.len() - done).min(COPY_BYTES);
            let count = self
                .file
                .read_at(&mut self.buffer[..wanted], self.position)
                .map_err(VolatileMemoryError::IOError)?;
            if count == 0 {
                break;
            }
            target.offset(done)?.copy_from(&self.buffer[..count]);
            self.position += count as u64;
            done += count;
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{Bytes, GuestAddress};

    #[test]
    fn files_longer_than_the_buffer_are_copied_whole() {
        let path = std::env::temp_dir().join(format!("boot-image-{}", std::process::id()));
        let content: Vec<u8> = (0..3 * COPY_BYTES + 7).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let ram = memory::allocate(memory::RAM_BYTES_MIN).unwrap();
        let mut image = Image::new(&file).unwrap();
        let at = GuestAddress(0x1000);
        ram.read_exact_volatile_from(at, &mut image, content.len()).unwrap();
        let mut copied = vec![0; content.len()];
        ram.read_slice(&mut copied, at).unwrap();
        assert!(copied == content);
        image.seek(SeekFrom::Start(0)).unwrap();
        assert!(ram.read_exact_volatile_from(at, &mut image, content.len() + 1).is_err());
    }
}
