//! The header of a vsock packet (virtio 5.10.6), to and from bytes.

/// Length of the header.
pub const HEADER_BYTES: usize = 44;
/// Longest payload of one packet in either direction.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// The host's address.
pub const HOST_CID: u64 = 2;
/// `VIRTIO_VSOCK_TYPE_STREAM`.
pub const TYPE_STREAM: u16 = 1;
/// `VIRTIO_VSOCK_SHUTDOWN_RCV`: the sender receives no more.
pub const SHUTDOWN_RECEIVE: u32 = 1;
/// `VIRTIO_VSOCK_SHUTDOWN_SEND`: the sender sends no more.
pub const SHUTDOWN_SEND: u32 = 2;
/// Both directions.
pub const SHUTDOWN_BOTH: u32 = SHUTDOWN_RECEIVE | SHUTDOWN_SEND;

/// What a packet is for (`VIRTIO_VSOCK_OP_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Opens a connection.
    Request,
    /// Accepts it.
    Response,
    /// Ends or refuses it.
    Reset,
    /// Closes one or both directions.
    Shutdown,
    /// Carries data.
    Data,
    /// Tells the room for data.
    CreditUpdate,
    /// Asks for a credit update.
    CreditRequest,
}

impl Operation {
    fn code(self) -> u16 {
        match self {
            Self::Request => 1,
            Self::Response => 2,
            Self::Reset => 3,
            Self::Shutdown => 4,
            Self::Data => 5,
            Self::CreditUpdate => 6,
            Self::CreditRequest => 7,
        }
    }

    fn parse(code: u16) -> Option<Self> {
        Some(match code {
            1 => Self::Request,
            2 => Self::Response,
            3 => Self::Reset,
            4 => Self::Shutdown,
            5 => Self::Data,
            6 => Self::CreditUpdate,
            7 => Self::CreditRequest,
            _ => return None,
        })
    }
}

/// Ports of both ends; together they name a connection of this VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ports {
    /// On the host.
    pub host: u32,
    /// In the guest.
    pub guest: u32,
}

/// A header, without the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which connection.
    pub ports: Ports,
    /// Payload length.
    pub bytes: u32,
    /// What for.
    pub operation: Operation,
    /// Flags of a shutdown.
    pub flags: u32,
    /// The sender's buffer size.
    pub buffer_bytes: u32,
    /// How much the sender has taken out of that buffer, modulo 2^32.
    pub forwarded: u32,
}

/// Why a packet of the guest is not for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Addressed to or from someone else: dropped without an answer.
    Address,
    /// Of an unknown type or operation: answered with a reset.
    Unsupported(Ports),
}

impl Header {
    /// Reads a header that guest `cid` sent.
    pub fn parse(raw: &[u8; HEADER_BYTES], cid: u64) -> Result<Self, Fault> {
        let u16_at = |at: usize| u16::from_le_bytes([raw[at], raw[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if u64_at(0) != cid || u64_at(8) != HOST_CID {
            return Err(Fault::Address);
        }
        let ports = Ports { guest: u32_at(16), host: u32_at(20) };
        let operation = Operation::parse(u16_at(30))
            .filter(|_| u16_at(28) == TYPE_STREAM)
            .ok_or(Fault::Unsupported(ports))?;
        Ok(Self {
            ports,
            bytes: u32_at(24),
            operation,
            flags: u32_at(32),
            buffer_bytes: u32_at(36),
            forwarded: u32_at(40),
        })
    }

    /// Writes a header that the host sends to guest `cid`.
    pub fn encode(&self, cid: u64) -> [u8; HEADER_BYTES] {
        let mut raw = [0; HEADER_BYTES];
        let mut put = |at: usize, bytes: &[u8]| raw[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &HOST_CID.to_le_bytes());
        put(8, &cid.to_le_bytes());
        put(16, &self.ports.host.to_le_bytes());
        put(20, &self.ports.guest.to_le_bytes());
        put(24, &self.bytes.to_le_bytes());
        put(28, &TYPE_STREAM.to_le_bytes());
        put(30, &self.operation.code().to_le_bytes());
        put(32, &self.flags.to_le_bytes());
        put(36, &self.buffer_bytes.to_le_bytes());
        put(40, &self.forwarded.to_le_bytes());
        raw
    }

    /// A reset of a connection that does not exist.
    pub fn reset(ports: Ports) -> Self {
        let operation = Operation::Reset;
        Self { ports, bytes: 0, operation, flags: 0, buffer_bytes: 0, forwarded: 0 }
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    /// What a guest would send: the addresses and ports the other way round.
    fn mirror(raw: [u8; HEADER_BYTES]) -> [u8; HEADER_BYTES] {
        let mut mirrored = raw;
        mirrored[..8].copy_from_slice(&raw[8..16]);
        mirrored[8..16].copy_from_slice(&raw[..8]);
        mirrored[16..20].copy_from_slice(&raw[20..24]);
        mirrored[20..24].copy_from_slice(&raw[16..20]);
        mirrored
    }

    #[test]
    fn headers_survive_the_wire() {
        let header = Header {
            ports: Ports { host: 1, guest: 1024 },
            bytes: 99,
            operation: Operation::Data,
            flags: 3,
            buffer_bytes: 65536,
            forwarded: u32::MAX,
        };
        assert_eq!(Header::parse(&mirror(header.encode(7)), 7), Ok(header));
        assert_eq!(Header::parse(&mirror(header.encode(7)), 8), Err(Fault::Address));
        let mut bad = mirror(header.encode(7));
        bad[30] = 8;
        assert_eq!(Header::parse(&bad, 7), Err(Fault::Unsupported(header.ports)));
    }
}
