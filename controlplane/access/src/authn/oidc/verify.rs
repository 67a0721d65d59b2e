//! Is a token one of this issuer's, for us, in time, and who is it? Pure but for the keys.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde_json::{Map, Value};

use super::{Oidc, OidcConfig};
use crate::User;

/// Clock difference that is forgiven, in seconds.
const LEEWAY_SECONDS: i64 = 10;
/// Algorithms whose keys can be published.
const ALGORITHMS: [Algorithm; 8] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
];

/// The `iss` that a token claims, unproven.
#[must_use]
pub fn claimed_issuer(token: &str) -> Option<String> {
    let payload = token.split('.').nth(1)?;
    let payload: Value =
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    payload["iss"].as_str().map(str::to_owned)
}

impl Oidc {
    /// The user of a token of this issuer at `now` (Unix seconds).
    pub fn verify(&self, token: &str, now: i64) -> Result<User, String> {
        let keys = self.inner.keys.read().clone();
        let Some(keys) = keys else {
            self.inner.wanted.notify_one();
            return Err("oidc: authenticator not initialized".into());
        };
        let claims = check_signature(self.config(), &keys, token)
            .inspect_err(|_| self.inner.wanted.notify_one())?;
        user_of(self.config(), &claims, now)
    }
}

fn check_signature(
    config: &OidcConfig,
    keys: &JwkSet,
    token: &str,
) -> Result<Map<String, Value>, String> {
    let header = jsonwebtoken::decode_header(token)
        .map_err(|error| format!("oidc: malformed jwt: {error}"))?;
    let named = config.algorithms.is_empty()
        || config.algorithms.iter().any(|own| *own == format!("{:?}", header.alg));
    if !ALGORITHMS.contains(&header.alg) || !named {
        return Err(format!("oidc: unexpected signature algorithm {:?}", header.alg));
    }
    let candidates = keys.keys.iter().filter(|key| match (&header.kid, &key.common.key_id) {
        (Some(wanted), Some(own)) => wanted == own,
        (Some(_), None) | (None, _) => true,
    });
    let mut rules = Validation::new(header.alg);
    // Issuer, audience and times are checked by us, to say what is wrong.
    rules.required_spec_claims.clear();
    rules.validate_exp = false;
    rules.validate_aud = false;
    for key in candidates {
        let Ok(key) = DecodingKey::from_jwk(key) else { continue };
        if let Ok(data) = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &rules) {
            return Ok(data.claims);
        }
    }
    Err("oidc: failed to verify signature".into())
}

/// From proven claims to the user.
fn user_of(config: &OidcConfig, claims: &Map<String, Value>, now: i64) -> Result<User, String> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(config.issuer.as_str()) {
        return Err("oidc: the token's issuer is another one".into());
    }
    let audiences = match claims.get("aud") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(list)) => {
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    if !audiences.iter().any(|audience| config.audiences.contains(audience)) {
        return Err(format!("oidc: expected audience {:?} got {audiences:?}", config.audiences));
    }
    check_times(claims, now)?;
    for (claim, value) in &config.required {
        match text(claim) {
            None => return Err(format!("oidc: required claim {claim} not present in ID token")),
            Some(own) if own != value => {
                return Err(format!(
                    "oidc: required claim {claim} value does not match. Got = {own}, want = {value}"
                ));
            }
            Some(_) => {}
        }
    }
    Ok(User {
        name: username(config, claims)?,
        uid: config.uid.as_deref().and_then(text).unwrap_or_default().to_owned(),
        groups: groups(config, claims)?,
        ..User::default()
    })
}

fn check_times(claims: &Map<String, Value>, now: i64) -> Result<(), String> {
    // Numbers may have fractions.
    let seconds = |name: &str| claims.get(name).and_then(Value::as_f64).map(|number| number as i64);
    match seconds("exp") {
        Some(exp) if exp.saturating_add(LEEWAY_SECONDS) > now => {}
        _ => return Err("oidc: token is expired".into()),
    }
    match seconds("nbf") {
        Some(nbf) if nbf.saturating_sub(LEEWAY_SECONDS) > now => {
            Err("oidc: token is not valid yet".into())
        }
        _ => Ok(()),
    }
}

