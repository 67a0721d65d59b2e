//! What a block request asks for, decided from its header and lengths alone.

use virtio_bindings::bindings::virtio_blk::{
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD,
    VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
    VIRTIO_BLK_T_WRITE_ZEROES,
};

/// Bytes of a sector, the unit of all positions (virtio 5.2.2).
pub const SECTOR_BYTES: u64 = 512;
/// Bytes of a request's header: type, reserved, sector.
pub const HEADER_BYTES: usize = 16;
/// Bytes of the serial that GET_ID returns.
pub const SERIAL_BYTES: usize = 20;
/// Bytes of one discard or write-zeroes segment.
pub const SEGMENT_BYTES: usize = 16;
/// `unmap` of a write-zeroes segment; any other flag is reserved.
const SEGMENT_UNMAP: u32 = 1;

/// How a request ended, as the guest reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok,
    /// Not done: out of range, read-only, or the host's file failed.
    IoError,
    /// Not something this device does.
    Unsupported,
}

impl Status {
    /// The byte for the guest.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => VIRTIO_BLK_S_OK as u8,
            Self::IoError => VIRTIO_BLK_S_IOERR as u8,
            Self::Unsupported => VIRTIO_BLK_S_UNSUPP as u8,
        }
    }
}

/// A request that may be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// File to guest.
    Read {
        /// Position in the file.
        offset: u64,
        /// Length, whole sectors.
        bytes: usize,
    },
    /// Guest to file.
    Write {
        /// Position in the file.
        offset: u64,
        /// Length, whole sectors.
        bytes: usize,
    },
    /// Make earlier writes durable.
    Flush,
    /// Tell the serial.
    GetSerial,
    /// Free, or zero, the range that the payload names.
    Discard,
    /// As discard, but must read as zeros afterwards (which a hole does).
    WriteZeroes,
}

/// The disk, as far as requests depend on it.
#[derive(Clone, Copy, Debug)]
pub struct Disk {
    /// Size in sectors.
    pub sectors: u64,
    /// Nothing may change it.
    pub read_only: bool,
}

impl Disk {
    /// The position of a range, if it lies wholly on the disk.
    fn range(self, sector: u64, sectors: u64) -> Option<(u64, u64)> {
        let end = sector.checked_add(sectors)?;
        (end <= self.sectors).then_some((sector * SECTOR_BYTES, sectors * SECTOR_BYTES))
    }

    /// Decides what `header` asks for. `readable` and `writable` are the lengths of the payload: what
    /// follows the header, and what precedes the status byte.
    pub fn plan(
        self,
        header: [u8; HEADER_BYTES],
        readable: usize,
        writable: usize,
    ) -> Result<Operation, Status> {
        let [t0, t1, t2, t3, _, _, _, _, sector @ ..] = header;
        let sector = u64::from_le_bytes(sector);
        match u32::from_le_bytes([t0, t1, t2, t3]) {
            VIRTIO_BLK_T_IN => {
                let (offset, bytes) = self.plan_transfer(sector, writable)?;
                Ok(Operation::Read { offset, bytes })
            }
            VIRTIO_BLK_T_FLUSH => Ok(Operation::Flush),
            VIRTIO_BLK_T_GET_ID if writable >= SERIAL_BYTES => Ok(Operation::GetSerial),
            VIRTIO_BLK_T_GET_ID => Err(Status::IoError),
            VIRTIO_BLK_T_OUT | VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES
                if self.read_only =>
            {
                Err(Status::IoError)
            }
            VIRTIO_BLK_T_OUT => {
                let (offset, bytes) = self.plan_transfer(sector, readable)?;
                Ok(Operation::Write { offset, bytes })
            }
            VIRTIO_BLK_T_DISCARD if readable == SEGMENT_BYTES => Ok(Operation::Discard),
            VIRTIO_BLK_T_WRITE_ZEROES if readable == SEGMENT_BYTES => Ok(Operation::WriteZeroes),
            VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES => Err(Status::IoError),
            _ => Err(Status::Unsupported),
        }
    }

    fn plan_transfer(self, sector: u64, bytes: usize) -> Result<(u64, usize), Status> {
        // usize is 64 bits wide here.
        let length = bytes as u64;
        if !length.is_multiple_of(SECTOR_BYTES) {
            return Err(Status::IoError);
        }
        let (offset, _) = self.range(sector, length / SECTOR_BYTES).ok_or(Status::IoError)?;
        Ok((offset, bytes))
    }

