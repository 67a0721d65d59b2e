//! Which transport and protocol a request asks for, and the 101 response that agrees.

use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{
        CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::Refusal;

const STREAM_PROTOCOL: &str = "x-stream-protocol-version";

/// How messages of a WebSocket are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Binary messages, the channel as first byte.
    Binary,
    /// Text messages, the channel as first digit, the rest in base64.
    Base64,
}

/// What was agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSocket {
        protocol: &'static str,
        coding: Coding,
        version: u8,
    },
    /// SPDY frames on the bare connection.
    Spdy {
        version: u8,
    },
    /// SPDY frames in WebSocket messages.
    Tunnel,
}

/// A protocol's name, and the transport it stands for.
pub(crate) type Row = (&'static str, Transport);

const fn socket(protocol: &'static str, coding: Coding, version: u8) -> Row {
    (protocol, Transport::WebSocket { protocol, coding, version })
}

/// Sub-protocols of exec and attach. No name is version 1.
pub(crate) const COMMAND_SOCKETS: &[Row] = &[
    socket("v5.channel.k8s.io", Coding::Binary, 5),
    socket("v4.channel.k8s.io", Coding::Binary, 4),
    socket("v4.base64.channel.k8s.io", Coding::Base64, 4),
    socket("channel.k8s.io", Coding::Binary, 1),
    socket("base64.channel.k8s.io", Coding::Base64, 1),
    socket("", Coding::Binary, 1),
];

pub(crate) const COMMAND_SPDY: &[Row] = &[
    ("v4.channel.k8s.io", Transport::Spdy { version: 4 }),
    ("v3.channel.k8s.io", Transport::Spdy { version: 3 }),
    ("v2.channel.k8s.io", Transport::Spdy { version: 2 }),
    ("channel.k8s.io", Transport::Spdy { version: 1 }),
];
pub(crate) const COMMAND_SPDY_NAMES: &[&str] =
    &["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

/// Sub-protocols of answers that are bytes.
pub(crate) const BYTES_SOCKETS: &[Row] = &[
    socket("binary.k8s.io", Coding::Binary, 1),
    socket("base64.binary.k8s.io", Coding::Base64, 1),
    socket("", Coding::Binary, 1),
];

pub(crate) const FORWARD_SOCKETS: &[Row] = &[
    ("SPDY/3.1+portforward.k8s.io", Transport::Tunnel),
    socket("v4.channel.k8s.io", Coding::Binary, 4),
    socket("v4.base64.channel.k8s.io", Coding::Base64, 4),
    socket("portforward.k8s.io", Coding::Binary, 4),
    socket("", Coding::Binary, 4),
];
pub(crate) const FORWARD_SPDY: &[Row] = &[("portforward.k8s.io", Transport::Spdy { version: 1 })];
pub(crate) const FORWARD_SPDY_NAMES: &[&str] = &["portforward.k8s.io"];

/// The rows a request may choose from.
#[derive(Clone, Copy)]
pub(crate) struct Offer {
    pub sockets: &'static [Row],
    pub spdy: &'static [Row],
    pub spdy_names: &'static [&'static str],
}

pub(crate) fn agree<B>(
    request: &Request<B>,
    offer: Offer,
) -> Result<(Response<()>, Transport), Refusal> {
    let headers = request.headers();
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Err(Refusal::NoUpgrade);
    }
    if is_websocket(headers) {
        agree_socket(headers, offer.sockets)
    } else if has_token(headers, &UPGRADE, "spdy/3.1") {
        agree_spdy(headers, offer)
    } else {
        Err(Refusal::NoUpgrade)
    }
}

/// Whether a request wants a WebSocket.
pub(crate) fn is_websocket(headers: &HeaderMap) -> bool {
    has_token(headers, &CONNECTION, "upgrade") && has_token(headers, &UPGRADE, "websocket")
}

fn tokens(
    headers: &HeaderMap,
    name: impl http::header::AsHeaderName,
) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

fn has_token(headers: &HeaderMap, name: &http::HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

/// The first of the client's names that has a row; the nameless row when it sent none.
fn choose<'a>(mut names: impl Iterator<Item = &'a str>, rows: &[Row]) -> Option<Row> {
    let find = |wanted: &str| rows.iter().find(|(name, _)| *name == wanted).copied();
    match names.next() {
        None => find(""),
        Some(first) => find(first).or_else(|| names.find_map(find)),
    }
}

