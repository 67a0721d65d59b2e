//! Exec and attach: one command's standard streams over one upgraded connection.

mod spdy;
mod websocket;

use bytes::Bytes;
use http::{Request, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::{
    CommandOptions, Error, Refusal,
    negotiate::{self, COMMAND_SOCKETS, COMMAND_SPDY, COMMAND_SPDY_NAMES, Offer, Transport},
    status,
};

/// Pieces of output that wait to be sent; with it a command that writes faster than its client reads is held back.
const OUTPUT_MAX: usize = 32;
/// Pieces of input that wait for the command.
const INPUT_MAX: usize = 16;
/// Window sizes that wait to be applied.
const RESIZE_MAX: usize = 8;
/// Longest text of window sizes that is kept while its end is missing, in bytes.
const RESIZE_BYTES_MAX: usize = 1 << 10;

const OFFER: Offer =
    Offer { sockets: COMMAND_SOCKETS, spdy: COMMAND_SPDY, spdy_names: COMMAND_SPDY_NAMES };

/// A terminal's size, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct TerminalSize {
    #[serde(rename = "Width")]
    pub columns: u16,
    #[serde(rename = "Height")]
    pub rows: u16,
}

/// A command's streams, whatever carries them. Streams that the client did not ask for are there but end at once
/// (stdin, resize) or swallow what is written (stdout, stderr).
pub struct RemoteCommand {
    /// Ends when the client closes it or goes away.
    pub stdin: mpsc::Receiver<Bytes>,
    pub stdout: Output,
    pub stderr: Output,
    pub resize: mpsc::Receiver<TerminalSize>,
    pub outcome: Outcome,
    /// Cancelled when the client has gone: nobody reads output any more.
    pub closed: CancellationToken,
}

/// Where the command's output goes. Cheap to clone.
#[derive(Clone)]
pub struct Output {
    /// `None` swallows.
    channel: Option<Channel>,
    events: mpsc::Sender<Event>,
}

impl Output {
    /// Sends a piece, waiting while the client is slow. An error means that the client has gone.
    pub async fn write(&self, data: Bytes) -> Result<(), Error> {
        match self.channel {
            Some(channel) if !data.is_empty() => {
                self.events.send(Event::Output(channel, data)).await.map_err(|_| Error::Closed)
            }
            _ => Ok(()),
        }
    }
}

/// Tells the client how the command ended. Dropped without that, the client is told of an internal error.
pub struct Outcome {
    events: mpsc::Sender<Event>,
    done: CancellationToken,
}

impl Outcome {
    /// Sends the `metav1.Status` ([`status::exited`], [`status::failed`]) after all output written before, closes the
    /// connection, and returns when that is done.
    pub async fn finish(self, status: Value) {
        if self.events.send(Event::Finish(status)).await.is_ok() {
            self.done.cancelled().await;
        }
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        // After `finish` nobody listens any more; a full queue means that output is still being sent.
        let _ =
            self.events.try_send(Event::Finish(status::failed("the command's end is not known")));
    }
}

/// One of the two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Stdout,
    Stderr,
}

/// What the command sends, in order.
enum Event {
    Output(Channel, Bytes),
    Finish(Value),
}

/// The transport's ends of a [`RemoteCommand`].
struct Ends {
    /// Dropped at the end of stdin.
    stdin: mpsc::Sender<Bytes>,
    resize: mpsc::Sender<TerminalSize>,
    events: mpsc::Receiver<Event>,
    closed: CancellationToken,
    done: CancellationToken,
}

fn connect(options: CommandOptions) -> (RemoteCommand, Ends) {
    let (stdin_sender, stdin) = mpsc::channel(INPUT_MAX);
    let (resize_sender, resize) = mpsc::channel(RESIZE_MAX);
    let (sender, events) = mpsc::channel(OUTPUT_MAX);
    let (closed, done) = (CancellationToken::new(), CancellationToken::new());
    let output = |channel, is_wanted: bool| Output {
        channel: is_wanted.then_some(channel),
        events: sender.clone(),
    };
    let command = RemoteCommand {
        stdin,
        stdout: output(Channel::Stdout, options.stdout),
        stderr: output(Channel::Stderr, options.stderr),
        resize,
        outcome: Outcome { events: sender, done: done.clone() },
        closed: closed.clone(),
    };
    (command, Ends { stdin: stdin_sender, resize: resize_sender, events, closed, done })
}

/// A command whose connection is still being upgraded.
pub struct PendingCommand {
    upgrade: OnUpgrade,
    transport: Transport,
    options: CommandOptions,
}

/// Agrees to an exec or attach. Send the response, then [`PendingCommand::start`] in a task of its own.
pub fn accept_command<B>(
    request: &mut Request<B>,
    options: CommandOptions,
) -> Result<(Response<()>, PendingCommand), Refusal> {
    let (response, transport) = negotiate::agree(request, OFFER)?;
    let upgrade = hyper::upgrade::on(request);
    Ok((response, PendingCommand { upgrade, transport, options }))
}

impl PendingCommand {
    /// Waits for the upgrade and, over SPDY, for the client to open its streams.
    pub async fn start(self) -> Result<RemoteCommand, Error> {
        let upgraded = self.upgrade.await.map_err(|source| Error::Upgrade { source })?;
        start(TokioIo::new(upgraded), self.transport, self.options).await
    }
}

async fn start<T>(
    io: T,
    transport: Transport,
    options: CommandOptions,
) -> Result<RemoteCommand, Error>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (command, ends) = connect(options);
    match transport {
        Transport::WebSocket { coding, version, .. } => {
            websocket::serve(io, (coding, version), options, ends).await;
        }
        Transport::Spdy { version } => spdy::serve(io, version, options, ends).await?,
        // Not among the rows that commands are offered.
        Transport::Tunnel => return Err(Error::Closed),
    }
    Ok(command)
}

/// Takes the complete sizes off the front of a resize stream's text.
fn take_sizes(buffer: &mut Vec<u8>) -> Vec<TerminalSize> {
    let mut parser = serde_json::Deserializer::from_slice(buffer).into_iter::<TerminalSize>();
    let mut sizes = Vec::new();
    while let Some(Ok(size)) = parser.next() {
        sizes.push(size);
    }
    let taken = parser.byte_offset();
    buffer.drain(..taken.min(buffer.len()));
    if buffer.len() > RESIZE_BYTES_MAX {
        buffer.clear();
    }
    sizes
}

/// Passes on the sizes in `data`; `buffer` keeps what is incomplete. The newest size counts: when nobody takes them,
/// further ones are dropped.
fn pass_sizes(buffer: &mut Vec<u8>, data: &[u8], to: &mpsc::Sender<TerminalSize>) {
    buffer.extend_from_slice(data);
    for size in take_sizes(buffer) {
        let _ = to.try_send(size);
    }
}

#[cfg(test)]
mod tests;
