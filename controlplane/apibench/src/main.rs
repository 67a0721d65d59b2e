//! `cargo xtask bench api`: one API server on loopback TLS, measured from outside, and what bounds each figure.

mod bound;
mod client;
mod objects;
mod phases;
mod server;
mod watch;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser as _;

use self::{bound::Usage, client::Client, server::Server};

/// How much.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "cargo xtask bench api --")]
pub struct Options {
    /// Pods that are created, read, patched and listed.
    #[arg(long, default_value_t = 10_000)]
    pub pods: usize,
    /// Watches on one namespace.
    #[arg(long, default_value_t = 1_000)]
    pub watchers: usize,
    /// Changes per second that all of them see.
    #[arg(long, default_value_t = 1_000)]
    pub events: usize,
    /// Seconds for which there are changes.
    #[arg(long, default_value_t = 10)]
    pub watch_seconds: u64,
    /// Objects in the store when the start is timed.
    #[arg(long, default_value_t = 100_000)]
    pub objects: usize,
    /// Requests under way at a time.
    #[arg(long, default_value_t = 64)]
    pub in_flight: usize,
    /// The server's binary.
    #[arg(long)]
    pub binary: PathBuf,
}

/// One line of the result.
#[derive(Debug)]
pub struct Figure {
    pub name: &'static str,
    pub value: String,
    pub bound: String,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let figures = runtime.block_on(measure(&options.binary, &options))?;
    println!("\n{:<58} {:>30}  bounded by", "figure", "value");
    for Figure { name, value, bound } in figures {
        println!("{name:<58} {value:>30}  {bound}");
    }
    Ok(())
}

async fn measure(binary: &std::path::Path, options: &Options) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir().context("failed to make a folder for the server")?;
    let fsync = server::fsync_seconds(folder.path())?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!(
        "{} on {cores} cores, fdatasync of 4 KiB {:.2} ms, load average {}",
        binary.display(),
        fsync * 1e3,
        std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
    );
    let (mut server, _) = Server::start(binary, folder.path()).await?;
    let mut figures = Vec::new();
    let bench = Bench { client: Client::connect(&server).await?, options, cores, fsync };
    bench.prepare().await?;
    figures.extend(bench.requests(&server).await?);
    figures.extend(bench.lists(&server).await?);
    figures.extend(bench.watches(&server).await?);
    let present = bench.fill().await?;
    drop(bench);
    server.stop()?;
    let (_server, ready) = Server::start(binary, folder.path()).await?;
    figures.push(Figure {
        name: "start to /readyz",
        value: format!("{:.2} s, {present} objects", ready.as_secs_f64()),
        bound: "one core: reading the store and building the cache".into(),
    });
    Ok(figures)
}

/// The smallest value that so many percent of all are not above (nearest rank).
fn percentile(values: &[f64], percent: u32) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent as usize).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// What every phase needs.
pub struct Bench<'a> {
    pub client: Client,
    pub options: &'a Options,
    pub cores: usize,
    pub fsync: f64,
}

impl Bench<'_> {
    /// What bounded something that took `seconds` and used `usage`.
    pub fn bound(&self, usage: Usage, writes: bool) -> String {
        bound::describe(usage, self.cores, writes.then_some(self.fsync))
    }
}
