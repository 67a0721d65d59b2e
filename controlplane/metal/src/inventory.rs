//! The machines that are known, by MAC, as the servers see them: a copy that the controller keeps up to date.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{Arc, RwLock},
};

/// One machine, as far as booting goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub address: Option<Ipv4Addr>,
    pub admitted: bool,
}

/// Shared by the controller (writer) and the servers (readers).
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    entries: Arc<RwLock<BTreeMap<String, Entry>>>,
}

impl Inventory {
    /// The machine with a MAC (lower case, colons).
    #[must_use]
    pub fn find(&self, mac: &str) -> Option<Entry> {
        self.entries.read().map(|entries| entries.get(mac).cloned()).unwrap_or_default()
    }

    /// The MAC of the machine with an address.
    #[must_use]
    pub fn mac_at(&self, address: Ipv4Addr) -> Option<String> {
        let entries = self.entries.read().ok()?;
        entries.iter().find(|(_, entry)| entry.address == Some(address)).map(|(mac, _)| mac.clone())
    }

    /// Adds or replaces a machine.
    pub fn put(&self, mac: &str, entry: Entry) {
        if let Ok(mut entries) = self.entries.write() {
            entries.insert(mac.to_owned(), entry);
        }
    }

    /// Removes a machine.
    pub fn remove(&self, mac: &str) {
        if let Ok(mut entries) = self.entries.write() {
            entries.remove(mac);
        }
    }

    /// The machine's address, or the lowest free one of the pool, which is then kept for it.
    #[must_use]
    pub fn assign(&self, mac: &str, pool: (Ipv4Addr, Ipv4Addr)) -> Option<Ipv4Addr> {
        let mut entries = self.entries.write().ok()?;
        let address = entries.get(mac)?.address;
        let chosen = address.or_else(|| lowest_free(&entries, pool))?;
        entries.get_mut(mac)?.address = Some(chosen);
        Some(chosen)
    }
}

fn lowest_free(
    entries: &BTreeMap<String, Entry>,
    (first, last): (Ipv4Addr, Ipv4Addr),
) -> Option<Ipv4Addr> {
    let taken: BTreeSet<Ipv4Addr> = entries.values().filter_map(|entry| entry.address).collect();
    (first.to_bits()..=last.to_bits()).map(Ipv4Addr::from_bits).find(|free| !taken.contains(free))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_and_never_given_twice() {
        let inventory = Inventory::default();
        let pool = (Ipv4Addr::new(10, 0, 0, 11), Ipv4Addr::new(10, 0, 0, 12));
        for (mac, address) in [("a", Some(pool.0)), ("b", None), ("c", None)] {
            inventory.put(mac, Entry { name: mac.into(), address, admitted: true });
        }
        assert_eq!(inventory.assign("b", pool), Some(pool.1));
        assert_eq!(inventory.assign("b", pool), Some(pool.1));
        assert_eq!(inventory.assign("a", pool), Some(pool.0));
        assert_eq!(inventory.assign("c", pool), None, "the pool is empty");
        assert_eq!(inventory.assign("stranger", pool), None);
        assert_eq!(inventory.mac_at(pool.1).as_deref(), Some("b"));
    }
}
