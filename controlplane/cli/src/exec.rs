//! `exec` and `attach`: a container's streams on this terminal.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use futures::SinkExt;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{
    Api,
    api::{AttachParams, AttachedProcess, TerminalSize},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};

use crate::{json::name, pods, session::Session, terminal};

/// Bytes buffered in each direction.
const STREAM_BYTES: usize = 64 << 10;

#[derive(Debug, clap::Args)]
pub struct ExecArguments {
    /// POD or TYPE/NAME
    pub target: String,
    /// Container name. If omitted, use the kubectl.kubernetes.io/default-container annotation or the first container
    #[arg(short, long)]
    pub container: Option<String>,
    /// Pass stdin to the container
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Stdin is a TTY
    #[arg(short, long)]
    pub tty: bool,
    /// Only print output from the remote session
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub globals: crate::session::Globals,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub struct AttachArguments {
    /// POD or TYPE/NAME
    pub target: String,
    /// Container name
    #[arg(short, long)]
    pub container: Option<String>,
    /// Pass stdin to the container
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Stdin is a TTY
    #[arg(short, long)]
    pub tty: bool,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

/// Which streams go both ways.
#[derive(Debug, Clone, Copy)]
pub struct Streams {
    pub stdin: bool,
    pub tty: bool,
}

/// Runs a command in a container; its exit code becomes ours.
///
/// # Errors
/// What the server answers.
pub async fn exec(session: &Session, arguments: ExecArguments) -> Result<ExitCode> {
    let pod = pods::find(session, &arguments.target).await?;
    check_running(&pod)?;
    let container = pods::container(&pod, arguments.container.as_deref())?;
    let streams = usable(Streams { stdin: arguments.stdin, tty: arguments.tty });
    let api: Api<Pod> = Api::namespaced(session.client.clone(), &session.namespace);
    let process = api.exec(name(&pod), arguments.command, &parameters(&container, streams)).await?;
    finish(converse(process, streams).await?)
}

/// Joins a running container's streams.
///
/// # Errors
/// What the server answers.
pub async fn attach(session: &Session, arguments: AttachArguments) -> Result<ExitCode> {
    let pod = pods::find(session, &arguments.target).await?;
    check_running(&pod)?;
    let container = pods::container(&pod, arguments.container.as_deref())?;
    if arguments.tty && !pods::has(&pod, &container, "tty") {
        eprintln!("error: Unable to use a TTY - container {container} did not allocate one");
    }
    let tty = pods::has(&pod, &container, "tty");
    let streams = Streams { stdin: arguments.stdin, tty };
    if arguments.stdin {
        eprintln!("If you don't see a command prompt, try pressing enter.");
    }
    attach_to(session, name(&pod), &container, streams).await
}

/// Joins the streams of a container that is known.
///
/// # Errors
/// What the server answers.
pub(crate) async fn attach_to(
    session: &Session,
    pod: &str,
    container: &str,
    streams: Streams,
) -> Result<ExitCode> {
    let api: Api<Pod> = Api::namespaced(session.client.clone(), &session.namespace);
    let process = api.attach(pod, &parameters(container, streams)).await?;
    finish(converse(process, usable(streams)).await?)
}

fn check_running(pod: &serde_json::Value) -> Result<()> {
    match crate::json::text_at(pod, "/status/phase") {
        phase @ ("Succeeded" | "Failed") => {
            bail!("cannot exec into a container in a completed pod; current phase is {phase}")
        }
        _ => Ok(()),
    }
}

/// A terminal at the far end needs one at this end.
fn usable(streams: Streams) -> Streams {
    if streams.tty && streams.stdin && !terminal::is_interactive() {
        eprintln!("Unable to use a TTY - input is not a terminal or the right kind of file");
        return Streams { tty: false, ..streams };
    }
    streams
}

fn parameters(container: &str, streams: Streams) -> AttachParams {
    AttachParams::default()
        .container(container)
        .stdin(streams.stdin)
        .stdout(true)
        // A terminal has one output.
        .stderr(!streams.tty)
        .tty(streams.tty)
        .max_stdin_buf_size(STREAM_BYTES)
        .max_stdout_buf_size(STREAM_BYTES)
        .max_stderr_buf_size(STREAM_BYTES)
}

/// Copies all streams until the process ends.
async fn converse(mut process: AttachedProcess, streams: Streams) -> Result<Option<Status>> {
    let _raw = (streams.tty && streams.stdin).then(terminal::Raw::enter).flatten();
    let outputs = [
        process.stdout().map(|reader| copy_out(reader, tokio::io::stdout())),
        process.stderr().map(|reader| copy_out(reader, tokio::io::stderr())),
    ];
    let input = process.stdin().map(copy_in);
    let resizing = process.terminal_size().map(|sender| tokio::spawn(follow_size(sender)));
    let status = process.take_status().context("the process was already waited for")?;
    // Output first: it ends when the process does, and what it wrote must be shown.
    for output in outputs.into_iter().flatten() {
        let _ = output.await;
    }
    let status = status.await;
    for task in [input, resizing].into_iter().flatten() {
        task.abort();
    }
    Ok(status)
}

fn copy_out(
    mut reader: impl AsyncRead + Unpin + Send + 'static,
    mut writer: impl AsyncWrite + Unpin + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut buffer = vec![0; STREAM_BYTES];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            let written = writer.write_all(&buffer[..count]).await;
            if written.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
    })
}

