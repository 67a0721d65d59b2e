//! Config maps and secrets from literals, files and folders.

use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use crate::{discovery::Kind, send::Writing};

/// Where the data comes from.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Sources {
    /// Specify a key and literal value to insert (mykey=somevalue)
    #[arg(long)]
    pub from_literal: Vec<String>,
    /// A file (named by its base name, or key=file) or a directory
    #[arg(long)]
    pub from_file: Vec<String>,
    /// Specify the path to a file to read lines of key=val pairs
    #[arg(long)]
    pub from_env_file: Vec<String>,
}

impl Sources {
    fn read(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut data = Vec::new();
        for literal in &self.from_literal {
            let Some((key, value)) = literal.split_once('=') else {
                bail!("invalid literal source {literal}, expected key=value");
            };
            data.push((key.to_owned(), value.as_bytes().to_vec()));
        }
        for source in &self.from_file {
            read_file(source, &mut data)?;
        }
        for source in &self.from_env_file {
            let text = std::fs::read_to_string(source)
                .with_context(|| format!("error reading {source}"))?;
            let lines = text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'));
            for line in lines {
                let (key, value) = line.split_once('=').unwrap_or((line, ""));
                data.push((key.to_owned(), value.as_bytes().to_vec()));
            }
        }
        let mut keys = std::collections::HashSet::new();
        if let Some((key, _)) = data.iter().find(|(key, _)| !keys.insert(key.clone())) {
            bail!("cannot add key \"{key}\", another key by that name already exists in Data");
        }
        Ok(data)
    }
}

fn read_file(source: &str, data: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let (key, path) = match source.split_once('=') {
        Some((key, path)) => (Some(key), Path::new(path)),
        None => (None, Path::new(source)),
    };
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| format!("error reading {}", path.display()))
    };
    let base = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if path.is_dir() {
        if key.is_some() {
            bail!("cannot give a key name for a directory path");
        }
        let mut files: Vec<_> = std::fs::read_dir(path)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.retain(|file| file.is_file());
        files.sort();
        for file in files {
            data.push((base(&file), read(&file)?));
        }
        return Ok(());
    }
    data.push((key.map_or_else(|| base(path), str::to_owned), read(path)?));
    Ok(())
}

#[derive(Debug, clap::Args)]
pub struct ConfigMap {
    pub name: String,
    #[command(flatten)]
    pub sources: Sources,
    #[command(flatten)]
    pub writing: Writing,
}

impl ConfigMap {
    pub fn plan(self) -> Result<(Kind, Value, Writing)> {
        let mut text = Map::new();
        let mut binary = Map::new();
        for (key, value) in self.sources.read()? {
            match String::from_utf8(value) {
                Ok(value) => text.insert(key, value.into()),
                Err(error) => binary.insert(key, STANDARD.encode(error.as_bytes()).into()),
            };
        }
        let mut object =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": self.name } });
        for (field, data) in [("data", text), ("binaryData", binary)] {
            if !data.is_empty() {
                object[field] = Value::Object(data);
            }
        }
        Ok((Kind::built_in("", "v1", "ConfigMap", "configmaps", true), object, self.writing))
    }
}

#[derive(Debug, clap::Args)]
pub struct Secret {
    #[command(subcommand)]
    pub form: SecretForm,
}

#[derive(Debug, clap::Subcommand)]
pub enum SecretForm {
    /// Create a secret from a local file, directory, or literal value
    Generic {
        name: String,
        #[command(flatten)]
        sources: Sources,
        /// The type of secret to create
        #[arg(long = "type")]
        secret_type: Option<String>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Create a TLS secret
    Tls {
        name: String,
        /// Path to PEM encoded public key certificate
        #[arg(long)]
        cert: String,
        /// Path to private key associated with given certificate
        #[arg(long)]
        key: String,
        #[command(flatten)]
        writing: Writing,
    },
    /// Create a secret for use with a container registry
    DockerRegistry {
        name: String,
        #[arg(long)]
        docker_username: String,
        #[arg(long)]
        docker_password: String,
        #[arg(long, default_value = "")]
        docker_email: String,
        #[arg(long, default_value = "https://index.docker.io/v1/")]
        docker_server: String,
        #[command(flatten)]
        writing: Writing,
    },
}

impl Secret {
    pub fn plan(self) -> Result<(Kind, Value, Writing)> {
        let (name, secret_type, data, writing) = match self.form {
            SecretForm::Generic { name, sources, secret_type, writing } => {
                (name, secret_type.unwrap_or_default(), sources.read()?, writing)
            }
            SecretForm::Tls { name, cert, key, writing } => {
                let mut data = Vec::new();
                read_file(&format!("tls.crt={cert}"), &mut data)?;
                read_file(&format!("tls.key={key}"), &mut data)?;
                (name, "kubernetes.io/tls".to_owned(), data, writing)
            }
            SecretForm::DockerRegistry {
                name,
                docker_username,
                docker_password,
                docker_email,
                docker_server,
                writing,
            } => {
                let auth = STANDARD.encode(format!("{docker_username}:{docker_password}"));
                let config = json!({ "auths": { docker_server: {
                    "username": docker_username, "password": docker_password, "email": docker_email, "auth": auth,
                } } });
                let data = vec![(".dockerconfigjson".to_owned(), config.to_string().into_bytes())];
                (name, "kubernetes.io/dockerconfigjson".to_owned(), data, writing)
            }
        };
        let data: Map<_, _> =
            data.into_iter().map(|(key, value)| (key, STANDARD.encode(value).into())).collect();
        let mut object =
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name } });
        if !secret_type.is_empty() {
            object["type"] = secret_type.into();
        }
        if !data.is_empty() {
            object["data"] = Value::Object(data);
        }
        Ok((Kind::built_in("", "v1", "Secret", "secrets", true), object, writing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_comes_from_literals_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path.display().to_string()
        };
        let (binary, env) = (file("b.bin", &[0xff, 0]), file("env", b"# x\nK=v\n\n"));
        let sources = Sources {
            from_literal: vec!["a=1=2".to_owned()],
            from_file: vec![format!("k={binary}"), binary],
            from_env_file: vec![env],
        };
        let map = ConfigMap { name: "x".to_owned(), sources, writing: Writing::default() };
        let (_, object, _) = map.plan().unwrap();
        assert_eq!(object["data"], json!({"a": "1=2", "K": "v"}));
        assert_eq!(object["binaryData"], json!({"k": "/wA=", "b.bin": "/wA="}));
    }

    #[test]
    fn keys_are_used_once() {
        let literals = vec!["a=1".to_owned(), "a=2".to_owned()];
        let sources = Sources { from_literal: literals, ..Sources::default() };
        assert!(sources.read().unwrap_err().to_string().starts_with("cannot add key \"a\""));
    }
}
