//! `/exec` and `/attach`: a client's streams joined to a process in the guest.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use podloop::container::Run;
use podloop::status::guest_id;
use proto::guest as g;
use streams::{CommandOptions, Outcome, Output, RemoteCommand, accept_command, status};
use tokio::sync::{broadcast, mpsc};
use vmhost::Vm;

use super::server::Config;
use super::{Body, text, whole};
use crate::logs::LogId;
use crate::pods::PodHandle;

/// Messages to the guest that wait to be sent.
const INPUT: usize = 16;

/// A running container of a pod.
struct Target {
    vm: Vm,
    id: String,
    log: LogId,
}

/// Runs a command in a container.
pub async fn exec(
    pod: &PodHandle,
    container: &str,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let args: Vec<String> = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "command")
        .map(|(_, value)| value.into_owned())
        .collect();
    if args.is_empty() {
        return text(StatusCode::BAD_REQUEST, "you must specify a command");
    }
    let (target, options) = match prepare(pod, container, &query) {
        Ok(prepared) => prepared,
        Err(response) => return response,
    };
    let (response, pending) = match accept_command(&mut request, options) {
        Ok(accepted) => accepted,
        Err(refusal) => return refusal.response().map(whole),
    };
    let start = g::ExecStart {
        container_id: target.id.clone(),
        args,
        tty: options.tty,
        stdin: options.stdin,
        env: if options.tty { vec!["TERM=xterm".into()] } else { Vec::new() },
    };
    tokio::spawn(async move {
        match pending.start().await {
            Ok(command) => run(target, start, command).await,
            Err(error) => tracing::debug!(%error, "exec ended before it began"),
        }
    });
    response.map(|()| whole(Bytes::new()))
}

fn prepare(
    pod: &PodHandle,
    container: &str,
    query: &str,
) -> Result<(Target, CommandOptions), Response<Body>> {
    let options = CommandOptions::from_query(query).map_err(|r| r.response().map(whole))?;
    let not_found =
        || text(StatusCode::NOT_FOUND, format!("container not found (\"{container}\")"));
    let machine = pod.machine.borrow().clone();
    let index = machine.plan.index_of(container).ok_or_else(not_found)?;
    let state = &machine.state.containers[index];
    let vm = pod.vm.borrow().clone();
    let running = matches!(state.run, Run::Running { .. } | Run::Stopping(_));
    let vm = vm.filter(|_| running).ok_or_else(not_found)?;
    let log = LogId {
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        uid: pod.uid.clone(),
        container: container.to_owned(),
        attempt: state.attempt(),
    };
    Ok((Target { vm, id: guest_id(container, state.attempt()), log }, options))
}

async fn run(target: Target, start: g::ExecStart, command: RemoteCommand) {
    use g::exec_input::What;
    let (input, messages) = mpsc::channel(INPUT);
    let message = |what| g::ExecInput { what: Some(what) };
    // A fresh queue has room.
    let _room = input.try_send(message(What::Start(start)));
    let RemoteCommand { stdin, stdout, stderr, resize, outcome, closed } = command;
    let pump = forward_input(stdin, resize, input, move |piece| {
        message(match piece {
            Input::Data(data) => What::Stdin(data),
            Input::Closed => What::StdinClosed(true),
            Input::Size(size) => What::Resize(size),
        })
    });
    let pump = tokio::spawn(pump);
    let stream = target.vm.guest.clone().exec(from_queue(messages)).await;
    let result = tokio::select! {
        biased;
        result = copy_output(stream, &stdout, &stderr) => result,
        // Nobody reads any more: dropping the call ends the process.
        () = closed.cancelled() => Err("the client has gone".to_owned()),
    };
    pump.abort();
    finish(outcome, result).await;
}

async fn finish(outcome: Outcome, result: Result<i32, String>) {
    match result {
        Ok(code) => outcome.finish(status::exited(code)).await,
        Err(message) => outcome.finish(status::failed(&message)).await,
    }
}

type OutputCall = Result<tonic::Response<tonic::Streaming<g::ExecOutput>>, tonic::Status>;

