//! The block device's state: its file, its queue, and the carrying out of planned requests.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;

use virtio_bindings::bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO,
    VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_WRITE_ZEROES,
};
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;

use crate::block::request::{
    Disk, HEADER_BYTES, Operation, SECTOR_BYTES, SEGMENT_BYTES, SERIAL_BYTES, Status,
};
use crate::chain::Chain;
use crate::device::{
    Activation, Cause, Device, Error as DeviceError, Profile, Progress, QUEUE_SIZE,
};
use crate::ring::Ring;
use crate::sys;

/// Requests carried out before other devices get a turn.
const REQUESTS_PER_TURN: usize = 32;
/// Data buffers of one request: the queue's size less header and status.
const SEGMENTS_MAX: u32 = QUEUE_SIZE as u32 - 2;
/// Most sectors of one discard: 1 GiB.
const DISCARD_SECTORS_MAX: u32 = 1 << 21;
/// Length of the configuration space (virtio 5.2.4).
const CONFIG_BYTES: usize = 60;

/// Why a disk was refused at start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its size could not be found.
    #[error("find the size of the disk")]
    Size(#[source] std::io::Error),
    /// It is neither a file nor a block device.
    #[error("the disk is neither a file nor a block device")]
    Kind,
    /// The serial does not fit.
    #[error("the serial is longer than {SERIAL_BYTES} bytes")]
    Serial,
}

/// The device.
pub struct Block {
    file: File,
    disk: Disk,
    serial: [u8; SERIAL_BYTES],
    active: Option<(Ring, Chain)>,
}

impl Block {
    /// A disk on `file`, of the size that the file has now (a last partial sector is cut off).
    pub fn new(file: File, read_only: bool, serial: &str) -> Result<Self, Error> {
        let mut padded = [0; SERIAL_BYTES];
        padded.get_mut(..serial.len()).ok_or(Error::Serial)?.copy_from_slice(serial.as_bytes());
        let sectors = find_bytes(&file)? / SECTOR_BYTES;
        Ok(Self { file, disk: Disk { sectors, read_only }, serial: padded, active: None })
    }

    /// Carries out one request; returns how many bytes of the guest's buffers were written.
    fn serve(&self, chain: &Chain) -> usize {
        let Some(payload) = chain.writable.bytes().checked_sub(1) else { return 0 };
        let (status, written) = match self.execute(chain, payload) {
            Ok(written) => (Status::Ok, written),
            Err(status) => (status, 0),
        };
        chain.writable.copy_in(payload, &[status.code()]);
        written + 1
    }

    fn execute(&self, chain: &Chain, writable: usize) -> Result<usize, Status> {
        let mut header = [0; HEADER_BYTES];
        if chain.readable.copy_out(0, &mut header) < HEADER_BYTES {
            return Err(Status::IoError);
        }
        let readable = chain.readable.bytes() - HEADER_BYTES;
        let operation = self.disk.plan(header, readable, writable)?;
        match operation {
            Operation::Read { offset, bytes } => self.read(chain, offset, bytes),
            Operation::Write { offset, bytes } => self.write(chain, offset, bytes).map(|()| 0),
            Operation::Flush if self.disk.read_only => Ok(0),
            Operation::Flush => self.file.sync_data().map(|()| 0).map_err(|_| Status::IoError),
            Operation::GetSerial => Ok(chain.writable.copy_in(0, &self.serial)),
            Operation::Discard | Operation::WriteZeroes => {
                self.discard(chain, operation).map(|()| 0)
            }
        }
    }

    fn read(&self, chain: &Chain, offset: u64, bytes: usize) -> Result<usize, Status> {
        let mut done = 0;
        while done < bytes {
            let target = chain.writable.range(done, bytes - done);
            match sys::read_at(self.file.as_raw_fd(), target.as_slice(), offset + done as u64) {
                Ok(0) | Err(_) => return Err(Status::IoError),
                Ok(count) => done += count,
            }
        }
        Ok(done)
    }

    fn write(&self, chain: &Chain, offset: u64, bytes: usize) -> Result<(), Status> {
        let mut done = 0;
        while done < bytes {
            let source = chain.readable.range(HEADER_BYTES + done, bytes - done);
            match sys::write_at(self.file.as_raw_fd(), source.as_slice(), offset + done as u64) {
                Ok(0) | Err(_) => return Err(Status::IoError),
                Ok(count) => done += count,
            }
        }
        Ok(())
    }

    fn discard(&self, chain: &Chain, operation: Operation) -> Result<(), Status> {
        let mut segment = [0; SEGMENT_BYTES];
        chain.readable.copy_out(HEADER_BYTES, &mut segment);
        let (offset, bytes) = self.disk.plan_segment(segment, operation)?;
        if bytes == 0 {
            return Ok(());
        }
        sys::punch_hole(self.file.as_raw_fd(), offset, bytes).map_err(|_| Status::IoError)
    }

    fn features(&self) -> u64 {
        let common = [VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_FLUSH];
        let writable = [VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES];
        let bits = |list: &[u32]| list.iter().fold(0, |all, bit| all | 1u64 << bit);
        if self.disk.read_only {
            bits(&common) | bits(&[VIRTIO_BLK_F_RO])
        } else {
            bits(&common) | bits(&writable)
        }
    }

