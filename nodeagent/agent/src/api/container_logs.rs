//! `/containerLogs/{namespace}/{pod}/{container}`.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use podloop::container::Run;
use tokio::sync::mpsc;

use super::server::Config;
use super::{Body, text};
use crate::logs::{LogId, query, reader};
use crate::pods::PodHandle;

/// Streams one container's log.
pub async fn answer(
    config: &Config,
    pod: &PodHandle,
    container: &str,
    raw_query: &str,
) -> Response<Body> {
    let query = match query::parse(raw_query, Timestamp::now()) {
        Ok(query) => query,
        Err(message) => return text(StatusCode::BAD_REQUEST, message),
    };
    let attempt = match attempt(pod, container, query.previous) {
        Ok(attempt) => attempt,
        Err(message) => return text(StatusCode::BAD_REQUEST, message),
    };
    let logs = &config.shared.logs;
    let id = LogId {
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        uid: pod.uid.clone(),
        container: container.to_owned(),
        attempt,
    };
    let (growth, path) = (logs.growth(&id), logs.path(&id));
    if !path.exists() {
        let message = format!("failed to open log file of container \"{container}\"");
        return text(StatusCode::NOT_FOUND, message);
    }
    let (out, chunks) = mpsc::channel::<Bytes>(reader::CHUNKS);
    tokio::spawn(async move {
        if let Err(error) = reader::read(path, query, growth, out).await {
            tracing::warn!(%error, "log not read to its end");
        }
    });
    let frames = futures::stream::unfold(chunks, |mut chunks| async move {
        let chunk = chunks.recv().await?;
        Some((Ok::<_, std::io::Error>(Frame::data(chunk)), chunks))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let plain = http::HeaderValue::from_static("text/plain");
    response.headers_mut().insert(http::header::CONTENT_TYPE, plain);
    response
}

/// Which start of the container is meant; errors as the kubelet words them.
fn attempt(pod: &PodHandle, container: &str, previous: bool) -> Result<u32, String> {
    let machine = pod.machine.borrow();
    let index = machine
        .plan
        .index_of(container)
        .ok_or_else(|| format!("container {container} is not valid for pod {}", pod.name))?;
    let state = &machine.state.containers[index];
    if previous {
        let last = match &state.run {
            Run::Done { .. } => &state.previous_exit,
            Run::Waiting
            | Run::Rejected { .. }
            | Run::Starting
            | Run::Running { .. }
            | Run::Stopping(_) => &state.exit,
        };
        let missing = || {
            format!(
                "previous terminated container \"{container}\" in pod \"{}\" not found",
                pod.name
            )
        };
        return last.as_ref().map(|exit| exit.attempt).ok_or_else(missing);
    }
    let waiting = matches!(state.run, Run::Waiting | Run::Rejected { .. } | Run::Starting);
    match (&state.exit, waiting) {
        (Some(exit), true) => Ok(exit.attempt),
        (None, true) => {
            let reason = waiting_reason(pod, container);
            Err(format!(
                "container \"{container}\" in pod \"{}\" is waiting to start: {reason}",
                pod.name
            ))
        }
        (_, false) => Ok(state.attempt()),
    }
}

fn waiting_reason(pod: &PodHandle, container: &str) -> String {
    let pod = pod.pod.borrow();
    let status = pod.status.clone().unwrap_or_default();
    let statuses = status.init_container_statuses.into_iter().chain(status.container_statuses);
    let found = statuses.flatten().find(|status| status.name == container);
    let waiting = found.and_then(|status| status.state?.waiting);
    match waiting {
        Some(waiting) => match waiting.message {
            // As upstream: an image problem is told with its message.
            Some(message) if waiting.reason.as_deref() != Some("ContainerCreating") => {
                let reason = waiting.reason.unwrap_or_default();
                match reason.as_str() {
                    "ErrImagePull" | "ImagePullBackOff" => {
                        "trying and failing to pull image".into()
                    }
                    _ => format!("{reason}: {message}"),
                }
            }
            Some(_) | None => waiting.reason.unwrap_or_default(),
        },
        None => "ContainerCreating".into(),
    }
}