fn username(config: &OidcConfig, claims: &Map<String, Value>) -> Result<String, String> {
    let name = &config.username.claim;
    let value = claims.get(name).and_then(Value::as_str).filter(|value| !value.is_empty());
    let value = value.ok_or(format!("oidc: parse username claims {name:?}: claim not present"))?;
    // An address that nobody proved is no identity; absence of the claim is taken as proof, as upstream does.
    if name == "email" && claims.get("email_verified").is_some_and(|verified| *verified != true) {
        return Err("oidc: email not verified".into());
    }
    Ok(format!("{}{value}", config.username.prefix))
}

fn groups(config: &OidcConfig, claims: &Map<String, Value>) -> Result<Vec<String>, String> {
    let Some(wanted) = &config.groups else { return Ok(Vec::new()) };
    let names: Vec<&str> = match claims.get(&wanted.claim) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        Some(_) => {
            return Err(format!(
                "oidc: parse groups claim {:?}: not a list of strings",
                wanted.claim
            ));
        }
    };
    Ok(names
        .into_iter()
        .filter(|name| !name.is_empty())
        .map(|name| format!("{}{name}", wanted.prefix))
        .collect())
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use rcgen::KeyPair;
    use serde_json::json;

    use super::{super::Claim, *};

    const NOW: i64 = 1_000_000;

    fn issuer() -> (Oidc, EncodingKey) {
        let key = KeyPair::generate().unwrap();
        let point = key.public_key_raw().to_vec();
        let (x, y) = point[1..].split_at(32);
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "alg": "ES256", "x": encode(x), "y": encode(y)}]});
        let oidc = Oidc::new(OidcConfig {
            issuer: "https://issuer.example".into(),
            audiences: vec!["me".into()],
            username: Claim { claim: "email".into(), prefix: "oidc:".into() },
            groups: Some(Claim { claim: "roles".into(), prefix: "g:".into() }),
            required: vec![("hd".into(), "example".into())],
            ..OidcConfig::default()
        });
        oidc.set_keys(Oidc::parse_keys(keys.to_string().as_bytes()).unwrap());
        (oidc, EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap())
    }

    fn token(key: &EncodingKey, change: &Value) -> String {
        let mut claims = json!({"iss": "https://issuer.example", "aud": ["me", "you"], "exp": NOW + 60, "hd": "example",
            "email": "jane@example", "email_verified": true, "roles": ["dev", "ops"]});
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let header = Header { kid: Some("1".into()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, key).unwrap()
    }

    #[test]
    fn claims_become_a_user() {
        let (oidc, key) = issuer();
        let user = oidc.verify(&token(&key, &json!({})), NOW).unwrap();
        assert_eq!(
            (user.name.as_str(), user.groups),
            ("oidc:jane@example", vec!["g:dev".to_owned(), "g:ops".to_owned()])
        );
        let one = oidc.verify(&token(&key, &json!({"roles": "dev", "aud": "me"})), NOW).unwrap();
        assert_eq!(one.groups, ["g:dev"]);
    }

    #[test]
    fn wrong_tokens_are_refused_with_their_reason() {
        let (oidc, key) = issuer();
        for (change, expect) in [
            (json!({"aud": "you"}), "oidc: expected audience [\"me\"] got [\"you\"]"),
            (json!({"exp": NOW - 60}), "oidc: token is expired"),
            (json!({"nbf": NOW + 60}), "oidc: token is not valid yet"),
            (
                json!({"hd": "other"}),
                "oidc: required claim hd value does not match. Got = other, want = example",
            ),
            (json!({"email_verified": false}), "oidc: email not verified"),
            (json!({"email": ""}), "oidc: parse username claims \"email\": claim not present"),
            (json!({"iss": "https://other.example"}), "oidc: the token's issuer is another one"),
        ] {
            assert_eq!(oidc.verify(&token(&key, &change), NOW).unwrap_err(), expect, "{change}");
        }
        let (_, stranger) = issuer();
        assert_eq!(
            oidc.verify(&token(&stranger, &json!({})), NOW).unwrap_err(),
            "oidc: failed to verify signature"
        );
        let new = Oidc::new(oidc.config().clone());
        assert_eq!(
            new.verify(&token(&key, &json!({})), NOW).unwrap_err(),
            "oidc: authenticator not initialized"
        );
    }
}
