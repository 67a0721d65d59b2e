//! `cp`: files to and from a container, by the `tar` inside it.

use std::{
    io::{Read, Write},
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::AttachParams};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::io::SyncIoBridge;

use crate::{exec::is_failure, json::name, pods, session::Session};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// FILE, POD:FILE or NAMESPACE/POD:FILE
    pub source: String,
    /// FILE, POD:FILE or NAMESPACE/POD:FILE
    pub destination: String,
    /// Container name
    #[arg(short, long)]
    pub container: Option<String>,
    /// The copied file/directory's ownership and permissions will not be preserved in the container
    #[arg(long)]
    pub no_preserve: bool,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Here(PathBuf),
    There { namespace: Option<String>, pod: String, path: String },
}

/// Copies in the direction the arguments say.
///
/// # Errors
/// What the server answers, what tar says, or when both ends are of one side.
pub async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    let container = arguments.container.as_deref();
    match (parse(&arguments.source), parse(&arguments.destination)) {
        (Place::There { namespace, pod, path }, Place::Here(target)) => {
            let far = Far::open(session, namespace.as_deref(), &pod, container).await?;
            download(far, &path, &target).await
        }
        (Place::Here(source), Place::There { namespace, pod, path }) => {
            let far = Far::open(session, namespace.as_deref(), &pod, container).await?;
            upload(far, &source, &path, arguments.no_preserve).await
        }
        _ => bail!("one of src or dest must be a local file specification"),
    }
}

fn parse(word: &str) -> Place {
    let Some((pod, path)) = word.split_once(':') else { return Place::Here(word.into()) };
    if pod.is_empty() || pod.starts_with('.') || pod.starts_with('/') {
        return Place::Here(word.into());
    }
    let (namespace, pod) = match pod.split_once('/') {
        Some((namespace, pod)) => (Some(namespace.to_owned()), pod),
        None => (None, pod),
    };
    Place::There { namespace, pod: pod.to_owned(), path: path.to_owned() }
}

/// A container to run tar in.
struct Far {
    api: Api<Pod>,
    pod: String,
    container: String,
}

impl Far {
    async fn open(
        session: &Session,
        namespace: Option<&str>,
        pod: &str,
        container: Option<&str>,
    ) -> Result<Self> {
        let namespace = namespace.unwrap_or(&session.namespace);
        let object = session.get(&pods::kind().object(namespace, pod)).await?;
        let container = pods::container(&object, container)?;
        let api = Api::namespaced(session.client.clone(), namespace);
        Ok(Self { api, pod: name(&object).to_owned(), container })
    }

    fn parameters(&self, stdin: bool) -> AttachParams {
        AttachParams::default()
            .container(&self.container)
            .stdin(stdin)
            .stdout(true)
            .stderr(true)
            .tty(false)
            .max_stdin_buf_size(64 << 10)
            .max_stdout_buf_size(64 << 10)
    }
}

async fn download(far: Far, path: &str, target: &Path) -> Result<()> {
    let trimmed = path.trim_end_matches('/');
    let (folder, base) = trimmed.rsplit_once('/').unwrap_or((".", trimmed));
    let folder = if folder.is_empty() { "/" } else { folder };
    let command = ["tar", "cf", "-", "-C", folder, "--", base];
    let mut process = far.api.exec(&far.pod, command, &far.parameters(false)).await?;
    let stdout = process.stdout().context("the container has no output")?;
    let mut stderr = process.stderr().context("the container has no error output")?;
    let status = process.take_status().context("the process was already waited for")?;
    let messages = tokio::spawn(async move {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text).await;
        text
    });
    // A folder that exists receives the thing under its own name, as cp does.
    let (inside, target) = (base.to_owned(), target.to_owned());
    let target = if target.is_dir() { target.join(base) } else { target };
    let reader = SyncIoBridge::new(stdout);
    let unpacked = tokio::task::spawn_blocking(move || unpack(reader, &inside, &target)).await?;
    let status = status.await;
    let text = messages.await.unwrap_or_default();
    if status.is_some_and(|status| is_failure(&status)) {
        bail!("{}", text.trim());
    }
    unpacked
}

