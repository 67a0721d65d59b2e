//! Probes and lifecycle hooks: exec in the guest, HTTP, TCP and gRPC against the pod's address.

use std::time::Duration;

use anyhow::anyhow;
use http::HeaderMap;
use k8s_openapi::api::core::v1::{ExecAction, GRPCAction, HTTPGetAction, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use podloop::Event;
use podloop::event::{Hook, HookResult, ProbeKind, ProbeOutcome};
use podloop::status::guest_id;
use proto::guest as g;
use tokio::net::TcpStream;
use vmhost::Vm;

use super::actions::find_container;
use super::task::{Done, PodTask};
use crate::http_client;

/// Output of an exec probe or hook that is kept for its message.
const OUTPUT_MAX: usize = 10 << 10;

/// What a probe or hook does.
#[derive(Debug, Clone)]
enum Check {
    Exec(ExecAction),
    Http(HTTPGetAction),
    Tcp(TCPSocketAction),
    Grpc(GRPCAction),
    Sleep(i64),
}

/// Everything a check needs.
#[derive(Debug, Clone)]
struct Target {
    vm: Vm,
    guest_id: String,
    address: String,
    ports: Vec<(String, i32)>,
}

/// The job of a hook; `None` when the container has no such hook.
pub fn hook(
    task: &PodTask,
    index: usize,
    attempt: u32,
    hook: Hook,
) -> Option<impl Future<Output = Done> + Send + use<>> {
    let name = &task.machine.plan.containers[index].name;
    let lifecycle = find_container(&task.pod, name)?.lifecycle?;
    let handler = match hook {
        Hook::PostStart => lifecycle.post_start,
        Hook::PreStop => lifecycle.pre_stop,
    }?;
    let check = handler
        .exec
        .map(Check::Exec)
        .or_else(|| handler.http_get.map(Check::Http))
        .or_else(|| handler.sleep.map(|sleep| Check::Sleep(sleep.seconds)))
        .or_else(|| handler.tcp_socket.map(Check::Tcp));
    let target = target(task, index, attempt)?;
    Some(async move {
        let result = match check {
            Some(check) => run(&target, &check).await,
            None => Ok(()),
        };
        let result = match result {
            Ok(()) => HookResult::Succeeded,
            Err(error) => HookResult::Failed { message: format!("{error:#}") },
        };
        Done::event(Event::HookDone { container: index, attempt, hook, result })
    })
}

/// The job of a probe; `None` when the container has no such probe.
pub fn probe(
    task: &PodTask,
    index: usize,
    attempt: u32,
    kind: ProbeKind,
) -> Option<impl Future<Output = Done> + Send + use<>> {
    let name = &task.machine.plan.containers[index].name;
    let container = find_container(&task.pod, name)?;
    let probe = match kind {
        ProbeKind::Startup => container.startup_probe,
        ProbeKind::Liveness => container.liveness_probe,
        ProbeKind::Readiness => container.readiness_probe,
    }?;
    let timeout = u64::try_from(probe.timeout_seconds.unwrap_or(1).max(1)).unwrap_or(1);
    let timeout = Duration::from_secs(timeout);
    let check = check_of(probe);
    let target = target(task, index, attempt)?;
    Some(async move {
        let outcome = match check {
            Some(check) => outcome(&target, &check, timeout).await,
            None => ProbeOutcome::Success,
        };
        Done::event(Event::Probed { container: index, attempt, kind, outcome })
    })
}

fn check_of(probe: Probe) -> Option<Check> {
    probe
        .exec
        .map(Check::Exec)
        .or_else(|| probe.http_get.map(Check::Http))
        .or_else(|| probe.tcp_socket.map(Check::Tcp))
        .or_else(|| probe.grpc.map(Check::Grpc))
}

fn target(task: &PodTask, index: usize, attempt: u32) -> Option<Target> {
    let name = &task.machine.plan.containers[index].name;
    let container = find_container(&task.pod, name)?;
    let ports = container.ports.into_iter().flatten();
    Some(Target {
        vm: task.vm.clone()?,
        guest_id: guest_id(name, attempt),
        address: task.machine.state.address.clone()?,
        ports: ports.filter_map(|port| Some((port.name?, port.container_port))).collect(),
    })
}

async fn outcome(target: &Target, check: &Check, timeout: Duration) -> ProbeOutcome {
    let message = match tokio::time::timeout(timeout, run(target, check)).await {
        Ok(Ok(())) => return ProbeOutcome::Success,
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => match check {
            Check::Exec(_) => format!("command timed out after {}s", timeout.as_secs()),
            Check::Http(_) | Check::Tcp(_) | Check::Grpc(_) | Check::Sleep(_) => {
                format!("timed out after {}s", timeout.as_secs())
            }
        },
    };
    ProbeOutcome::Failure { message }
}

async fn run(target: &Target, check: &Check) -> anyhow::Result<()> {
    match check {
        Check::Exec(exec) => {
            let command = exec.command.clone().unwrap_or_default();
            let (code, output) = guest_exec(&target.vm, &target.guest_id, command).await?;
            if code == 0 { Ok(()) } else { Err(anyhow!("{output}")) }
        }
        Check::Http(get) => http_get(target, get).await,
        Check::Tcp(tcp) => {
            let host = tcp.host.clone().unwrap_or_else(|| target.address.clone());
            let port = port(target, &tcp.port)?;
            TcpStream::connect((host.as_str(), port))
                .await
                .map(drop)
                .map_err(|error| anyhow!("dial tcp {host}:{port}: connect: {error}"))
        }
        Check::Grpc(grpc) => grpc_health(target, grpc).await,
        Check::Sleep(seconds) => {
            let seconds = u64::try_from(*seconds).unwrap_or(0);
            // interval: none; the hook that the user wrote (`sleep.seconds`).
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok(())
        }
    }
}

fn port(target: &Target, port: &IntOrString) -> anyhow::Result<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = target.ports.iter().find(|(known, _)| known == name).map(|(_, port)| *port);
            named
                .or_else(|| name.parse().ok())
                .ok_or_else(|| anyhow!("couldn't find port: {name}"))?
        }
    };
    u16::try_from(number).map_err(|_| anyhow!("invalid port number: {number}"))
}

