//! A small HTTP client, and requests that go on while something else happens.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};

use super::waiting::REQUEST;

/// A page of ours is small.
const PAGE_BYTES_MAX: u64 = 1 << 20;
/// Requests of one run, and its time: bounds for a check that hangs.
const REQUESTS_MAX: u64 = 50_000;
const TRAFFIC_MAX: Duration = Duration::from_secs(30 * 60);
/// Failures that are kept in words.
const FAILURES_KEPT: usize = 5;

/// GET by HTTP/1.0: a connection of its own. Returns the body; anything but 200 is an error.
pub fn get(address: &str, path: &str) -> Result<String> {
    let socket: SocketAddr = address.parse().with_context(|| format!("bad address {address}"))?;
    let stream = TcpStream::connect_timeout(&socket, REQUEST).context("failed to connect")?;
    stream.set_read_timeout(Some(REQUEST))?;
    stream.set_write_timeout(Some(REQUEST))?;
    ask(stream, address, path)
}

/// The same through a socket in the file system.
pub fn get_unix(socket: &str, path: &str) -> Result<String> {
    let stream = UnixStream::connect(socket).context("failed to connect")?;
    stream.set_read_timeout(Some(REQUEST))?;
    stream.set_write_timeout(Some(REQUEST))?;
    ask(stream, "localhost", path)
}

fn ask(mut stream: impl Read + Write, address: &str, path: &str) -> Result<String> {
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.take(PAGE_BYTES_MAX).read_to_end(&mut bytes).context("failed to read the answer")?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("the answer was cut off")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.contains(" 200 "), "{address}{path}: {status}");
    let announced = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    ensure!(announced.is_none_or(|length| length == body.len()), "the body was cut off");
    Ok(body.to_owned())
}

/// What came of many requests.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub answered: u64,
    pub failed: u64,
    /// The first failures, in words.
    pub failures: Vec<String>,
    /// Bodies (trimmed) and how often each came.
    pub bodies: BTreeMap<String, u64>,
    pub slowest: Duration,
}

/// Requests in a thread of their own, one after the other, until stopped.
#[derive(Debug)]
pub struct Traffic {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<Tally>,
}

impl Traffic {
    /// Starts asking the addresses in turn.
    #[must_use]
    pub fn start(addresses: Vec<String>, path: &'static str) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ended, count) = (Arc::clone(&stop), Arc::clone(&answered));
        let thread = std::thread::spawn(move || {
            let (start, mut tally) = (Instant::now(), Tally::default());
            for address in addresses.iter().cycle().take(REQUESTS_MAX as usize) {
                if ended.load(Ordering::Relaxed) || start.elapsed() > TRAFFIC_MAX {
                    break;
                }
                tally.ask(address, path, start);
                count.store(tally.answered, Ordering::Relaxed);
                // interval: the load's rate, about fifty requests a second.
                std::thread::sleep(Duration::from_millis(20));
            }
            tally
        });
        Self { stop, answered, thread }
    }

    /// Requests that were answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends it.
    pub fn stop(self) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_panic| anyhow!("the traffic's thread panicked"))
    }
}

impl Tally {
    fn ask(&mut self, address: &str, path: &str, since: Instant) {
        let sent = Instant::now();
        match get(address, path) {
            Ok(body) => {
                self.answered += 1;
                self.slowest = self.slowest.max(sent.elapsed());
                *self.bodies.entry(body.trim().to_owned()).or_default() += 1;
            }
            Err(error) => {
                self.failed += 1;
                if self.failures.len() < FAILURES_KEPT {
                    let at = (sent - since).as_secs_f64();
                    self.failures.push(format!("{address} after {at:.1} s: {error:#}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer_once(text: &'static str) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _count = stream.read(&mut request).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn only_whole_200_answers_count() {
        let good = answer_once("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nv1");
        assert_eq!(get(&good, "/").unwrap(), "v1");
        for bad in [
            "HTTP/1.1 503 Unavailable\r\n\r\nv1",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nv1",
            "HTTP/1.1 200 OK\r\n",
            "",
        ] {
            assert!(get(&answer_once(bad), "/").is_err(), "{bad:?}");
        }
    }
}
