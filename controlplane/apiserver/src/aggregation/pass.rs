//! Sending a request on to a remote server, with the user in headers that only our front-proxy certificate makes true.

use std::sync::Arc;

use access::{User, authz::Attributes};
use api::{Reason, Status};
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Remote;
use crate::{
    app::App,
    audit, call,
    query::Query,
    reach::{
        self, Tls,
        pass::{self, Passing, Rest},
    },
    respond::Reply,
    route::Target,
};

/// Header names keep these characters of an extra key (RFC 9110 tokens, lower case letters and digits beside them).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Authorizes the request here, then sends it on. The other server asks again for itself.
pub async fn pass_on(
    app: &Arc<App>,
    remote: &Remote,
    user: User,
    mut request: Request<Incoming>,
    target: &Target,
) -> Result<Reply, Status> {
    let path = request.uri().path().to_owned();
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let attributes = if target.resource.is_empty() {
        let method = request.method().as_str().to_lowercase();
        Attributes { user: user.clone(), verb: method, path: path.clone(), ..Attributes::default() }
    } else {
        let verb = target.verb(request.method(), query.flag("watch"));
        call::attributes(&user, verb, target, &query)
    };
    app.authorizer.check(&attributes)?;
    let upgrade =
        request.headers().contains_key(header::UPGRADE).then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let mut headers = pass::end_to_end(&parts.headers);
    identify(&mut headers, &user);
    if let Some(source) = audit::source()
        && let Ok(value) = HeaderValue::from_str(&source)
    {
        headers.append("x-forwarded-for", value);
    }
    let stream = reach::connect(app, &remote.target, Some(&tls(app, remote))).await;
    let stream = stream.map_err(|error| unavailable(&error))?;
    let passing = Passing {
        method: parts.method,
        path: parts.uri.path_and_query().map_or(path, ToString::to_string),
        headers,
        authority: remote.authority(),
        body: Some(body),
        rest: Rest {
            upgrade,
            gauge: app.metrics.open("AGGREGATED", target),
            shutdown: app.shutdown.clone(),
        },
    };
    let (response, rest) =
        pass::exchange(stream, passing).await.map_err(|error| unavailable(&error))?;
    Ok(pass::answer(response, rest))
}

fn unavailable(error: &reach::Error) -> Status {
    let message = match error {
        reach::Error::NoEndpoint(_) => "service unavailable".to_owned(),
        error => format!("error trying to reach service: {error}"),
    };
    Status::new(Reason::ServiceUnavailable, message)
}

/// TLS towards a remote server: its CA, and our front-proxy certificate.
#[must_use]
pub fn tls(app: &App, remote: &Remote) -> Tls {
    Tls { identity: Some(app.pki.front_proxy().clone()), ..remote.tls.clone() }
}

/// Puts the user into the `X-Remote-*` headers (upstream `client-go/transport NewAuthProxyRoundTripper`).
pub fn identify(headers: &mut HeaderMap, user: &User) {
    let stale: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
    for name in stale {
        headers.remove(name);
    }
    let mut put = |name: &str, text: &str| {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(text)) {
            headers.append(name, value);
        }
    };
    put("x-remote-user", &user.name);
    if !user.uid.is_empty() {
        put("x-remote-uid", &user.uid);
    }
    for group in &user.groups {
        put("x-remote-group", group);
    }
    for (key, values) in &user.extra {
        let name = format!("x-remote-extra-{}", utf8_percent_encode(key, ESCAPED));
        for value in values {
            put(&name.to_lowercase(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_named_by_us_alone() {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", HeaderValue::from_static("root"));
        headers.insert("x-remote-extra-scopes", HeaderValue::from_static("all"));
        let mut user = User::new("jane", &["a", "b"]);
        user.extra.insert("example.com/team".into(), vec!["blue".into()]);
        identify(&mut headers, &user);
        assert_eq!(headers["x-remote-user"], "jane");
        assert_eq!(headers.get_all("x-remote-group").iter().count(), 2);
        assert_eq!(headers["x-remote-extra-example.com%2fteam"], "blue");
        assert!(!headers.contains_key("x-remote-extra-scopes"));
    }
}
