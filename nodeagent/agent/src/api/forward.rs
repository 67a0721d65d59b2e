//! `/portForward`: connections to ports on the pod's loopback, through the guest.

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use proto::guest as g;
use streams::{Connection, accept_forward};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use vmhost::Vm;

use super::{Body, text, whole};
use crate::pods::PodHandle;

/// Pieces waiting for the guest.
const INPUT: usize = 16;
const PIECE_BYTES: usize = 32 << 10;

/// Forwards ports.
pub async fn answer(pod: &PodHandle, mut request: Request<Incoming>) -> Response<Body> {
    let Some(vm) = pod.vm.borrow().clone() else {
        let message = format!("sandbox of pod {} is not running", pod.name);
        return text(StatusCode::INTERNAL_SERVER_ERROR, message);
    };
    let (response, pending) = match accept_forward(&mut request) {
        Ok(accepted) => accepted,
        Err(refusal) => return refusal.response().map(whole),
    };
    let uid = pod.uid.clone();
    tokio::spawn(async move {
        let mut forward = match pending.start().await {
            Ok(forward) => forward,
            Err(error) => return tracing::debug!(%error, "port-forward ended before it began"),
        };
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = forward.closed.cancelled() => return,
                Some(_ended) = connections.join_next(), if !connections.is_empty() => {}
                connection = forward.connections.recv() => match connection {
                    Some(connection) => {
                        connections.spawn(carry(vm.clone(), uid.clone(), connection));
                    }
                    None => break,
                },
            }
        }
        while connections.join_next().await.is_some() {}
    });
    response.map(|()| whole(Bytes::new()))
}

async fn carry(vm: Vm, uid: String, connection: Connection) {
    let Connection { port, data, error } = connection;
    if let Err(problem) = copy(&vm, port, data).await {
        let reason = problem.message();
        error.fail(format!("error forwarding port {port} to pod {uid}, uid : {reason}"));
    }
}

async fn copy(vm: &Vm, port: u16, data: DuplexStream) -> Result<(), tonic::Status> {
    let (reader, mut writer) = tokio::io::split(data);
    let (input, messages) = mpsc::channel(INPUT);
    let first = g::ForwardData { port: u32::from(port), data: Bytes::new() };
    // A fresh queue has room.
    let _room = input.try_send(first);
    let sending = tokio::spawn(send(reader, input));
    let messages = futures::stream::unfold(messages, |mut messages| async move {
        let message = messages.recv().await?;
        Some((message, messages))
    });
    let answer = async {
        let mut stream = vm.guest.clone().forward(messages).await?.into_inner();
        while let Some(piece) = stream.message().await? {
            if writer.write_all(&piece.data).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let result = answer.await;
    let _gone = writer.shutdown().await;
    sending.abort();
    result
}

/// Ends the call's input when the client has sent all.
async fn send(mut reader: ReadHalf<DuplexStream>, queue: mpsc::Sender<g::ForwardData>) {
    loop {
        let mut buffer = BytesMut::with_capacity(PIECE_BYTES);
        match reader.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let piece = g::ForwardData { port: 0, data: buffer.freeze() };
        if queue.send(piece).await.is_err() {
            return;
        }
    }
}
