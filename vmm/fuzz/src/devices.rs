//! A driver of arbitrary bytes against every virtio device.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| virtio::hostile::drive(data));
