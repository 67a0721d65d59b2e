//! What bounds a figure: said from who used how much of the machine. Pure.

/// Processor time of both sides over a stretch of time, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    pub seconds: f64,
    pub server: f64,
    pub client: f64,
}

impl Usage {
    fn cores(self) -> (f64, f64) {
        (self.server / self.seconds, self.client / self.seconds)
    }
}

/// `fsync` in seconds for what is written.
#[must_use]
pub fn describe(usage: Usage, cores: usize, fsync: Option<f64>) -> String {
    let (server, client) = usage.cores();
    let used = format!("server {server:.2}, this program {client:.2} of {cores} cores");
    let all = cores as f64;
    if server + client > 0.85 * all {
        return format!("processors ({used})");
    }
    if server > 0.85 * (all - client).max(0.1) {
        return format!("the server's processor time ({used})");
    }
    if let Some(fsync) = fsync {
        return format!(
            "commits: {:.0} fsyncs/s at most, others in the group wait ({used})",
            1.0 / fsync
        );
    }
    format!("other load on this machine, or waiting for each other ({used})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scarce_thing_is_named() {
        let usage = |server, client| Usage { seconds: 10.0, server, client };
        for (usage, fsync, expect) in [
            (usage(12.0, 7.0), None, "processors"),
            (usage(2.0, 1.0), Some(0.002), "commits: 500 fsyncs/s"),
            (usage(2.0, 1.0), None, "other load"),
        ] {
            let said = describe(usage, 2, fsync);
            assert!(said.starts_with(expect), "{said}");
        }
    }
}
