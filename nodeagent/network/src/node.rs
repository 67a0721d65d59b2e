//! The handle to a node's network: carries out attach, adopt, detach and peer changes.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::addresses::{self, Addresses};
use crate::links::Links;
use crate::names::{self, BRIDGE, OVERLAY, SERVICE_LINK, TAP_PREFIX};
use crate::{
    Attached, Attachment, Config, Error, OVERLAY_OVERHEAD_BYTES, Peer, filter, overlay, sysctl, tap,
};

/// Handle to the node's network. Level-triggered throughout: every call brings its part of the
/// kernel's state to what is wanted, whatever was there.
#[derive(Clone, Debug)]
pub struct Network {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    links: Links,
    bridge: u32,
    overlay: u32,
    addresses: Mutex<Addresses>,
    /// One change of peers at a time: each reads the kernel's state and changes it.
    peering: Mutex<()>,
}

impl Network {
    /// Creates or repairs bridge, overlay device, switches and rules, and reads the persisted
    /// addresses. Running pods keep their traffic.
    pub async fn setup(config: Config) -> Result<Network, Error> {
        let addresses = Addresses::open(config.pod_cidr, &config.state_dir)?;
        nftables::apply(&filter::full_script(&config, addresses.all())).await?;
        let links = Links::open()?;
        let gateway = addresses::gateway(config.pod_cidr);
        let mtu = pod_mtu(&config);
        let bridge = links.ensure_bridge(BRIDGE, names::pod_mac(gateway), mtu).await?;
        let uplink = links.index(&config.uplink).await?;
        let mac = names::vtep_mac(config.node_ip);
        let overlay = links.ensure_vxlan(OVERLAY, uplink, config.node_ip, mac, mtu).await?;
        sysctl::apply()?;
        links.ensure_address(bridge, gateway, config.pod_cidr.prefix_len()).await?;
        // What is masqueraded into the overlay (the node's own traffic to services) gets this source,
        // which peers route back through the overlay; no pod has it.
        links.ensure_address(overlay, config.pod_cidr.network(), 32).await?;
        tracing::info!(node = config.node_name, pod_cidr = %config.pod_cidr, mtu, "pod network is up");
        let addresses = Mutex::new(addresses);
        let peering = Mutex::new(());
        Ok(Network {
            inner: Arc::new(Inner { config, links, bridge, overlay, addresses, peering }),
        })
    }

    /// Gives the pod an address and a tap on the bridge. Idempotent per uid.
    ///
    /// Fails with `Error::Tap` (EBUSY) while a running VMM has the tap: `adopt` is for that.
    pub async fn attach(&self, pod_uid: &str) -> Result<Attachment, Error> {
        let address = self.inner.addresses.lock().await.take(pod_uid)?;
        let place = self.place(pod_uid, address);
        let allow = filter::allow_script(pod_uid, address);
        let (filtered, tap) = tokio::join!(nftables::apply(&allow), self.open_tap(&place));
        filtered?;
        let Attached { address, prefix_len, gateway, mac, mtu, tap_name } = place;
        tracing::info!(pod.uid = pod_uid, %address, tap = tap_name, "pod attached to the network");
        Ok(Attachment { tap: tap?, address, prefix_len, gateway, mac, mtu, tap_name })
    }

    async fn open_tap(&self, place: &Attached) -> Result<std::os::fd::OwnedFd, Error> {
        let name = &place.tap_name;
        let fd = tap::open(name).map_err(|source| Error::Tap { name: name.clone(), source })?;
        sysctl::disable_ipv6(name)?;
        self.inner.links.ensure_port(name, self.inner.bridge, place.mtu).await?;
        Ok(fd)
    }

    /// Looks up a pod attached earlier (by an earlier process too) and repairs what is around its tap.
    pub async fn adopt(&self, pod_uid: &str) -> Result<Attached, Error> {
        let known = self.inner.addresses.lock().await.get(pod_uid);
        let address = known.ok_or_else(|| Error::NotAttached { uid: pod_uid.to_owned() })?;
        let place = self.place(pod_uid, address);
        nftables::apply(&filter::allow_script(pod_uid, address)).await?;
        self.inner.links.ensure_port(&place.tap_name, self.inner.bridge, place.mtu).await?;
        Ok(place)
    }

    /// Removes tap, rules and address of a pod. Fine when there are none.
    pub async fn detach(&self, pod_uid: &str) -> Result<(), Error> {
        self.inner.links.remove(&names::tap_name(pod_uid)).await?;
        let known = self.inner.addresses.lock().await.get(pod_uid);
        let Some(address) = known else { return Ok(()) };
        nftables::apply(&filter::forget_script(pod_uid, address)).await?;
        // Last, so that nobody gets the address while the old pod could still use it.
        self.inner.addresses.lock().await.release(pod_uid)?;
        tracing::info!(pod.uid = pod_uid, %address, "pod detached from the network");
        Ok(())
    }

    /// Detaches every pod that is not in `live_uids`, and removes taps that belong to none.
    pub async fn retain(&self, live_uids: &BTreeSet<String>) -> Result<(), Error> {
        let known: Vec<String> =
            self.inner.addresses.lock().await.all().map(|(uid, _)| uid.to_owned()).collect();
        for uid in known.iter().filter(|uid| !live_uids.contains(*uid)) {
            self.detach(uid).await?;
        }
        let live_taps: BTreeSet<String> =
            live_uids.iter().map(|uid| names::tap_name(uid)).collect();
        for port in self.inner.links.ports(self.inner.bridge).await? {
            if port.starts_with(TAP_PREFIX) && !live_taps.contains(&port) {
                self.inner.links.remove(&port).await?;
            }
        }
        Ok(())
    }

    /// Makes the overlay reach exactly these nodes (this node may be in the list, it is skipped).
    pub async fn set_peers(&self, peers: Vec<Peer>) -> Result<(), Error> {
        let _one_at_a_time = self.inner.peering.lock().await;
        let Inner { config, links, overlay: device, .. } = &*self.inner;
        let desired =
            overlay::desired(&peers, config.node_ip, config.pod_cidr, config.cluster_cidr);
        nftables::apply(&filter::nodes_script(desired.forwarding.values().copied())).await?;
        let plan = overlay::plan(&links.observe_overlay(*device).await?, &desired);
        if !plan.is_empty() {
            tracing::info!(peers = desired.routes.len(), ?plan, "overlay changes");
            links.apply_overlay(*device, addresses::gateway(config.pod_cidr), &plan).await?;
        }
        Ok(())
    }

    /// Puts an address of a node-local service (DNS) on the link `bh-dns`, which has no other use.
    pub async fn add_service_address(&self, address: Ipv4Addr) -> Result<(), Error> {
        let link = self.inner.links.ensure_address_holder(SERVICE_LINK).await?;
        Ok(self.inner.links.ensure_address(link, address, 32).await?)
    }

    fn place(&self, pod_uid: &str, address: Ipv4Addr) -> Attached {
        let config = &self.inner.config;
        Attached {
            address,
            prefix_len: config.pod_cidr.prefix_len(),
            gateway: addresses::gateway(config.pod_cidr),
            mac: names::pod_mac(address),
            mtu: pod_mtu(config),
            tap_name: names::tap_name(pod_uid),
        }
    }
}

fn pod_mtu(config: &Config) -> u32 {
    config.mtu.saturating_sub(OVERLAY_OVERHEAD_BYTES)
}
