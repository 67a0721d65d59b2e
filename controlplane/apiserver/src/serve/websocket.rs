//! Long answers as messages of a WebSocket, for clients that ask for logs or a watch so.

use api::{Reason, Status};
use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyDataStream;
use hyper::upgrade::OnUpgrade;
use streams::{Framing, Messages, Refusal};
use tokio_util::sync::CancellationToken;

use crate::{
    accept::Encoding,
    call::Call,
    respond::{self, Reply},
};

/// A client's wish for a WebSocket.
pub struct Socket {
    headers: HeaderMap,
    upgrade: OnUpgrade,
    shutdown: CancellationToken,
}

/// Takes the wish out of a call, which is a plain request afterwards.
pub fn take(call: &mut Call) -> Option<Socket> {
    if !streams::is_websocket(&call.headers) {
        return None;
    }
    let upgrade = call.upgrade.take()?;
    let headers = call.headers.clone();
    for name in [
        header::CONNECTION,
        header::UPGRADE,
        header::SEC_WEBSOCKET_KEY,
        header::SEC_WEBSOCKET_VERSION,
        header::SEC_WEBSOCKET_PROTOCOL,
        header::SEC_WEBSOCKET_EXTENSIONS,
    ] {
        call.headers.remove(name);
    }
    Some(Socket { headers, upgrade, shutdown: call.app.shutdown.clone() })
}

impl Socket {
    /// Sends the bytes of a good answer as they come.
    pub fn carry_bytes(self, reply: Reply) -> Result<Reply, Status> {
        if !reply.status().is_success() {
            return Ok(reply);
        }
        let accepted = streams::accept_bytes(&self.headers).map_err(|it| refused(&it))?;
        Ok(self.carry(accepted, pieces(reply)))
    }

    /// Sends each event of a watch as one message.
    pub fn carry_events(self, reply: Reply, encoding: Encoding) -> Result<Reply, Status> {
        let framing = if encoding == Encoding::Protobuf { Framing::Binary } else { Framing::Text };
        let accepted = streams::accept_events(&self.headers, framing).map_err(|it| refused(&it))?;
        let events = move |bytes| stream::iter(events(encoding, bytes));
        Ok(self.carry(accepted, pieces(reply).flat_map(events).boxed()))
    }

    fn carry(
        self,
        (response, messages): (http::Response<()>, Messages),
        source: BoxStream<'static, Bytes>,
    ) -> Reply {
        let source = source.take_until(self.shutdown.cancelled_owned()).boxed();
        tokio::spawn(messages.send(self.upgrade, source));
        response.map(|()| respond::full(""))
    }
}

/// The answer's bytes as they come. A failure ends them: there is no way to say why.
fn pieces(reply: Reply) -> BoxStream<'static, Bytes> {
    let pieces = BodyDataStream::new(reply.into_body());
    pieces.scan((), |(), piece| std::future::ready(piece.ok())).boxed()
}

/// The events in one piece of a watch's answer, which always holds whole ones: lines, or frames with their length before them.
fn events(encoding: Encoding, mut bytes: Bytes) -> Vec<Bytes> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let end = if encoding == Encoding::Protobuf {
            let Some(length) = bytes.get(..4).and_then(|it| <[u8; 4]>::try_from(it).ok()) else {
                break;
            };
            drop(bytes.split_to(4));
            usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX)
        } else {
            bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1)
        };
        events.push(bytes.split_to(end.min(bytes.len())));
    }
    events
}

fn refused(refusal: &Refusal) -> Status {
    let reason = match refusal.status() {
        StatusCode::FORBIDDEN => Reason::Forbidden,
        _ => Reason::BadRequest,
    };
    Status::new(reason, refusal.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_cut_into_events() {
        let lines = events(Encoding::Json, Bytes::from_static(b"{1}\n{2}\n"));
        assert_eq!(lines, ["{1}\n", "{2}\n"]);
        let frames = events(Encoding::Protobuf, Bytes::from_static(b"\0\0\0\x02ab\0\0\0\x01c"));
        assert_eq!(frames, ["ab", "c"]);
    }
}
