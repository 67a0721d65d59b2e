//! What is known of a request before it is handled: what the audit policy and flow control decide by.

use access::User;

#[derive(Debug, Clone)]
pub struct Asked<'a> {
    pub user: &'a User,
    pub verb: &'a str,
    pub group: &'a str,
    /// Empty for a path that is no resource.
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub path: &'a str,
}
