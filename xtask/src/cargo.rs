//! Calls of cargo.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// An executable that cargo made.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// The crate, which is its folder's name.
    pub package: String,
    /// The target's name (`init`, `conformance`).
    pub name: String,
    pub path: PathBuf,
    /// A test binary, not a program that a test needs.
    pub is_test: bool,
}

/// Cargo itself, for the whole workspace. What `cargo xtask` told about this crate is taken out of its environment:
/// build scripts that watch it (ring's does) would run again each time one changes between `cargo` and `cargo xtask`.
pub fn command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::paths::root());
    for (name, _) in std::env::vars_os() {
        let told = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if told {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `cargo <arguments>` and returns the executables it made or found fresh.
pub fn build(arguments: &[&str]) -> Result<Vec<Artifact>> {
    let output = command()
        .args(arguments)
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start cargo")?;
    if !output.status.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(executable).collect())
}

fn executable(line: &str) -> Option<Artifact> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let path = message["executable"].as_str()?;
    let is_test = message["profile"]["test"].as_bool().unwrap_or(false);
    let name = message["target"]["name"].as_str()?;
    let manifest = Path::new(message["manifest_path"].as_str()?);
    let package = manifest.parent()?.file_name()?.to_string_lossy().into_owned();
    Some(Artifact { package, name: name.to_owned(), path: path.into(), is_test })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_read_from_cargos_messages() {
        let line = r#"{"reason":"compiler-artifact","manifest_path":"/x/guest/init/Cargo.toml","target":{"name":"service"},"profile":{"test":true},"executable":"/t/service-1"}"#;
        let made = executable(line).unwrap();
        assert_eq!(
            (made.package.as_str(), made.name.as_str(), made.is_test),
            ("init", "service", true)
        );
        assert!(executable(r#"{"reason":"compiler-artifact","executable":null}"#).is_none());
    }
}
