//! The `proxy` subresources of pods, services and nodes: every method, paths, queries and upgrades
//! (upstream `apimachinery/pkg/util/proxy/{upgradeaware,transport}.go` and the `ResourceLocation` of each kind).

use std::net::{IpAddr, SocketAddr};

use access::Lookup;
use api::{Reason, Status};
use http::{HeaderValue, Method, StatusCode, header};
use url::Url;

use crate::{
    call::Call,
    errors,
    reach::{
        self, BoxStream, Target, Tls,
        pass::{self, Passing, Rest},
    },
    respond::{self, Reply},
};

/// Where a proxied request goes.
struct Backend {
    stream: BoxStream,
    authority: String,
}

/// Answers a request below `.../proxy`.
pub async fn proxy(mut call: Call) -> Result<Reply, Status> {
    let name = Name::parse(&call.target.name).ok_or_else(|| {
        let kind = call.kind.singular.clone();
        errors::bad_request(format!("invalid {kind} request {:?}", call.target.name))
    })?;
    if let Some(redirect) = redirect_to_root(&call) {
        return Ok(redirect);
    }
    let backend = match call.target.resource.as_str() {
        "nodes" => to_node(&call, &name).await?,
        _ => to_target(&call, &name).await?,
    };
    let path = raw_rest(call.uri.path());
    let path = super::with_query(
        if path.is_empty() { "/" } else { path },
        call.uri.query().unwrap_or_default(),
    );
    let prefix = prefix_of(call.uri.path()).to_owned();
    let mut headers = pass::end_to_end(&call.headers);
    if let Ok(uri) = HeaderValue::from_str(call.uri.path()) {
        headers.insert("x-forwarded-uri", uri);
    }
    super::forwarded_for(&mut headers);
    let passing = Passing {
        method: call.method.clone(),
        path,
        headers,
        authority: backend.authority.clone(),
        body: call.body.take(),
        rest: Rest {
            upgrade: call.upgrade.take(),
            gauge: call.app.metrics.long_running(&call),
            shutdown: call.app.shutdown.clone(),
        },
    };
    let exchanged = pass::exchange(backend.stream, passing).await;
    let (response, rest) = exchanged.map_err(|error| unreachable(&error))?;
    let mut reply = pass::answer(response, rest);
    rewrite(&mut reply, &prefix, &backend.authority);
    Ok(reply)
}

fn unreachable(error: &reach::Error) -> Status {
    let message = match error {
        reach::Error::NoEndpoint(text) => text.clone(),
        error => format!("error trying to reach service: {error}"),
    };
    Status::new(Reason::ServiceUnavailable, message)
}

/// `[scheme:]name[:port]`.
#[derive(Debug, PartialEq, Eq)]
struct Name<'a> {
    https: bool,
    name: &'a str,
    port: &'a str,
}

impl<'a> Name<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return None,
        };
        let known = matches!(scheme, "" | "http" | "https") && !name.is_empty();
        known.then_some(Self { https: scheme == "https", name, port })
    }
}

/// A request for the root without a slash is sent there with one, so that relative links work
/// (<https://issue.k8s.io/4958>).
fn redirect_to_root(call: &Call) -> Option<Reply> {
    let path = call.uri.path();
    let get = call.method == Method::GET || call.method == Method::HEAD;
    if !get || call.upgrade.is_some() || !raw_rest(path).is_empty() {
        return None;
    }
    let location = super::with_query(&format!("{path}/"), call.uri.query().unwrap_or_default());
    let mut reply = respond::bytes(StatusCode::MOVED_PERMANENTLY, "text/plain; charset=utf-8", "");
    reply.headers_mut().insert(header::LOCATION, HeaderValue::from_str(&location).ok()?);
    Some(reply)
}

/// What follows `/proxy` in the path as the client wrote it, escapes and all.
fn raw_rest(path: &str) -> &str {
    path.get(prefix_of(path).len()..).unwrap_or_default()
}

/// The path up to and with `/proxy`: the seventh segment in a namespace, the fifth for a node.
fn prefix_of(path: &str) -> &str {
    let is_namespaced = path.split('/').nth(3) == Some("namespaces");
    let segments = if is_namespaced { 7 } else { 5 };
    let end = path.match_indices('/').nth(segments).map_or(path.len(), |(at, _)| at);
    &path[..end]
}

async fn to_target(call: &Call, name: &Name<'_>) -> Result<Backend, Status> {
    let namespace = call.target.namespace.clone();
    let target = if call.target.resource == "pods" {
        let port = pod_port(call, name)?;
        Target::Pod { namespace: namespace.clone(), name: name.name.into(), port }
    } else {
        if Lookup::get(&*call.app.cache, "", "services", &namespace, name.name).is_none() {
            return Err(errors::not_found(&call.kind, name.name));
        }
        Target::Service {
            namespace: namespace.clone(),
            name: name.name.into(),
            port: name.port.into(),
        }
    };
    // As upstream: the backend's certificate is not verified, nothing says whose it should be.
    let server_name = format!("{}.{namespace}.svc", name.name);
    let tls = Tls { server_name, skip_verify: true, ..Tls::default() };
    let stream = reach::connect(&call.app, &target, name.https.then_some(&tls)).await;
    let stream = stream.map_err(|error| unreachable(&error))?;
    let authority = match &target {
        Target::Pod { port, .. } => format!("{}:{port}", name.name),
        _ if name.port.parse::<u16>().is_ok() => {
            format!("{}.{namespace}.svc:{}", name.name, name.port)
        }
        _ => format!("{}.{namespace}.svc", name.name),
    };
    Ok(Backend { stream, authority })
}

