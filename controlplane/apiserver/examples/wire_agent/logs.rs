//! Logs: a hundred lines, one per second up to now, with every option of the kubelet's.

use std::{collections::HashMap, convert::Infallible, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use jiff::Timestamp;

use super::listen::{Answer, text};

/// Lines that are there.
pub const LINES: i64 = 100;
/// Lines that come while a log is followed.
const MORE: i64 = 5;
/// Between followed lines.
const EVERY: Duration = Duration::from_millis(200);

pub fn answer(request: &Request<Incoming>, pod: &str, container: &str) -> Answer {
    let query = request.uri().query().unwrap_or_default();
    let options: HashMap<String, String> =
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    if options.get("previous").is_some_and(|v| v == "true") {
        let name = format!("previous terminated container {container:?} in pod {pod:?} not found");
        return text(StatusCode::BAD_REQUEST, name);
    }
    let lines = select(&options, container, Timestamp::now());
    if options.get("follow").is_none_or(|v| v != "true") {
        return text(StatusCode::OK, lines);
    }
    let container = container.to_owned();
    let more = futures::stream::iter(1..=MORE).then(move |number| {
        let line = format!("{container} line {}\n", LINES + number);
        async move {
            // interval: the program writes a line now and then.
            tokio::time::sleep(EVERY).await;
            Bytes::from(line)
        }
    });
    let first = futures::stream::once(async move { Bytes::from(lines) });
    let frames = first.chain(more).map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    Response::new(StreamBody::new(frames).boxed_unsync())
}

fn select(options: &HashMap<String, String>, container: &str, now: Timestamp) -> String {
    let number = |key: &str| options.get(key).and_then(|text| text.parse::<i64>().ok());
    let at = |line: i64| now.as_second() - (LINES - line);
    let mut lines: Vec<i64> = (1..=LINES).collect();
    if let Some(seconds) = number("sinceSeconds") {
        lines.retain(|line| at(*line) > now.as_second() - seconds);
    }
    if let Some(since) = options.get("sinceTime").and_then(|text| text.parse::<Timestamp>().ok()) {
        lines.retain(|line| at(*line) >= since.as_second());
    }
    if let Some(count) = number("tailLines").and_then(|count| usize::try_from(count).ok()) {
        lines.drain(..lines.len().saturating_sub(count));
    }
    let stamped = options.get("timestamps").is_some_and(|v| v == "true");
    let mut text = String::new();
    for line in lines {
        if stamped {
            let time = Timestamp::from_second(at(line)).unwrap_or(now);
            text.push_str(&format!("{} ", time.strftime("%Y-%m-%dT%H:%M:%SZ")));
        }
        text.push_str(&format!("{container} line {line}\n"));
    }
    if let Some(limit) = number("limitBytes").and_then(|limit| usize::try_from(limit).ok()) {
        text.truncate(limit);
    }
    text
}
