//! Runs nftables scripts through the `nft` program, one kernel transaction each.
//! Knows no rule: `network` and `proxy` write their own scripts.

use std::io;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Lines of `nft`'s complaint that are kept in an error.
const COMPLAINT_LINES_MAX: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("start nft (package nftables)")]
    Start { source: io::Error },
    #[error("talk to nft")]
    Talk { source: io::Error },
    #[error("load nftables rules: {complaint}")]
    Refused { complaint: String },
}

/// Loads `script` (the language of `nft -f`) as one transaction.
pub async fn apply(script: &str) -> Result<(), Error> {
    tracing::trace!(script, "nftables transaction");
    run(&["-f", "-"], script).await.map(|_| ())
}

/// The current rules of a table as text, empty when there is no such table.
pub async fn list_table(family: &str, table: &str) -> Result<String, Error> {
    match run(&["list", "table", family, table], "").await {
        Ok(text) => Ok(text),
        Err(Error::Refused { complaint }) if complaint.contains("No such file") => {
            Ok(String::new())
        }
        Err(error) => Err(error),
    }
}

async fn run(arguments: &[&str], input: &str) -> Result<String, Error> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| Error::Start { source })?;
    let mut stdin = child.stdin.take().expect("stdin is piped above");
    let feed = async move {
        // nft may stop reading at a syntax error: its own words matter then, not the broken pipe.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
    };
    let (_, output) = tokio::join!(feed, child.wait_with_output());
    let output = output.map_err(|source| Error::Talk { source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Refused { complaint: shorten(&String::from_utf8_lossy(&output.stderr)) })
}

fn shorten(complaint: &str) -> String {
    let lines: Vec<&str> = complaint.lines().take(COMPLAINT_LINES_MAX).map(str::trim_end).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_first_lines_of_a_complaint() {
        let long = "line\n".repeat(100);
        assert_eq!(shorten(&long).matches("line").count(), COMPLAINT_LINES_MAX);
        assert_eq!(shorten("a \nb"), "a; b");
    }

    #[tokio::test]
    async fn reports_what_nft_says() {
        match apply("add nonsense\n").await {
            Err(Error::Refused { complaint }) => assert!(complaint.contains("syntax error")),
            Err(Error::Start { .. }) => println!("skipped: nft is not installed"),
            other => panic!("unexpected {other:?}"),
        }
    }
}