fn pod_port(call: &Call, name: &Name<'_>) -> Result<u16, Status> {
    let pod = Lookup::get(&*call.app.cache, "", "pods", &call.target.namespace, name.name)
        .ok_or_else(|| errors::not_found(&call.kind, name.name))?;
    let declared: Vec<(&str, u16)> = pod["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|container| container["ports"].as_array().into_iter().flatten())
        .filter_map(|port| {
            let number = u16::try_from(port["containerPort"].as_u64()?).ok()?;
            Some((port["name"].as_str().unwrap_or_default(), number))
        })
        .collect();
    if name.port.is_empty() {
        return Ok(declared.first().map_or(80, |(_, number)| *number));
    }
    let named = declared.iter().find(|(own, _)| *own == name.port).map(|(_, number)| *number);
    name.port
        .parse()
        .ok()
        .filter(|port| *port > 0)
        .or(named)
        .ok_or_else(|| errors::bad_request(format!("invalid pod request {:?}", call.target.name)))
}

/// The agent itself, or another port of the node.
async fn to_node(call: &Call, name: &Name<'_>) -> Result<Backend, Status> {
    let agent = super::agent(call, name.name)?;
    let port = match name.port {
        "" => agent.port(),
        text => text.parse::<u16>().map_err(|_| {
            errors::bad_request(format!("invalid node request {:?}", call.target.name))
        })?,
    };
    let address = SocketAddr::new(agent.ip(), port);
    let stream = if port == agent.port() {
        reach::to_agent(&call.app, address).await
    } else {
        refuse_local(address.ip())?;
        let tls =
            Tls { server_name: address.ip().to_string(), skip_verify: true, ..Tls::default() };
        let target = Target::Host { host: address.ip().to_string(), port };
        reach::connect(&call.app, &target, name.https.then_some(&tls)).await
    };
    let stream = stream.map_err(|error| unreachable(&error))?;
    Ok(Backend { stream, authority: address.to_string() })
}

/// A node's address must not lead back to this machine's own services.
fn refuse_local(address: IpAddr) -> Result<(), Status> {
    if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
        return Err(errors::bad_request("address not allowed"));
    }
    Ok(())
}

/// Takes CORS headers out, and points redirects within the backend back through us.
fn rewrite(reply: &mut Reply, prefix: &str, authority: &str) {
    for name in [
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        header::ACCESS_CONTROL_ALLOW_METHODS,
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
    ] {
        reply.headers_mut().remove(name);
    }
    let location = reply.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    if let Some(rewritten) = location.and_then(|text| rewrite_location(text, prefix, authority))
        && let Ok(value) = HeaderValue::from_str(&rewritten)
    {
        reply.headers_mut().insert(header::LOCATION, value);
    }
}

/// `None`: as it is. Redirects to other hosts and relative ones stay.
fn rewrite_location(location: &str, prefix: &str, authority: &str) -> Option<String> {
    let path = if location.starts_with('/') && !location.starts_with("//") {
        location.to_owned()
    } else {
        let url = Url::parse(location).ok()?;
        let host = url.host_str()?;
        let with_port = url.port().map(|port| format!("{host}:{port}"));
        let is_backend = authority == host
            || with_port.is_some_and(|text| text == authority)
            || authority
                .split_once(':')
                .is_some_and(|(name, _)| name == host && url.port().is_none());
        if !is_backend {
            return None;
        }
        let mut path = url.path().to_owned();
        if let Some(query) = url.query() {
            path = format!("{path}?{query}");
        }
        if let Some(fragment) = url.fragment() {
            path = format!("{path}#{fragment}");
        }
        path
    };
    if path.starts_with(prefix) { Some(path) } else { Some(format!("{prefix}{path}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_scheme_and_port() {
        let some = |https, name, port| Some(Name { https, name, port });
        for (text, expect) in [
            ("a", some(false, "a", "")),
            ("a:80", some(false, "a", "80")),
            ("https:a:443", some(true, "a", "443")),
            ("http:a:", some(false, "a", "")),
            ("ftp:a:1", None),
            ("a:b:c:d", None),
            (":80", None),
        ] {
            assert_eq!(Name::parse(text), expect, "{text}");
        }
    }

    #[test]
    fn the_path_behind_proxy_stays_as_written() {
        for (path, prefix, rest) in [
            ("/api/v1/namespaces/a/pods/b/proxy", "/api/v1/namespaces/a/pods/b/proxy", ""),
            ("/api/v1/namespaces/a/pods/b:80/proxy/", "/api/v1/namespaces/a/pods/b:80/proxy", "/"),
            (
                "/api/v1/namespaces/a/services/b/proxy/x%2Fy//z/",
                "/api/v1/namespaces/a/services/b/proxy",
                "/x%2Fy//z/",
            ),
            ("/api/v1/nodes/n/proxy/metrics", "/api/v1/nodes/n/proxy", "/metrics"),
        ] {
            assert_eq!((prefix_of(path), raw_rest(path)), (prefix, rest), "{path}");
        }
    }

    #[test]
    fn redirects_within_the_backend_lead_back_through_the_proxy() {
        let prefix = "/api/v1/namespaces/a/services/b/proxy";
        for (location, expect) in [
            ("/login?x=1", Some(format!("{prefix}/login?x=1"))),
            ("http://b.a.svc/login", Some(format!("{prefix}/login"))),
            ("http://b.a.svc:80/login", Some(format!("{prefix}/login"))),
            ("https://elsewhere.example/login", None),
            ("next", None),
        ] {
            assert_eq!(rewrite_location(location, prefix, "b.a.svc"), expect, "{location}");
        }
        let there = format!("{prefix}/login");
        assert_eq!(rewrite_location(&there, prefix, "b.a.svc"), Some(there.clone()));
    }
}
