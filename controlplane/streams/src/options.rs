//! Query parameters of the streaming requests, as the API server and the kubelet know them.

use percent_encoding::percent_decode_str;

use crate::Refusal;

/// Most ports in one WebSocket port-forward: channels are numbered by one byte, two for each port.
const PORTS_MAX: usize = 127;

/// Which streams an exec or attach wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CommandOptions {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

impl CommandOptions {
    /// Reads `stdin`, `stdout`, `stderr`, `tty` (API server) and `input`, `output`, `error` (kubelet). A terminal
    /// has no separate stderr.
    pub fn from_query(query: &str) -> Result<Self, Refusal> {
        let mut options = Self::default();
        for (key, value) in pairs(query) {
            let is_on = matches!(value.as_str(), "1" | "true" | "True" | "TRUE" | "t" | "T");
            match key.as_str() {
                "stdin" | "input" => options.stdin |= is_on,
                "stdout" | "output" => options.stdout |= is_on,
                "stderr" | "error" => options.stderr |= is_on,
                "tty" => options.tty |= is_on,
                _ => {}
            }
        }
        if options.tty && options.stdout {
            options.stderr = false;
        }
        if !options.stdin && !options.stdout && !options.stderr {
            return Err(Refusal::NoStreams);
        }
        Ok(options)
    }
}

/// The ports of a port-forward (`ports=80,81` or `port=80&port=81`), in order.
pub fn forward_ports(query: &str) -> Result<Vec<u16>, Refusal> {
    let mut ports = Vec::new();
    for (key, value) in pairs(query) {
        if key != "port" && key != "ports" {
            continue;
        }
        for text in value.split(',').filter(|text| !text.is_empty()) {
            let port = text.parse::<u16>().ok().filter(|port| *port != 0);
            ports.push(port.ok_or_else(|| Refusal::BadPort { text: text.into() })?);
        }
    }
    match ports.len() {
        0 => Err(Refusal::NoPorts),
        1..=PORTS_MAX => Ok(ports),
        count => Err(Refusal::BadPort { text: format!("{count} ports") }),
    }
}

fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    let decode =
        |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    query.split('&').filter(|part| !part.is_empty()).map(move |part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        (decode(key), decode(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read_and_a_terminal_has_no_stderr() {
        let all = CommandOptions { stdin: true, stdout: true, stderr: true, tty: false };
        assert_eq!(
            CommandOptions::from_query("stdin=true&stdout=1&stderr=true&command=ls").unwrap(),
            all
        );
        assert_eq!(CommandOptions::from_query("input=1&output=1&error=1").unwrap(), all);
        let terminal =
            CommandOptions::from_query("stdin=true&stdout=true&stderr=true&tty=true").unwrap();
        assert_eq!(terminal, CommandOptions { stderr: false, tty: true, ..all });
        assert!(CommandOptions::from_query("command=ls&stdout=false").is_err());
    }

    #[test]
    fn ports_are_numbers_from_1_to_65535() {
        assert_eq!(forward_ports("ports=80%2C81&ports=82").unwrap(), [80, 81, 82]);
        assert_eq!(forward_ports("port=443").unwrap(), [443]);
        for wrong in ["", "port=0", "port=65536", "port=x", "ports=,"] {
            assert!(forward_ports(wrong).is_err(), "{wrong}");
        }
        assert!(forward_ports(&"port=1&".repeat(200)).is_err());
    }
}
