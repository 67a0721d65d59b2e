//! The jail: what this process gives up before the first instruction of the guest.
//!
//! In this order: descriptors that nobody named, namespaces and the root directory, user and
//! capabilities, and last (per thread) most system calls. There is no PID namespace of its own here: it
//! takes effect only on children, and this process can have none; its starter can give it one.

pub mod descriptors;
pub mod namespaces;
pub mod privileges;
pub mod seccomp;

use crate::config::Jail;

/// Which step failed.
#[derive(Debug, thiserror::Error)]
#[error("{step}")]
pub struct Error {
    step: &'static str,
    source: std::io::Error,
}

fn step<T>(result: nix::Result<T>, step: &'static str) -> Result<T, Error> {
    result.map_err(|errno| Error { step, source: errno.into() })
}

/// Enters everything but the system call filters.
pub fn enter(jail: Jail) -> Result<(), Error> {
    if jail.namespaces {
        namespaces::enter()?;
    }
    privileges::limit_resources()?;
    privileges::drop_all(jail.uid, jail.gid)
}
