//! Guest-physical memory: the map of the guest's address space and the host memory behind its RAM.

pub mod layout;

use std::sync::Arc;

use layout::{HIGH_RAM_START, MMIO_GAP_START};
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
    MmapRegion,
};

/// The guest's RAM, mapped in this process. It is shared by every part and is never unmapped.
pub type GuestRam = GuestMemoryMmap<()>;

/// Size of a guest page in bytes.
pub const PAGE_SIZE: u64 = 4096;
/// The least RAM with which a Linux guest gets to its init, in bytes.
pub const RAM_BYTES_MIN: u64 = 32 << 20;
/// The most RAM of one VM in bytes: 46 bits less the room for holes.
pub const RAM_BYTES_MAX: u64 = 1 << 42;

/// Why guest RAM could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The size is not within the limits.
    #[error("guest memory of {0} bytes is outside {RAM_BYTES_MIN}..={RAM_BYTES_MAX}")]
    Size(u64),
    /// The kernel refused the mapping.
    #[error("map {bytes} bytes of guest memory")]
    Map {
        /// Size of the mapping.
        bytes: usize,
        /// The cause.
        source: vm_memory::mmap::MmapRegionError,
    },
    /// The ranges overlap or overflow, a fault of this crate.
    #[error("arrange guest memory")]
    Arrange(#[source] vm_memory::GuestRegionCollectionError),
}

/// Decides where RAM lies: below the device hole, and what does not fit there from 4 GiB upwards.
/// The size is rounded up to whole pages.
pub fn plan_ranges(bytes: u64) -> Result<Vec<(GuestAddress, usize)>, Error> {
    if !(RAM_BYTES_MIN..=RAM_BYTES_MAX).contains(&bytes) {
        return Err(Error::Size(bytes));
    }
    let bytes = bytes.next_multiple_of(PAGE_SIZE);
    let size = |bytes: u64| usize::try_from(bytes).map_err(|_| Error::Size(bytes));
    let low = bytes.min(MMIO_GAP_START);
    let mut ranges = vec![(GuestAddress(0), size(low)?)];
    if bytes > low {
        ranges.push((GuestAddress(HIGH_RAM_START), size(bytes - low)?));
    }
    Ok(ranges)
}

/// Maps anonymous memory for the guest. Pages are allocated at first touch and are kept out of core dumps.
pub fn allocate(bytes: u64) -> Result<Arc<GuestRam>, Error> {
    let mut regions = Vec::new();
    for (start, bytes) in plan_ranges(bytes)? {
        let mapping = MmapRegion::build(
            None,
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        )
        .map_err(|source| Error::Map { bytes, source })?;
        exclude_from_dumps(mapping.as_ptr(), mapping.size());
        regions.push(GuestRegionMmap::new(mapping, start).ok_or(Error::Size(bytes as u64))?);
    }
    Ok(Arc::new(GuestRam::from_regions(regions).map_err(Error::Arrange)?))
}

#[allow(unsafe_code, reason = "madvise has no safe wrapper here")]
fn exclude_from_dumps(start: *mut u8, bytes: usize) {
    // SAFETY: the range is a mapping that was just made and is owned by the caller; MADV_DONTDUMP
    // does not change its contents. A failure only means a larger core file.
    unsafe { libc::madvise(start.cast(), bytes, libc::MADV_DONTDUMP) };
}

/// End of the RAM below the device hole, exclusive.
pub fn low_ram_end(ram: &GuestRam) -> u64 {
    ram.iter()
        .filter(|region| region.start_addr().0 < MMIO_GAP_START)
        .map(|region| region.start_addr().0 + region.len())
        .max()
        .unwrap_or(0)
}

/// Size of all RAM in bytes.
pub fn ram_bytes(ram: &GuestRam) -> u64 {
    ram.iter().map(GuestMemoryRegion::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_leave_the_device_hole_free() {
        let gib = 1u64 << 30;
        let cases: [(u64, &[(u64, u64)]); 4] = [
            (64 << 20, &[(0, 64 << 20)]),
            ((64 << 20) + 1, &[(0, (64 << 20) + 4096)]),
            (3 * gib, &[(0, 3 * gib)]),
            (5 * gib, &[(0, 3 * gib), (4 * gib, 2 * gib)]),
        ];
        for (bytes, expected) in cases {
            let got: Vec<_> =
                plan_ranges(bytes).unwrap().iter().map(|(a, b)| (a.0, *b as u64)).collect();
            assert_eq!(got, expected, "{bytes}");
        }
    }

    #[test]
    fn sizes_outside_the_limits_are_refused() {
        for bytes in [0, 1, RAM_BYTES_MIN - 1, RAM_BYTES_MAX + 1, u64::MAX] {
            assert!(matches!(plan_ranges(bytes), Err(Error::Size(_))), "{bytes}");
        }
    }

    #[test]
    fn allocated_ram_has_the_planned_shape() {
        let ram = allocate(40 << 20).unwrap();
        assert_eq!(low_ram_end(&ram), 40 << 20);
        assert_eq!(ram_bytes(&ram), 40 << 20);
    }
}
