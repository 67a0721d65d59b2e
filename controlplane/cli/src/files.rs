//! Manifests from files, folders and standard input.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    discovery::{Kind, Kinds},
    json::{items_at, name, text_at},
    session::Session,
};

/// The largest manifest that is read: etcd's and the API server's bodies are far smaller.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Flags that name manifests.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Files {
    /// The files that contain the configurations; '-' is standard input
    #[arg(short, long = "filename")]
    pub filenames: Vec<String>,
    /// Process the directory used in -f, --filename recursively
    #[arg(short = 'R', long)]
    pub recursive: bool,
}

/// One object and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    pub source: String,
    pub object: Value,
}

impl Files {
    /// Reads all manifests, in order; lists are taken apart.
    ///
    /// # Errors
    /// When a file cannot be read or is no manifest.
    pub fn read(&self) -> Result<Vec<Manifest>> {
        if self.filenames.is_empty() {
            bail!("must specify one of -f and -k");
        }
        let mut manifests = Vec::new();
        for name in &self.filenames {
            for (source, text) in self.open(name)? {
                let objects = parse(&text).with_context(|| format!("error parsing {source}"))?;
                manifests.extend(
                    objects.into_iter().map(|object| Manifest { source: source.clone(), object }),
                );
            }
        }
        if manifests.is_empty() {
            bail!("no objects passed to apply");
        }
        Ok(manifests)
    }

    fn open(&self, name: &str) -> Result<Vec<(String, String)>> {
        if name == "-" {
            return Ok(vec![("STDIN".to_owned(), read_bounded(std::io::stdin().lock())?)]);
        }
        if name.starts_with("http://") || name.starts_with("https://") {
            bail!("reading manifests from a URL is not supported: {name}");
        }
        let path = Path::new(name);
        if !path.exists() {
            bail!("the path \"{name}\" does not exist");
        }
        let mut paths = Vec::new();
        if path.is_dir() {
            collect(path, self.recursive, &mut paths)?;
            if paths.is_empty() {
                bail!("error reading [{name}]: recognized file extensions are [.json .yaml .yml]");
            }
        } else {
            paths.push(path.to_owned());
        }
        let read = |path: PathBuf| {
            let source = path.display().to_string();
            let file =
                std::fs::File::open(&path).with_context(|| format!("cannot open {source}"))?;
            Ok((source, read_bounded(file)?))
        };
        paths.into_iter().map(read).collect()
    }
}

fn read_bounded(source: impl Read) -> Result<String> {
    let mut text = String::new();
    source.take(FILE_BYTES_MAX).read_to_string(&mut text).context("cannot read the manifest")?;
    Ok(text)
}

/// The manifests of a folder, sorted by name.
fn collect(folder: &Path, recursive: bool, paths: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            if recursive {
                collect(&entry, true, paths)?;
            }
        } else if entry
            .extension()
            .is_some_and(|kind| kind == "yaml" || kind == "yml" || kind == "json")
        {
            paths.push(entry);
        }
    }
    Ok(())
}

/// The objects of a text: YAML documents or JSON; empty documents are skipped, lists are taken apart.
///
/// # Errors
/// When the text is neither or an object has no kind.
pub fn parse(text: &str) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        let object = Value::deserialize(document)?;
        if object.is_null() {
            continue;
        }
        flatten(object, &mut objects)?;
    }
    Ok(objects)
}

fn flatten(object: Value, objects: &mut Vec<Value>) -> Result<()> {
    for (field, what) in [("/kind", "'Kind'"), ("/apiVersion", "'apiVersion'")] {
        if text_at(&object, field).is_empty() {
            bail!("Object {what} is missing in '{object}'");
        }
    }
    let is_list = text_at(&object, "/kind").ends_with("List") && object.get("items").is_some();
    if !is_list {
        objects.push(object);
        return Ok(());
    }
    for item in items_at(&object, "/items") {
        flatten(item.clone(), objects)?;
    }
    Ok(())
}

/// A manifest with the kind the server knows it by.
pub struct Resolved {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    pub manifest: Manifest,
}

/// Finds the kinds of manifests and puts each into its namespace.
///
/// # Errors
/// With kubectl's words when the server does not know a kind or the namespace contradicts `-n`.
pub fn resolve(
    session: &Session,
    kinds: &Kinds,
    forced_namespace: Option<&str>,
    manifest: Manifest,
) -> Result<Resolved> {
    let Manifest { source, mut object } = manifest;
    let (api_version, kind) = (text_at(&object, "/apiVersion"), text_at(&object, "/kind"));
    let own = text_at(&object, "/metadata/namespace");
    let Some(found) = kinds.of_manifest(api_version, kind) else {
        bail!(
            "resource mapping not found for name: \"{}\" namespace: \"{own}\" from \"{source}\": no matches for kind \
             \"{kind}\" in version \"{api_version}\"\nensure CRDs are installed first",
            name(&object),
        );
    };
    let found = found.clone();
    let mut namespace = session.namespace.clone();
    if found.namespaced {
        if let Some(forced) = forced_namespace.filter(|forced| !own.is_empty() && own != *forced) {
            bail!(
                "the namespace from the provided object \"{own}\" does not match the namespace \"{forced}\". You must \
                 pass '--namespace={own}' to perform this operation."
            );
        }
        if own.is_empty() {
            object["metadata"]["namespace"] = namespace.clone().into();
        } else {
            own.clone_into(&mut namespace);
        }
    }
    let name = name(&object).to_owned();
    Ok(Resolved { kind: found, namespace, name, manifest: Manifest { source, object } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists_are_taken_apart() {
        let text = "---\nkind: A\napiVersion: v1\n---\n# nothing\n---\nkind: List\napiVersion: v1\nitems:\n- {kind: B, apiVersion: v1}\n- {kind: C, apiVersion: v1}\n";
        let kinds: Vec<_> =
            parse(text).unwrap().iter().map(|object| text_at(object, "/kind").to_owned()).collect();
        assert_eq!(kinds, ["A", "B", "C"]);
        let json = r#"{"kind": "A", "apiVersion": "v1", "data": {"x": "1"}}"#;
        assert_eq!(parse(json).unwrap()[0]["data"]["x"], "1");
        assert!(parse("kind: A").unwrap_err().to_string().contains("'apiVersion' is missing"));
        assert!(parse("a: [").is_err());
    }

    #[test]
    fn folders_are_read_in_order() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        for (name, kind) in [("b.yaml", "B"), ("a.json", "A"), ("x.txt", "X"), ("sub/c.yml", "C")] {
            let text = format!("{{kind: {kind}, apiVersion: v1}}");
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let read = |recursive| {
            let filenames = vec![folder.path().display().to_string()];
            let manifests = Files { filenames, recursive }.read().unwrap();
            manifests.iter().map(|m| text_at(&m.object, "/kind").to_owned()).collect::<String>()
        };
        assert_eq!(read(false), "AB");
        assert_eq!(read(true), "ABC");
    }
}
