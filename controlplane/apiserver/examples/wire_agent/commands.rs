//! Exec and attach: programs of this machine, in the pod's folder.

use std::{path::PathBuf, process::Stdio};

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use streams::{CommandOptions, Output, RemoteCommand, accept_command, status};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use super::{
    Shared,
    listen::{Answer, upgraded},
    pods,
};

const PIECE_BYTES: usize = 16 << 10;

/// Runs the `command` parameters.
pub fn exec(
    shared: &Shared,
    request: &mut Request<Incoming>,
    namespace: &str,
    pod: &str,
) -> Answer {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let arguments: Vec<String> = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(key, _)| key == "command")
        .map(|(_, value)| value.into_owned())
        .collect();
    let folder = shared.pod_folder(namespace, pod);
    accept(request, &query, move |command| async move {
        match folder {
            Ok(folder) => run(command, arguments, folder).await,
            Err(error) => command.outcome.finish(status::failed(&error.to_string())).await,
        }
    })
}

/// The "main program": it greets, says back what it is told, and ends when its input does.
pub fn attach(
    shared: &Shared,
    request: &mut Request<Incoming>,
    namespace: &str,
    pod: &str,
) -> Answer {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (shared, namespace, pod) = (shared.clone(), namespace.to_owned(), pod.to_owned());
    accept(request, &query, move |command| async move {
        let RemoteCommand { mut stdin, stdout, outcome, .. } = command;
        let _gone = stdout.write(Bytes::from_static(b"attached\n")).await;
        while let Some(data) = stdin.recv().await {
            let _gone = stdout.write(data).await;
        }
        outcome.finish(status::success()).await;
        pods::end(&shared, &namespace, &pod).await;
    })
}

fn accept<F>(
    request: &mut Request<Incoming>,
    query: &str,
    run: impl FnOnce(RemoteCommand) -> F + Send + 'static,
) -> Answer
where
    F: Future<Output = ()> + Send + 'static,
{
    let accepted =
        CommandOptions::from_query(query).and_then(|options| accept_command(request, options));
    upgraded(accepted.map(|(head, pending)| {
        tokio::spawn(async move {
            match pending.start().await {
                Ok(command) => run(command).await,
                Err(error) => eprintln!("agent: {error}"),
            }
        });
        head
    }))
}

async fn run(command: RemoteCommand, arguments: Vec<String>, folder: PathBuf) {
    let RemoteCommand { mut stdin, stdout, stderr, outcome, .. } = command;
    let spawned = Command::new(arguments.first().map_or("", String::as_str))
        .args(arguments.iter().skip(1))
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return outcome.finish(status::failed(&error.to_string())).await,
    };
    let input = child.stdin.take();
    tokio::spawn(async move {
        let Some(mut input) = input else { return };
        while let Some(data) = stdin.recv().await {
            if input.write_all(&data).await.is_err() {
                return;
            }
        }
    });
    let (out, err) = (child.stdout.take(), child.stderr.take());
    tokio::join!(copy(out, stdout), copy(err, stderr));
    let code = child.wait().await.ok().and_then(|status| status.code()).unwrap_or(137);
    outcome.finish(status::exited(code)).await;
}

async fn copy(from: Option<impl AsyncRead + Unpin>, to: Output) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; PIECE_BYTES];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if to.write(Bytes::copy_from_slice(&buffer[..length])).await.is_err() {
            return;
        }
    }
}
