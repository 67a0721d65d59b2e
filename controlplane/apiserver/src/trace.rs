//! Which trace a request belongs to, by the W3C's `traceparent` header: taken from the client or begun here, in the request's log
//! span, and sent on to webhooks, aggregated servers and agents. Upstream: KEP-647.

use std::future::Future;

use http::{HeaderMap, HeaderName, HeaderValue};
use rand::random;

pub const HEADER: HeaderName = HeaderName::from_static("traceparent");

/// A trace, as far as it has to be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    pub id: u128,
    /// Whether the client records it; bit 0 is `sampled`.
    flags: u8,
}

tokio::task_local! {
    static PRESENT: Trace;
}

impl Trace {
    /// The client's, or a new one where it sends none or a malformed one.
    pub fn of(headers: &HeaderMap) -> Self {
        let sent = headers.get(HEADER).and_then(|value| value.to_str().ok());
        sent.and_then(parse).unwrap_or_else(|| Self { id: random::<u128>().max(1), flags: 0 })
    }

    /// Runs `work` as a part of this trace.
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        PRESENT.scope(self, work)
    }

    /// The header of a request of ours, with this span as its parent.
    fn header(self, span: u64) -> Option<HeaderValue> {
        HeaderValue::from_str(&format!("00-{:032x}-{span:016x}-{:02x}", self.id, self.flags)).ok()
    }
}

/// Says in a request of ours which trace the present one belongs to; one that names its own already is left as it is.
pub fn pass_on(headers: &mut HeaderMap) {
    let trace = PRESENT.try_with(|trace| *trace).ok();
    if let Some(value) = trace.and_then(|trace| trace.header(random::<u64>().max(1))) {
        headers.entry(HEADER).or_insert(value);
    }
}

/// `version-trace-parent-flags`: hexadecimal, lower case, no identity all zero; later versions may have more parts.
fn parse(text: &str) -> Option<Trace> {
    let mut parts = text.split('-');
    let mut hex = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits)?;
        let lower = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        lower.then(|| u128::from_str_radix(part, 16).ok()).flatten()
    };
    let (version, id, parent, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    let known = version != 0xff && (version != 0 || parts.next().is_none());
    (known && id != 0 && parent != 0).then(|| Trace { id, flags: flags as u8 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_parsed_and_passed_on() {
        let sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = parse(sent).unwrap();
        assert_eq!((trace.id, trace.flags), (0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, 1));
        let passed = trace.header(0xb7ad_6b71_6920_3331).unwrap();
        assert_eq!(passed, sent);
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert!(parse(&format!("{sent}-more").replacen("00", "01", 1)).is_some());
    }

    #[tokio::test]
    async fn requests_of_ours_name_the_present_trace() {
        let mut outside = HeaderMap::new();
        pass_on(&mut outside);
        assert!(outside.is_empty());
        let trace = Trace::of(&outside);
        let headers = trace
            .scope(async {
                let mut headers = HeaderMap::new();
                pass_on(&mut headers);
                headers
            })
            .await;
        assert_eq!(Trace::of(&headers), trace);
    }
}
