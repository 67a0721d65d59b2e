//! Debian packages as a source of files: downloaded with the machine's own apt configuration and unpacked into the
//! cache. Nothing is installed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::exec::{command, run, text};

/// A mirror that does not answer within this is not there.
const MIRROR_TIMEOUT: &str = "Acquire::http::Timeout=10";

/// Beginnings of the names of packages that nothing runs in an image.
const CONFIGURING: &[&str] = &[
    "debconf",
    "cdebconf",
    "dpkg",
    "perl-base",
    "libdebconfclient",
    "tar",
    "gcc-",
    "base-",
    "usr-is",
    "usrmerge",
];

/// Where packages come from and where their files are kept.
#[derive(Debug, Clone)]
pub struct Packages {
    cache: PathBuf,
    /// Extra apt options that select another suite.
    options: Vec<String>,
    suite: String,
}

impl Packages {
    /// The suite that this machine runs.
    #[must_use]
    pub fn of_this_machine(cache: &Path) -> Self {
        Self { cache: cache.join("packages"), options: Vec::new(), suite: "machine".into() }
    }

    /// Another suite of the same mirror (`trixie`, `forky`), read with its own lists; the system's are not touched.
    pub fn of_suite(cache: &Path, suite: &str) -> Result<Self> {
        let home = cache.join("apt").join(suite);
        fs::create_dir_all(home.join("lists/partial"))?;
        fs::create_dir_all(home.join("cache/archives/partial"))?;
        let source = format!(
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {} {suite} main\n",
            mirror()?
        );
        fs::write(home.join("sources.list"), source)?;
        let home = home.display();
        let options: Vec<String> = [
            format!("Dir::Etc::sourcelist={home}/sources.list"),
            "Dir::Etc::sourceparts=/nonexistent".into(),
            format!("Dir::State::lists={home}/lists"),
            format!("Dir::Cache={home}/cache"),
            "Dir::State::status=/dev/null".into(),
        ]
        .into_iter()
        .flat_map(|option| ["-o".to_owned(), option])
        .collect();
        let packages = Self { cache: cache.join("packages"), options, suite: suite.into() };
        run(command("apt-get", &[]).args(&packages.options).args(["-q", "update"]))?;
        Ok(packages)
    }

    /// The candidate version of a package.
    pub fn version(&self, name: &str) -> Result<String> {
        let mut versions = self.versions(&[name])?;
        versions.pop().with_context(|| format!("no version of {name}"))
    }

    /// The candidate versions of several packages, in the same order: one question instead of many.
    pub fn versions(&self, names: &[&str]) -> Result<Vec<String>> {
        let policy = text(command("apt-cache", &[]).args(&self.options).arg("policy").args(names))?;
        let versions = parse_policy(&policy);
        let of = |name: &&str| {
            versions.get(*name).cloned().with_context(|| {
                format!("no package {name} in {} (is apt-get update needed?)", self.suite)
            })
        };
        names.iter().map(of).collect()
    }

    /// The package that a meta package (`linux-image-amd64`) stands for: its first dependency with that prefix.
    pub fn behind_meta(&self, meta: &str, prefix: &str) -> Result<String> {
        let depends = text(command("apt-cache", &[]).args(&self.options).args(["depends", meta]))?;
        depends
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .find(|name| name.starts_with(prefix))
            .map(str::to_owned)
            .with_context(|| format!("{meta} depends on no {prefix}*"))
    }

    /// The packages with all that they depend on, sorted; without what only configures packages.
    pub fn closure(&self, names: &[&str]) -> Result<Vec<String>> {
        let listed = text(
            command("apt-cache", &[])
                .args(&self.options)
                .args(["depends", "--recurse", "--no-recommends", "--no-suggests"])
                .args(["--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances"])
                .args(names),
        )?;
        let is_name = |line: &&str| line.starts_with(|c: char| c.is_ascii_alphanumeric());
        let all: BTreeSet<&str> = listed.lines().filter(is_name).collect();
        let of_use = |name: &&str| !CONFIGURING.iter().any(|other| name.starts_with(other));
        Ok(all.into_iter().filter(of_use).map(str::to_owned).collect())
    }

    /// Unpacks a package and returns the folder that holds its files. Cached by name and version.
    pub fn unpack(&self, name: &str) -> Result<PathBuf> {
        let mut folders = self.unpack_all(&[name])?;
        folders.pop().with_context(|| format!("no folder of {name}"))
    }

