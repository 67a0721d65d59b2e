//! The user in a client certificate: common name, and a group for each organization.

use sha2::{Digest as _, Sha256};

use crate::{User, names};

/// `None` for a certificate without a common name, which proves nothing.
pub(super) fn user_of(der: &[u8]) -> Option<User> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().find_map(|name| name.as_str().ok())?;
    if name.is_empty() {
        return None;
    }
    let groups: Vec<&str> =
        subject.iter_organization().filter_map(|group| group.as_str().ok()).collect();
    let mut user = User::new(name, &groups);
    let id = format!("X509SHA256={}", hex::encode(Sha256::digest(der)));
    user.extra.insert(names::CREDENTIAL_ID.into(), vec![id]);
    Some(user)
}
