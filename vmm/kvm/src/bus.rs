//! What a processor thread calls when the guest touches an address that is not RAM.

/// What a processor does after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Runs on.
    Continue,
    /// The guest asked for a reset, which ends the VM.
    Reset,
}

/// The devices as seen from the processors. Accesses come from several threads; data holds 1 to 8 bytes.
/// Implementations never panic on what a guest sends: unknown addresses read as ones and ignore writes.
pub trait Bus: Send + Sync {
    /// The guest reads an I/O port.
    fn read_port(&self, port: u16, data: &mut [u8]);
    /// The guest writes an I/O port.
    fn write_port(&self, port: u16, data: &[u8]) -> Action;
    /// The guest reads an address without RAM.
    fn read_memory(&self, address: u64, data: &mut [u8]);
    /// The guest writes an address without RAM.
    fn write_memory(&self, address: u64, data: &[u8]);
}
