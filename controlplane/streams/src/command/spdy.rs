//! A command over SPDY streams that the client opens: error, stdin, stdout, stderr, resize.
//! (upstream `cri-streaming/pkg/streaming/remotecommand/httpstream.go`)

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Channel, CommandOptions, Ends, Event, TerminalSize, pass_sizes};
use crate::{
    Error,
    spdy::{Role, Session, Stream, StreamReader, StreamWriter},
    status,
};

/// How long a client may take to open its streams (upstream's default).
const STREAMS_TIMEOUT: Duration = Duration::from_secs(30);

/// The client's streams, as far as it opened them.
#[derive(Default)]
struct Streams {
    error: Option<Stream>,
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    resize: Option<Stream>,
}

impl Streams {
    fn place(&mut self, stream: Stream) {
        let slot = match stream.headers.get("streamtype") {
            Some("error") => &mut self.error,
            Some("stdin") => &mut self.stdin,
            Some("stdout") => &mut self.stdout,
            Some("stderr") => &mut self.stderr,
            Some("resize") => &mut self.resize,
            _ => return,
        };
        *slot = Some(stream);
    }

    fn are_complete(&self, version: u8, options: CommandOptions) -> bool {
        // Before version 3 there was no resizing.
        let resize = options.tty && version >= 3;
        self.error.is_some()
            && self.stdin.is_some() >= options.stdin
            && self.stdout.is_some() >= options.stdout
            && self.stderr.is_some() >= options.stderr
            && self.resize.is_some() >= resize
    }
}

/// Waits for the client's streams, then starts the task that carries the command.
pub(super) async fn serve<T>(
    io: T,
    version: u8,
    options: CommandOptions,
    ends: Ends,
) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (session, mut accepted) = Session::start(io, Role::Server);
    let mut streams = Streams::default();
    let collect = async {
        while !streams.are_complete(version, options) {
            streams.place(accepted.recv().await.ok_or(Error::Closed)?);
        }
        Ok(())
    };
    timeout(STREAMS_TIMEOUT, collect).await.map_err(|_| Error::StreamsTimeout)??;
    let Ends { stdin, resize, events, closed, done } = ends;
    let mut writers = Writers { version, ..Writers::default() };
    writers.error = streams.error.map(|stream| stream.writer);
    writers.stdout = streams.stdout.map(|stream| stream.writer);
    writers.stderr = streams.stderr.map(|stream| stream.writer);
    let stop = CancellationToken::new();
    if let Some(stream) = streams.stdin {
        writers.stdin = Some(stream.writer);
        tokio::spawn(stop.clone().run_until_cancelled_owned(pass_input(stream.reader, stdin)));
    }
    if let Some(stream) = streams.resize {
        writers.resize = Some(stream.writer);
        tokio::spawn(stop.clone().run_until_cancelled_owned(pass_resizes(stream.reader, resize)));
    }
    let ended = session.ended();
    tokio::spawn(async move {
        // What else the client opens is refused when this goes.
        drop(accepted);
        tokio::select! {
            biased;
            // Nobody reads what is left.
            () = ended.cancelled() => {}
            () = writers.run(events) => {}
        }
        stop.cancel();
        done.cancel();
        session.close().await;
        closed.cancel();
    });
    Ok(())
}

async fn pass_input(mut from: StreamReader, to: mpsc::Sender<Bytes>) {
    while let Some(data) = from.read().await {
        if to.send(data).await.is_err() {
            return;
        }
    }
}

async fn pass_resizes(mut from: StreamReader, to: mpsc::Sender<TerminalSize>) {
    let mut buffer = Vec::new();
    while let Some(data) = from.read().await {
        pass_sizes(&mut buffer, &data, &to);
    }
}

#[derive(Default)]
struct Writers {
    version: u8,
    error: Option<StreamWriter>,
    stdin: Option<StreamWriter>,
    stdout: Option<StreamWriter>,
    stderr: Option<StreamWriter>,
    resize: Option<StreamWriter>,
}

impl Writers {
    async fn run(self, mut events: mpsc::Receiver<Event>) {
        let status = loop {
            let (writer, data) = match events.recv().await {
                Some(Event::Output(Channel::Stdout, data)) => (&self.stdout, data),
                Some(Event::Output(Channel::Stderr, data)) => (&self.stderr, data),
                Some(Event::Finish(status)) => break status,
                None => break status::failed("the command's end is not known"),
            };
            if let Some(writer) = writer {
                // A client may close one output and go on reading the other.
                let _ = writer.write(data).await;
            }
        };
        self.finish(&status).await;
    }

    /// The status, then the end of every stream: clients read each to its end.
    async fn finish(&self, status: &Value) {
        let text = if self.version >= 4 { status.to_string() } else { status::as_text(status) };
        let all = [&self.stdout, &self.stderr, &self.error, &self.stdin, &self.resize];
        if let Some(error) = &self.error {
            // A client that is gone needs no status.
            let _ = error.write(text.into()).await;
        }
        for writer in all.into_iter().flatten() {
            let _ = writer.finish().await;
        }
    }
}
