//! A machine's way into the cluster, as a pure function of what was seen.
//!
//! ```text
//! Unknown ──▶ Discovered ──▶ Booting ──▶ Loading ──▶ Joining ──▶ Ready
//!                 ▲ (not admitted: stays here)          │ ▲          │
//!                 │                                     ▼ │          ▼
//!                 └────────── DHCP again ◀──────── (any phase) ◀─ Unreachable
//! ```

use serde::{Deserialize, Serialize};

/// Where a machine is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Declared, never seen.
    #[default]
    Unknown,
    /// Its firmware asked for an address.
    Discovered,
    /// It fetched its boot script.
    Booting,
    /// It fetches kernel and image.
    Loading,
    /// It has the whole image; its node is not Ready yet.
    Joining,
    /// Its node is Ready.
    Ready,
    /// Its node was Ready and is not any more.
    Unreachable,
}

/// Something that was seen of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// The firmware's network boot asked for an address (not a running system renewing one).
    Dhcp {
        firmware: String,
    },
    Script,
    /// It started to fetch an image file.
    ImageStarted,
    /// The last image file went out completely.
    ImageSent,
    NodeReady,
    NodeNotReady,
}

/// The phase after a sight, and the words for it; `None` where nothing changes.
#[must_use]
pub fn next(phase: Phase, sight: &Sight) -> Option<(Phase, String)> {
    use Phase as P;
    let (to, words) = match (phase, sight) {
        (_, Sight::Dhcp { firmware }) => {
            (P::Discovered, format!("{firmware} firmware asked for an address"))
        }
        (_, Sight::Script) => (P::Booting, "fetched its boot script".into()),
        (_, Sight::ImageStarted) => (P::Loading, "fetches the node image".into()),
        (_, Sight::ImageSent) => (P::Joining, "has the node image and boots it".into()),
        (_, Sight::NodeReady) => (P::Ready, "node is Ready".into()),
        (P::Ready, Sight::NodeNotReady) => (P::Unreachable, "node stopped reporting".into()),
        (
            P::Unknown | P::Discovered | P::Booting | P::Loading | P::Joining | P::Unreachable,
            Sight::NodeNotReady,
        ) => return None,
    };
    (to != phase).then_some((to, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_walks_from_dhcp_to_ready_and_back() {
        let way = [
            (Sight::Dhcp { firmware: "BIOS".into() }, Phase::Discovered),
            (Sight::Script, Phase::Booting),
            (Sight::ImageStarted, Phase::Loading),
            (Sight::ImageSent, Phase::Joining),
            (Sight::NodeReady, Phase::Ready),
            (Sight::NodeNotReady, Phase::Unreachable),
            (Sight::NodeReady, Phase::Ready),
            (Sight::Dhcp { firmware: "BIOS".into() }, Phase::Discovered),
        ];
        let mut phase = Phase::Unknown;
        for (sight, expected) in way {
            let (to, words) = next(phase, &sight).expect("a change");
            assert_eq!(to, expected);
            assert!(!words.is_empty());
            phase = to;
        }
    }

    #[test]
    fn a_node_that_was_never_ready_is_not_unreachable() {
        assert_eq!(next(Phase::Joining, &Sight::NodeNotReady), None);
        assert_eq!(next(Phase::Ready, &Sight::NodeReady), None);
    }
}
