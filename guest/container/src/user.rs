//! Resolves "user[:group]" with the image's own /etc/passwd and /etc/group, as the OCI image specification asks.

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, sorted, without duplicates.
    pub groups: Vec<u32>,
    /// "/" when the image knows none.
    pub home: String,
}

/// Why no identity was found; the texts are those users know from other runtimes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("unable to find user {0}: no matching entries in passwd file")]
    UnknownUser(String),
    #[error("unable to find group {0}: no matching entries in group file")]
    UnknownGroup(String),
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Finds the identity for `spec` ("", "0", "nginx", "1000:1000", "app:staff"); `passwd` and `group` are the texts of
/// the image's files, empty when it has none. Groups that list the user are added to `supplementary`.
pub fn resolve(
    spec: &str,
    passwd: &str,
    group: &str,
    supplementary: &[u32],
) -> Result<Identity, Error> {
    let (user, group_spec) = spec.split_once(':').unwrap_or((spec, ""));
    let user = if user.is_empty() { "0" } else { user };
    let number: Option<u32> = user.parse().ok();
    // A name that looks like a number is a number unless the image has a user of exactly that name.
    let entry = passwd_entries(passwd)
        .find(|entry| entry.name == user)
        .or_else(|| passwd_entries(passwd).find(|entry| Some(entry.uid) == number));
    let (uid, primary_gid, home, name) = match (&entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid, entry.home, entry.name),
        (None, Some(uid)) => (uid, 0, "/", ""),
        (None, None) => return Err(Error::UnknownUser(user.to_owned())),
    };
    let gid = if group_spec.is_empty() { primary_gid } else { find_group(group_spec, group)? };
    let mut groups: Vec<u32> = supplementary.to_vec();
    if !name.is_empty() {
        groups.extend(
            group_entries(group).filter(|g| g.members.split(',').any(|m| m == name)).map(|g| g.gid),
        );
    }
    groups.sort_unstable();
    groups.dedup();
    let home = if home.is_empty() { "/" } else { home };
    Ok(Identity { uid, gid, groups, home: home.to_owned() })
}

fn find_group(spec: &str, group: &str) -> Result<u32, Error> {
    group_entries(group)
        .find(|entry| entry.name == spec)
        .map(|entry| entry.gid)
        .or_else(|| spec.parse().ok())
        .ok_or_else(|| Error::UnknownGroup(spec.to_owned()))
}

fn passwd_entries(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [name, _, uid, gid, ..] = fields[..] else { return None };
        let home = fields.get(5).copied().unwrap_or("");
        Some(PasswdEntry { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
    })
}

fn group_entries(text: &str) -> impl Iterator<Item = GroupEntry<'_>> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [name, _, gid, ..] = fields[..] else { return None };
        let members = fields.get(3).copied().unwrap_or("");
        Some(GroupEntry { name, gid: gid.parse().ok()?, members })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\nnginx:x:101:102:n:/var/www:/bin/false\n\
                          nohome:x:5:5\n";
    const GROUP: &str = "root:x:0:\nnginx:x:102:\nstaff:x:50:games,nginx\nlog:x:4:nginx\n";

    #[test]
    fn specs_resolve() {
        for (spec, extra, uid, gid, groups, home) in [
            ("", &[][..], 0, 0, &[][..], "/root"),
            ("0", &[7], 0, 0, &[7], "/root"),
            ("nginx", &[], 101, 102, &[4, 50], "/var/www"),
            ("101", &[50, 9], 101, 102, &[4, 9, 50], "/var/www"),
            ("nginx:staff", &[], 101, 50, &[4, 50], "/var/www"),
            ("1000", &[], 1000, 0, &[], "/"),
            ("1000:1001", &[], 1000, 1001, &[], "/"),
            (":50", &[], 0, 50, &[], "/root"),
            ("nohome", &[], 5, 5, &[], "/"),
        ] {
            let got = resolve(spec, PASSWD, GROUP, extra).unwrap();
            let want = Identity { uid, gid, groups: groups.to_vec(), home: home.to_owned() };
            assert_eq!(got, want, "{spec}");
        }
    }

    #[test]
    fn unknown_names_have_the_known_texts() {
        assert_eq!(
            resolve("bob", PASSWD, GROUP, &[]).unwrap_err().to_string(),
            "unable to find user bob: no matching entries in passwd file"
        );
        assert_eq!(
            resolve("0:bobs", PASSWD, GROUP, &[]).unwrap_err().to_string(),
            "unable to find group bobs: no matching entries in group file"
        );
    }

    #[test]
    fn images_without_passwd_run_numbers() {
        let root = resolve("", "", "", &[]).unwrap();
        assert_eq!((root.uid, root.gid, root.home.as_str()), (0, 0, "/"));
    }
}
