//! A command over WebSocket channels: 0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize.
//! (upstream `cri-streaming/pkg/streaming/remotecommand/websocket.go`; version 5 is KEP-4006)

use bytes::Bytes;
use futures::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};
use tokio_util::sync::CancellationToken;

use super::{Channel, CommandOptions, Ends, Event, TerminalSize, pass_sizes};
use crate::{
    negotiate::Coding,
    status,
    websocket::{LINGER, decode, encode, open},
};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Version 5: the byte after it names the channel that the client has closed.
const CLOSE: u8 = 255;

/// Starts the task that carries the command.
pub(super) async fn serve<T>(
    io: T,
    (coding, version): (Coding, u8),
    options: CommandOptions,
    ends: Ends,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sink, source) = open(io, Role::Server).await.split();
    let Ends { stdin, resize, events, closed, done } = ends;
    let input =
        Input { coding, version, stdin: options.stdin.then_some(stdin), resize, sizes: Vec::new() };
    let output = Output { coding, version, events, sink };
    tokio::spawn(async move {
        let reader = tokio::spawn(input.run(source, closed.clone()));
        tokio::select! {
            biased;
            // Nobody reads what is left.
            () = closed.cancelled() => {}
            () = output.run(options) => {}
        }
        done.cancel();
        let abort = reader.abort_handle();
        if timeout(LINGER, reader).await.is_err() {
            abort.abort();
        }
        closed.cancel();
    });
}

struct Input {
    coding: Coding,
    version: u8,
    /// `None` once closed.
    stdin: Option<mpsc::Sender<Bytes>>,
    resize: mpsc::Sender<TerminalSize>,
    sizes: Vec<u8>,
}

impl Input {
    /// Runs until the client closes. Pings are answered by the WebSocket itself.
    async fn run<T>(
        mut self,
        mut source: SplitStream<WebSocketStream<T>>,
        closed: CancellationToken,
    ) where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        while let Some(Ok(message)) = source.next().await {
            if let Some((channel, data)) = decode(self.coding, message) {
                self.handle(channel, data).await;
            }
        }
        closed.cancel();
    }

    async fn handle(&mut self, channel: u8, data: Bytes) {
        match channel {
            STDIN => {
                if let Some(stdin) = &self.stdin
                    && !data.is_empty()
                    && stdin.send(data).await.is_err()
                {
                    // The command has closed its input.
                    self.stdin = None;
                }
            }
            RESIZE => pass_sizes(&mut self.sizes, &data, &self.resize),
            CLOSE if self.version >= 5 && data.first() == Some(&STDIN) => self.stdin = None,
            _ => {}
        }
    }
}

struct Output<T> {
    coding: Coding,
    version: u8,
    events: mpsc::Receiver<Event>,
    sink: SplitSink<WebSocketStream<T>, Message>,
}

impl<T> Output<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    async fn run(mut self, options: CommandOptions) {
        // An empty message tells the client that the connection works.
        let first = match options {
            CommandOptions { stdout: true, .. } => STDOUT,
            CommandOptions { stderr: true, .. } => STDERR,
            _ => ERROR,
        };
        let mut alive = self.send(first, &[]).await;
        while alive {
            alive = match self.events.recv().await {
                Some(Event::Output(Channel::Stdout, data)) => self.send(STDOUT, &data).await,
                Some(Event::Output(Channel::Stderr, data)) => self.send(STDERR, &data).await,
                Some(Event::Finish(status)) => {
                    self.finish(&status).await;
                    false
                }
                None => {
                    self.finish(&status::failed("the command's end is not known")).await;
                    false
                }
            };
        }
    }

    /// Whether the client still takes messages.
    async fn send(&mut self, channel: u8, data: &[u8]) -> bool {
        self.sink.send(encode(self.coding, channel, data)).await.is_ok()
    }

    async fn finish(&mut self, status: &Value) {
        let text = if self.version >= 4 { status.to_string() } else { status::as_text(status) };
        if !text.is_empty() {
            self.send(ERROR, text.as_bytes()).await;
        }
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        // A client that is gone needs no farewell.
        let _ = self.sink.send(Message::Close(Some(frame))).await;
    }
}
