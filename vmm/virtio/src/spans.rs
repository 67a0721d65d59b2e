//! Guest buffers as this process sees them: checked once against RAM, then used for copies and for
//! vectored I/O without another look at the guest's addresses.
#![allow(
    unsafe_code,
    reason = "guest buffers are raw memory that the guest may change at any time"
)]

use std::marker::PhantomData;
use std::sync::Arc;

use memory::GuestRam;
use vm_memory::{GuestAddress, GuestMemoryBackend, VolatileSlice};

/// Buffers of one direction of a descriptor chain, in order.
pub struct Spans {
    /// Keeps the memory mapped to which the list points.
    ram: Arc<GuestRam>,
    list: Vec<libc::iovec>,
    bytes: usize,
}

// SAFETY: the pointers lead into `ram`, which any thread may access and which the value keeps alive.
unsafe impl Send for Spans {}

/// A range of [`Spans`] in the form that readv and writev take.
pub struct Iovecs<'a> {
    list: Vec<libc::iovec>,
    bytes: usize,
    spans: PhantomData<&'a Spans>,
}

impl Spans {
    /// No buffers yet.
    pub fn new(ram: Arc<GuestRam>) -> Self {
        Self { ram, list: Vec::new(), bytes: 0 }
    }

    /// Forgets all buffers.
    pub fn clear(&mut self) {
        self.list.clear();
        self.bytes = 0;
    }

    /// Appends a guest buffer; false if it is not wholly in RAM.
    pub fn push(&mut self, start: GuestAddress, bytes: u32) -> bool {
        // u32 fits usize on every 64-bit target.
        let bytes = bytes as usize;
        if bytes == 0 {
            return true;
        }
        let Ok(slice) = self.ram.get_slice(start, bytes) else { return false };
        let base = slice.ptr_guard_mut().as_ptr();
        self.list.push(libc::iovec { iov_base: base.cast(), iov_len: bytes });
        self.bytes += bytes;
        true
    }

    /// Sum of all lengths. A chain is at most 4 GiB long.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies from the buffers, beginning at `offset`; returns how many bytes there were.
    pub fn copy_out(&self, offset: usize, target: &mut [u8]) -> usize {
        let mut done = 0;
        for part in self.range(offset, target.len()).list {
            // SAFETY: the part was checked against RAM, which `self.ram` keeps mapped; volatile
            // access allows the guest to write at the same time.
            let slice: VolatileSlice<'_> =
                unsafe { VolatileSlice::new(part.iov_base.cast(), part.iov_len) };
            done += slice.copy_to(&mut target[done..done + part.iov_len]);
        }
        done
    }

    /// Copies into the buffers, beginning at `offset`; returns how many bytes had room.
    pub fn copy_in(&self, offset: usize, source: &[u8]) -> usize {
        let mut done = 0;
        for part in self.range(offset, source.len()).list {
            // SAFETY: as in `copy_out`; these buffers are the guest's to be written by a device.
            let slice: VolatileSlice<'_> =
                unsafe { VolatileSlice::new(part.iov_base.cast(), part.iov_len) };
            slice.copy_from(&source[done..done + part.iov_len]);
            done += part.iov_len;
        }
        done
    }

    /// The buffers from `offset` on, cut to `bytes`.
    pub fn range(&self, offset: usize, bytes: usize) -> Iovecs<'_> {
        let (mut skip, mut left) = (offset, bytes);
        let mut list = Vec::with_capacity(self.list.len());
        for part in &self.list {
            if left == 0 {
                break;
            }
            if skip >= part.iov_len {
                skip -= part.iov_len;
                continue;
            }
            let length = (part.iov_len - skip).min(left);
            // SAFETY: `skip` is below the part's length, so the result stays inside the part.
            let base = unsafe { part.iov_base.cast::<u8>().add(skip) };
            list.push(libc::iovec { iov_base: base.cast(), iov_len: length });
            left -= length;
            skip = 0;
        }
        Iovecs { list, bytes: bytes - left, spans: PhantomData }
    }
}

impl Iovecs<'_> {
    /// Sum of all lengths.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The list for the system.
    pub fn as_slice(&self) -> &[libc::iovec] {
        &self.list
    }
}

/// The guest's buffers followed by one of our own, for a read whose length is not known before.
pub struct Spilled<'a> {
    /// The list for the system.
    pub list: Vec<libc::iovec>,
    buffers: PhantomData<(&'a Spans, &'a mut [u8])>,
}

impl<'a> Iovecs<'a> {
    /// Appends `spill`, which takes what does not fit in the guest's buffers.
    pub fn spill_into(self, spill: &'a mut [u8]) -> Spilled<'a> {
        let mut list = self.list;
        list.push(libc::iovec { iov_base: spill.as_mut_ptr().cast(), iov_len: spill.len() });
        Spilled { list, buffers: PhantomData }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(parts: &[(u64, u32)]) -> Spans {
        let mut spans = Spans::new(memory::allocate(memory::RAM_BYTES_MIN).unwrap());
        for &(start, bytes) in parts {
            assert!(spans.push(GuestAddress(start), bytes));
        }
        spans
    }

    #[test]
    fn copies_cross_buffers() {
        let spans = spans(&[(0x1000, 3), (0x2000, 0), (0x3000, 5)]);
        assert_eq!(spans.bytes(), 8);
        assert_eq!(spans.copy_in(1, b"abcdefghij"), 7);
        let mut got = [0; 10];
        assert_eq!(spans.copy_out(0, &mut got), 8);
        assert_eq!(&got[..8], b"\0abcdefg");
        let range = spans.range(2, 3);
        assert_eq!(range.bytes(), 3);
        assert_eq!(range.as_slice().iter().map(|v| v.iov_len).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn buffers_outside_ram_are_refused() {
        let mut spans = spans(&[]);
        let end = memory::RAM_BYTES_MIN;
        for (start, bytes) in
            [(end, 1), (end - 1, 2), (u64::MAX, 1), (u64::MAX, u32::MAX), (0, u32::MAX)]
        {
            assert!(!spans.push(GuestAddress(start), bytes), "{start:#x} {bytes:#x}");
        }
        assert_eq!(spans.bytes(), 0);
    }
}