async fn http_get(target: &Target, get: &HTTPGetAction) -> anyhow::Result<()> {
    let host = get.host.clone().unwrap_or_else(|| target.address.clone());
    let port = port(target, &get.port)?;
    let path = get.path.clone().unwrap_or_default();
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    let https = get.scheme.as_deref() == Some("HTTPS");
    let scheme = if https { "https" } else { "http" };
    let mut headers = HeaderMap::new();
    headers.insert(http::header::USER_AGENT, "kube-probe/1.36".parse()?);
    for header in get.http_headers.iter().flatten() {
        let name: http::HeaderName = header.name.parse()?;
        headers.insert(name, header.value.parse()?);
    }
    let url = format!("{scheme}://{host}:{port}{path}");
    let stream = TcpStream::connect((host.as_str(), port))
        .await
        .map_err(|error| anyhow!("Get \"{url}\": dial tcp {host}:{port}: connect: {error}"))?;
    let name = format!("{host}:{port}");
    let answer = if https {
        let stream = crate::api::tls::connect_unverified(stream, &host).await?;
        http_client::exchange(stream, &name, &path, headers).await
    } else {
        http_client::exchange(stream, &name, &path, headers).await
    };
    let (status, _) = answer.map_err(|error| anyhow!("Get \"{url}\": {error:#}"))?;
    if status.is_success() || status.is_redirection() {
        return Ok(());
    }
    Err(anyhow!("HTTP probe failed with statuscode: {}", status.as_u16()))
}

/// `grpc.health.v1.Health/Check`, encoded by hand: one string field in, one enum field out.
async fn grpc_health(target: &Target, grpc: &GRPCAction) -> anyhow::Result<()> {
    use http_body_util::{BodyExt, Full};
    let service = grpc.service.clone().unwrap_or_default();
    let mut message = Vec::new();
    if !service.is_empty() {
        let length = u8::try_from(service.len()).map_err(|_| anyhow!("service name too long"))?;
        message.extend([0x0a, length & 0x7f]);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len())?.to_be_bytes());
    frame.extend_from_slice(&message);
    let port = u16::try_from(grpc.port)?;
    let stream = TcpStream::connect((target.address.as_str(), port)).await?;
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await?;
    let driver = tokio::spawn(connection);
    let uri = format!("http://{}:{port}/grpc.health.v1.Health/Check", target.address);
    let request = http::Request::post(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(bytes::Bytes::from(frame)))?;
    let body = sender.send_request(request).await?.into_body().collect().await?.to_bytes();
    driver.abort();
    // Frame header (5 bytes), then field 1: SERVING is 1.
    match body.get(5..7) {
        Some([0x08, 0x01]) => Ok(()),
        Some(_) | None => Err(anyhow!("service unhealthy (responded with {body:?})")),
    }
}

/// Runs a command in a container and collects its exit code and (bounded) output.
pub async fn guest_exec(
    vm: &Vm,
    container_id: &str,
    args: Vec<String>,
) -> anyhow::Result<(i32, String)> {
    use g::exec_output::What;
    let start = g::ExecStart {
        container_id: container_id.to_owned(),
        args,
        tty: false,
        stdin: false,
        env: Vec::new(),
    };
    let first = g::ExecInput { what: Some(g::exec_input::What::Start(start)) };
    let input = futures::StreamExt::chain(
        futures::stream::iter([first]),
        futures::stream::pending::<g::ExecInput>(),
    );
    let mut output = vm.guest.clone().exec(input).await?.into_inner();
    let mut text = Vec::new();
    while let Some(message) = output.message().await? {
        match message.what {
            Some(What::Stdout(data) | What::Stderr(data)) => {
                let room = OUTPUT_MAX.saturating_sub(text.len());
                text.extend_from_slice(&data[..data.len().min(room)]);
            }
            Some(What::ExitCode(code)) => {
                return Ok((code, String::from_utf8_lossy(&text).into_owned()));
            }
            Some(What::Failure(failure)) => return Err(anyhow!("{}", failure.message)),
            None => {}
        }
    }
    Err(anyhow!("the guest ended the command without an exit code"))
}
