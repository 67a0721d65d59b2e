//! Makes the virtio devices of a configuration and connects them to KVM.

use std::sync::Arc;

use anyhow::{Context, Result};
use kvm::Machine;
use memory::GuestRam;
use memory::layout::{device_irq, device_window};
use virtio::block::Block;
use virtio::net::Net;
use virtio::rng::Rng;
use virtio::vsock::Vsock;
use virtio::worker::Slot;
use virtio::{Device, Interrupt, Profile, Transport, Worker, mmio};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::config;

/// Devices before the worker has them, with what their transports need.
pub struct Devices {
    slots: Vec<Slot>,
    profiles: Vec<Profile>,
}

/// Makes all devices, disks first so that their names are in order.
pub fn make(
    disks: Vec<config::Disk>,
    nics: Vec<config::Nic>,
    vsock: Option<config::Vsock>,
) -> Result<Vec<Box<dyn Device>>> {
    let mut devices: Vec<Box<dyn Device>> = Vec::new();
    for (index, disk) in disks.into_iter().enumerate() {
        let block = Block::new(disk.file, disk.read_only, &disk.serial)
            .with_context(|| format!("disk {index}"))?;
        devices.push(Box::new(block));
    }
    for (index, nic) in nics.into_iter().enumerate() {
        let net = Net::new(nic.tap, nic.mac, nic.mtu)
            .with_context(|| format!("network interface {index}"))?;
        devices.push(Box::new(net));
    }
    if let Some(vsock) = vsock {
        let device = Vsock::new(vsock.cid, vsock.listener, vsock.guest_ports)
            .context("prepare the vsock's sockets")?;
        devices.push(Box::new(device));
    }
    devices.push(Box::new(Rng::default()));
    Ok(devices)
}

impl Devices {
    /// Gives each device its window, doorbells and interrupt.
    pub fn connect(devices: Vec<Box<dyn Device>>, machine: &Machine) -> Result<Self> {
        let (mut slots, mut profiles) = (Vec::new(), Vec::new());
        for (slot, device) in devices.into_iter().enumerate() {
            let profile = device.profile();
            let mut doorbells = Vec::new();
            for queue in 0..profile.queues {
                let doorbell = EventFd::new(EFD_NONBLOCK).context("make a doorbell")?;
                let address = device_window(slot) + mmio::QUEUE_NOTIFY;
                // A device has three queues at most.
                machine.connect_doorbell(&doorbell, address, queue as u32)?;
                doorbells.push(doorbell);
            }
            let line = EventFd::new(EFD_NONBLOCK).context("make an interrupt")?;
            machine.connect_interrupt(&line, device_irq(slot))?;
            slots.push(Slot { device, doorbells, interrupt: Arc::new(Interrupt::new(line)) });
            profiles.push(profile);
        }
        Ok(Self { slots, profiles })
    }

    /// Starts the worker with the devices; returns it and the transports in slot order.
    pub fn start(
        self,
        ram: &Arc<GuestRam>,
        start: impl FnOnce(Vec<Slot>) -> std::io::Result<Worker>,
    ) -> Result<(Worker, Vec<Transport>)> {
        let interrupts: Vec<_> = self.slots.iter().map(|slot| slot.interrupt.clone()).collect();
        let worker = start(self.slots).context("start the I/O thread")?;
        let transports = self
            .profiles
            .into_iter()
            .zip(interrupts)
            .enumerate()
            .map(|(slot, (profile, interrupt))| {
                Transport::new(slot, profile, ram.clone(), interrupt, worker.clone())
            })
            .collect();
        Ok((worker, transports))
    }
}
