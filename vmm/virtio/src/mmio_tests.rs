//! Tests of the transport's registers.

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::*;
use crate::device::Profile;

fn transport() -> (Transport, impl Sized) {
    let (worker, keep) = Worker::detached();
    let profile = Profile { id: 4, features: 1 << 3, queues: 1, config: vec![1, 2, 3, 4, 5] };
    let ram = memory::allocate(memory::RAM_BYTES_MIN).unwrap();
    let interrupt = Arc::new(Interrupt::new(EventFd::new(EFD_NONBLOCK).unwrap()));
    (Transport::new(0, profile, ram, interrupt, worker), keep)
}

fn read(transport: &Transport, offset: u64) -> u32 {
    let mut data = [0; 4];
    transport.read(offset, &mut data);
    u32::from_le_bytes(data)
}

fn write(transport: &mut Transport, offset: u64, value: u32) {
    transport.write(offset, &value.to_le_bytes());
}

fn negotiate(transport: &mut Transport) {
    for value in [0, 1, 3] {
        write(transport, reg::STATUS, value);
    }
    write(transport, reg::DRIVER_FEATURES_SEL, 1);
    write(transport, reg::DRIVER_FEATURES, 1);
    write(transport, reg::STATUS, 11);
    assert_eq!(read(transport, reg::STATUS), 11);
}

fn place_queue(transport: &mut Transport, desc: u32, driver: u32, device: u32) {
    write(transport, reg::QUEUE_SIZE, 16);
    write(transport, reg::QUEUE_DESC_LOW, desc);
    write(transport, reg::QUEUE_DRIVER_LOW, driver);
    write(transport, reg::QUEUE_DEVICE_LOW, device);
    write(transport, reg::QUEUE_READY, 1);
}

#[test]
fn status_steps_follow_the_specification() {
    let cases = [
        (0, 1, Change::Keep),
        (1, 3, Change::Keep),
        (3, 11, Change::CheckFeatures),
        (11, 15, Change::Activate),
        (15, 0, Change::Reset),
        (15, 15, Change::Keep),
        (3, 131, Change::Keep),
        (0, 15, Change::Refuse),
        (3, 7, Change::Refuse),
        (15, 11, Change::Refuse),
        (11, 3, Change::Refuse),
    ];
    for (old, new, expected) in cases {
        assert_eq!(plan_status(old, new), expected, "{old} to {new}");
    }
}

#[test]
fn driver_finds_and_starts_the_device() {
    let (mut transport, _keep) = transport();
    assert_eq!(read(&transport, reg::MAGIC), 0x7472_6976);
    assert_eq!(read(&transport, reg::VERSION), 2);
    assert_eq!(read(&transport, reg::DEVICE_ID), 4);
    assert_eq!(read(&transport, 0xb0), u32::MAX);
    negotiate(&mut transport);
    place_queue(&mut transport, 0x1000, 0x2000, 0x3000);
    write(&mut transport, reg::STATUS, 15);
    assert_eq!(read(&transport, reg::STATUS), 15);
}

#[test]
fn unknown_features_are_not_accepted() {
    let (mut transport, _keep) = transport();
    for value in [1, 3] {
        write(&mut transport, reg::STATUS, value);
    }
    write(&mut transport, reg::DRIVER_FEATURES_SEL, 1);
    write(&mut transport, reg::DRIVER_FEATURES, 3);
    write(&mut transport, reg::STATUS, 11);
    assert_eq!(read(&transport, reg::STATUS), 3, "FEATURES_OK stays clear");
}

#[test]
fn queue_addresses_outside_ram_break_the_device() {
    let (mut transport, _keep) = transport();
    negotiate(&mut transport);
    place_queue(&mut transport, 0xffff_f000, 0x2000, 0x3000);
    write(&mut transport, reg::STATUS, 15);
    assert_eq!(read(&transport, reg::STATUS), 11 | status::NEEDS_RESET);
}

#[test]
fn queues_cannot_change_after_driver_ok() {
    let (mut transport, _keep) = transport();
    negotiate(&mut transport);
    place_queue(&mut transport, 0x1000, 0x2000, 0x3000);
    write(&mut transport, reg::STATUS, 15);
    place_queue(&mut transport, 0x5000, 0x6000, 0x7000);
    assert_eq!(read(&transport, reg::QUEUE_READY), 0, "the device has the queue");
    assert_eq!(transport.queues[0].desc_table(), 0);
}

#[test]
fn configuration_reads_any_width_and_ends() {
    let (transport, _keep) = transport();
    let mut two = [0; 2];
    transport.read(reg::CONFIG + 1, &mut two);
    assert_eq!(two, [2, 3]);
    let mut eight = [9; 8];
    transport.read(reg::CONFIG + 3, &mut eight);
    assert_eq!(eight, [4, 5, 0, 0, 0, 0, 0, 0]);
    transport.read(MMIO_WINDOW_BYTES - 1, &mut two);
    assert_eq!(two, [0, 0]);
}
