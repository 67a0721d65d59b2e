//! A server that answers just enough for kubectl to exec into, attach to and port-forward to one pod, which runs
//! commands on this machine. For trying clients by hand; it listens on loopback without TLS.

use std::{convert::Infallible, process::Stdio};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use streams::{
    CommandOptions, Output, PortForward, Refusal, RemoteCommand, accept_command, accept_forward,
    status,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::Command,
};

type Answer = Response<Full<Bytes>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("listen")?;
    let address = listener.local_addr()?;
    println!("kubectl --server http://{address} exec -i web -- sh -c 'cat; exit 3'");
    loop {
        let (connection, _) = listener.accept().await.context("accept")?;
        tokio::spawn(async move {
            let service = service_fn(|request| async { Ok::<_, Infallible>(answer(request)) });
            let served = http1::Builder::new().serve_connection(TokioIo::new(connection), service);
            if let Err(error) = served.with_upgrades().await {
                eprintln!("connection: {error}");
            }
        });
    }
}

fn answer(mut request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    println!("{} {path} {:?}", request.method(), request.headers().get("upgrade"));
    let upgraded = match path.rsplit('/').next() {
        Some("exec" | "attach") => command(&mut request),
        Some("portforward") => forward(&mut request),
        Some("web") => return json_answer(&pod()),
        Some("api") => return json_answer(&json!({"kind": "APIVersions", "versions": ["v1"]})),
        Some("apis") => {
            return json_answer(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}));
        }
        Some("v1") => return json_answer(&resources()),
        _ => {
            let mut answer =
                json_answer(&json!({"kind": "Status", "status": "Failure", "code": 404}));
            *answer.status_mut() = http::StatusCode::NOT_FOUND;
            return answer;
        }
    };
    upgraded.unwrap_or_else(|refusal| refusal.response().map(|text| Full::new(text.into())))
}

fn json_answer(value: &serde_json::Value) -> Answer {
    let mut answer = Response::new(Full::new(value.to_string().into()));
    answer.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    answer
}

fn pod() -> serde_json::Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"containers": [{"name": "main", "image": "x", "stdin": true}]}, "status": {"phase": "Running"}})
}

fn resources() -> serde_json::Value {
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": [
        {"name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "verbs": ["get"]}]})
}

fn command(request: &mut Request<Incoming>) -> Result<Answer, Refusal> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (response, pending) = accept_command(request, CommandOptions::from_query(&query)?)?;
    tokio::spawn(async move {
        match pending.start().await {
            Ok(command) => run(command, arguments(&query)).await,
            Err(error) => eprintln!("command: {error}"),
        }
    });
    Ok(response.map(|()| Full::default()))
}

fn arguments(query: &str) -> Vec<String> {
    let values = query.split('&').filter_map(|pair| pair.strip_prefix("command="));
    let decode = |text: &str| text.replace('+', " ");
    values
        .map(|text| {
            percent_encoding::percent_decode_str(&decode(text)).decode_utf8_lossy().into_owned()
        })
        .collect()
}

async fn run(command: RemoteCommand, arguments: Vec<String>) {
    let RemoteCommand { mut stdin, stdout, stderr, outcome, .. } = command;
    let program = arguments.first().map_or("cat", String::as_str);
    let spawned = Command::new(program)
        .args(arguments.iter().skip(1))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
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
    let code = child.wait().await.ok().and_then(|status| status.code()).unwrap_or(1);
    outcome.finish(status::exited(code)).await;
}

async fn copy(from: Option<impl AsyncRead + Unpin>, to: Output) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if to.write(Bytes::copy_from_slice(&buffer[..length])).await.is_err() {
            return;
        }
    }
}

fn forward(request: &mut Request<Incoming>) -> Result<Answer, Refusal> {
    let (response, pending) = accept_forward(request)?;
    tokio::spawn(async move {
        match pending.start().await {
            Ok(forward) => connect_all(forward).await,
            Err(error) => eprintln!("port-forward: {error}"),
        }
    });
    Ok(response.map(|()| Full::default()))
}

async fn connect_all(mut forward: PortForward) {
    while let Some(connection) = forward.connections.recv().await {
        tokio::spawn(async move {
            match TcpStream::connect(("127.0.0.1", connection.port)).await {
                Ok(target) => drop(streams::splice(connection.data, target).await),
                Err(error) => connection.error.fail(error.to_string()),
            }
        });
    }
    println!("port-forward ended");
}
