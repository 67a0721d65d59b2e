//! Finds the program of a command line as execvp(3) would, with the messages users know, and executes it.

use std::convert::Infallible;
use std::ffi::{CString, NulError};
use std::io;

use rustix::fs::{self, Access, AtFlags, CWD, FileType};
use rustix::io::Errno;

use crate::report::{Failure, FailureKind, describe};

/// PATH of processes whose image and specification set none.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Replaces this process by `args` with `env`; returns only with the reason why not.
pub(crate) fn execute(args: &[String], env: &[String]) -> Result<Infallible, Failure> {
    let Some(name) = args.first().filter(|name| !name.is_empty()) else {
        return Err(Failure::refused("no command specified"));
    };
    let program = find(name, search_path(env))?;
    let broken = |_: NulError| Failure::refused("a NUL byte in arguments or environment");
    let path = CString::new(program.as_str()).map_err(broken)?;
    let args = c_strings(args).map_err(broken)?;
    let env = c_strings(env).map_err(broken)?;
    let errno = match nix::unistd::execve(&path, &args, &env) {
        Err(errno) => errno,
        Ok(never) => match never {},
    };
    let error = io::Error::from(errno);
    let kind = match error.kind() {
        io::ErrorKind::NotFound => FailureKind::NotFound,
        _ => FailureKind::PermissionDenied,
    };
    Err(Failure { kind, message: format!("exec {program}: {}", describe(&error)) })
}

fn c_strings(strings: &[String]) -> Result<Vec<CString>, NulError> {
    strings.iter().map(|string| CString::new(string.as_str())).collect()
}

fn search_path(env: &[String]) -> &str {
    env.iter().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH)
}

fn find(name: &str, search_path: &str) -> Result<String, Failure> {
    if name.contains('/') {
        return match check(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(errno) => Err(explain(name, errno)),
        };
    }
    for folder in search_path.split(':') {
        let folder = if folder.is_empty() { "." } else { folder };
        let candidate = format!("{}/{name}", folder.trim_end_matches('/'));
        if check(&candidate).is_ok() {
            return Ok(candidate);
        }
    }
    let message = format!("exec: {name:?}: executable file not found in $PATH");
    Err(Failure { kind: FailureKind::NotFound, message })
}

/// Whether this process may execute the file.
fn check(path: &str) -> Result<(), Errno> {
    let stat = fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode).is_dir() {
        return Err(Errno::ISDIR);
    }
    fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

fn explain(name: &str, errno: Errno) -> Failure {
    let reason = describe(&errno.into());
    match errno {
        Errno::NOENT | Errno::NOTDIR => Failure {
            kind: FailureKind::NotFound,
            message: format!("exec: {name:?}: stat {name}: {reason}"),
        },
        _ => Failure {
            kind: FailureKind::PermissionDenied,
            message: format!("exec: {name:?}: {reason}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn programs_are_found_on_the_path_in_order() {
        let root = tempfile::tempdir().unwrap();
        for (folder, mode) in [("a", 0o644), ("b", 0o755), ("c", 0o755)] {
            let folder = root.path().join(folder);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("tool"), "").unwrap();
            std::fs::set_permissions(folder.join("tool"), PermissionsExt::from_mode(mode)).unwrap();
        }
        let base = root.path().display();
        let path = format!("{base}/none:{base}/a:{base}/b/:{base}/c");
        assert_eq!(find("tool", &path).unwrap(), format!("{base}/b/tool"));
    }

    #[test]
    fn failures_read_as_users_know_them() {
        let cases = [
            ("nope", FailureKind::NotFound, "exec: \"nope\": executable file not found in $PATH"),
            (
                "/no/such",
                FailureKind::NotFound,
                "exec: \"/no/such\": stat /no/such: no such file or directory",
            ),
            ("/etc", FailureKind::PermissionDenied, "exec: \"/etc\": is a directory"),
            (
                "/etc/passwd",
                FailureKind::PermissionDenied,
                "exec: \"/etc/passwd\": permission denied",
            ),
        ];
        for (name, kind, message) in cases {
            assert_eq!(
                find(name, "/usr/bin").unwrap_err(),
                Failure { kind, message: message.into() }
            );
        }
    }
}
