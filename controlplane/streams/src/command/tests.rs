//! A client of each transport against a command that echoes.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::io::DuplexStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role as SocketRole},
};

use super::*;
use crate::{
    negotiate::Coding,
    spdy::{Headers, Role, Session, Stream},
    websocket::{decode, encode, open},
};

const ALL: CommandOptions = CommandOptions { stdin: true, stdout: true, stderr: true, tty: false };

/// Copies stdin to stdout, reports sizes on stderr, and exits with 3 at the end of stdin.
async fn echo(mut command: RemoteCommand) {
    let stderr = command.stderr.clone();
    let sizes = async {
        while let Some(size) = command.resize.recv().await {
            let text = format!("{}x{}", size.columns, size.rows);
            stderr.write(text.into()).await.unwrap();
        }
    };
    let copy = async {
        while let Some(data) = command.stdin.recv().await {
            command.stdout.write(data).await.unwrap();
        }
    };
    tokio::select! {
        () = copy => {}
        () = async { sizes.await; std::future::pending().await } => {}
    }
    drop(command.stdin);
    command.outcome.finish(status::exited(3)).await;
}

async fn socket(
    version: u8,
    coding: Coding,
    options: CommandOptions,
) -> WebSocketStream<DuplexStream> {
    let (near, far) = tokio::io::duplex(16 << 10);
    let transport = Transport::WebSocket { protocol: "", coding, version };
    tokio::spawn(async move { echo(start(far, transport, options).await.unwrap()).await });
    open(near, SocketRole::Client).await
}

/// Everything each channel carried until the server closed.
async fn collect(socket: &mut WebSocketStream<DuplexStream>, coding: Coding) -> [Vec<u8>; 5] {
    let mut channels: [Vec<u8>; 5] = Default::default();
    while let Some(Ok(message)) = socket.next().await {
        if let Some((channel, data)) = decode(coding, message) {
            channels[usize::from(channel)].extend_from_slice(&data);
        }
    }
    channels
}

#[tokio::test]
async fn a_version_5_socket_closes_stdin_and_gets_the_exit_code() {
    let mut socket = socket(5, Coding::Binary, CommandOptions { tty: true, ..ALL }).await;
    let size = br#"{"Width":80,"Height":24}"#;
    socket.send(encode(Coding::Binary, 4, &size[..10])).await.unwrap();
    socket.send(encode(Coding::Binary, 4, &size[10..])).await.unwrap();
    socket.send(encode(Coding::Binary, 0, b"hello ")).await.unwrap();
    socket.send(Message::Ping(Bytes::from_static(b"alive"))).await.unwrap();
    let mut got_pong = false;
    let mut stderr = Vec::new();
    while !got_pong || stderr.is_empty() {
        match socket.next().await.unwrap().unwrap() {
            Message::Pong(data) => got_pong = data == "alive",
            message => {
                if let Some((2, data)) = decode(Coding::Binary, message) {
                    stderr.extend_from_slice(&data);
                }
            }
        }
    }
    assert_eq!(stderr, b"80x24");
    socket.send(encode(Coding::Binary, 0, b"world")).await.unwrap();
    socket.send(encode(Coding::Binary, 255, &[0])).await.unwrap();
    let channels = collect(&mut socket, Coding::Binary).await;
    assert!(channels[1].ends_with(b"world"));
    let status: Value = serde_json::from_slice(&channels[3]).unwrap();
    assert_eq!(status["details"]["causes"][0]["message"], "3");
}

#[tokio::test]
async fn version_1_gets_text_and_base64_works() {
    let options = CommandOptions { stdin: false, ..ALL };
    let mut socket = socket(1, Coding::Base64, options).await;
    let channels = collect(&mut socket, Coding::Base64).await;
    assert_eq!(channels[3], b"command terminated with non-zero exit code: exit status 3");
}

#[tokio::test]
async fn a_client_that_goes_away_is_noticed() {
    let (near, far) = tokio::io::duplex(1 << 10);
    let transport = Transport::WebSocket { protocol: "", coding: Coding::Binary, version: 5 };
    let mut command = start(far, transport, ALL).await.unwrap();
    drop(near);
    command.closed.cancelled().await;
    assert!(command.stdin.recv().await.is_none());
    command.outcome.finish(status::success()).await;
    assert!(command.stdout.write(Bytes::from_static(b"x")).await.is_err());
}

#[tokio::test]
async fn a_command_that_never_says_how_it_ended_is_an_internal_error() {
    let (near, far) = tokio::io::duplex(1 << 10);
    let transport = Transport::WebSocket { protocol: "", coding: Coding::Binary, version: 4 };
    drop(start(far, transport, ALL).await.unwrap());
    let mut socket = open(near, SocketRole::Client).await;
    let channels = collect(&mut socket, Coding::Binary).await;
    let status: Value = serde_json::from_slice(&channels[3]).unwrap();
    assert_eq!(status["reason"], "InternalError");
}

async fn read_all(mut stream: Stream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(data) = stream.reader.read().await {
        all.extend_from_slice(&data);
    }
    all
}

#[tokio::test]
async fn spdy_carries_a_large_echo_and_the_exit_code() {
    for version in [4, 1] {
        let (near, far) = tokio::io::duplex(16 << 10);
        tokio::spawn(async move {
            echo(start(far, Transport::Spdy { version }, ALL).await.unwrap()).await;
        });
        let (session, _accepted) = Session::start(near, Role::Client);
        let mut streams = Vec::new();
        for kind in ["error", "stdin", "stdout", "stderr"] {
            streams.push(session.open(Headers::of(&[("streamType", kind)])).await.unwrap());
        }
        let [error, stdin, stdout, stderr] = <[Stream; 4]>::try_from(streams).ok().unwrap();
        let large = Bytes::from(vec![7; 1 << 20]);
        let input = large.clone();
        let writer = tokio::spawn(async move {
            stdin.writer.write(input).await.unwrap();
            stdin.writer.finish().await.unwrap();
        });
        let (out, err, error) = tokio::join!(read_all(stdout), read_all(stderr), read_all(error));
        writer.await.unwrap();
        assert_eq!((out.len(), err.len()), (large.len(), 0));
        let expected = if version == 4 {
            status::exited(3).to_string()
        } else {
            status::as_text(&status::exited(3))
        };
        assert_eq!(String::from_utf8(error).unwrap(), expected);
        session.close().await;
    }
}

#[test]
fn sizes_are_read_from_broken_pieces_and_nonsense_is_bounded() {
    let mut buffer = br#"{"Width":1,"Height":2}{"Width":3,"#.to_vec();
    assert_eq!(take_sizes(&mut buffer), [TerminalSize { columns: 1, rows: 2 }]);
    buffer.extend_from_slice(br#""Height":4}"#);
    assert_eq!(take_sizes(&mut buffer), [TerminalSize { columns: 3, rows: 4 }]);
    buffer.extend_from_slice(&[b'['; 5000]);
    assert!(take_sizes(&mut buffer).is_empty() && buffer.is_empty());
}
