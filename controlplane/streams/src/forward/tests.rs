//! A client of each transport against ports that echo.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, split};
use tokio_tungstenite::tungstenite::protocol::Role as SocketRole;

use super::*;
use crate::{
    negotiate::Coding,
    spdy::{Headers, Role, Session, Stream},
    websocket::{decode, encode},
};

/// Echoes every connection; port 1 fails.
async fn serve_echo(mut forward: PortForward) {
    while let Some(connection) = forward.connections.recv().await {
        tokio::spawn(async move {
            if connection.port == 1 {
                return connection.error.fail("connection refused");
            }
            let (mut read, mut write) = split(connection.data);
            tokio::io::copy(&mut read, &mut write).await.unwrap();
            write.shutdown().await.unwrap();
        });
    }
    forward.closed.cancelled().await;
}

async fn open_pair(session: &Session, port: &str, id: &str) -> (Stream, Stream) {
    let open = async |kind| {
        let headers = Headers::of(&[("streamType", kind), ("port", port), ("requestID", id)]);
        session.open(headers).await.unwrap()
    };
    let error = open("error").await;
    error.writer.finish().await.unwrap();
    (error, open("data").await)
}

async fn read_all(mut stream: Stream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(data) = stream.reader.read().await {
        all.extend_from_slice(&data);
    }
    all
}

async fn check_spdy(io: DuplexStream) {
    let (session, _accepted) = Session::start(io, Role::Client);
    for id in ["0", "1"] {
        let (error, data) = open_pair(&session, "80", id).await;
        let large = Bytes::from(vec![9; 1 << 20]);
        let (writer, input) = (data.writer.clone(), large.clone());
        tokio::spawn(async move {
            writer.write(input).await.unwrap();
            writer.finish().await.unwrap();
        });
        assert_eq!(read_all(data).await.len(), large.len());
        assert_eq!(read_all(error).await, b"");
    }
    let (error, data) = open_pair(&session, "1", "2").await;
    assert_eq!(read_all(error).await, b"connection refused");
    assert_eq!(read_all(data).await, b"");
    let (_error, data) = open_pair(&session, "no port", "3").await;
    assert_eq!(read_all(data).await, b"");
    session.close().await;
}

#[tokio::test]
async fn spdy_connections_echo_and_fail_one_by_one() {
    let (near, far) = tokio::io::duplex(16 << 10);
    let server = tokio::spawn(async move {
        serve_echo(start(far, Transport::Spdy { version: 1 }, &[]).await).await
    });
    check_spdy(near).await;
    server.await.unwrap();
}

#[tokio::test]
async fn the_same_through_a_websocket_tunnel() {
    let (near, far) = tokio::io::duplex(16 << 10);
    let server =
        tokio::spawn(async move { serve_echo(start(far, Transport::Tunnel, &[]).await).await });
    check_spdy(tunnel(open(near, SocketRole::Client).await)).await;
    server.await.unwrap();
}

#[tokio::test]
async fn a_client_without_request_ids_is_paired_by_order() {
    let (near, far) = tokio::io::duplex(16 << 10);
    tokio::spawn(
        async move { serve_echo(start(far, Transport::Spdy { version: 1 }, &[]).await).await },
    );
    let (session, _accepted) = Session::start(near, Role::Client);
    let _error =
        session.open(Headers::of(&[("streamType", "error"), ("port", "80")])).await.unwrap();
    let data = session.open(Headers::of(&[("streamType", "data"), ("port", "80")])).await.unwrap();
    data.writer.write(Bytes::from_static(b"hi")).await.unwrap();
    data.writer.finish().await.unwrap();
    assert_eq!(read_all(data).await, b"hi");
}

#[tokio::test]
async fn websocket_channels_begin_with_their_port() {
    let (near, far) = tokio::io::duplex(16 << 10);
    let transport = Transport::WebSocket { protocol: "", coding: Coding::Binary, version: 4 };
    let server =
        tokio::spawn(async move { serve_echo(start(far, transport, &[8080, 1]).await).await });
    let mut socket = open(near, SocketRole::Client).await;
    socket.send(encode(Coding::Binary, 0, b"hello")).await.unwrap();
    let mut channels: [Vec<u8>; 4] = Default::default();
    let wanted: [&[u8]; 4] =
        [b"\x90\x1fhello", b"\x90\x1f", b"\x01\x00", b"\x01\x00connection refused"];
    while channels != wanted {
        let message = socket.next().await.unwrap().unwrap();
        if let Some((channel, data)) = decode(Coding::Binary, message) {
            channels[usize::from(channel)].extend_from_slice(&data);
        }
    }
    drop(socket);
    server.await.unwrap();
}

#[tokio::test]
async fn a_client_that_resets_a_stream_ends_the_connection() {
    let (near, far) = tokio::io::duplex(16 << 10);
    let mut forward = start(far, Transport::Spdy { version: 1 }, &[]).await;
    let (session, _accepted) = Session::start(near, Role::Client);
    let (_error, data) = open_pair(&session, "80", "0").await;
    let mut connection = forward.connections.recv().await.unwrap();
    data.writer.reset().await.unwrap();
    assert_eq!(connection.data.read(&mut [0; 8]).await.unwrap(), 0);
    drop(session);
    forward.closed.cancelled().await;
}
