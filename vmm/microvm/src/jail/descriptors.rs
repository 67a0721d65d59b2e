//! Closes every descriptor that the configuration does not name.
#![allow(unsafe_code, reason = "descriptors by number")]

use std::collections::BTreeSet;
use std::os::fd::RawFd;

use super::{Error, step};

/// First number that is not standard input, output or error.
const FIRST: RawFd = 3;

/// Makes the ranges between `keep`, all from [`FIRST`] up.
fn plan_gaps(keep: &BTreeSet<RawFd>) -> Vec<(u32, u32)> {
    let mut gaps = Vec::new();
    let mut next = FIRST as u32;
    for fd in keep.iter().copied().filter_map(|fd| u32::try_from(fd).ok()) {
        if fd > next {
            gaps.push((next, fd - 1));
        }
        next = next.max(fd + 1);
    }
    gaps.push((next, u32::MAX));
    gaps
}

/// Closes all but `keep` and the standard three.
pub fn close_others(keep: &BTreeSet<RawFd>) -> Result<(), Error> {
    for (first, last) in plan_gaps(keep) {
        // SAFETY: called before anything else of this process owns descriptors; those that it owns
        // are in `keep`.
        let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        step(nix::errno::Errno::result(result), "close inherited descriptors")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_everything_else() {
        let cases: [(&[RawFd], &[(u32, u32)]); 4] = [
            (&[], &[(3, u32::MAX)]),
            (&[3, 4], &[(5, u32::MAX)]),
            (&[0, 2, 5, 9], &[(3, 4), (6, 8), (10, u32::MAX)]),
            (&[4], &[(3, 3), (5, u32::MAX)]),
        ];
        for (keep, gaps) in cases {
            assert_eq!(plan_gaps(&keep.iter().copied().collect()), gaps, "{keep:?}");
        }
    }
}
