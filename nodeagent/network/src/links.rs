//! Links, addresses, routes, neighbours and forwarding entries by rtnetlink. Thin: decides nothing
//! but how to reach the state it was asked for from whatever is there.

use std::net::{IpAddr, Ipv4Addr};

use futures::TryStreamExt;
use ipnet::Ipv4Net;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{
    InfoBridge, InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::{
    Handle, LinkBridge, LinkBridgePort, LinkDummy, LinkMessageBuilder, LinkUnspec, LinkVxlan,
    RouteMessageBuilder,
};

use crate::overlay::{Overlay, Plan};

/// IANA's port for VXLAN.
pub const VXLAN_PORT: u16 = 4789;
/// The one virtual network of the cluster.
const VNI: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("open a netlink socket")]
    Open { source: std::io::Error },
    #[error("{operation} by netlink")]
    Request { operation: String, source: rtnetlink::Error },
    #[error("find link {name}")]
    NoLink { name: String },
}

/// A netlink connection of the network namespace it was opened in.
#[derive(Clone, Debug)]
pub struct Links {
    handle: Handle,
}

impl Links {
    /// Opens the connection; its driver runs on the current runtime until the last handle is gone.
    pub fn open() -> Result<Links, Error> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|source| Error::Open { source })?;
        tokio::spawn(connection);
        Ok(Links { handle })
    }

    pub async fn find(&self, name: &str) -> Result<Option<LinkMessage>, Error> {
        let answer = self.handle.link().get().match_name(name).execute().try_next().await;
        match answer {
            Err(error) if errno(&error) == libc::ENODEV => Ok(None),
            other => other.map_err(failed(|| format!("look up link {name}"))),
        }
    }

    pub async fn index(&self, name: &str) -> Result<u32, Error> {
        let link = self.find(name).await?;
        link.map(|link| link.header.index).ok_or_else(|| Error::NoLink { name: name.to_owned() })
    }

    /// Names of all ports of a bridge.
    pub async fn ports(&self, bridge: u32) -> Result<Vec<String>, Error> {
        let links: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(failed(|| "list links".into()))?;
        let is_port =
            |link: &&LinkMessage| link.attributes.contains(&LinkAttribute::Controller(bridge));
        Ok(links.iter().filter(is_port).filter_map(name_of).collect())
    }

    /// A bridge that is up, with this hardware address and MTU. Returns its index.
    pub async fn ensure_bridge(&self, name: &str, mac: [u8; 6], mtu: u32) -> Result<u32, Error> {
        if self.find(name).await?.is_none() {
            let bridge = LinkBridge::new(name)
                .set_info_data(InfoData::Bridge(vec![InfoBridge::MulticastSnooping(false)]));
            self.create(bridge.build(), name).await?;
        }
        let index = self.index(name).await?;
        let wanted = LinkUnspec::new_with_index(index).address(mac.to_vec()).mtu(mtu).up();
        self.change(wanted, name).await?;
        Ok(index)
    }

    /// A link that carries addresses and no traffic, and is up. Returns its index. It is a dummy
    /// link, or a bridge without ports where the kernel has no dummy driver.
    pub async fn ensure_address_holder(&self, name: &str) -> Result<u32, Error> {
        if self.find(name).await?.is_none() {
            let dummy = self.handle.link().add(LinkDummy::new(name).up().build()).execute().await;
            match dummy {
                Err(error) if errno(&error) == libc::EOPNOTSUPP => {
                    self.create(LinkBridge::new(name).build(), name).await?;
                }
                other => tolerate(other, libc::EEXIST, || format!("create link {name}"))?,
            }
        }
        self.index(name).await
    }

    /// A VXLAN device that learns nothing. One with another end point is made anew.
    pub async fn ensure_vxlan(
        &self,
        name: &str,
        uplink: u32,
        local: Ipv4Addr,
        mac: [u8; 6],
        mtu: u32,
    ) -> Result<u32, Error> {
        match self.find(name).await? {
            Some(link) if same_end_point(&link, uplink, local) => {}
            Some(link) => {
                self.delete(link.header.index, name).await?;
                self.create_vxlan(name, uplink, local).await?;
            }
            None => self.create_vxlan(name, uplink, local).await?,
        }
        let index = self.index(name).await?;
        let wanted = LinkUnspec::new_with_index(index).address(mac.to_vec()).mtu(mtu).up();
        self.change(wanted, name).await?;
        Ok(index)
    }

    async fn create_vxlan(&self, name: &str, uplink: u32, local: Ipv4Addr) -> Result<(), Error> {
        let device = LinkVxlan::new(name, VNI)
            .dev(uplink)
            .local(local)
            .port(VXLAN_PORT)
            .learning(false)
            .build();
        self.create(device, name).await
    }

    /// Makes the link an isolated port of the bridge, with this MTU, and up.
    ///
    /// Isolated ports never exchange frames with each other: what pods of one node send each other
    /// passes the gateway, where services and policies see it. Such a port needs no hairpin.
    pub async fn ensure_port(&self, name: &str, bridge: u32, mtu: u32) -> Result<(), Error> {
        let index = self.index(name).await?;
        let wanted = LinkUnspec::new_with_index(index).controller(bridge).mtu(mtu).up();
        self.change(wanted, name).await?;
        let port = LinkBridgePort::new(index).isolated(true).root_block(true).guard(true).build();
        self.handle
            .link()
            .set_port(port)
            .execute()
            .await
            .map_err(failed(|| format!("isolate bridge port {name}")))
    }

    /// Removes a link. Fine when there is none.
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        match self.find(name).await? {
            Some(link) => self.delete(link.header.index, name).await,
            None => Ok(()),
        }
    }

    pub async fn ensure_address(
        &self,
        link: u32,
        address: Ipv4Addr,
        prefix_len: u8,
    ) -> Result<(), Error> {
        let answer =
            self.handle.address().add(link, address.into(), prefix_len).replace().execute().await;
        match answer {
            Err(error) if errno(&error) == libc::EEXIST => Ok(()),
            other => other.map_err(failed(|| format!("add address {address}/{prefix_len}"))),
        }
    }

    /// What the VXLAN device holds now.
    pub async fn observe_overlay(&self, device: u32) -> Result<Overlay, Error> {
        let routes: Vec<RouteMessage> = self
            .handle
            .route()
            .get(RouteMessageBuilder::<Ipv4Addr>::new().build())
            .execute()
            .try_collect()
            .await
            .map_err(failed(|| "list routes".into()))?;
        let neighbours = self.neighbours(AddressFamily::Inet).await?;
        let forwarding = self.neighbours(AddressFamily::Bridge).await?;
        let here = |message: &&NeighbourMessage| message.header.ifindex == device;
        Ok(Overlay {
            routes: routes.iter().filter_map(|route| route_of(route, device)).collect(),
            neighbours: neighbours
                .iter()
                .filter(here)
                .filter(|message| message.header.state == NeighbourState::Permanent)
                .filter_map(|message| Some((destination_of(message)?, mac_of(message)?)))
                .collect(),
            forwarding: forwarding
                .iter()
                .filter(here)
                .filter_map(|message| Some((mac_of(message)?, destination_of(message)?)))
                .collect(),
        })
    }

    async fn neighbours(&self, family: AddressFamily) -> Result<Vec<NeighbourMessage>, Error> {
        self.handle
            .neighbours()
            .get()
            .set_address_family(family)
            .execute()
            .try_collect()
            .await
            .map_err(failed(|| "list neighbours".into()))
    }

    /// Carries out the plan. Sources of routed packets of this node are `source`.
    pub async fn apply_overlay(
        &self,
        device: u32,
        source: Ipv4Addr,
        plan: &Plan,
    ) -> Result<(), Error> {
        let Plan { remove, set } = plan;
        for (net, via) in &remove.routes {
            let gone = self.handle.route().del(overlay_route(device, *net, *via, None)).execute();
            tolerate(gone.await, libc::ESRCH, || format!("remove route to {net}"))?;
        }
        for (address, mac) in &remove.neighbours {
            let entry = neighbour(device, (*address).into(), *mac);
            let gone = self.handle.neighbours().del(entry).execute().await;
            tolerate(gone, libc::ENOENT, || format!("remove neighbour {address}"))?;
        }
        for (mac, node) in &remove.forwarding {
            let entry = forwarding_entry(device, *mac, *node);
            let gone = self.handle.neighbours().del(entry).execute().await;
            tolerate(gone, libc::ENOENT, || format!("remove forwarding entry to {node}"))?;
        }
        // Forwarding entry, then neighbour, then route: a route never leads where nobody answers.
        for (mac, node) in &set.forwarding {
            let mut request = self.handle.neighbours().add_bridge(device, mac).replace();
            *request.message_mut() = forwarding_entry(device, *mac, *node);
            request.execute().await.map_err(failed(|| format!("forward to {node}")))?;
        }
        for (address, mac) in &set.neighbours {
            let request = self.handle.neighbours().add(device, (*address).into());
            let request = request.link_layer_address(mac).replace();
            request.execute().await.map_err(failed(|| format!("set neighbour {address}")))?;
        }
        for (net, via) in &set.routes {
            let route = overlay_route(device, *net, *via, Some(source));
            let request = self.handle.route().add(route).replace();
            request.execute().await.map_err(failed(|| format!("set route to {net}")))?;
        }
        Ok(())
    }

    async fn create(&self, message: LinkMessage, name: &str) -> Result<(), Error> {
        let answer = self.handle.link().add(message).execute().await;
        tolerate(answer, libc::EEXIST, || format!("create link {name}"))
    }

    async fn change(
        &self,
        wanted: LinkMessageBuilder<LinkUnspec>,
        name: &str,
    ) -> Result<(), Error> {
        let answer = self.handle.link().set(wanted.build()).execute().await;
        answer.map_err(failed(|| format!("configure link {name}")))
    }

    async fn delete(&self, index: u32, name: &str) -> Result<(), Error> {
        let answer = self.handle.link().del(index).execute().await;
        tolerate(answer, libc::ENODEV, || format!("delete link {name}"))
    }
}

