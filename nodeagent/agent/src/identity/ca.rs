//! The cluster's CA: from a file, or fetched over plain HTTP and believed for its hash.

use std::time::Duration;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::config::CaSource;
use crate::http_client;

const TIMEOUT: Duration = Duration::from_secs(10);
const TRIES: u32 = 30;

/// The CA as PEM.
pub async fn obtain(source: &CaSource) -> anyhow::Result<String> {
    match source {
        CaSource::File(path) => {
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
        }
        CaSource::Fetched { url, sha256 } => {
            let pem = fetch(url).await?;
            check(&pem, sha256)?;
            Ok(pem)
        }
    }
}

/// A CA that an earlier agent fetched, if it still has the expected hash: the provisioner need not be there.
pub fn stored(source: &CaSource, path: &std::path::Path) -> Option<String> {
    let CaSource::Fetched { sha256, .. } = source else { return None };
    let pem = std::fs::read_to_string(path).ok()?;
    check(&pem, sha256).is_ok().then_some(pem)
}

async fn fetch(url: &str) -> anyhow::Result<String> {
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match http_client::get(url, TIMEOUT).await {
            Ok((status, body)) if status.is_success() => {
                return String::from_utf8(body.to_vec()).context("the CA is no text");
            }
            Ok((status, _)) => anyhow::anyhow!("{url} answered {status}"),
            Err(error) => error.context(format!("get {url}")),
        };
        if tries == TRIES {
            return Err(error);
        }
        tracing::warn!(error = format!("{error:#}"), "CA not fetched; trying again");
        // interval: the network of a booting machine may need a moment; bounded by TRIES.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn check(pem: &str, expect: &str) -> anyhow::Result<()> {
    let expect = expect.strip_prefix("sha256:").unwrap_or(expect);
    let hash = hex::encode(Sha256::digest(pem.as_bytes()));
    if !hash.eq_ignore_ascii_case(expect) {
        bail!("the fetched CA has hash {hash}, expected {expect}: not joining");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn only_the_expected_ca_is_believed() {
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(check("abc", hash).is_ok());
        assert!(check("abc", &format!("sha256:{}", hash.to_uppercase())).is_ok());
        assert!(check("abd", hash).is_err());
        assert!(check("abc", "").is_err());
    }
}
