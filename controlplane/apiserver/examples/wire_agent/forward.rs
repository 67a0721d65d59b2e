//! Port-forward: every port of every pod is a small web server that says who it is.

use http::Request;
use hyper::body::Incoming;
use streams::{Connection, accept_forward};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::listen::{Answer, upgraded};

/// A port on which "nothing listens".
pub const CLOSED_PORT: u16 = 9;
const REQUEST_BYTES_MAX: usize = 16 << 10;

pub fn forward(request: &mut Request<Incoming>, pod: &str) -> Answer {
    let pod = pod.to_owned();
    upgraded(accept_forward(request).map(|(head, pending)| {
        tokio::spawn(async move {
            let Ok(mut forward) = pending.start().await else { return };
            while let Some(connection) = forward.connections.recv().await {
                tokio::spawn(web(connection, pod.clone()));
            }
        });
        head
    }))
}

async fn web(connection: Connection, pod: String) {
    let Connection { port, mut data, error } = connection;
    if port == CLOSED_PORT {
        error.fail(format!("failed to connect to localhost:{port}: connection refused"));
        return;
    }
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") && head.len() < REQUEST_BYTES_MAX {
        match data.read(&mut buffer).await {
            Ok(length @ 1..) => head.extend_from_slice(&buffer[..length]),
            _ => return,
        }
    }
    let text = String::from_utf8_lossy(&head);
    let line = text.lines().next().unwrap_or_default();
    let body = format!("{pod}:{port} {line}\n");
    let reply = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _gone = data.write_all(reply.as_bytes()).await;
    let _gone = data.shutdown().await;
}
