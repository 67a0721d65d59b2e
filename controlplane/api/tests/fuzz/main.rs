//! Hostile input to what decodes and merges: nothing may panic, and what must hold of the results holds. See crate `fuzzer`.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod targets;

use std::path::Path;

/// Words that mean something to one parser or the other.
const WORDS: &[&[u8]] = &[
    b"$patch",
    b"delete",
    b"replace",
    b"$setElementOrder/containers",
    b"$deleteFromPrimitiveList/finalizers",
    b"$retainKeys",
    b"name",
    b"metadata",
    b"spec",
    b"managedFields",
    b"containers",
    b"/spec/containers/0",
    b"\"op\":\"move\"",
    b" in (",
    b"notin",
    b"!=",
    b"==",
    b",",
    b"!",
    b")",
    b"\xff",
    b"\x00",
    b"\xf0\x9f\x92\xa9",
    b"k8s\x00",
    b"\x0a\x7f",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\n",
    b"1Ki",
    b"E",
    b"T00:00:00Z",
];

fn fuzz(name: &str, extra: Vec<Vec<u8>>, check: fn(&[u8]) -> bool) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    fuzzer::Target { name, corpus, extra, words: WORDS, check }.run();
}

#[test]
fn protobuf() {
    let objects = targets::objects();
    let encoded = objects.iter().filter_map(api::protobuf::encode).collect();
    fuzz("protobuf", encoded, targets::protobuf);
}

#[test]
fn label_selectors() {
    fuzz("labels", Vec::new(), targets::labels);
}

#[test]
fn field_selectors() {
    fuzz("fields", Vec::new(), targets::fields);
}

#[test]
fn quantities_and_times() {
    fuzz("values", Vec::new(), targets::values);
}

#[test]
fn patches() {
    fuzz("patches", Vec::new(), targets::patches);
}

#[test]
fn apply_merges() {
    fuzz("apply", Vec::new(), targets::apply);
}

#[test]
fn validation() {
    let objects = targets::objects();
    let texts = objects.iter().map(|object| object.to_string().into_bytes()).collect();
    fuzz("patches", texts, targets::validation);
}
