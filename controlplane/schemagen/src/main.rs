//! Writes the schema table of the crate `api` from unpacked Kubernetes Go packages. Run by hand.

mod docs;
mod gotypes;
mod proto;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

const SUPPLEMENT: &str = include_str!("supplement.txt");
const DESCRIPTIONS: &str = include_str!("descriptions.txt");

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, target, descriptions] = arguments.as_slice() else {
        bail!("usage: schemagen K8S_IO_DIRECTORY TABLE_FILE DESCRIPTIONS_FILE");
    };
    let mut packages = Vec::new();
    for directory in package_directories(Path::new(source))? {
        packages.push(read_package(&directory)?);
    }
    packages.sort_by(|a, b| a.proto.name.cmp(&b.proto.name));
    let text = table::render(&packages) + SUPPLEMENT;
    std::fs::write(target, &text).with_context(|| format!("cannot write {target}"))?;
    println!("{target}: {} packages, {} bytes", packages.len(), text.len());
    write_descriptions(Path::new(source), Path::new(descriptions))
}

/// Only of versions that are served: the others would double the file.
fn write_descriptions(source: &Path, target: &Path) -> Result<()> {
    let mut text = String::new();
    for directory in package_directories(source)? {
        let table = directory.join("types_swagger_doc_generated.go");
        let served = ["/v1", "/v2", "storagemigration/v1beta1"];
        if !table.exists()
            || !served.iter().any(|end| directory.ends_with(end.trim_start_matches('/')))
        {
            continue;
        }
        let go = std::fs::read_to_string(&table)
            .with_context(|| format!("cannot read {}", table.display()))?;
        let relative = directory.strip_prefix(source).context("a package outside the source")?;
        let prefix = format!("io.k8s.{}", relative.display().to_string().replace('/', "."));
        text.push_str(&docs::render(&prefix, &go));
    }
    text.push_str(DESCRIPTIONS);
    std::fs::write(target, &text).with_context(|| format!("cannot write {}", target.display()))?;
    println!("{}: {} bytes", target.display(), text.len());
    Ok(())
}

/// One Go package: its messages and its structs.
pub struct Package {
    pub proto: proto::File,
    pub go: gotypes::Types,
}

/// Every `api/GROUP/VERSION` plus the shared packages of apimachinery.
fn package_directories(source: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![source.join("apimachinery/pkg/apis/meta/v1")];
    for group in list(&source.join("api"))? {
        if group.is_dir() {
            found.extend(
                list(&group)?.into_iter().filter(|dir| dir.join("generated.proto").exists()),
            );
        }
    }
    Ok(found)
}

fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
        .with_context(|| format!("cannot list {}", directory.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    Ok(paths)
}

fn read_package(directory: &Path) -> Result<Package> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let proto = proto::parse(&read(&directory.join("generated.proto"))?);
    let mut go = gotypes::Types::default();
    for path in list(directory)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(".go") && !name.contains("generated") && !name.ends_with("_test.go") {
            go.add(&read(&path)?);
        }
    }
    Ok(Package { proto, go })
}
