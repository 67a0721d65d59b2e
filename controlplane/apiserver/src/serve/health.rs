//! `/livez`, `/readyz`, `/healthz`: plain text, `?verbose` lists the checks.

use std::sync::atomic::Ordering;

use http::StatusCode;

use crate::{
    app::App,
    query::Query,
    respond::{self, Reply},
};

/// Answers a health path; `None` for a path that is no check.
#[must_use]
pub fn answer(app: &App, path: &str, query: &Query) -> Option<Reply> {
    let (endpoint, one) = match path.trim_start_matches('/').split_once('/') {
        Some((endpoint, one)) => (endpoint, one),
        None => (path.trim_start_matches('/'), ""),
    };
    if !matches!(endpoint, "livez" | "readyz" | "healthz") {
        return None;
    }
    let checks = checks(app, endpoint);
    if !one.is_empty() {
        let (_, ok) = checks.iter().find(|(name, _)| *name == one)?;
        return Some(text(*ok, if *ok { "ok".into() } else { format!("{one} failed") }));
    }
    let excluded: Vec<&str> = query.all("exclude").collect();
    let mut page = String::new();
    let mut healthy = true;
    for (name, ok) in checks {
        if excluded.contains(&name) {
            page += &format!("[+]{name} excluded: ok\n");
            continue;
        }
        healthy &= ok;
        let (sign, word) = if ok { ('+', "ok") } else { ('-', "failed: reason withheld") };
        page += &format!("[{sign}]{name} {word}\n");
    }
    let word = if healthy { "passed" } else { "failed" };
    page += &format!("{endpoint} check {word}\n");
    let verbose = query.has("verbose");
    Some(text(healthy, if healthy && !verbose { "ok".into() } else { page }))
}

fn checks(app: &App, endpoint: &str) -> Vec<(&'static str, bool)> {
    let ready = app.ready.load(Ordering::Acquire);
    let mut checks =
        vec![("ping", true), ("log", true), ("etcd", app.cache.revision() > 0 || ready)];
    if endpoint != "livez" {
        checks.push(("informer-sync", ready));
        checks.push(("poststarthook/rbac/bootstrap-roles", ready));
        checks.push(("poststarthook/bootstrap-controller", ready));
    }
    if endpoint == "readyz" {
        checks.push(("shutdown", !app.stopping.is_cancelled() && !app.shutdown.is_cancelled()));
    }
    checks
}

fn text(ok: bool, body: String) -> Reply {
    let code = if ok { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    respond::bytes(code, "text/plain; charset=utf-8", body)
}
