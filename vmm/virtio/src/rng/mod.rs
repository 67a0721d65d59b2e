//! The entropy device (virtio 5.4): fills the guest's buffers from the host's random source.

use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;

use crate::chain::Chain;
use crate::device::{Activation, Cause, Device, Error, Profile, Progress};
use crate::ring::Ring;
use crate::sys;

/// Most bytes given for one request; a guest that wants more asks again.
const REQUEST_BYTES_MAX: usize = 4096;
/// Requests served before others get a turn.
const REQUESTS_PER_TURN: usize = 16;

/// The device.
#[derive(Default)]
pub struct Rng {
    active: Option<(Ring, Chain)>,
}

impl Device for Rng {
    fn name(&self) -> &'static str {
        "rng"
    }

    fn profile(&self) -> Profile {
        Profile { id: VIRTIO_ID_RNG, features: 0, queues: 1, config: Vec::new() }
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), Error> {
        let ring = activation.take_ring(0)?;
        let chain = ring.new_chain();
        self.active = Some((ring, chain));
        Ok(())
    }

    fn process(&mut self, _: Cause) -> Result<Progress, Error> {
        let Some((ring, chain)) = &mut self.active else { return Ok(Progress::Idle) };
        let mut progress = Progress::More;
        for _ in 0..REQUESTS_PER_TURN {
            if !ring.pop(chain)? {
                if ring.enable_kicks()? {
                    continue;
                }
                progress = Progress::Idle;
                break;
            }
            let mut bytes = [0; REQUEST_BYTES_MAX];
            let wanted = chain.writable.bytes().min(REQUEST_BYTES_MAX);
            let got = sys::fill_random(&mut bytes[..wanted])
                .map_err(|source| Error::Host { what: "read random bytes", source })?;
            let written = chain.writable.copy_in(0, &bytes[..got]);
            ring.complete(chain.head, written)?;
        }
        ring.notify()?;
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

    #[test]
    fn buffers_are_filled_and_long_ones_cut() {
        let guest = Guest::new(1);
        guest.add(0, &[], &[(0x10_0000, 32)]);
        guest.add(0, &[], &[(0x11_0000, 8192)]);
        let mut rng = Rng::default();
        rng.activate(guest.activation(0)).unwrap();
        assert_eq!(rng.process(Cause::Queue(0)).unwrap(), Progress::Idle);
        assert_eq!(guest.used(0), [32, 4096]);
        assert_ne!(guest.read(0x10_0000, 32), vec![0; 32]);
        assert_eq!(guest.read(0x11_1000, 32), vec![0; 32]);
    }

    #[test]
    fn broken_chains_stop_the_device() {
        let guest = Guest::new(1);
        guest.add_raw(0, &[(u64::MAX - 3, 16, 2, 0)]);
        let mut rng = Rng::default();
        rng.activate(guest.activation(0)).unwrap();
        assert!(matches!(rng.process(Cause::Queue(0)), Err(Error::Ring(_))));
    }
}