    /// Reads the range of a discard or write-zeroes segment as (offset, bytes).
    pub fn plan_segment(
        self,
        segment: [u8; SEGMENT_BYTES],
        operation: Operation,
    ) -> Result<(u64, u64), Status> {
        let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, flags @ ..] = segment;
        let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        let sectors = u32::from_le_bytes([n0, n1, n2, n3]);
        let flags = u32::from_le_bytes(flags);
        let allowed = if operation == Operation::WriteZeroes { SEGMENT_UNMAP } else { 0 };
        if flags & !allowed != 0 {
            return Err(Status::Unsupported);
        }
        self.range(sector, u64::from(sectors)).ok_or(Status::IoError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: Disk = Disk { sectors: 8, read_only: false };

    fn header(kind: u32, sector: u64) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        bytes[8..].copy_from_slice(&sector.to_le_bytes());
        bytes
    }

    #[test]
    fn requests_are_checked_against_the_disk() {
        use Operation::{Discard, Flush, GetSerial, Read, Write};
        let cases = [
            (VIRTIO_BLK_T_IN, 0, 0, 512, Ok(Read { offset: 0, bytes: 512 })),
            (VIRTIO_BLK_T_IN, 7, 0, 512, Ok(Read { offset: 3584, bytes: 512 })),
            (VIRTIO_BLK_T_IN, 7, 0, 1024, Err(Status::IoError)),
            (VIRTIO_BLK_T_IN, 8, 0, 512, Err(Status::IoError)),
            (VIRTIO_BLK_T_IN, u64::MAX, 0, 512, Err(Status::IoError)),
            (VIRTIO_BLK_T_IN, 0, 0, 100, Err(Status::IoError)),
            (VIRTIO_BLK_T_OUT, 1, 512, 0, Ok(Write { offset: 512, bytes: 512 })),
            (VIRTIO_BLK_T_OUT, 8, 512, 0, Err(Status::IoError)),
            (VIRTIO_BLK_T_FLUSH, 0, 0, 0, Ok(Flush)),
            (VIRTIO_BLK_T_GET_ID, 0, 0, 20, Ok(GetSerial)),
            (VIRTIO_BLK_T_GET_ID, 0, 0, 19, Err(Status::IoError)),
            (VIRTIO_BLK_T_DISCARD, 0, 16, 0, Ok(Discard)),
            (VIRTIO_BLK_T_DISCARD, 0, 32, 0, Err(Status::IoError)),
            (99, 0, 0, 0, Err(Status::Unsupported)),
        ];
        for (kind, sector, readable, writable, expected) in cases {
            let got = DISK.plan(header(kind, sector), readable, writable);
            assert_eq!(got, expected, "type {kind} at {sector}");
        }
    }

    #[test]
    fn read_only_disks_refuse_every_change() {
        let disk = Disk { read_only: true, ..DISK };
        for (kind, readable) in
            [(VIRTIO_BLK_T_OUT, 512), (VIRTIO_BLK_T_DISCARD, 16), (VIRTIO_BLK_T_WRITE_ZEROES, 16)]
        {
            assert_eq!(disk.plan(header(kind, 0), readable, 0), Err(Status::IoError));
        }
        assert!(disk.plan(header(VIRTIO_BLK_T_IN, 0), 0, 512).is_ok());
    }

    #[test]
    fn segments_are_checked_against_the_disk() {
        let segment = |sector: u64, count: u32, flags: u32| {
            let mut bytes = [0; SEGMENT_BYTES];
            bytes[..8].copy_from_slice(&sector.to_le_bytes());
            bytes[8..12].copy_from_slice(&count.to_le_bytes());
            bytes[12..].copy_from_slice(&flags.to_le_bytes());
            bytes
        };
        let discard = Operation::Discard;
        assert_eq!(DISK.plan_segment(segment(2, 3, 0), discard), Ok((1024, 1536)));
        assert_eq!(DISK.plan_segment(segment(7, 2, 0), discard), Err(Status::IoError));
        assert_eq!(DISK.plan_segment(segment(u64::MAX, 1, 0), discard), Err(Status::IoError));
        assert_eq!(DISK.plan_segment(segment(0, 1, 1), discard), Err(Status::Unsupported));
        assert_eq!(DISK.plan_segment(segment(0, 1, 1), Operation::WriteZeroes), Ok((0, 512)));
    }
}
