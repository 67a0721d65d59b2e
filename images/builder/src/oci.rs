//! Demo images from Debian packages, as OCI layouts that any registry takes.
//!
//! Layout, manifest and configuration follow the OCI image specification 1.1.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{debian::Packages, exec};

/// One image to make.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// Repository name in the registry.
    pub name: &'static str,
    pub tag: Tag,
    /// Packages of each layer, bottom first.
    pub layers: &'static [&'static [&'static str]],
    /// Whether each layer has what its packages depend on, too.
    pub with_dependencies: bool,
    /// Programs that were built before, in the top layer: path, and which of those that `build` is given.
    pub programs: &'static [(&'static str, &'static str)],
    /// Files of our own in the top layer: path and contents.
    pub files: &'static [(&'static str, &'static str)],
    /// Folders of our own in the top layer.
    pub folders: &'static [&'static str],
    /// Links of our own in the top layer, before all others: path and target.
    pub links: &'static [(&'static str, &'static str)],
    pub entrypoint: &'static [&'static str],
    pub command: &'static [&'static str],
    pub ports: &'static [&'static str],
    /// `1234` or `1234:5678`; empty is root.
    pub user: &'static str,
}

impl Recipe {
    /// Nothing in it.
    pub const EMPTY: Self = Self {
        name: "",
        tag: Tag::Is("latest"),
        layers: &[],
        with_dependencies: false,
        programs: &[],
        files: &[],
        folders: &[],
        links: &[],
        entrypoint: &[],
        command: &[],
        ports: &[],
        user: "",
    };
}

