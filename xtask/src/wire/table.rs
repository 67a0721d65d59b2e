//! The table that a run ends with.

use std::time::Duration;

/// How one check ended with one client.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    pub client: String,
    pub took: Duration,
    /// What was seen.
    pub evidence: String,
    pub failure: Option<String>,
}

/// One line as soon as it is known.
pub fn line(row: &Row) {
    let Row { name, client, took, evidence, failure } = row;
    let (result, text) = match failure {
        None => ("passed", evidence.as_str()),
        Some(failure) => ("FAILED", failure.as_str()),
    };
    println!("{name:<24} {client:<14} {:>6.1}  {result}  {text}", took.as_secs_f64());
}

/// Failures again, and the sum.
pub fn print(rows: &[Row]) {
    let failed: Vec<&Row> = rows.iter().filter(|row| row.failure.is_some()).collect();
    if !failed.is_empty() {
        println!("\nfailed:");
        failed.iter().for_each(|row| line(row));
    }
    let skipped = rows.iter().filter(|row| row.evidence.starts_with("skipped:")).count();
    println!(
        "{} passed, {} failed, {skipped} skipped",
        rows.len() - failed.len() - skipped,
        failed.len()
    );
}
