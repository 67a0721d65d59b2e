//! The codec against itself and against garbage, and two sessions against each other.

use bytes::{Bytes, BytesMut};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{dictionary::*, window::INITIAL_BYTES, *};

fn samples() -> Vec<Frame> {
    let headers = Headers::of(&[("streamType", "data"), ("port", "80"), ("requestID", "0")]);
    vec![
        Frame::SynStream { id: 1, fin: false, headers: headers.clone() },
        Frame::SynReply { id: 1, fin: false, headers: Headers::default() },
        Frame::Headers { id: 1, fin: true, headers },
        Frame::Data { id: 1, fin: false, data: Bytes::from_static(b"hello") },
        Frame::Data { id: 1, fin: true, data: Bytes::new() },
        Frame::Rst { id: 3, code: 5 },
        Frame::Settings { initial_window: Some(1 << 20) },
        Frame::Settings { initial_window: None },
        Frame::Ping { id: 7 },
        Frame::GoAway { last_good: 9, code: 0 },
        Frame::WindowUpdate { id: 1, delta: 4096 },
    ]
}

fn encode_all(frames: &[Frame]) -> BytesMut {
    let (mut encoder, mut output) = (Encoder::default(), BytesMut::new());
    frames.iter().for_each(|frame| encoder.encode(frame, &mut output));
    output
}

/// Feeds the bytes in pieces of `step`; returns the frames up to an error or the end.
fn decode_all(bytes: &[u8], step: usize) -> (Vec<Frame>, Result<(), FrameError>) {
    let (mut decoder, mut input, mut frames) = (Decoder::default(), BytesMut::new(), Vec::new());
    for piece in bytes.chunks(step.max(1)) {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, Ok(()))
}

fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1u32, 0u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    (b << 16) | a
}

#[test]
fn the_dictionary_is_the_one_that_peers_know() {
    assert_eq!(DICTIONARY.len(), 1423);
    assert_eq!(adler32(&DICTIONARY), DICTIONARY_ID);
    // Its name stands in the zlib header of a connection's first block, after two bytes of flags.
    let first = encode_all(&samples()[..1]);
    assert_eq!(first[8 + 10 + 2..][..4], DICTIONARY_ID.to_be_bytes());
}

#[test]
fn frames_round_trip_however_the_bytes_are_cut() {
    let bytes = encode_all(&samples());
    for step in [1, 2, 3, 7, 8, 64] {
        let (frames, result) = decode_all(&bytes, step);
        assert_eq!(result, Ok(()));
        let whole: Vec<Frame> = if step >= 5 { frames } else { join(frames) };
        assert_eq!(join(whole), samples(), "step {step}");
    }
}

/// Joins the pieces of a data frame.
fn join(frames: Vec<Frame>) -> Vec<Frame> {
    let mut joined: Vec<Frame> = Vec::new();
    for frame in frames {
        match (joined.last_mut(), frame) {
            (
                Some(Frame::Data { data, fin: false, .. }),
                Frame::Data { data: more, fin: false, .. },
            ) => {
                *data = [&data[..], &more[..]].concat().into();
            }
            (_, frame) => joined.push(frame),
        }
    }
    joined
}

#[test]
fn unknown_frames_are_skipped_and_wrong_ones_are_errors() {
    let unknown = [0x80, 3, 0, 99, 0, 0, 0, 2, 1, 2];
    let known = encode_all(&[Frame::Ping { id: 1 }]);
    let (frames, _) = decode_all(&[&unknown[..], &known[..]].concat(), 100);
    assert_eq!(frames, [Frame::Ping { id: 1 }]);
    let table = [
        (vec![0x80, 2, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1], FrameError::BadVersion),
        (vec![0x80, 3, 0, 6, 0, 0, 0, 1, 0], FrameError::TooShort),
        (vec![0x80, 3, 0, 4, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff], FrameError::TooShort),
        (vec![0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff], FrameError::TooLarge),
        (vec![0x80, 3, 0, 2, 0, 0, 0, 8, 0, 0, 0, 1, 1, 2, 3, 4], FrameError::BadHeaders),
    ];
    for (bytes, error) in table {
        assert_eq!(decode_all(&bytes, 100).1, Err(error));
    }
}

