//! Builds the guest kernel from Debian's linux-source package and our fragment, and caches it by their content.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

/// Debian's package with the kernel's source.
pub const SOURCE_PACKAGE: &str = "linux-source-6.12";
const SOURCE_ARCHIVE: &str = "/usr/src/linux-source-6.12.tar.xz";
/// Lines of the compiler's output kept for an error message.
const LOG_TAIL_LINES: usize = 20;

/// Builds the kernel that `fragment` describes and gives the path of its stripped ELF file,
/// `<cache>/kernel/<hash>/vmlinux`. A second call with the same fragment and source package does nothing.
///
/// `progress` hears one line per step and, while compiling, one per object file.
pub fn build(
    fragment: &Path,
    cache: &Path,
    jobs: usize,
    progress: impl Fn(&str),
) -> Result<PathBuf> {
    let text =
        fs::read_to_string(fragment).with_context(|| format!("read {}", fragment.display()))?;
    let options = parse_fragment(&text)?;
    let version = source_version()?;
    let folder = cache.join("kernel").join(cache_key(&options, &version));
    let vmlinux = folder.join("vmlinux");
    if vmlinux.exists() {
        return Ok(vmlinux);
    }
    let source = cache.join("kernel").join(format!("source-{version}"));
    unpack_source(&source, &progress)?;
    let objects = folder.join("obj");
    fs::create_dir_all(&objects).with_context(|| format!("create {}", objects.display()))?;
    configure(&source, &objects, &options, &progress)?;
    compile(&source, &objects, jobs, &progress)?;
    progress("strip vmlinux");
    let partial = folder.join("vmlinux.partial");
    run(Command::new("strip").arg("-o").arg(&partial).arg(objects.join("vmlinux")))?;
    fs::copy(objects.join(".config"), folder.join("config"))
        .context("keep the kernel's configuration")?;
    fs::rename(&partial, &vmlinux).context("publish vmlinux")?;
    fs::remove_dir_all(&objects).context("remove the kernel's object files")?;
    Ok(vmlinux)
}

/// The `CONFIG_X=value` assignments of a fragment, in order, without comments and reasons.
fn parse_fragment(text: &str) -> Result<Vec<String>> {
    let mut options = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (option, reason) = line
            .split_once(" # ")
            .with_context(|| format!("line {} of the kernel fragment has no reason", number + 1))?;
        ensure!(
            option.starts_with("CONFIG_") && option.contains('=') && !reason.is_empty(),
            "line {} of the kernel fragment is no option with a reason: {line:?}",
            number + 1
        );
        options.push(option.trim().to_owned());
    }
    Ok(options)
}

/// Names the build: comments of the fragment do not matter, options and source do.
fn cache_key(options: &[String], source_version: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(source_version);
    for option in options {
        hash.update("\n");
        hash.update(option);
    }
    hex::encode(&hash.finalize()[..8])
}

fn source_version() -> Result<String> {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Version}", SOURCE_PACKAGE])
        .output()
        .context("run dpkg-query")?;
    ensure!(
        output.status.success() && Path::new(SOURCE_ARCHIVE).exists(),
        "the package {SOURCE_PACKAGE} is not installed"
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn unpack_source(folder: &Path, progress: &impl Fn(&str)) -> Result<()> {
    if folder.exists() {
        return Ok(());
    }
    progress("unpack the kernel's source");
    let partial = folder.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).context("remove a half unpacked source")?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("create {}", partial.display()))?;
    run(Command::new("tar")
        .args(["--strip-components=1", "-xJf", SOURCE_ARCHIVE, "-C"])
        .arg(&partial))?;
    fs::rename(&partial, folder).context("publish the kernel's source")
}

fn configure(
    source: &Path,
    objects: &Path,
    options: &[String],
    progress: &impl Fn(&str),
) -> Result<()> {
    progress("configure the kernel");
    let plain = objects.join("fragment");
    fs::write(&plain, options.join("\n") + "\n").context("write the kernel fragment")?;
    let plain = plain.canonicalize().context("find the kernel fragment")?;
    run(make(source, objects)?.arg("-s").arg("allnoconfig").env("KCONFIG_ALLCONFIG", plain))?;
    let result =
        fs::read_to_string(objects.join(".config")).context("read the kernel's configuration")?;
    let lost = lost_options(options, &result);
    ensure!(lost.is_empty(), "options that kconfig dropped (dependencies?): {}", lost.join(", "));
    Ok(())
}

/// Options of the fragment that are not in the configuration that kconfig made of it.
fn lost_options<'a>(options: &'a [String], config: &str) -> Vec<&'a str> {
    let present: std::collections::HashSet<&str> = config.lines().collect();
    options.iter().map(String::as_str).filter(|option| !present.contains(option)).collect()
}

fn make(source: &Path, objects: &Path) -> Result<Command> {
    let objects = objects.canonicalize().context("find the kernel's object folder")?;
    let mut command = Command::new("make");
    command.arg("-C").arg(source).arg(format!("O={}", objects.display())).args([
        // Part of the kernel's version string: fixed, so that equal input gives an equal file.
        "KBUILD_BUILD_TIMESTAMP=@0",
        "KBUILD_BUILD_USER=bulkhead",
        "KBUILD_BUILD_HOST=bulkhead",
    ]);
    Ok(command)
}

fn compile(source: &Path, objects: &Path, jobs: usize, progress: &impl Fn(&str)) -> Result<()> {
    let mut command = make(source, objects)?;
    command.arg(format!("-j{}", jobs.max(1))).arg("vmlinux");
    let errors = fs::File::create(objects.join("errors")).context("create the build's log")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .context("run make")?;
    let stdout = child.stdout.take().expect("stdout is a pipe");
    for line in BufReader::new(stdout).lines() {
        progress(line.context("read make's output")?.trim());
    }
    let status = child.wait().context("wait for make")?;
    if !status.success() {
        let log = fs::read_to_string(objects.join("errors")).unwrap_or_default();
        bail!("the kernel did not build ({status}):\n{}", tail(&log));
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed ({}):\n{}", output.status, tail(&log));
    Ok(())
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_the_fragment_has_a_reason() {
        let fragment = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest/kernel/config");
        let options = parse_fragment(&fs::read_to_string(fragment).unwrap()).unwrap();
        assert!(options.len() > 100);
        let mut names: Vec<&str> = options.iter().filter_map(|o| o.split('=').next()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "an option is listed twice");
    }

    #[test]
    fn a_line_without_reason_is_refused() {
        assert!(parse_fragment("CONFIG_A=y\n").is_err());
        assert!(parse_fragment("nonsense # why\n").is_err());
        assert_eq!(parse_fragment("# head\n\nCONFIG_A=y # why\n").unwrap(), ["CONFIG_A=y"]);
    }

    #[test]
    fn the_key_follows_options_and_source_only() {
        let first = parse_fragment("CONFIG_A=y # one\n").unwrap();
        let second = parse_fragment("# x\nCONFIG_A=y # two\n").unwrap();
        assert_eq!(cache_key(&first, "1"), cache_key(&second, "1"));
        assert_ne!(cache_key(&first, "1"), cache_key(&first, "2"));
    }

    #[test]
    fn dropped_options_are_named() {
        let options = ["CONFIG_A=y".to_owned(), "CONFIG_B=3".to_owned()];
        assert_eq!(lost_options(&options, "CONFIG_A=y\n# CONFIG_B is not set\n"), ["CONFIG_B=3"]);
    }
}