    fn config(&self) -> Vec<u8> {
        let mut config = vec![0; CONFIG_BYTES];
        let mut put = |offset: usize, value: u32| {
            config[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        };
        put(12, SEGMENTS_MAX);
        put(20, SECTOR_BYTES as u32);
        put(36, DISCARD_SECTORS_MAX);
        put(40, 1); // segments of one discard
        put(44, 8); // alignment of discards in sectors: a page of the host's file
        put(48, DISCARD_SECTORS_MAX);
        put(52, 1); // segments of one write-zeroes request
        put(56, 1); // write-zeroes may unmap
        config[..8].copy_from_slice(&self.disk.sectors.to_le_bytes());
        config
    }
}

fn find_bytes(file: &File) -> Result<u64, Error> {
    let metadata = file.metadata().map_err(Error::Size)?;
    if metadata.is_file() {
        Ok(metadata.len())
    } else if metadata.file_type().is_block_device() {
        // Requests use positions of their own, so moving the file's does no harm.
        (&*file).seek(SeekFrom::End(0)).map_err(Error::Size)
    } else {
        Err(Error::Kind)
    }
}

impl Device for Block {
    fn name(&self) -> &'static str {
        "block"
    }

    fn profile(&self) -> Profile {
        let (features, config) = (self.features(), self.config());
        Profile { id: VIRTIO_ID_BLOCK, features, queues: 1, config }
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), DeviceError> {
        let ring = activation.take_ring(0)?;
        let chain = ring.new_chain();
        self.active = Some((ring, chain));
        Ok(())
    }

    fn process(&mut self, _: Cause) -> Result<Progress, DeviceError> {
        let Some((mut ring, mut chain)) = self.active.take() else { return Ok(Progress::Idle) };
        let mut progress = Progress::More;
        for _ in 0..REQUESTS_PER_TURN {
            if !ring.pop(&mut chain)? {
                if ring.enable_kicks()? {
                    continue;
                }
                progress = Progress::Idle;
                break;
            }
            let written = self.serve(&chain);
            ring.complete(chain.head, written)?;
        }
        ring.notify()?;
        self.active = Some((ring, chain));
        Ok(progress)
    }

    fn reset(&mut self) {
        self.active = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_guest::Guest;
    use std::io::{Read, Write};

    const HEADER: u64 = 0x10_0000;
    const DATA: u64 = 0x11_0000;
    const STATUS: u64 = 0x12_0000;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn header(kind: u8, sector: u8) -> [u8; 16] {
        [kind, 0, 0, 0, 0, 0, 0, 0, sector, 0, 0, 0, 0, 0, 0, 0]
    }

    fn run(block: &mut Block, guest: &Guest) {
        block.activate(guest.activation(0)).unwrap();
        assert_eq!(block.process(Cause::Queue(0)).unwrap(), Progress::Idle);
    }

    #[test]
    fn reads_come_from_the_file_in_any_framing() {
        let mut content = vec![7; 512];
        content.extend([9; 512]);
        let guest = Guest::new(1);
        guest.write(HEADER, &header(0, 0));
        guest.add(0, &[(HEADER, 8), (HEADER + 8, 8)], &[(DATA, 1000), (DATA + 1000, 25)]);
        let mut block = Block::new(file(&content), true, "layer0").unwrap();
        run(&mut block, &guest);
        assert_eq!(guest.used(0), [1025]);
        assert_eq!(guest.read(DATA, 1024), content);
        assert_eq!(guest.read(DATA + 1024, 1), [0]);
    }

    #[test]
    fn writes_reach_a_writable_file_only() {
        for (read_only, status, byte) in [(false, 0, 5), (true, 1, 0)] {
            let guest = Guest::new(1);
            guest.write(HEADER, &header(1, 1));
            guest.write(DATA, &[5; 512]);
            guest.add(0, &[(HEADER, 16), (DATA, 512)], &[(STATUS, 1)]);
            let disk = file(&[0; 1024]);
            let mut block = Block::new(disk.try_clone().unwrap(), read_only, "").unwrap();
            run(&mut block, &guest);
            assert_eq!(guest.read(STATUS, 1), [status]);
            let mut content = Vec::new();
            (&disk).seek(SeekFrom::Start(0)).unwrap();
            (&disk).read_to_end(&mut content).unwrap();
            assert_eq!(content[512], byte);
            assert_eq!(block.features() & 1 << VIRTIO_BLK_F_RO != 0, read_only);
        }
    }

    #[test]
    fn serial_and_short_requests() {
        let guest = Guest::new(1);
        guest.write(HEADER, &header(8, 0));
        guest.add(0, &[(HEADER, 16)], &[(DATA, 20), (STATUS, 1)]);
        guest.add(0, &[(HEADER, 15)], &[(STATUS + 1, 1)]);
        guest.add(0, &[(HEADER, 16)], &[]);
        let mut block = Block::new(file(&[0; 512]), true, "sha256-0123456789abc").unwrap();
        run(&mut block, &guest);
        assert_eq!(guest.used(0), [21, 1, 0]);
        assert_eq!(guest.read(DATA, 20), b"sha256-0123456789abc");
        assert_eq!(guest.read(STATUS, 2), [0, 1]);
    }

    #[test]
    fn loops_in_the_descriptor_table_stop_the_device() {
        let guest = Guest::new(1);
        guest.add_raw(0, &[(HEADER, 16, 1, 1), (DATA, 16, 1, 0)]);
        let mut block = Block::new(file(&[0; 512]), true, "").unwrap();
        block.activate(guest.activation(0)).unwrap();
        assert!(block.process(Cause::Queue(0)).is_err());
    }

    #[test]
    fn long_serials_are_refused() {
        assert!(matches!(Block::new(file(&[]), true, &"x".repeat(21)), Err(Error::Serial)));
    }
}
