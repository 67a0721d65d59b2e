//! The guest's memory map as the kernel is told it.

use memory::layout::{EBDA_START, HIGH_MEMORY_START};

/// What a range of addresses is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Usable memory (`E820_TYPE_RAM`).
    Ram,
    /// Not to be used (`E820_TYPE_RESERVED`).
    Reserved,
}

impl Kind {
    /// The number in the boot protocol.
    pub fn code(self) -> u32 {
        match self {
            Self::Ram => 1,
            Self::Reserved => 2,
        }
    }
}

/// A range of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// What it is.
    pub kind: Kind,
}

/// Makes the map of RAM given as (start, bytes) in ascending order.
pub fn plan_map(ram: &[(u64, u64)]) -> Vec<Range> {
    let mut map = vec![
        Range { start: 0, bytes: EBDA_START, kind: Kind::Ram },
        Range { start: EBDA_START, bytes: HIGH_MEMORY_START - EBDA_START, kind: Kind::Reserved },
    ];
    for &(start, bytes) in ram {
        let begin = start.max(HIGH_MEMORY_START);
        let end = start + bytes;
        if end > begin {
            map.push(Range { start: begin, bytes: end - begin, kind: Kind::Ram });
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_reserves_the_top_of_base_memory() {
        let map = plan_map(&[(0, 0xc000_0000), (0x1_0000_0000, 0x4000_0000)]);
        let got: Vec<_> = map.iter().map(|r| (r.start, r.start + r.bytes, r.kind)).collect();
        assert_eq!(
            got,
            [
                (0, 0x9_fc00, Kind::Ram),
                (0x9_fc00, 0x10_0000, Kind::Reserved),
                (0x10_0000, 0xc000_0000, Kind::Ram),
                (0x1_0000_0000, 0x1_4000_0000, Kind::Ram),
            ]
        );
    }
}
