//! What admission keeps between requests. One per server.

use tokio::sync::{Mutex, MutexGuard};

use super::{
    event_rate::{EventLimits, Limits},
    matching::expression::Programs,
    policy::Policies,
};

/// Writes that may charge quotas take turns in as many groups of namespaces.
const TURNS: usize = 64;

/// The state of all plugins.
pub struct State {
    pub(super) events: Limits,
    pub(super) programs: Programs,
    pub(super) policies: Policies,
    turns: Vec<Mutex<()>>,
}

impl State {
    #[must_use]
    pub fn new(events: &EventLimits) -> Self {
        Self {
            events: Limits::new(events),
            programs: Programs::default(),
            policies: Policies::default(),
            turns: (0..TURNS).map(|_| Mutex::new(())).collect(),
        }
    }

    /// Waits until no other write charges the quotas of a namespace.
    pub(super) async fn turn(&self, namespace: &str) -> MutexGuard<'_, ()> {
        let sum = namespace
            .bytes()
            .fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        self.turns[sum % TURNS].lock().await
    }
}
