//! Exec and attach: a client's streams joined to a process's.

use std::io;
use std::sync::Arc;

use container::{Process, Target};
use proto::guest::output_chunk::Stream as StreamName;
use proto::guest::{
    AttachInput, ExecInput, ExecOutput, ExecStart, Resize, attach_input, exec_input, exec_output,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::{Stream as InputStream, StreamExt as _};
use tonic::Status;

use crate::containers::{make_stdio, wait_for_exec};
use crate::entry::Entry;
use crate::pod::Pod;
use crate::start::explain_exec;
use crate::stream::Stream;

/// Messages on the way to one client.
const OUTPUT_QUEUE_MAX: usize = 8;

pub type Replies = mpsc::Receiver<Result<ExecOutput, Status>>;
type Sender = mpsc::Sender<Result<ExecOutput, Status>>;

/// What a client may do to a process, whichever call it came by.
enum Input {
    Data(Vec<u8>),
    Closed,
    Resize(Resize),
}

impl Pod {
    /// Runs a process inside a container for a client.
    pub async fn exec<S>(self: &Arc<Self>, mut input: S) -> Result<Replies, Status>
    where
        S: InputStream<Item = Result<ExecInput, Status>> + Send + Unpin + 'static,
    {
        let Some(exec_input::What::Start(start)) = next_exec(&mut input).await? else {
            return Err(Status::invalid_argument("the first message must be a start"));
        };
        let entry = self.entry(&start.container_id)?;
        if entry.exited().is_some() {
            return Err(Status::failed_precondition("the container is not running"));
        }
        let process = plan_exec(&entry.process, &start);
        let (stdio, ends) = make_stdio(start.tty, start.stdin).map_err(internal)?;
        let target = Target { pid: entry.pid };
        let mut pending =
            container::exec(target, &process, &entry.cgroup, stdio).map_err(internal)?;
        let exit = self.reaper.expect(pending.pid());
        let (send, replies) = mpsc::channel(OUTPUT_QUEUE_MAX);
        if let Err(failure) = wait_for_exec(&mut pending).await {
            let what = exec_output::What::Failure(explain_exec(&failure));
            // The queue is empty: there is room.
            let _ = send.try_send(Ok(ExecOutput { what: Some(what) }));
            return Ok(replies);
        }
        let mut pumps = JoinSet::new();
        for (name, fd) in ends.outputs {
            let source = Arc::new(Stream::new(fd).map_err(internal)?);
            pumps.spawn(pump(source, name, send.clone()));
        }
        let terminal = match pending.into_running().terminal {
            Some(master) => Some(Arc::new(Stream::new(master).map_err(internal)?)),
            None => None,
        };
        if let Some(master) = &terminal {
            pumps.spawn(pump(Arc::clone(master), StreamName::Stdout, send.clone()));
        }
        let stdin = match ends.stdin {
            Some(fd) => Some(Arc::new(Stream::new(fd).map_err(internal)?)),
            None => terminal.clone().filter(|_| start.stdin),
        };
        let feeder = tokio::spawn(async move {
            let mut stdin = stdin;
            while let Ok(Some(what)) = next_exec(&mut input).await {
                let Some(step) = from_exec(what) else { continue };
                apply(step, &mut stdin, terminal.as_ref()).await;
            }
        });
        tokio::spawn(async move {
            let code = exit.await.map_or(255, |status| status.code);
            while pumps.join_next().await.is_some() {}
            feeder.abort();
            let what = Some(exec_output::What::ExitCode(code));
            let _ = send.send(Ok(ExecOutput { what })).await;
        });
        Ok(replies)
    }

    /// Joins a container's own stdin and terminal; ends with its exit code.
    pub async fn attach<S>(self: &Arc<Self>, mut input: S) -> Result<Replies, Status>
    where
        S: InputStream<Item = Result<AttachInput, Status>> + Send + Unpin + 'static,
    {
        let Some(attach_input::What::Start(start)) = next_attach(&mut input).await? else {
            return Err(Status::invalid_argument("the first message must be a start"));
        };
        let entry = self.entry(&start.id)?;
        let (send, replies) = mpsc::channel(OUTPUT_QUEUE_MAX);
        let fed = Arc::clone(&entry);
        let feeder = tokio::spawn(async move { feed_attached(&fed, input).await });
        tokio::spawn(async move {
            let exited = tokio::select! {
                biased;
                // First: a client that left needs no answer.
                () = send.closed() => return,
                exited = entry.wait() => exited,
            };
            feeder.abort();
            let what = Some(exec_output::What::ExitCode(exited.exit_code));
            let _ = send.send(Ok(ExecOutput { what })).await;
        });
        Ok(replies)
    }
}

async fn feed_attached<S>(entry: &Entry, mut input: S)
where
    S: InputStream<Item = Result<AttachInput, Status>> + Unpin,
{
    let mut stdin = entry.stdin();
    while let Ok(Some(what)) = next_attach(&mut input).await {
        let Some(step) = from_attach(what) else { continue };
        apply(step, &mut stdin, entry.terminal.as_ref()).await;
    }
    if entry.stdin_once {
        entry.close_stdin();
    }
}

fn internal(error: impl Into<anyhow::Error>) -> Status {
    Status::internal(format!("{:#}", error.into()))
}

/// The container's own process with other arguments and more environment.
fn plan_exec(model: &Process, start: &ExecStart) -> Process {
    let name_of = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let changed: Vec<String> = start.env.iter().map(|pair| name_of(pair)).collect();
    let kept = model.env.iter().filter(|pair| !changed.contains(&name_of(pair)));
    let env = kept.chain(&start.env).cloned().collect();
    Process { args: start.args.clone(), env, ..model.clone() }
}

async fn next_exec<S>(input: &mut S) -> Result<Option<exec_input::What>, Status>
where
    S: InputStream<Item = Result<ExecInput, Status>> + Unpin,
{
    Ok(input.next().await.transpose()?.and_then(|message| message.what))
}

async fn next_attach<S>(input: &mut S) -> Result<Option<attach_input::What>, Status>
where
    S: InputStream<Item = Result<AttachInput, Status>> + Unpin,
{
    Ok(input.next().await.transpose()?.and_then(|message| message.what))
}

fn from_exec(what: exec_input::What) -> Option<Input> {
    match what {
        exec_input::What::Start(_) => None,
        exec_input::What::Stdin(data) => Some(Input::Data(data.into())),
        exec_input::What::StdinClosed(closed) => closed.then_some(Input::Closed),
        exec_input::What::Resize(size) => Some(Input::Resize(size)),
    }
}

fn from_attach(what: attach_input::What) -> Option<Input> {
    match what {
        attach_input::What::Start(_) => None,
        attach_input::What::Stdin(data) => Some(Input::Data(data.into())),
        attach_input::What::StdinClosed(closed) => closed.then_some(Input::Closed),
        attach_input::What::Resize(size) => Some(Input::Resize(size)),
    }
}

async fn apply(step: Input, stdin: &mut Option<Arc<Stream>>, terminal: Option<&Arc<Stream>>) {
    match step {
        Input::Data(data) => {
            let Some(open) = stdin else { return };
            // A process that no longer reads is no error of the client.
            if open.write_all(&data).await.is_err() {
                *stdin = None;
            }
        }
        Input::Closed => *stdin = None,
        Input::Resize(Resize { rows, columns }) => {
            let clamp = |cells: u32| u16::try_from(cells).unwrap_or(u16::MAX);
            if let Some(terminal) = terminal {
                let _ = container::resize(terminal.as_fd(), clamp(rows), clamp(columns));
            }
        }
    }
}

async fn pump(source: Arc<Stream>, name: StreamName, send: Sender) {
    loop {
        let data: io::Result<Vec<u8>> = tokio::select! {
            biased;
            // First: when the client left, dropping our end tells the process.
            () = send.closed() => return,
            data = source.read() => data,
        };
        let Ok(data) = data else { return };
        if data.is_empty() {
            return;
        }
        let what = match name {
            StreamName::Stdout => exec_output::What::Stdout(data.into()),
            StreamName::Stderr => exec_output::What::Stderr(data.into()),
        };
        if send.send(Ok(ExecOutput { what: Some(what) })).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::start::plan_process;
    use proto::guest::Container;

    #[test]
    fn exec_environment_is_merged_over_the_containers() {
        let model = Container { env: vec!["A=1".into(), "B=2".into()], ..Container::default() };
        let model = plan_process(&model).unwrap();
        let start = ExecStart {
            args: vec!["sh".into()],
            env: vec!["B=3".into(), "C=4".into()],
            ..ExecStart::default()
        };
        let process = plan_exec(&model, &start);
        assert_eq!(process.env, ["A=1", "B=3", "C=4"]);
        assert_eq!(process.args, ["sh"]);
    }
}
