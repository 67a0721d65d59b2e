//! From method and path to what a request is about. Pure; the rules are those of upstream
//! `apiserver/pkg/endpoints/request/requestinfo.go`.

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    Resource(Target),
    /// Discovery, health, metrics and everything unknown.
    Other(String),
}

/// A resource path, split.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    /// Empty: cluster-scoped, or all namespaces.
    pub namespace: String,
    pub resource: String,
    pub name: String,
    pub subresource: String,
    /// What follows the subresource (`proxy/<this>`), with its leading slash.
    pub rest: String,
    /// The deprecated `/watch/` path prefix was used.
    pub watch_prefix: bool,
}

/// Splits a path. Segments stay percent-decoded by the caller's choice; names never contain slashes.
#[must_use]
pub fn parse(path: &str) -> Route {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => return Route::Other(path.to_owned()),
    };
    let mut target = Target { group: group.into(), version: version.into(), ..Target::default() };
    let mut rest = rest;
    if let ["watch", tail @ ..] = rest {
        target.watch_prefix = true;
        rest = tail;
    }
    if let ["namespaces", namespace, tail @ ..] = rest {
        target.namespace = (*namespace).to_owned();
        // Subresources of a namespace itself, else its content.
        let own = matches!(tail, [] | ["status" | "finalize", ..]) && group.is_empty();
        if !own {
            rest = tail;
        }
    }
    let [resource, tail @ ..] = rest else { return Route::Other(path.to_owned()) };
    target.resource = (*resource).to_owned();
    if let [name, tail @ ..] = tail {
        target.name = (*name).to_owned();
        if let [subresource, tail @ ..] = tail {
            target.subresource = (*subresource).to_owned();
            target.rest = rest_of(path, tail);
        }
    }
    Route::Resource(target)
}

fn rest_of(path: &str, tail: &[&str]) -> String {
    let mut rest = String::new();
    for part in tail {
        rest.push('/');
        rest.push_str(part);
    }
    if path.ends_with('/') {
        rest.push('/');
    }
    rest
}

impl Target {
    /// The API verb of a request, as authorization and metrics name it.
    #[must_use]
    pub fn verb(&self, method: &http::Method, watch: bool) -> &'static str {
        match method.as_str() {
            "GET" | "HEAD" if self.watch_prefix => "watch",
            "GET" | "HEAD" if self.name.is_empty() && watch => "watch",
            "GET" | "HEAD" if self.name.is_empty() => "list",
            "GET" | "HEAD" => "get",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" if self.name.is_empty() => "deletecollection",
            "DELETE" => "delete",
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str) -> String {
        match parse(path) {
            Route::Other(path) => format!("other {path}"),
            Route::Resource(t) => format!(
                "{}|{}|{}|{}|{}|{}|{}",
                t.group, t.version, t.namespace, t.resource, t.name, t.subresource, t.rest
            ),
        }
    }

    #[test]
    fn paths_are_split_like_upstream() {
        for (path, expect) in [
            ("/api", "other /api"),
            ("/api/v1", "other /api/v1"),
            ("/apis/apps/v1", "other /apis/apps/v1"),
            ("/healthz", "other /healthz"),
            ("/api/v1/pods", "|v1||pods|||"),
            ("/api/v1/namespaces", "|v1||namespaces|||"),
            ("/api/v1/namespaces/a", "|v1|a|namespaces|a||"),
            ("/api/v1/namespaces/a/finalize", "|v1|a|namespaces|a|finalize|"),
            ("/api/v1/namespaces/a/pods/b/exec", "|v1|a|pods|b|exec|"),
            ("/api/v1/namespaces/a/pods/b/proxy/x/y/", "|v1|a|pods|b|proxy|/x/y/"),
            ("/apis/apps/v1/namespaces/a/deployments", "apps|v1|a|deployments|||"),
            ("/api/v1/watch/namespaces/a/pods/b", "|v1|a|pods|b||"),
            ("/api/v1/nodes/n/status", "|v1||nodes|n|status|"),
        ] {
            assert_eq!(shown(path), expect, "{path}");
        }
    }
}
