//! Fetches the keys of OpenID Connect issuers: at start, when a token names a key that is not known, and now and then.

use std::{sync::Arc, time::Duration};

use access::authn::Oidc;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Request, header};
use serde_json::{Value, json};

use crate::{
    app::App,
    reach::{self, WebhookConfig},
};

/// An issuer that changes its keys is noticed in this time at the latest.
const REFRESH_EVERY: Duration = Duration::from_secs(3600);
/// At most this often: tokens with made-up keys must not make us ask without end.
const PAUSE: Duration = Duration::from_secs(10);
const FETCH_MAX: Duration = Duration::from_secs(10);

/// Runs until shutdown.
pub async fn fetch_oidc_keys(app: Arc<App>) {
    let issuers = app.authenticator.issuers().to_vec();
    let tasks = issuers.into_iter().map(|oidc| follow(app.clone(), oidc));
    futures::future::join_all(tasks).await;
}

async fn follow(app: Arc<App>, oidc: Oidc) {
    loop {
        let fetched = fetch(&app, &oidc).await;
        let next = match fetched {
            Ok(()) => REFRESH_EVERY,
            Err(error) => {
                tracing::warn!(
                    issuer = oidc.config().issuer,
                    error,
                    "an issuer's keys were not read"
                );
                PAUSE
            }
        };
        // interval: back-off, see PAUSE.
        let pause = tokio::time::sleep(PAUSE);
        tokio::select! {
            biased;
            () = app.shutdown.cancelled() => return,
            () = pause => {}
        }
        tokio::select! {
            biased;
            () = app.shutdown.cancelled() => return,
            () = oidc.keys_wanted() => {}
            // interval: issuers do not tell when they change their keys.
            () = tokio::time::sleep(next.saturating_sub(PAUSE)) => {}
        }
    }
}

async fn fetch(app: &App, oidc: &Oidc) -> Result<(), String> {
    let config = oidc.config();
    let document = get(app, oidc, &config.discovery()).await?;
    let document: Value = serde_json::from_slice(&document).map_err(|error| error.to_string())?;
    if document["issuer"] != config.issuer.as_str() {
        return Err(format!("the discovery document is {}'s", document["issuer"]));
    }
    let keys = document["jwks_uri"].as_str().ok_or("the discovery document has no jwks_uri")?;
    let keys = get(app, oidc, keys).await?;
    oidc.set_keys(Oidc::parse_keys(&keys).map_err(|error| error.to_string())?);
    Ok(())
}

async fn get(app: &App, oidc: &Oidc, url: &str) -> Result<Bytes, String> {
    let ca = oidc.config().ca_pem.as_ref().map(|pem| BASE64_STANDARD.encode(pem));
    let place = WebhookConfig::parse(&json!({"url": url, "caBundle": ca}));
    let place = place.map_err(|error| error.to_string())?;
    let request = Request::get(&place.path)
        .header(header::HOST, &place.authority)
        .body(Bytes::new())
        .map_err(|error| error.to_string())?;
    let answer = reach::call(app, &place.target, place.tls.as_ref(), request, FETCH_MAX).await;
    let answer = answer.map_err(|error| format!("Get {url:?}: {error}"))?;
    if answer.status().is_success() {
        Ok(answer.into_body())
    } else {
        Err(format!("Get {url:?}: {}", answer.status()))
    }
}
