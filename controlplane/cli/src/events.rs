//! `events`, and the events part of `describe`.

use anyhow::Result;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::{
    discovery::Kind,
    json::{items_at, number_at, text_at},
    output::{Form, age, list_of, print_object, tabwriter},
    session::{Session, now, with_query},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// If present, list the requested object(s) across all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Filter events to only those pertaining to the specified resource (TYPE/NAME)
    #[arg(long = "for")]
    pub regarding: Option<String>,
    /// Output only events of given types (Normal, Warning)
    #[arg(long, value_delimiter = ',')]
    pub types: Vec<String>,
    /// Output format. One of: (json, yaml)
    #[arg(short, long)]
    pub output: Option<String>,
    #[arg(long)]
    pub no_headers: bool,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

fn kind() -> Kind {
    Kind::built_in("", "v1", "Event", "events", true)
}

/// Prints events, oldest first.
///
/// # Errors
/// What the server answers.
pub async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    let namespace = (!arguments.all_namespaces).then_some(session.namespace.as_str());
    let list = session.list(&kind().collection(namespace)).await?;
    let mut events: Vec<Value> = items_at(&list, "/items").cloned().collect();
    events.retain(|event| is_wanted(&arguments, event));
    sort(&mut events);
    let form = Form::parse(arguments.output.as_deref())?;
    if !form.is_table() {
        print!("{}", print_object(&form, &list_of(events))?);
        return Ok(());
    }
    if events.is_empty() {
        match namespace {
            Some(namespace) => eprintln!("No events found in {namespace} namespace."),
            None => eprintln!("No events found."),
        }
        return Ok(());
    }
    let mut lines: Vec<_> =
        events.iter().map(|event| line(event, arguments.all_namespaces, now())).collect();
    if !arguments.no_headers {
        let namespace = if arguments.all_namespaces { "NAMESPACE\t" } else { "" };
        lines.insert(0, format!("{namespace}LAST SEEN\tTYPE\tREASON\tOBJECT\tMESSAGE"));
    }
    print!("{}", tabwriter::align(&lines.join("\n"), tabwriter::GET));
    Ok(())
}

fn is_wanted(arguments: &Arguments, event: &Value) -> bool {
    let fits_type = arguments.types.is_empty()
        || arguments
            .types
            .iter()
            .any(|wanted| wanted.eq_ignore_ascii_case(text_at(event, "/type")));
    let fits_object = arguments.regarding.as_ref().is_none_or(|wanted| {
        let (kind, name) = wanted.split_once('/').unwrap_or(("", wanted));
        let own = text_at(event, "/involvedObject/kind").to_lowercase();
        let kind = kind.to_lowercase();
        let same_kind =
            kind.is_empty() || own == kind || format!("{own}s") == kind || own.starts_with(&kind);
        same_kind && text_at(event, "/involvedObject/name") == name
    });
    fits_type && fits_object
}

fn line(event: &Value, namespaces: bool, now: Timestamp) -> String {
    let namespace = if namespaces {
        format!("{}\t", text_at(event, "/metadata/namespace"))
    } else {
        String::new()
    };
    format!(
        "{namespace}{}\t{}\t{}\t{}/{}\t{}",
        seen(event, now),
        text_at(event, "/type"),
        text_at(event, "/reason"),
        text_at(event, "/involvedObject/kind"),
        text_at(event, "/involvedObject/name"),
        text_at(event, "/message").trim(),
    )
}

fn last_time(event: &Value) -> &str {
    ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"]
        .iter()
        .map(|pointer| text_at(event, pointer))
        .find(|time| !time.is_empty())
        .unwrap_or("")
}

fn first_time(event: &Value) -> &str {
    ["/firstTimestamp", "/eventTime", "/metadata/creationTimestamp"]
        .iter()
        .map(|pointer| text_at(event, pointer))
        .find(|time| !time.is_empty())
        .unwrap_or("")
}

/// `5s`, or `5s (x3 over 2m)` of an event that was counted.
fn seen(event: &Value, now: Timestamp) -> String {
    let last = age::since(last_time(event), now);
    let count = number_at(event, "/series/count").or(number_at(event, "/count")).unwrap_or(1);
    if count > 1 {
        format!("{last} (x{count} over {})", age::since(first_time(event), now))
    } else {
        last
    }
}

fn sort(events: &mut [Value]) {
    events.sort_by(|left, right| last_time(left).cmp(last_time(right)));
}

/// The events about one object, oldest first.
///
/// # Errors
/// What the server answers.
pub(crate) async fn about(session: &Session, object: &Value) -> Result<Vec<Value>> {
    let field = |name: &str, value: &str| match value {
        "" => String::new(),
        value => format!("involvedObject.{name}={value}"),
    };
    let namespace = text_at(object, "/metadata/namespace");
    let selector: Vec<_> = [
        field("name", text_at(object, "/metadata/name")),
        field("namespace", namespace),
        field("kind", text_at(object, "/kind")),
        field("uid", text_at(object, "/metadata/uid")),
    ]
    .into_iter()
    .filter(|part| !part.is_empty())
    .collect();
    let namespace = (!namespace.is_empty()).then_some(namespace);
    let path = with_query(&kind().collection(namespace), &[("fieldSelector", &selector.join(","))]);
    let list = session.list(&path).await?;
    let mut events: Vec<_> = items_at(&list, "/items").cloned().collect();
    sort(&mut events);
    Ok(events)
}

/// The events part of `describe`, separated by tabs.
#[must_use]
pub(crate) fn describe(events: &[Value], now: Timestamp) -> String {
    if events.is_empty() {
        return "Events:\t<none>\n".to_owned();
    }
    let mut text =
        "Events:\n  Type\tReason\tAge\tFrom\tMessage\n  ----\t------\t----\t----\t-------\n"
            .to_owned();
    for event in events {
        let from = match text_at(event, "/source/component") {
            "" => text_at(event, "/reportingComponent"),
            component => component,
        };
        text.push_str(&format!(
            "  {}\t{}\t{}\t{from}\t{}\n",
            text_at(event, "/type"),
            text_at(event, "/reason"),
            seen(event, now),
            text_at(event, "/message").trim(),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counted_events_show_their_span() {
        let event = json!({
            "type": "Warning", "reason": "BackOff", "message": "m\n", "count": 3,
            "firstTimestamp": "1970-01-01T00:00:00Z", "lastTimestamp": "1970-01-01T00:01:55Z",
            "source": {"component": "kubelet"}, "involvedObject": {"kind": "Pod", "name": "p"},
        });
        let now = Timestamp::from_second(120).unwrap();
        assert_eq!(line(&event, false, now), "5s (x3 over 2m)\tWarning\tBackOff\tPod/p\tm");
        assert!(
            describe(&[event], now).ends_with("  Warning\tBackOff\t5s (x3 over 2m)\tkubelet\tm\n")
        );
        assert_eq!(describe(&[], now), "Events:\t<none>\n");
    }
}
