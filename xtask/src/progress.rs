//! Stages with a name, a spinner, and a time: what runs, how far it is, how long it took.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

/// Collects the stages of one run.
#[derive(Debug, Default)]
pub struct Stages {
    done: Vec<(String, Duration, String)>,
    planned: usize,
}

impl Stages {
    /// A run of so many stages.
    #[must_use]
    pub fn new(planned: usize) -> Self {
        Self { done: Vec::new(), planned }
    }

    /// Runs one stage. It returns a remark for the table ("from the cache"). Its closure may say where it is.
    pub fn run(
        &mut self,
        name: &str,
        stage: impl FnOnce(&ProgressBar) -> Result<String>,
    ) -> Result<()> {
        let number = self.done.len() + 1;
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed:>5} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_bad| ProgressStyle::default_spinner()));
        bar.set_prefix(format!("[{number}/{}] {name}", self.planned));
        bar.enable_steady_tick(Duration::from_millis(120));
        let hidden = bar.is_hidden();
        if hidden {
            println!("[{number}/{}] {name} ...", self.planned);
        }
        let start = Instant::now();
        let outcome = stage(&bar).with_context(|| format!("stage \"{name}\" failed"));
        bar.finish_and_clear();
        let remark = outcome?;
        let took = start.elapsed();
        println!("[{number}/{}] {name:<34} {:>7.1} s  {remark}", self.planned, took.as_secs_f64());
        self.done.push((name.to_owned(), took, remark));
        Ok(())
    }

    /// The table of all stages with their times.
    pub fn print_table(&self) {
        println!("\n{:<36}{:>9}", "stage", "seconds");
        for (name, took, remark) in &self.done {
            println!("{name:<36}{:>9.1}  {remark}", took.as_secs_f64());
        }
        let total: Duration = self.done.iter().map(|(_, took, _)| *took).sum();
        println!("{:<36}{:>9.1}", "total", total.as_secs_f64());
    }
}
