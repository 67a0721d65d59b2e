//! Kernel modules with all they depend on, in loading order.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::exec::{command, run};

/// The modules of one kernel.
#[derive(Debug)]
pub struct Modules {
    /// `<package>/lib/modules/<release>`
    folder: PathBuf,
    /// Module name to its file and its dependencies' files, relative to the folder, deepest last.
    table: BTreeMap<String, (String, Vec<String>)>,
    /// Names of modules that are built in.
    builtin: Vec<String>,
}

impl Modules {
    /// Reads (and where needed makes) `modules.dep` below `root/lib/modules/<release>`.
    pub fn read(root: &Path, release: &str) -> Result<Self> {
        let folder = root.join("lib/modules").join(release);
        if !folder.join("modules.dep").exists() {
            run(command("depmod", &["-b"]).arg(root).arg(release))?;
        }
        let dependencies = fs::read_to_string(folder.join("modules.dep"))
            .with_context(|| format!("no modules.dep in {}", folder.display()))?;
        let table = dependencies.lines().filter_map(parse_line).collect();
        let builtin = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
        let builtin = builtin.lines().map(module_name).collect();
        Ok(Self { folder, table, builtin })
    }

    /// Files (relative to the modules folder) of the named modules and their dependencies, each before its users.
    /// Built-in ones are left out; unknown ones are errors.
    pub fn load_order(&self, names: &[&str]) -> Result<Vec<String>> {
        let mut order: Vec<String> = Vec::new();
        for name in names {
            let name = name.replace('-', "_");
            if self.builtin.contains(&name) {
                continue;
            }
            let (file, dependencies) = self
                .table
                .get(&name)
                .with_context(|| format!("the kernel has no module {name}"))?;
            for path in dependencies.iter().rev().chain([file]) {
                if !order.contains(path) {
                    order.push(path.clone());
                }
            }
        }
        Ok(order)
    }

    /// Names of all modules whose file lies below one of the folders (`kernel/drivers/net/ethernet`).
    #[must_use]
    pub fn below(&self, folders: &[&str]) -> Vec<&str> {
        self.table
            .iter()
            .filter(|(_, (file, _))| folders.iter().any(|folder| file.starts_with(folder)))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// The absolute path of a relative module file.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }
}

fn parse_line(line: &str) -> Option<(String, (String, Vec<String>))> {
    let (file, dependencies) = line.split_once(':')?;
    let dependencies = dependencies.split_whitespace().map(str::to_owned).collect();
    Some((module_name(file), (file.to_owned(), dependencies)))
}

fn module_name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split('.').next().unwrap_or(base).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_before_their_users() {
        let root = tempfile::tempdir().expect("temp dir");
        let folder = root.path().join("lib/modules/6.1");
        fs::create_dir_all(&folder).expect("folder");
        let dep = "kernel/a/kvm-amd.ko: kernel/a/ccp.ko kernel/a/kvm.ko\nkernel/a/ccp.ko:\nkernel/a/kvm.ko:\n";
        fs::write(folder.join("modules.dep"), dep).expect("modules.dep");
        fs::write(folder.join("modules.builtin"), "kernel/fs/ext4.ko\n").expect("builtin");
        let modules = Modules::read(root.path(), "6.1").expect("readable");
        let order = modules.load_order(&["kvm_amd", "ext4", "kvm"]).expect("known");
        assert_eq!(order, ["kernel/a/kvm.ko", "kernel/a/ccp.ko", "kernel/a/kvm-amd.ko"]);
        assert!(modules.load_order(&["nope"]).is_err());
    }
}