/// Agrees to a WebSocket under one of the rows' names.
pub(crate) fn agree_socket(
    headers: &HeaderMap,
    rows: &[Row],
) -> Result<(Response<()>, Transport), Refusal> {
    let mut response = open_socket(headers)?;
    let (name, transport) = choose(tokens(headers, SEC_WEBSOCKET_PROTOCOL), rows)
        .ok_or(Refusal::NoCommonProtocol { accepted: &[] })?;
    if !name.is_empty() {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
    }
    Ok((response, transport))
}

/// Agrees to a WebSocket under the first name that the client gives.
pub(crate) fn agree_any(headers: &HeaderMap) -> Result<Response<()>, Refusal> {
    let mut response = open_socket(headers)?;
    if let Some(name) = tokens(headers, SEC_WEBSOCKET_PROTOCOL).next() {
        let name = HeaderValue::from_str(name).map_err(|_| Refusal::BadWebSocket)?;
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
    }
    Ok(response)
}

fn open_socket(headers: &HeaderMap) -> Result<Response<()>, Refusal> {
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| !key.is_empty());
    let key = key.ok_or(Refusal::BadWebSocket)?;
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refusal::BadWebSocket);
    }
    let accept = derive_accept_key(key.as_bytes());
    let accept = HeaderValue::from_str(&accept).map_err(|_| Refusal::BadWebSocket)?;
    let mut response = switching("websocket");
    response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

fn agree_spdy(headers: &HeaderMap, offer: Offer) -> Result<(Response<()>, Transport), Refusal> {
    let mut names = tokens(headers, STREAM_PROTOCOL).peekable();
    // Clients that name no version are the oldest.
    let row =
        if names.peek().is_none() { offer.spdy.last().copied() } else { choose(names, offer.spdy) };
    let (name, transport) = row.ok_or(Refusal::NoCommonProtocol { accepted: offer.spdy_names })?;
    let mut response = switching("SPDY/3.1");
    response.headers_mut().insert(STREAM_PROTOCOL, HeaderValue::from_static(name));
    Ok((response, transport))
}

fn switching(protocol: &'static str) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(protocol));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: Offer =
        Offer { sockets: COMMAND_SOCKETS, spdy: COMMAND_SPDY, spdy_names: COMMAND_SPDY_NAMES };

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().header("connection", "keep-alive, Upgrade");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    fn socket_with(protocols: &str) -> Request<()> {
        request(&[
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", protocols),
        ])
    }

    #[test]
    fn a_socket_gets_the_first_name_that_both_know() {
        let (response, transport) =
            agree(&socket_with("v9.example, v5.channel.k8s.io"), OFFER).unwrap();
        assert_eq!(response.status(), 101);
        // The example of RFC 6455 section 1.3.
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(response.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
        assert!(matches!(
            transport,
            Transport::WebSocket { version: 5, coding: Coding::Binary, .. }
        ));
        let (response, transport) = agree(&socket_with(""), OFFER).unwrap();
        assert!(response.headers().get("sec-websocket-protocol").is_none());
        assert!(matches!(transport, Transport::WebSocket { version: 1, .. }));
        assert!(matches!(
            agree(&socket_with("other"), OFFER),
            Err(Refusal::NoCommonProtocol { .. })
        ));
    }

    #[test]
    fn spdy_agrees_on_a_version_or_says_which_there_are() {
        let spdy = [
            ("upgrade", "SPDY/3.1"),
            (STREAM_PROTOCOL, "v5.channel.k8s.io"),
            (STREAM_PROTOCOL, "v4.channel.k8s.io"),
        ];
        let (response, transport) = agree(&request(&spdy), OFFER).unwrap();
        assert_eq!(response.headers()[STREAM_PROTOCOL], "v4.channel.k8s.io");
        assert_eq!(transport, Transport::Spdy { version: 4 });
        let refusal = agree(&request(&spdy[..2]), OFFER).unwrap_err().response();
        assert_eq!(refusal.status(), 403);
        assert_eq!(
            refusal.headers().get_all("x-accepted-stream-protocol-versions").iter().count(),
            4
        );
        assert!(matches!(agree(&request(&[]), OFFER), Err(Refusal::NoUpgrade)));
    }
}
