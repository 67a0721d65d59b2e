//! `logs`: what containers wrote.

use std::io::Write;

use anyhow::{Result, bail};
use futures::{AsyncBufReadExt, TryStreamExt, stream};
use serde_json::Value;

use crate::{
    json::name,
    output::age,
    pods,
    session::{Session, with_query},
};

#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of kubectl logs")]
pub struct Arguments {
    /// POD or TYPE/NAME, then optionally CONTAINER
    pub words: Vec<String>,
    /// Print the logs of this container
    #[arg(short, long)]
    pub container: Option<String>,
    /// Get all containers' logs in the pod(s)
    #[arg(long)]
    pub all_containers: bool,
    /// Specify if the logs should be streamed
    #[arg(short, long)]
    pub follow: bool,
    /// If true, print the logs for the previous instance of the container in a pod if it exists
    #[arg(short, long)]
    pub previous: bool,
    /// Include timestamps on each line in the log output
    #[arg(long)]
    pub timestamps: bool,
    /// Lines of recent log file to display; -1 shows all
    #[arg(long, allow_negative_numbers = true)]
    pub tail: Option<i64>,
    /// Only return logs newer than a relative duration like 5s, 2m, or 3h
    #[arg(long)]
    pub since: Option<String>,
    /// Only return logs after a specific date (RFC3339)
    #[arg(long)]
    pub since_time: Option<String>,
    /// Maximum bytes of logs to return
    #[arg(long)]
    pub limit_bytes: Option<u64>,
    /// Selector (label query) to filter on
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// Prefix each log line with the log source (pod name and container name)
    #[arg(long)]
    pub prefix: bool,
    /// Maximum number of concurrent logs to follow when using a selector
    #[arg(long, default_value_t = 5)]
    pub max_log_requests: usize,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

/// One container whose log is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    pod: String,
    container: String,
}

/// Prints the logs.
///
/// # Errors
/// What the server answers.
pub async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    let sources = sources(session, &arguments).await?;
    if sources.is_empty() {
        eprintln!("No resources found in {} namespace.", session.namespace);
        return Ok(());
    }
    if arguments.follow && sources.len() > arguments.max_log_requests {
        bail!(
            "you are attempting to follow {} log streams, but maximum allowed concurrency is {}, use --max-log-requests \
             to increase the limit",
            sources.len(),
            arguments.max_log_requests
        );
    }
    let at_once = if arguments.follow { sources.len() } else { 1 };
    stream::iter(sources.iter().map(Ok))
        .try_for_each_concurrent(at_once, |source| print_one(session, &arguments, source))
        .await
}

async fn sources(session: &Session, arguments: &Arguments) -> Result<Vec<Source>> {
    let chosen = match (&arguments.selector, arguments.words.as_slice()) {
        (Some(selector), []) => pods::with_labels(session, selector).await?,
        (None, [word] | [word, _]) => vec![find(session, word).await?],
        (None, []) => bail!("expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'"),
        (Some(_), _) => bail!("only a selector (-l) or a POD name is allowed"),
        (None, _) => bail!("expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'"),
    };
    let asked = arguments.container.as_deref().or(arguments.words.get(1).map(String::as_str));
    let mut sources = Vec::new();
    for pod in &chosen {
        sources.extend(of_pod(pod, asked, arguments.all_containers)?);
    }
    Ok(sources)
}

/// kubectl names the namespace where a pod is not found.
async fn find(session: &Session, word: &str) -> Result<Value> {
    pods::find(session, word).await.map_err(|error| match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) if status.code == 404 => anyhow::anyhow!(
            "error from server (NotFound): {} in namespace \"{}\"",
            status.message,
            session.namespace
        ),
        _ => error,
    })
}

fn of_pod(pod: &Value, asked: Option<&str>, all: bool) -> Result<Vec<Source>> {
    let source = |container| Source { pod: name(pod).to_owned(), container };
    if all {
        return Ok(pods::containers(pod).into_iter().map(source).collect());
    }
    Ok(vec![source(pods::container(pod, asked)?)])
}

fn path_of(session: &Session, arguments: &Arguments, source: &Source) -> Result<String> {
    let flag = |set: bool| if set { "true" } else { "" };
    let since = match &arguments.since {
        None => String::new(),
        Some(text) => match age::parse_duration(text) {
            Some(span) => span.as_secs().max(1).to_string(),
            None => bail!("invalid duration \"{text}\""),
        },
    };
    // A selector may mean many pods: kubectl then shows the last ten lines of each.
    let tail = arguments.tail.or(arguments.selector.is_some().then_some(10));
    let tail = tail.filter(|lines| *lines >= 0).map_or(String::new(), |lines| lines.to_string());
    let limit = arguments.limit_bytes.map_or(String::new(), |bytes| bytes.to_string());
    Ok(with_query(
        &format!("{}/log", pods::kind().object(&session.namespace, &source.pod)),
        &[
            ("container", &source.container),
            ("follow", flag(arguments.follow)),
            ("previous", flag(arguments.previous)),
            ("timestamps", flag(arguments.timestamps)),
            ("sinceSeconds", &since),
            ("sinceTime", arguments.since_time.as_deref().unwrap_or("")),
            ("tailLines", &tail),
            ("limitBytes", &limit),
        ],
    ))
}

async fn print_one(session: &Session, arguments: &Arguments, source: &Source) -> Result<()> {
    let path = path_of(session, arguments, source)?;
    let prefix = match arguments.prefix {
        true => format!("[pod/{}/{}] ", source.pod, source.container),
        false => String::new(),
    };
    copy_lines(session, &path, &prefix).await
}

/// Prints the whole log of a container that has ended.
///
/// # Errors
/// What the server answers.
pub(crate) async fn print_whole(session: &Session, pod: &str, container: &str) -> Result<()> {
    let path = format!("{}/log", pods::kind().object(&session.namespace, pod));
    copy_lines(session, &with_query(&path, &[("container", container)]), "").await
}

/// Copies line by line, so that several logs do not mix within a line.
async fn copy_lines(session: &Session, path: &str, prefix: &str) -> Result<()> {
    let mut reader = Box::pin(session.stream(path, "*/*").await?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        out.write_all(prefix.as_bytes())?;
        out.write_all(&line)?;
        out.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn containers_are_chosen() {
        let pod = json!({
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]},
        });
        let names = |asked, all| {
            let sources = of_pod(&pod, asked, all).unwrap();
            sources.into_iter().map(|source| source.container).collect::<String>()
        };
        assert_eq!(names(None, false), "a");
        assert_eq!(names(Some("b"), false), "b");
        assert_eq!(names(None, true), "abi");
    }
}
