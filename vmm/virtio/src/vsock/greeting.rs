//! The line with which a host client names the guest's port.

/// Longest greeting in bytes: `CONNECT 4294967295\n`.
pub const GREETING_BYTES_MAX: usize = 19;

/// What the first bytes of a client are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// The line is not whole yet.
    Partial,
    /// A whole line: the port, and the line's length in bytes.
    Complete(u32, usize),
    /// Anything else.
    Invalid,
}

/// Reads the greeting at the start of `bytes`.
pub fn parse(bytes: &[u8]) -> Greeting {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        let fits = bytes.len() < GREETING_BYTES_MAX;
        return if fits { Greeting::Partial } else { Greeting::Invalid };
    };
    let port = std::str::from_utf8(&bytes[..end])
        .ok()
        .and_then(|line| line.strip_prefix("CONNECT "))
        .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|port| port.parse().ok());
    port.map_or(Greeting::Invalid, |port| Greeting::Complete(port, end + 1))
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn only_the_exact_line_is_accepted() {
        let cases: [(&[u8], Greeting); 8] = [
            (b"", Greeting::Partial),
            (b"CONNECT 10", Greeting::Partial),
            (b"CONNECT 1024\n", Greeting::Complete(1024, 13)),
            (b"CONNECT 1\nPRI * HTTP", Greeting::Complete(1, 10)),
            (b"CONNECT 4294967295\n", Greeting::Complete(u32::MAX, 19)),
            (b"CONNECT 4294967296\n", Greeting::Invalid),
            (b"CONNECT +1\n", Greeting::Invalid),
            (b"connect 0000000000000000000001", Greeting::Invalid),
        ];
        for (bytes, expected) in cases {
            assert_eq!(parse(bytes), expected, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