fn copy_in(mut writer: impl AsyncWrite + Unpin + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut input = terminal::input();
        while let Some(piece) = input.recv().await {
            if writer.write_all(&piece).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
        let _ = writer.shutdown().await;
    })
}

/// Tells the far end the size of this terminal, now and whenever it changes.
async fn follow_size(mut sender: futures::channel::mpsc::Sender<TerminalSize>) {
    let Ok(mut changed) = signal(SignalKind::window_change()) else { return };
    loop {
        if let Some((width, height)) = terminal::size()
            && sender.send(TerminalSize { width, height }).await.is_err()
        {
            return;
        }
        if changed.recv().await.is_none() {
            return;
        }
    }
}

/// The far end's status as ours.
fn finish(status: Option<Status>) -> Result<ExitCode> {
    match outcome(status.as_ref()) {
        Outcome::Code(0) => Ok(ExitCode::SUCCESS),
        Outcome::Code(code) => {
            eprintln!("command terminated with exit code {code}");
            Ok(ExitCode::from(code))
        }
        Outcome::Failed(text) => bail!(text),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Code(u8),
    Failed(String),
}

fn outcome(status: Option<&Status>) -> Outcome {
    let Some(status) = status else {
        return Outcome::Failed("the connection was closed before the command ended".to_owned());
    };
    let message = status.message.clone().unwrap_or_default();
    if status.reason.as_deref() != Some("NonZeroExitCode") {
        return if is_failure(status) { Outcome::Failed(message) } else { Outcome::Code(0) };
    }
    let causes = status.details.as_ref().and_then(|details| details.causes.as_ref());
    let code = causes
        .into_iter()
        .flatten()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .and_then(|cause| cause.message.as_deref()?.parse::<i32>().ok());
    match code {
        Some(code) => Outcome::Code(u8::try_from(code & 0xff).unwrap_or(1)),
        None => Outcome::Failed(message),
    }
}

/// Whether a process in a container did not end well.
#[must_use]
pub(crate) fn is_failure(status: &Status) -> bool {
    status.status.as_deref() == Some("Failure")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_far_exit_code_is_read() {
        let outcome_of = |status: serde_json::Value| {
            outcome(Some(&serde_json::from_value::<Status>(status).unwrap()))
        };
        assert_eq!(outcome_of(json!({"status": "Success"})), Outcome::Code(0));
        let failed = json!({
            "status": "Failure", "reason": "NonZeroExitCode", "message": "m",
            "details": {"causes": [{"reason": "ExitCode", "message": "42"}]},
        });
        assert_eq!(outcome_of(failed), Outcome::Code(42));
        let broken =
            json!({"status": "Failure", "reason": "InternalError", "message": "no such container"});
        assert_eq!(outcome_of(broken), Outcome::Failed("no such container".to_owned()));
        assert!(matches!(outcome(None), Outcome::Failed(_)));
    }
}
