//! The time of day in the forms that the API uses.

use jiff::Timestamp;

/// RFC 3339 in UTC with seconds, as `metav1.Time`.
#[must_use]
pub fn now() -> String {
    format_seconds(now_unix())
}

/// RFC 3339 in UTC with microseconds, as `metav1.MicroTime`.
#[must_use]
pub fn now_micro() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Seconds of the Unix epoch.
#[must_use]
pub fn now_unix() -> i64 {
    Timestamp::now().as_second()
}

/// `metav1.Time` of a Unix second.
#[must_use]
pub fn format_seconds(unix: i64) -> String {
    Timestamp::from_second(unix).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The Unix second of an RFC 3339 time.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_second)
}
