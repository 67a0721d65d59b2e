//! What a client may ask of a log (`PodLogOptions`), from the query string.

use jiff::{SignedDuration, Timestamp};

/// Options of one log request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    pub since: Option<Timestamp>,
    pub tail_lines: Option<usize>,
    pub limit_bytes: Option<u64>,
    /// Only standard output (`Stdout`) or error (`Stderr`).
    pub stderr_only: Option<bool>,
}

/// Reads the options.
///
/// # Errors
/// A value that cannot be understood, worded for the client.
pub fn parse(query: &str, now: Timestamp) -> Result<Query, String> {
    let mut out = Query::default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let bad = || format!("invalid {name}: {value:?}");
        let flag = || value.is_empty() || value == "true" || value == "1";
        match name.as_ref() {
            "follow" => out.follow = flag(),
            "previous" => out.previous = flag(),
            "timestamps" => out.timestamps = flag(),
            "tailLines" => out.tail_lines = Some(value.parse().map_err(|_| bad())?),
            "limitBytes" => out.limit_bytes = Some(value.parse().map_err(|_| bad())?),
            "sinceSeconds" => {
                let seconds: i64 = value.parse().map_err(|_| bad())?;
                out.since = now.checked_sub(SignedDuration::from_secs(seconds)).ok();
            }
            "sinceTime" => out.since = Some(value.parse().map_err(|_| bad())?),
            "stream" => {
                out.stderr_only = match value.as_ref() {
                    "Stdout" => Some(false),
                    "Stderr" => Some(true),
                    _ => None,
                }
            }
            _ => {}
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let now = Timestamp::from_second(1000).unwrap();
        let query = parse("follow=true&tailLines=3&sinceSeconds=10&limitBytes=9", now).unwrap();
        assert!(query.follow && !query.previous);
        assert_eq!((query.tail_lines, query.limit_bytes), (Some(3), Some(9)));
        assert_eq!(query.since, Some(Timestamp::from_second(990).unwrap()));
        assert!(parse("tailLines=x", now).is_err());
    }
}