#[test]
fn a_header_block_that_expands_without_end_is_refused() {
    let huge = "x".repeat(300 << 10);
    let bytes = encode_all(&[Frame::SynStream {
        id: 1,
        fin: false,
        headers: Headers::of(&[("a", &huge)]),
    }]);
    assert!(bytes.len() < 64 << 10);
    assert_eq!(decode_all(&bytes, 1000).1, Err(FrameError::TooLarge));
}

#[test]
fn garbage_and_damage_never_panic() {
    let mut random = StdRng::seed_from_u64(7);
    let good = encode_all(&samples());
    for round in 0..3000 {
        let mut bytes = if round % 2 == 0 {
            (0..random.random_range(0..200)).map(|_| random.random()).collect()
        } else {
            good.to_vec()
        };
        for _ in 0..random.random_range(0..4) {
            if !bytes.is_empty() {
                let at = random.random_range(0..bytes.len());
                bytes[at] = random.random();
            }
        }
        bytes.truncate(random.random_range(0..=bytes.len()));
        let (frames, _) = decode_all(&bytes, random.random_range(1..50));
        assert!(frames.len() <= bytes.len());
    }
}

#[tokio::test]
async fn two_sessions_carry_streams_both_ways() {
    let (near, far) = tokio::io::duplex(1 << 10);
    let (client, _) = Session::start(near, Role::Client);
    let (server, mut accepted) = Session::start(far, Role::Server);
    let mut opened = client.open(Headers::of(&[("streamType", "data")])).await.unwrap();
    let mut stream = accepted.recv().await.unwrap();
    assert_eq!(stream.headers.get("streamtype"), Some("data"));
    // Far more than a window, in both directions at once: neither side may wait for the other.
    let large = Bytes::from(vec![42; 8 * INITIAL_BYTES as usize]);
    let send = |writer: StreamWriter| {
        let large = large.clone();
        tokio::spawn(async move {
            writer.write(large).await.unwrap();
            writer.finish().await.unwrap();
        })
    };
    let (one, two) = (send(opened.writer.clone()), send(stream.writer.clone()));
    let drain = |mut reader: StreamReader| async move {
        let mut total = 0;
        while let Some(data) = reader.read().await {
            total += data.len();
        }
        total
    };
    let opened_reader = std::mem::replace(&mut opened.reader, stream.reader);
    stream.reader = opened_reader;
    let (a, b) = tokio::join!(drain(opened.reader), drain(stream.reader));
    assert_eq!((a, b), (large.len(), large.len()));
    one.await.unwrap();
    two.await.unwrap();
    tokio::join!(client.close(), server.close());
}

#[tokio::test]
async fn a_session_has_room_for_ever_new_streams() {
    let (near, far) = tokio::io::duplex(4 << 10);
    let (client, _) = Session::start(near, Role::Client);
    let (_server, mut accepted) = Session::start(far, Role::Server);
    for _ in 0..3000 {
        let mut stream = client.open(Headers::default()).await.unwrap();
        let mut other = accepted.recv().await.unwrap();
        stream.writer.finish().await.unwrap();
        assert_eq!(other.reader.read().await, None);
        other.writer.finish().await.unwrap();
        assert_eq!(stream.reader.read().await, None);
    }
}

#[tokio::test]
async fn a_reset_and_an_end_are_seen_by_the_other_side() {
    let (near, far) = tokio::io::duplex(1 << 10);
    let (client, _) = Session::start(near, Role::Client);
    let (server, mut accepted) = Session::start(far, Role::Server);
    let one = client.open(Headers::default()).await.unwrap();
    let mut two = client.open(Headers::default()).await.unwrap();
    let (mut first, second) = (accepted.recv().await.unwrap(), accepted.recv().await.unwrap());
    one.writer.reset().await.unwrap();
    assert_eq!(first.reader.read().await, None);
    assert!(first.reader.is_reset());
    assert!(first.writer.write(Bytes::from_static(b"x")).await.is_err());
    drop(server);
    assert_eq!(two.reader.read().await, None);
    client.ended().cancelled().await;
    two.writer.closed().await;
    second.writer.closed().await;
    assert!(accepted.recv().await.is_none());
}