/// What an image's tag is.
#[derive(Debug, Clone, Copy)]
pub enum Tag {
    /// The version of this package. Such an image is `latest` too, and has Docker's names.
    OfPackage(&'static str),
    Is(&'static str),
}

/// Programs by name, built for this machine.
pub type Programs = BTreeMap<&'static str, PathBuf>;

const BASE: &[&str] = &["busybox-static", "libc6"];
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\nredis:x:100:101::/data:/bin/false\nnobody:x:65534:65534::/:/bin/false\n";
const GROUP: &str = "root:x:0:\nwww-data:x:33:\nredis:x:101:\nnogroup:x:65534:\n";

const NGINX_CONF: &str = "user www-data;
worker_processes 1;
daemon off;
pid /run/nginx.pid;
error_log /dev/stderr warn;
events { worker_connections 256; }
http {
    default_type text/html;
    access_log /dev/stdout;
    keepalive_timeout 5;
    server {
        listen 80 default_server;
        root /usr/share/nginx/html;
        location = /hostname { default_type text/plain; return 200 \"$hostname\\n\"; }
        location = /version { default_type text/plain; return 200 \"v$nginx_version\\n\"; }
    }
}
";
const PAGE: &str = "<!doctype html>
<title>Bulkhead</title>
<h1>It runs in a microVM.</h1>
<p>This page comes from nginx in a pod that has a kernel of its own.</p>
";

/// A shell and its applets.
pub const BUSYBOX: Recipe = Recipe {
    name: "busybox",
    tag: Tag::OfPackage("busybox-static"),
    layers: &[BASE],
    files: &[("etc/passwd", PASSWD), ("etc/group", GROUP)],
    folders: &["root", "tmp", "var/www", "home"],
    command: &["sh"],
    ..Recipe::EMPTY
};

/// A page, the host's name and the version, on port 80.
pub const NGINX: Recipe = Recipe {
    name: "nginx",
    tag: Tag::OfPackage("nginx"),
    layers: &[BASE, &["nginx", "nginx-common", "libpcre2-8-0", "libssl3", "zlib1g", "libcrypt1"]],
    files: &[
        ("etc/passwd", PASSWD),
        ("etc/group", GROUP),
        ("etc/nginx/nginx.conf", NGINX_CONF),
        ("usr/share/nginx/html/index.html", PAGE),
    ],
    folders: &["root", "tmp", "run", "var/log/nginx", "var/lib/nginx"],
    command: &["/usr/sbin/nginx"],
    ports: &["80/tcp"],
    ..Recipe::EMPTY
};

/// The images of the demo and of the end-to-end tests.
pub const RECIPES: &[Recipe] = &[
    BUSYBOX,
    NGINX,
    Recipe {
        name: "redis",
        tag: Tag::OfPackage("redis-server"),
        layers: &[
            BASE,
            &[
                "redis-server",
                "redis-tools",
                "libatomic1",
                "libhiredis0.14",
                "libjemalloc2",
                "liblua5.1-0",
                "lua-bitop",
                "lua-cjson",
                "liblzf1",
                "libssl3",
                "libsystemd0",
                "libcap2",
                "libgcrypt20",
                "libgpg-error0",
                "liblz4-1",
                "liblzma5",
                "libzstd1",
                "libstdc++6",
                "libgcc-s1",
            ],
        ],
        files: &[("etc/passwd", PASSWD), ("etc/group", GROUP)],
        folders: &["root", "tmp", "data"],
        entrypoint: &["/usr/bin/redis-server"],
        command: &["--bind", "0.0.0.0", "--protected-mode", "no", "--dir", "/data", "--save", ""],
        ports: &["6379/tcp"],
        ..Recipe::EMPTY
    },
];

/// An image that was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// An OCI layout.
    pub layout: PathBuf,
    /// `nginx:1.22.1`
    pub name_and_tag: String,
    /// All names under which a registry is to have it.
    pub names: Vec<String>,
}

/// Makes one image below `cache/oci`. Cached by recipe, package versions and programs.
pub fn build(
    recipe: &Recipe,
    packages: &Packages,
    programs: &Programs,
    cache: &Path,
) -> Result<Made> {
    let mut fingerprint = Sha256::new();
    fingerprint.update(format!("{recipe:?}"));
    for (_, program) in recipe.programs {
        let path = programs.get(program).with_context(|| format!("no program {program}"))?;
        fingerprint.update(fs::read(path).with_context(|| path.display().to_string())?);
    }
    let names: Vec<&str> = recipe.layers.iter().copied().flatten().copied().collect();
    for (name, version) in names.iter().zip(packages.versions(&names)?) {
        fingerprint.update(format!("{name}={version}"));
    }
    let tag = match recipe.tag {
        Tag::Is(tag) => tag.to_owned(),
        Tag::OfPackage(package) => plain_version(&packages.version(package)?),
    };
    let key = hex::encode(fingerprint.finalize());
    let layout =
        cache.join("oci").join(format!("{}-{}", recipe.name.replace('/', "-"), &key[..16]));
    let name = recipe.name;
    let name_and_tag = format!("{name}:{tag}");
    let mut names = vec![name_and_tag.clone()];
    if let Tag::OfPackage(_) = recipe.tag {
        names.push(format!("{name}:latest"));
        names.extend(["latest", "stable"].map(|tag| format!("library/{name}:{tag}")));
    }
    let made = Made { layout, name_and_tag, names };
    if !made.layout.join("index.json").exists() {
        write_layout(recipe, packages, programs, &made)?;
    }
    Ok(made)
}

/// `1:1.22.1-9+deb12u1` becomes `1.22.1`.
fn plain_version(version: &str) -> String {
    let plain = version.split_once(':').map_or(version, |(_, rest)| rest);
    plain.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect()
}

/// Copies an image into a registry at `host:port` that speaks plain HTTP, under all its names. `within` is a command prefix,
/// for a registry in a network namespace (`ip netns exec rack`).
pub fn push(made: &Made, registry: &str, within: &[&str]) -> Result<()> {
    for target in &made.names {
        let mut words: Vec<String> = within.iter().map(|word| (*word).to_owned()).collect();
        words.extend(
            ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false"]
                .map(str::to_owned),
        );
        words.push(format!("oci:{}:{}", made.layout.display(), made.name_and_tag));
        words.push(format!("docker://{registry}/{target}"));
        exec::run(std::process::Command::new(&words[0]).args(&words[1..]))
            .with_context(|| format!("failed to push {target}"))?;
    }
    Ok(())
}

fn write_layout(
    recipe: &Recipe,
    packages: &Packages,
    programs: &Programs,
    made: &Made,
) -> Result<()> {
    let blobs = made.layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let mut descriptors = Vec::new();
    let mut diff_ids = Vec::new();
    for (index, names) in recipe.layers.iter().enumerate() {
        let root = tempfile::tempdir()?;
        let mut all: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        if recipe.with_dependencies {
            all = packages.closure(names)?;
        }
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        for folder in packages.unpack_all(&all)? {
            copy_tree(&folder, root.path())?;
        }
        if names.contains(&BASE[0]) {
            link_applets(root.path())?;
        }
        if index + 1 == recipe.layers.len() {
            write_own_files(recipe, programs, root.path())?;
        }
        let tar = archive(root.path())?;
        diff_ids.push(format!("sha256:{}", hex::encode(Sha256::digest(&tar))));
        let mut zipped = GzEncoder::new(Vec::new(), Compression::new(4));
        zipped.write_all(&tar)?;
        descriptors.push(put_blob(
            &blobs,
            "application/vnd.oci.image.layer.v1.tar+gzip",
            &zipped.finish()?,
        )?);
    }
    let config =
        put_json(&blobs, "application/vnd.oci.image.config.v1+json", &config(recipe, &diff_ids))?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": descriptors,
    });
    let mut manifest = put_json(&blobs, "application/vnd.oci.image.manifest.v1+json", &manifest)?;
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": made.name_and_tag});
    fs::write(made.layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(made.layout.join("index.json"), serde_json::to_vec(&index)?)?;
    Ok(())
}

fn config(recipe: &Recipe, diff_ids: &[String]) -> Value {
    let ports: serde_json::Map<String, Value> =
        recipe.ports.iter().map(|port| ((*port).to_owned(), json!({}))).collect();
    json!({
        "architecture": "amd64", "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Entrypoint": recipe.entrypoint, "Cmd": recipe.command, "WorkingDir": "/", "ExposedPorts": ports, "User": recipe.user,
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
}

fn put_json(blobs: &Path, media_type: &str, value: &Value) -> Result<Value> {
    put_blob(blobs, media_type, &serde_json::to_vec(value)?)
}

fn put_blob(blobs: &Path, media_type: &str, data: &[u8]) -> Result<Value> {
    let digest = hex::encode(Sha256::digest(data));
    fs::write(blobs.join(&digest), data)?;
    Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": data.len()}))
}

/// Copies files and links, leaving out what no program reads at run time, and merging `/lib` into `/usr/lib` as the
/// distribution does.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for (top, target) in
        [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")]
    {
        let (link, folder) = (to.join(top), to.join(target));
        fs::create_dir_all(&folder)?;
        if fs::symlink_metadata(&link).is_err() {
            std::os::unix::fs::symlink(target, &link)?;
        }
    }
    // tar keeps the links above where cp would replace them by folders.
    let pipe = r#"tar -C "$0" -cf - . | tar -C "$1" --keep-directory-symlink -xf -"#;
    exec::run(exec::command("sh", &["-c", pipe]).arg(from).arg(to))?;
    for unused in [
        "usr/share/doc",
        "usr/share/man",
        "usr/share/lintian",
        "usr/share/bug",
        "usr/lib/x86_64-linux-gnu/gconv",
    ] {
        let path = to.join(unused);
        if path.exists() {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

/// `/bin/sh` and every other applet as links to busybox, where no other program has the name.
fn link_applets(root: &Path) -> Result<()> {
    let busybox = root.join("usr/bin/busybox");
    for applet in
        exec::text(exec::command("chroot", &[]).arg(root).args(["/usr/bin/busybox", "--list"]))
            .or_else(|_no_chroot| exec::text(std::process::Command::new(&busybox).arg("--list")))?
            .lines()
    {
        let link = root.join("usr/bin").join(applet);
        if fs::symlink_metadata(&link).is_err() {
            std::os::unix::fs::symlink("busybox", &link)?;
        }
    }
    Ok(())
}

fn write_own_files(recipe: &Recipe, programs: &Programs, root: &Path) -> Result<()> {
    for folder in recipe.folders {
        fs::create_dir_all(root.join(folder))?;
    }
    for (path, contents) in recipe.files {
        let path = root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, contents)?;
    }
    for (path, target) in recipe.links {
        let path = root.join(path);
        if fs::symlink_metadata(&path).is_ok() {
            fs::remove_file(&path)?;
        }
        std::os::unix::fs::symlink(target, path)?;
    }
    for (path, program) in recipe.programs {
        let path = root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(&programs[program], path)?;
    }
    Ok(())
}

/// A tar archive with sorted entries, no time stamps, all owned by root.
fn archive(root: &Path) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.mode(tar::HeaderMode::Deterministic);
    builder.follow_symlinks(false);
    append_folder(&mut builder, root, Path::new(""))?;
    Ok(builder.into_inner()?)
}

fn append_folder(builder: &mut tar::Builder<Vec<u8>>, root: &Path, folder: &Path) -> Result<()> {
    let mut names: Vec<_> = fs::read_dir(root.join(folder))?
        .map(|entry| entry.map(|e| e.file_name()))
        .collect::<Result<_, _>>()?;
    names.sort();
    for name in names {
        let path = folder.join(name);
        builder.append_path_with_name(root.join(&path), &path)?;
        if fs::symlink_metadata(root.join(&path))?.is_dir() {
            append_folder(builder, root, &path)?;
        }
    }
    Ok(())
}