async fn copy_output(call: OutputCall, stdout: &Output, stderr: &Output) -> Result<i32, String> {
    use g::exec_output::What;
    let mut stream = call.map_err(|error| error.message().to_owned())?.into_inner();
    loop {
        let message = stream.message().await.map_err(|error| error.message().to_owned())?;
        let Some(message) = message else {
            return Err("the command ended without an exit code".to_owned());
        };
        let gone = match message.what {
            Some(What::Stdout(data)) => stdout.write(data).await.is_err(),
            Some(What::Stderr(data)) => stderr.write(data).await.is_err(),
            Some(What::ExitCode(code)) => return Ok(code),
            Some(What::Failure(failure)) => return Err(failure.message),
            None => false,
        };
        if gone {
            return Err("the client has gone".to_owned());
        }
    }
}

enum Input {
    Data(Bytes),
    Closed,
    Size(g::Resize),
}

/// Sends the client's input to the guest until both input and window sizes have ended.
async fn forward_input<T>(
    mut stdin: mpsc::Receiver<Bytes>,
    mut resize: mpsc::Receiver<streams::TerminalSize>,
    queue: mpsc::Sender<T>,
    wrap: impl Fn(Input) -> T,
) {
    let (mut data_open, mut sizes_open) = (true, true);
    while data_open || sizes_open {
        let piece = tokio::select! {
            data = stdin.recv(), if data_open => match data {
                Some(data) => Input::Data(data),
                None => {
                    data_open = false;
                    Input::Closed
                }
            },
            size = resize.recv(), if sizes_open => match size {
                Some(size) => Input::Size(g::Resize {
                    rows: u32::from(size.rows),
                    columns: u32::from(size.columns),
                }),
                None => {
                    sizes_open = false;
                    continue;
                }
            },
        };
        if queue.send(wrap(piece)).await.is_err() {
            return;
        }
    }
    // The call lives as long as its queue: the process may still run and write.
    queue.closed().await;
}

fn from_queue<T>(queue: mpsc::Receiver<T>) -> impl futures::Stream<Item = T> {
    futures::stream::unfold(queue, |mut queue| async move {
        let message = queue.recv().await?;
        Some((message, queue))
    })
}

/// Joins a container's own streams.
pub async fn attach(
    config: &Config,
    pod: &PodHandle,
    container: &str,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (target, options) = match prepare(pod, container, &query) {
        Ok(prepared) => prepared,
        Err(response) => return response,
    };
    let Some(output) = config.shared.logs.tap(&target.log) else {
        return text(StatusCode::NOT_FOUND, format!("container not found (\"{container}\")"));
    };
    let (response, pending) = match accept_command(&mut request, options) {
        Ok(accepted) => accepted,
        Err(refusal) => return refusal.response().map(whole),
    };
    tokio::spawn(async move {
        match pending.start().await {
            Ok(command) => join(target, output, command).await,
            Err(error) => tracing::debug!(%error, "attach ended before it began"),
        }
    });
    response.map(|()| whole(Bytes::new()))
}

/// Input goes to the guest; output is what the log's writer reads, at the same time as the log gets it.
async fn join(
    target: Target,
    mut output: broadcast::Receiver<(bool, Bytes)>,
    command: RemoteCommand,
) {
    use g::attach_input::What;
    let RemoteCommand { stdin, stdout, stderr, resize, outcome, closed } = command;
    let (input, messages) = mpsc::channel(INPUT);
    let message = |what| g::AttachInput { what: Some(what) };
    // A fresh queue has room.
    let _room = input.try_send(message(What::Start(g::ContainerId { id: target.id.clone() })));
    let pump = tokio::spawn(forward_input(stdin, resize, input, move |piece| {
        message(match piece {
            Input::Data(data) => What::Stdin(data),
            Input::Closed => What::StdinClosed(true),
            Input::Size(size) => What::Resize(size),
        })
    }));
    let call = target.vm.guest.clone().attach(from_queue(messages)).await;
    let result = match call {
        Ok(_held_open) => loop {
            let piece = tokio::select! {
                biased;
                () = closed.cancelled() => break Err("the client has gone".to_owned()),
                piece = output.recv() => piece,
            };
            let written = match piece {
                Ok((true, data)) => stderr.write(data).await,
                Ok((false, data)) => stdout.write(data).await,
                // A client too slow for the container loses output; the log has it all.
                Err(broadcast::error::RecvError::Lagged(_)) => Ok(()),
                Err(broadcast::error::RecvError::Closed) => break Ok(0),
            };
            if written.is_err() {
                break Err("the client has gone".to_owned());
            }
        },
        Err(error) => Err(error.message().to_owned()),
    };
    pump.abort();
    finish(outcome, result).await;
}
