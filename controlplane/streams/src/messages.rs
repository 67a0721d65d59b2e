//! An answer that goes on for long, as messages of a WebSocket: logs and watches for clients that cannot read such an answer
//! otherwise (upstream `apimachinery/pkg/util/httpstream/wsstream/stream.go`, `apiserver/pkg/endpoints/handlers/watch.go`).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::{SinkExt as _, Stream, StreamExt as _};
use http::{HeaderMap, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, Role, frame::coding::CloseCode},
};

use crate::{
    Refusal,
    negotiate::{self, Coding, Transport},
    websocket::{LINGER, open},
};

/// How bytes become messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Binary,
    Base64,
    Text,
}

/// An answer whose connection is still being upgraded.
pub struct Messages {
    framing: Framing,
    /// An empty message comes first: the connection works.
    greets: bool,
}

/// Whether a request wants a WebSocket.
#[must_use]
pub fn is_websocket(headers: &HeaderMap) -> bool {
    negotiate::is_websocket(headers)
}

/// Agrees to send bytes: binary messages, or base64 for those who ask for `base64.binary.k8s.io`.
pub fn accept_bytes(headers: &HeaderMap) -> Result<(Response<()>, Messages), Refusal> {
    let (response, transport) = negotiate::agree_socket(headers, negotiate::BYTES_SOCKETS)?;
    let is_base64 = matches!(transport, Transport::WebSocket { coding: Coding::Base64, .. });
    let framing = if is_base64 { Framing::Base64 } else { Framing::Binary };
    Ok((response, Messages { framing, greets: true }))
}

/// Agrees to send whole messages under whatever protocol the client names.
pub fn accept_events(
    headers: &HeaderMap,
    framing: Framing,
) -> Result<(Response<()>, Messages), Refusal> {
    let response = negotiate::agree_any(headers)?;
    Ok((response, Messages { framing, greets: false }))
}

impl Messages {
    /// Sends every piece as a message once the connection is upgraded, until the source ends or the client goes.
    pub async fn send(self, upgrade: OnUpgrade, source: impl Stream<Item = Bytes> + Unpin) {
        match upgrade.await {
            Ok(upgraded) => self.carry(TokioIo::new(upgraded), source).await,
            Err(error) => tracing::debug!(%error, "an upgrade was not completed"),
        }
    }

    async fn carry<T>(self, io: T, mut source: impl Stream<Item = Bytes> + Unpin)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (mut sink, mut client) = open(io, Role::Server).await.split();
        // What a client says is of no interest, but pings are answered and its end is seen by reading.
        let listen = async { while let Some(Ok(_)) = client.next().await {} };
        let talk = async {
            if self.greets {
                sink.send(self.framing.message(Bytes::new())).await?;
            }
            while let Some(piece) = source.next().await {
                sink.send(self.framing.message(piece)).await?;
            }
            let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            sink.send(Message::Close(Some(frame))).await
        };
        tokio::pin!(listen);
        tokio::select! {
            () = &mut listen => {}
            ended = talk => {
                if ended.is_ok() {
                    // A client that does not close is cut off.
                    let _ = timeout(LINGER, listen).await;
                }
            }
        }
    }
}

impl Framing {
    fn message(self, piece: Bytes) -> Message {
        match self {
            Self::Binary => Message::Binary(piece),
            Self::Base64 => Message::text(BASE64_STANDARD.encode(&piece)),
            Self::Text => Message::text(String::from_utf8_lossy(&piece).into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http::HeaderValue;

    use super::*;

    fn headers(protocols: &'static str) -> HeaderMap {
        [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", protocols),
        ]
        .into_iter()
        .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
        .collect()
    }

    async fn sent(messages: Messages) -> Vec<Message> {
        let (near, far) = tokio::io::duplex(1 << 16);
        let pieces = stream::iter([Bytes::from_static(b"one\n"), Bytes::from_static(b"two\n")]);
        let carry = tokio::spawn(messages.carry(far, pieces));
        let mut client = open(near, Role::Client).await;
        let mut got = Vec::new();
        while let Some(Ok(message)) = client.next().await {
            got.push(message);
        }
        carry.await.unwrap();
        assert!(matches!(got.pop(), Some(Message::Close(_))));
        got
    }

    #[tokio::test]
    async fn bytes_are_binary_or_base64_after_an_empty_message() {
        let (response, messages) = accept_bytes(&headers("binary.k8s.io")).unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "binary.k8s.io");
        let binary = |text: &'static str| Message::Binary(Bytes::from_static(text.as_bytes()));
        assert_eq!(sent(messages).await, [binary(""), binary("one\n"), binary("two\n")]);
        let (_, messages) = accept_bytes(&headers("base64.binary.k8s.io")).unwrap();
        let text = [Message::text(""), Message::text("b25lCg=="), Message::text("dHdvCg==")];
        assert_eq!(sent(messages).await, text);
        assert!(accept_bytes(&headers("v5.channel.k8s.io")).is_err());
    }

    #[tokio::test]
    async fn events_come_under_any_protocol() {
        let (response, messages) = accept_events(&headers("mine, yours"), Framing::Text).unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "mine");
        assert_eq!(sent(messages).await, [Message::text("one\n"), Message::text("two\n")]);
    }
}
