//! WebSocket over an upgraded connection: bounds, channel messages, and the tunnel that makes a byte stream of it.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream},
    time::{Duration, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{Role, WebSocketConfig},
    },
};

use crate::negotiate::Coding;

/// Largest message that is taken from a client, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// What the tunnel holds in each direction, in bytes.
const TUNNEL_BYTES: usize = 64 << 10;
/// How long a client may take to close after we did. Closing at once could cut off what it has not read yet.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

pub(crate) async fn open<T>(io: T, role: Role) -> WebSocketStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    WebSocketStream::from_raw_socket(io, role, Some(config)).await
}

/// A message for a channel.
pub(crate) fn encode(coding: Coding, channel: u8, data: &[u8]) -> Message {
    match coding {
        Coding::Binary => {
            let mut message = BytesMut::with_capacity(data.len() + 1);
            message.put_u8(channel);
            message.put_slice(data);
            Message::Binary(message.freeze())
        }
        Coding::Base64 => {
            let mut text = String::from(char::from(b'0' + channel));
            BASE64_STANDARD.encode_string(data, &mut text);
            Message::text(text)
        }
    }
}

/// Channel and data of a client's message; `None` for what has no channel (pings, empty or broken messages).
pub(crate) fn decode(coding: Coding, message: Message) -> Option<(u8, Bytes)> {
    let mut data = match message {
        Message::Binary(data) => data,
        Message::Text(text) => Bytes::from(text),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => return None,
    };
    if data.is_empty() {
        return None;
    }
    let channel = data.split_to(1)[0];
    match coding {
        Coding::Binary => Some((channel, data)),
        Coding::Base64 => {
            let channel = channel.checked_sub(b'0').filter(|channel| *channel < 10)?;
            Some((channel, BASE64_STANDARD.decode(data).ok()?.into()))
        }
    }
}

/// Makes a byte stream of the binary messages. The pump runs until either side ends.
pub(crate) fn tunnel<T>(socket: WebSocketStream<T>) -> DuplexStream
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (near, far) = tokio::io::duplex(TUNNEL_BYTES);
    let (mut sink, mut source) = socket.split();
    let (mut from_near, mut to_near) = tokio::io::split(far);
    let inbound = async move {
        while let Some(Ok(message)) = source.next().await {
            let Message::Binary(data) = message else { continue };
            if to_near.write_all(&data).await.is_err() {
                break;
            }
        }
        // The reader of `near` sees the end; an error means that it is gone already.
        let _ = to_near.shutdown().await;
    };
    let outbound = async move {
        let mut buffer = BytesMut::with_capacity(TUNNEL_BYTES);
        while matches!(from_near.read_buf(&mut buffer).await, Ok(1..)) {
            let message = Message::Binary(buffer.split().freeze());
            if sink.send(message).await.is_err() {
                return;
            }
        }
        // A client that is gone needs no farewell.
        let _ = sink.send(Message::Close(None)).await;
    };
    tokio::spawn(async move {
        let inbound = tokio::spawn(inbound);
        outbound.await;
        let abort = inbound.abort_handle();
        if timeout(LINGER, inbound).await.is_err() {
            abort.abort();
        }
    });
    near
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_codings_round_trip_and_garbage_has_no_channel() {
        for coding in [Coding::Binary, Coding::Base64] {
            let message = encode(coding, 3, b"hello");
            assert_eq!(decode(coding, message), Some((3, Bytes::from_static(b"hello"))));
            assert_eq!(decode(coding, encode(coding, 1, b"")), Some((1, Bytes::new())));
            assert_eq!(decode(coding, Message::Binary(Bytes::new())), None);
            assert_eq!(decode(coding, Message::Ping(Bytes::new())), None);
        }
        assert_eq!(decode(Coding::Base64, Message::text("0***")), None);
        assert_eq!(decode(Coding::Base64, Message::text("xAAAA")), None);
    }
}
