//! Loads the modules named in /etc/bulkhead/modules, with their dependencies, by finit_module(2).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

const LIST: &str = "/etc/bulkhead/modules";

/// Loads each listed module. One that fails is said and skipped: not every machine has every device.
pub fn load_listed() -> anyhow::Result<()> {
    let Ok(list) = fs::read_to_string(LIST) else { return Ok(()) };
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("read the release")?;
    let root = Path::new("/lib/modules").join(release.trim());
    let dependencies = fs::read_to_string(root.join("modules.dep"))
        .with_context(|| format!("read {}/modules.dep", root.display()))?;
    let index = Index::parse(&dependencies);
    let mut loaded = BTreeSet::new();
    for line in list.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(name) = words.next() else { continue };
        let parameters = words.collect::<Vec<_>>().join(" ");
        if let Err(error) = load(&root, &index, name, &parameters, &mut loaded) {
            eprintln!("nodeinit: module {name}: {error:#}");
        }
    }
    Ok(())
}

fn load(
    root: &Path,
    index: &Index,
    name: &str,
    parameters: &str,
    loaded: &mut BTreeSet<String>,
) -> anyhow::Result<()> {
    let order = index.order(name).context("not in modules.dep")?;
    for path in order {
        if !loaded.insert(path.clone()) {
            continue;
        }
        let own = module_name(&path) == normal(name);
        let parameters = std::ffi::CString::new(if own { parameters } else { "" })?;
        let file = root.join(&path);
        let file = File::open(&file).with_context(|| format!("open {}", file.display()))?;
        match finit_module(&file, &parameters, ModuleInitFlags::empty()) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error).with_context(|| format!("insert {path}")),
        }
    }
    Ok(())
}

/// modules.dep: module name to its file and the files it needs.
#[derive(Debug, Default)]
struct Index {
    modules: BTreeMap<String, Vec<String>>,
}

impl Index {
    fn parse(text: &str) -> Self {
        let mut modules = BTreeMap::new();
        for line in text.lines() {
            let Some((path, needs)) = line.split_once(':') else { continue };
            let mut files = vec![path.to_owned()];
            files.extend(needs.split_whitespace().map(str::to_owned));
            modules.insert(module_name(path), files);
        }
        Self { modules }
    }

    /// Files in loading order. depmod lists what a module needs with the deepest last.
    fn order(&self, name: &str) -> Option<Vec<String>> {
        let mut files = self.modules.get(&normal(name))?.clone();
        files.reverse();
        Some(files)
    }
}

fn module_name(path: &str) -> String {
    let file = PathBuf::from(path);
    let file = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    normal(file.split(".ko").next().unwrap_or_default())
}

/// "-" and "_" are the same in module names.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first() {
        let index = Index::parse(
            "kernel/a/kvm-amd.ko: kernel/a/kvm.ko kernel/b/irqbypass.ko\nkernel/a/kvm.ko: kernel/b/irqbypass.ko\n",
        );
        assert_eq!(
            index.order("kvm_amd").unwrap(),
            ["kernel/b/irqbypass.ko", "kernel/a/kvm.ko", "kernel/a/kvm-amd.ko"]
        );
        assert!(index.order("nothing").is_none());
    }
}