    /// Unpacks several packages, in the same order; those that are not in the cache are downloaded in one go.
    pub fn unpack_all(&self, names: &[&str]) -> Result<Vec<PathBuf>> {
        let versions = self.versions(names)?;
        let folder =
            |name: &str, version: &str| self.cache.join(format!("{name}_{}", plain(version)));
        let wanted = || names.iter().zip(&versions);
        let missing: Vec<_> =
            wanted().filter(|(name, version)| !folder(name, version).exists()).collect();
        if !missing.is_empty() {
            fs::create_dir_all(&self.cache)?;
            let work = tempfile::tempdir_in(&self.cache)?;
            run(command("apt-get", &[])
                .args(&self.options)
                .args(["-q", "-o", "APT::Sandbox::User=root", "download"])
                .args(missing.iter().map(|(name, version)| format!("{name}={version}")))
                .current_dir(work.path()))?;
            for (name, version) in missing {
                unpack_archive(work.path(), name, &folder(name, version))?;
            }
        }
        Ok(wanted().map(|(name, version)| folder(name, version)).collect())
    }
}

/// A version as part of a file's name.
fn plain(version: &str) -> String {
    version.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// Unpacks the archive of a package that `apt-get download` left in `work`.
fn unpack_archive(work: &Path, name: &str, target: &Path) -> Result<()> {
    let of_package = |path: &PathBuf| {
        let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        file.ends_with(".deb") && file.split('_').next() == Some(name)
    };
    let archive =
        fs::read_dir(work)?.filter_map(Result::ok).map(|entry| entry.path()).find(of_package);
    let Some(archive) = archive else { bail!("apt-get download {name} left no archive") };
    let root = work.join(name);
    run(command("dpkg-deb", &["-x"]).arg(&archive).arg(&root))?;
    fs::rename(&root, target).with_context(|| format!("failed to keep {}", target.display()))
}

/// Package to candidate version, from the output of `apt-cache policy`.
fn parse_policy(text: &str) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    let mut current = "";
    for line in text.lines() {
        if !line.starts_with(' ') {
            current = line.trim_end_matches(':');
        } else if let Some(version) = line.trim().strip_prefix("Candidate: ")
            && version != "(none)"
        {
            versions.insert(current.to_owned(), version.to_owned());
        }
    }
    versions
}

/// The machine's own Debian mirror.
fn mirror() -> Result<String> {
    let deb822 = fs::read_to_string("/etc/apt/sources.list.d/debian.sources").unwrap_or_default();
    let from_deb822 = deb822
        .lines()
        .find_map(|line| line.strip_prefix("URIs:"))
        .and_then(|rest| rest.split_whitespace().next())
        .map(str::to_owned);
    if let Some(found) = from_deb822 {
        return Ok(found);
    }
    let list = fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
    list.lines()
        .filter(|line| line.starts_with("deb "))
        .find_map(|line| line.split_whitespace().find(|word| word.starts_with("http")))
        .map(str::to_owned)
        .context("this machine's apt sources name no mirror")
}

/// Installs packages that the host itself needs (QEMU, nft, ...); does nothing where all are there.
pub fn install_on_host(names: &[&str]) -> Result<Vec<String>> {
    let missing = missing_on_host(names);
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    run(&mut command("apt-get", &["-q", "update"]))?;
    run(command("apt-get", &["-q", "-y", "--no-install-recommends", "install"])
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive"))?;
    Ok(missing.into_iter().map(str::to_owned).collect())
}

/// Those that are not installed.
#[must_use]
pub fn missing_on_host<'a>(names: &[&'a str]) -> Vec<&'a str> {
    names.iter().copied().filter(|name| !is_installed(name)).collect()
}

/// Whether this machine's mirror answers, asked with apt's own settings (proxies, transports); its address.
pub fn mirror_answers() -> Result<String> {
    let url = mirror()?;
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let suite = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .unwrap_or("stable")
        .to_owned();
    let work = tempfile::tempdir()?;
    let file = format!("{}/dists/{suite}/InRelease", url.trim_end_matches('/'));
    let answer = run(command(
        "/usr/lib/apt/apt-helper",
        &["-o", MIRROR_TIMEOUT, "-o", "Acquire::Retries=0"],
    )
    .args(["download-file", &file])
    .arg(work.path().join("InRelease")));
    match answer {
        Ok(_) => Ok(url),
        Err(_) => bail!("{url} does not answer"),
    }
}

fn is_installed(name: &str) -> bool {
    text(&mut command("dpkg-query", &["-W", "-f", "${db:Status-Status}", name]))
        .is_ok_and(|status| status == "installed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_package_by_package() {
        let text = "a:\n  Installed: 1\n  Candidate: 2\n  Version table:\n *** 1 100\nb:\n  Installed: (none)\n  Candidate: (none)\n";
        let versions = parse_policy(text);
        assert_eq!(versions.get("a").map(String::as_str), Some("2"));
        assert_eq!(versions.get("b"), None);
    }
}
