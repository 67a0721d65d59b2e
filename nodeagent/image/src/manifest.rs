//! Manifests, indexes and configurations of images: parsed, checked, and the platform chosen. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{ImageConfig, Reason};

/// Layers of one image: each is a disk of the VM.
const LAYERS_MAX: usize = 127;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub digest: String,
    #[serde(default)]
    pub size: u64,
    #[serde(default)]
    pub platform: Option<Platform>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Manifest {
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Index {
    pub manifests: Vec<Descriptor>,
}

/// What a manifest URL can answer with, told by its fields: media types are optional in OCI.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Document {
    Image(Manifest),
    Index(Index),
}

/// A configuration with its layers' digests.
#[derive(Debug, PartialEq, Eq)]
pub struct Configuration {
    pub diff_ids: Vec<String>,
    pub config: ImageConfig,
}

pub fn parse_document(bytes: &[u8]) -> Result<Document, Reason> {
    let document: Document = serde_json::from_slice(bytes).map_err(invalid("manifest"))?;
    let digests: Vec<&Descriptor> = match &document {
        Document::Image(manifest) => manifest.layers.iter().chain([&manifest.config]).collect(),
        Document::Index(index) => index.manifests.iter().collect(),
    };
    digests.iter().try_for_each(|descriptor| check_digest(&descriptor.digest))?;
    Ok(document)
}

/// The entry for linux/amd64; an entry without a platform serves when there is no other.
pub fn choose_platform<'a>(index: &'a Index, name: &str) -> Result<&'a Descriptor, Reason> {
    let wanted = |descriptor: &&Descriptor| {
        let platform = descriptor.platform.as_ref();
        platform.is_some_and(|platform| platform.os == "linux" && platform.architecture == "amd64")
    };
    let only = || index.manifests.iter().find(|descriptor| descriptor.platform.is_none());
    index
        .manifests
        .iter()
        .find(wanted)
        .or_else(only)
        .ok_or_else(|| Reason::NoPlatform { name: name.to_owned() })
}

pub fn parse_configuration(bytes: &[u8], layers: usize) -> Result<Configuration, Reason> {
    let raw: RawConfiguration =
        serde_json::from_slice(bytes).map_err(invalid("image configuration"))?;
    let diff_ids = raw.rootfs.diff_ids;
    diff_ids.iter().try_for_each(|digest| check_digest(digest))?;
    if diff_ids.len() != layers || layers > LAYERS_MAX {
        let detail =
            format!("{} layers, {layers} in the manifest, at most {LAYERS_MAX}", diff_ids.len());
        return Err(Reason::Invalid { what: "image configuration", detail });
    }
    let raw = raw.config.unwrap_or_default();
    let config = ImageConfig {
        entrypoint: raw.entrypoint.unwrap_or_default(),
        cmd: raw.cmd.unwrap_or_default(),
        env: raw.env.unwrap_or_default(),
        working_dir: raw.working_dir.unwrap_or_default(),
        user: raw.user.unwrap_or_default(),
        exposed_ports: raw.exposed_ports.unwrap_or_default().into_keys().collect(),
        stop_signal: raw.stop_signal.filter(|signal| !signal.is_empty()),
        volumes: raw.volumes.unwrap_or_default().into_keys().collect(),
    };
    Ok(Configuration { diff_ids, config })
}

/// `sha256:` and 64 lower-case hexadecimal digits: digests become file names.
pub fn check_digest(digest: &str) -> Result<(), Reason> {
    let digits = digest.strip_prefix("sha256:").unwrap_or_default();
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() == 64 && digits.bytes().all(is_digit) {
        return Ok(());
    }
    Err(Reason::Invalid { what: "digest", detail: digest.chars().take(100).collect() })
}

pub fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

pub fn check_contents(bytes: &[u8], digest: &str) -> Result<(), Reason> {
    let found = digest_of(bytes);
    if found == digest { Ok(()) } else { Err(Reason::Digest { digest: digest.to_owned(), found }) }
}

fn invalid(what: &'static str) -> impl FnOnce(serde_json::Error) -> Reason {
    move |error| Reason::Invalid { what, detail: error.to_string() }
}

#[derive(Deserialize)]
struct RawConfiguration {
    config: Option<RawConfig>,
    rootfs: RootFilesystem,
}

#[derive(Deserialize)]
struct RootFilesystem {
    #[serde(default)]
    diff_ids: Vec<String>,
}

/// Docker writes `null` where it means empty, hence the options.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawConfig {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    stop_signal: Option<String>,
    volumes: Option<BTreeMap<String, serde_json::Value>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(digit: char) -> String {
        format!("sha256:{}", digit.to_string().repeat(64))
    }

    #[test]
    fn chooses_linux_amd64() {
        let entry = |digit, platform: Option<(&str, &str)>| {
            let platform = platform.map(
                |(os, architecture)| serde_json::json!({"os": os, "architecture": architecture}),
            );
            serde_json::json!({"digest": digest(digit), "platform": platform})
        };
        let cases = [
            (
                vec![entry('1', Some(("linux", "arm64"))), entry('2', Some(("linux", "amd64")))],
                Some('2'),
            ),
            (vec![entry('1', Some(("windows", "amd64")))], None),
            (vec![entry('1', Some(("unknown", "unknown"))), entry('3', None)], Some('3')),
        ];
        for (manifests, expected) in cases {
            let bytes = serde_json::to_vec(&serde_json::json!({"manifests": manifests})).unwrap();
            let Document::Index(index) = parse_document(&bytes).unwrap() else {
                panic!("no index")
            };
            let chosen = choose_platform(&index, "name").ok().map(|entry| entry.digest.clone());
            assert_eq!(chosen, expected.map(digest));
        }
    }

    #[test]
    fn digests_are_file_names() {
        assert!(check_digest(&digest('a')).is_ok());
        for bad in ["", "sha256:../../etc", "sha512:00", &digest('A'), &digest('g')] {
            assert!(check_digest(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn configurations_with_nulls_and_wrong_counts() {
        let text = format!(
            r#"{{"config":{{"Cmd":["/bin/sh"],"Entrypoint":null,"ExposedPorts":{{"80/tcp":{{}}}},
                "StopSignal":""}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            digest('1')
        );
        let parsed = parse_configuration(text.as_bytes(), 1).unwrap();
        assert_eq!(parsed.config.cmd, ["/bin/sh"]);
        assert_eq!(parsed.config.exposed_ports, ["80/tcp"]);
        assert_eq!(parsed.config.stop_signal, None);
        assert!(parse_configuration(text.as_bytes(), 2).is_err());
    }
}
