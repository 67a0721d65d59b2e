//! The CRI log format: `<RFC 3339 nano> <stdout|stderr> <P|F> <text>`.

use jiff::Timestamp;

/// Longest text of one entry; longer lines are split (`P`, then `F`).
pub const TEXT_MAX: usize = 16 << 10;

/// Appends `data` as entries. Text without a newline at its end becomes a partial entry at once, so that a
/// prompt is seen before its line ends.
pub fn encode(out: &mut Vec<u8>, time: Timestamp, stderr: bool, data: &[u8]) {
    let stream = if stderr { "stderr" } else { "stdout" };
    let stamp = format!("{time:.9} {stream} ");
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        let (text, whole) = match line.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (line, false),
        };
        let count = text.len().div_ceil(TEXT_MAX).max(1);
        for index in 0..count {
            let end = ((index + 1) * TEXT_MAX).min(text.len());
            let last = index + 1 == count;
            out.extend_from_slice(stamp.as_bytes());
            out.extend_from_slice(if last && whole { b"F " } else { b"P " });
            out.extend_from_slice(&text[index * TEXT_MAX..end]);
            out.push(b'\n');
        }
    }
}

/// One entry as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    pub stamp: &'a str,
    pub stderr: bool,
    pub partial: bool,
    pub text: &'a [u8],
}

/// Takes one line of a log file apart (without its newline).
#[must_use]
pub fn decode(line: &[u8]) -> Option<Entry<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let stamp = std::str::from_utf8(parts.next()?).ok()?;
    let stream = parts.next()?;
    let tag = parts.next()?;
    let text = parts.next().unwrap_or_default();
    Some(Entry { stamp, stderr: stream == b"stderr", partial: tag == b"P", text })
}

impl Entry<'_> {
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        self.stamp.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_parts() {
        let mut out = Vec::new();
        let time = Timestamp::UNIX_EPOCH;
        encode(&mut out, time, false, b"one\ntwo\nhal");
        encode(&mut out, time, true, b"f\n");
        let text = String::from_utf8(out).unwrap();
        let z = "1970-01-01T00:00:00.000000000Z";
        assert_eq!(
            text,
            format!("{z} stdout F one\n{z} stdout F two\n{z} stdout P hal\n{z} stderr F f\n")
        );
        let entry = decode(text.lines().nth(2).unwrap().as_bytes()).unwrap();
        assert_eq!((entry.partial, entry.stderr, entry.text), (true, false, &b"hal"[..]));
        assert_eq!(entry.time(), Some(time));
    }

    #[test]
    fn long_lines_are_split() {
        let mut out = Vec::new();
        let data = [vec![b'x'; TEXT_MAX + 1], vec![b'\n']].concat();
        encode(&mut out, Timestamp::UNIX_EPOCH, false, &data);
        let tags: Vec<bool> = out
            .split(|byte| *byte == b'\n')
            .filter_map(|line| decode(line).map(|entry| entry.partial))
            .collect();
        assert_eq!(tags, [true, false]);
    }
}