fn failed(operation: impl FnOnce() -> String) -> impl FnOnce(rtnetlink::Error) -> Error {
    |source| Error::Request { operation: operation(), source }
}

fn tolerate(
    answer: Result<(), rtnetlink::Error>,
    fine: i32,
    operation: impl FnOnce() -> String,
) -> Result<(), Error> {
    match answer {
        Err(error) if errno(&error) == fine => Ok(()),
        other => other.map_err(failed(operation)),
    }
}

/// The kernel's answer as a positive errno, 0 for other failures.
fn errno(error: &rtnetlink::Error) -> i32 {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.code.map_or(0, |code| -code.get()),
        _ => 0,
    }
}

fn name_of(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

fn same_end_point(link: &LinkMessage, uplink: u32, local: Ipv4Addr) -> bool {
    let wanted = [
        InfoVxlan::Id(VNI),
        InfoVxlan::Link(uplink),
        InfoVxlan::Local(local),
        InfoVxlan::Port(VXLAN_PORT),
        InfoVxlan::Learning(false),
    ];
    link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().any(|info| match info {
            LinkInfo::Data(InfoData::Vxlan(have)) => wanted.iter().all(|one| have.contains(one)),
            _ => false,
        }),
        _ => false,
    })
}

fn route_of(route: &RouteMessage, device: u32) -> Option<(Ipv4Net, Ipv4Addr)> {
    let mut destination = None;
    let mut via = None;
    let mut here = false;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                destination = Some(*address)
            }
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => via = Some(*address),
            RouteAttribute::Oif(index) => here = *index == device,
            _ => {}
        }
    }
    let net = Ipv4Net::new(destination?, route.header.destination_prefix_length).ok()?;
    here.then_some((net, via?))
}

fn destination_of(message: &NeighbourMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(*address),
        NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
            <[u8; 4]>::try_from(bytes.as_slice()).ok().map(Ipv4Addr::from)
        }
        _ => None,
    })
}

fn mac_of(message: &NeighbourMessage) -> Option<[u8; 6]> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok(),
        _ => None,
    })
}

fn overlay_route(
    device: u32,
    net: Ipv4Net,
    via: Ipv4Addr,
    source: Option<Ipv4Addr>,
) -> RouteMessage {
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(net.network(), net.prefix_len())
        .gateway(via)
        .output_interface(device)
        .onlink();
    match source {
        Some(source) => route.pref_source(source).build(),
        None => route.build(),
    }
}

fn neighbour(device: u32, address: IpAddr, mac: [u8; 6]) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = device;
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::Destination(address.into()));
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
    message
}

fn forwarding_entry(device: u32, mac: [u8; 6], node: Ipv4Addr) -> NeighbourMessage {
    let mut message = neighbour(device, node.into(), mac);
    message.header.family = AddressFamily::Bridge;
    message.header.flags = NeighbourFlags::Own;
    message
}