/// Unpacks `inside` of an archive as `target`. Nothing leaves the target: the archive is a stranger's.
fn unpack(reader: impl Read, inside: &str, target: &Path) -> Result<()> {
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let Ok(rest) = path.strip_prefix(inside) else { continue };
        if rest.components().any(|part| !matches!(part, Component::Normal(_))) {
            bail!("the archive names a path outside of its root: {}", path.display());
        }
        let place = if rest.as_os_str().is_empty() { target.to_owned() } else { target.join(rest) };
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            std::fs::create_dir_all(&place)?;
        } else if kind.is_file() {
            if let Some(parent) = place.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let mut file = std::fs::File::create(&place)
                .with_context(|| format!("cannot write {}", place.display()))?;
            std::io::copy(&mut entry, &mut file)?;
        } else {
            eprintln!("warning: skipping {}: neither file nor directory", path.display());
        }
    }
    Ok(())
}

async fn upload(far: Far, source: &Path, path: &str, no_preserve: bool) -> Result<()> {
    if !source.exists() {
        bail!("{} doesn't exist in local filesystem", source.display());
    }
    let base = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let path = if path.is_empty() { "." } else { path };
    let path = if path.ends_with('/') || path == "." || is_folder(&far, path).await? {
        format!("{}/{base}", path.trim_end_matches('/'))
    } else {
        path.to_owned()
    };
    let (folder, inside) = path.rsplit_once('/').unwrap_or((".", &path));
    let folder = if folder.is_empty() { "/" } else { folder };
    let mut command = vec!["tar", "xmf", "-", "-C", folder];
    if no_preserve {
        command.extend(["--no-same-permissions", "--no-same-owner"]);
    }
    let mut process = far.api.exec(&far.pod, command, &far.parameters(true)).await?;
    let mut stdin = process.stdin().context("the container has no input")?;
    let mut stderr = process.stderr().context("the container has no error output")?;
    let status = process.take_status().context("the process was already waited for")?;
    let (mut read, write) = tokio::io::simplex(64 << 10);
    let (source, inside) = (source.to_owned(), inside.to_owned());
    let writer = SyncIoBridge::new(write);
    // The pipe ends by its shutdown only, not when its writer is dropped.
    let packing = tokio::task::spawn_blocking(move || -> Result<()> {
        Ok(pack(writer, &source, &inside)?.shutdown()?)
    });
    tokio::io::copy(&mut read, &mut stdin).await?;
    packing.await??;
    stdin.shutdown().await?;
    drop(stdin);
    let mut text = String::new();
    stderr.read_to_string(&mut text).await?;
    match status.await {
        Some(status) if is_failure(&status) => bail!("{}", text.trim()),
        _ => Ok(()),
    }
}

/// `test -d` in the container.
async fn is_folder(far: &Far, path: &str) -> Result<bool> {
    let mut process = far.api.exec(&far.pod, ["test", "-d", path], &far.parameters(false)).await?;
    let status = process.take_status().context("the process was already waited for")?;
    Ok(status.await.is_some_and(|status| !is_failure(&status)))
}

fn pack<W: Write>(writer: W, source: &Path, inside: &str) -> Result<W> {
    let mut archive = tar::Builder::new(writer);
    archive.follow_symlinks(false);
    if source.is_dir() {
        archive.append_dir_all(inside, source)?;
    } else {
        archive.append_path_with_name(source, inside)?;
    }
    let mut writer = archive.into_inner()?;
    writer.flush()?;
    Ok(writer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_parsed() {
        let there = |namespace: Option<&str>| Place::There {
            namespace: namespace.map(str::to_owned),
            pod: "p".to_owned(),
            path: "/x".to_owned(),
        };
        assert_eq!(parse("p:/x"), there(None));
        assert_eq!(parse("n/p:/x"), there(Some("n")));
        assert_eq!(parse("/a/b"), Place::Here("/a/b".into()));
        assert_eq!(parse("./a:b"), Place::Here("./a:b".into()));
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        std::fs::create_dir_all(source.join("sub")).unwrap();
        std::fs::write(source.join("sub/a"), "text").unwrap();
        let mut archive = Vec::new();
        pack(&mut archive, &source, "new").unwrap();
        let target = folder.path().join("target");
        unpack(archive.as_slice(), "new", &target).unwrap();
        assert_eq!(std::fs::read_to_string(target.join("sub/a")).unwrap(), "text");
    }

    #[test]
    fn archives_cannot_leave_their_target() {
        let folder = tempfile::tempdir().unwrap();
        let mut header = tar::Header::new_gnu();
        let name = b"x/../../escaped";
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
        header.set_size(1);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        let mut builder = tar::Builder::new(Vec::new());
        builder.append(&header, &b"y"[..]).unwrap();
        let archive = builder.into_inner().unwrap();
        assert!(unpack(archive.as_slice(), "x", &folder.path().join("in/x")).is_err());
        assert!(!folder.path().join("escaped").exists());
    }
}
