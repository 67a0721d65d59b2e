//! What an administrator says about an issuer: flags, or `AuthenticationConfiguration`. Pure.

use serde_json::Value;

use super::Error;

/// A claim that becomes a part of the user, with what is put before its value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    pub claim: String,
    pub prefix: String,
}

/// One issuer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OidcConfig {
    /// `iss` of its tokens, and where its discovery document is unless `discovery_url` says otherwise.
    pub issuer: String,
    pub discovery_url: Option<String>,
    /// PEM; `None`: the machine's own roots.
    pub ca_pem: Option<String>,
    /// One of them must be in `aud`.
    pub audiences: Vec<String>,
    pub username: Claim,
    pub groups: Option<Claim>,
    pub uid: Option<String>,
    /// Claims that must have a value.
    pub required: Vec<(String, String)>,
    /// Signature algorithms that are accepted; empty: all asymmetric ones.
    pub algorithms: Vec<String>,
}

/// Who may come without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anonymous {
    pub enabled: bool,
    /// Exact paths; empty: all.
    pub paths: Vec<String>,
}

impl Default for Anonymous {
    fn default() -> Self {
        Self { enabled: true, paths: Vec::new() }
    }
}

impl Anonymous {
    #[must_use]
    pub fn allows(&self, path: &str) -> bool {
        self.enabled && (self.paths.is_empty() || self.paths.iter().any(|own| own == path))
    }
}

/// `apiserver.config.k8s.io` AuthenticationConfiguration, as far as it is supported: no CEL expressions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthenticationConfig {
    pub jwt: Vec<OidcConfig>,
    pub anonymous: Anonymous,
}

fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::Invalid { field: field.into(), problem: problem.into() }
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

impl OidcConfig {
    /// Checks what upstream checks at start.
    pub fn check(&self) -> Result<(), Error> {
        if !self.issuer.starts_with("https://") {
            return Err(invalid(
                "issuer.url",
                format!("Invalid value: {:?}: URL scheme must be https", self.issuer),
            ));
        }
        if self.audiences.is_empty() {
            return Err(invalid(
                "issuer.audiences",
                "Required value: at least one issuer.audiences is required",
            ));
        }
        if self.username.claim.is_empty() {
            return Err(invalid(
                "claimMappings.username",
                "Required value: claim or expression is required",
            ));
        }
        Ok(())
    }

    /// The URL of the discovery document.
    #[must_use]
    pub fn discovery(&self) -> String {
        self.discovery_url.clone().unwrap_or_else(|| {
            format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'))
        })
    }
}

impl AuthenticationConfig {
    /// Reads the file's content.
    pub fn parse(value: &Value) -> Result<Self, Error> {
        let version = value["apiVersion"].as_str().unwrap_or_default();
        let known = matches!(
            version.strip_prefix("apiserver.config.k8s.io/"),
            Some("v1" | "v1beta1" | "v1alpha1")
        );
        if !known || value["kind"] != "AuthenticationConfiguration" {
            return Err(invalid(
                "kind",
                "want AuthenticationConfiguration of apiserver.config.k8s.io/v1",
            ));
        }
        let mut config = Self::default();
        for (index, one) in value["jwt"].as_array().into_iter().flatten().enumerate() {
            let at = format!("jwt[{index}]");
            let issuer = issuer(one, &at)?;
            issuer.check().map_err(|Error::Invalid { field, problem }| {
                invalid(format!("{at}.{field}"), problem)
            })?;
            if config.jwt.iter().any(|other| other.issuer == issuer.issuer) {
                return Err(invalid(
                    format!("{at}.issuer.url"),
                    format!("Duplicate value: {:?}", issuer.issuer),
                ));
            }
            config.jwt.push(issuer);
        }
        if let Some(anonymous) = value.get("anonymous").filter(|value| value.is_object()) {
            let paths = anonymous["conditions"].as_array().into_iter().flatten();
            config.anonymous = Anonymous {
                enabled: anonymous["enabled"] == true,
                paths: paths.filter_map(|one| one["path"].as_str()).map(str::to_owned).collect(),
            };
        }
        Ok(config)
    }
}

fn issuer(value: &Value, at: &str) -> Result<OidcConfig, Error> {
    let issuer = &value["issuer"];
    let mappings = &value["claimMappings"];
    refuse_expressions(value, at)?;
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let claim = |value: &Value| {
        text(&value["claim"])
            .map(|claim| Claim { claim, prefix: text(&value["prefix"]).unwrap_or_default() })
    };
    let mut required = Vec::new();
    for rule in value["claimValidationRules"].as_array().into_iter().flatten() {
        let name = text(&rule["claim"]).unwrap_or_default();
        required.push((name, text(&rule["requiredValue"]).unwrap_or_default()));
    }
    Ok(OidcConfig {
        issuer: text(&issuer["url"]).unwrap_or_default(),
        discovery_url: text(&issuer["discoveryURL"]),
        ca_pem: text(&issuer["certificateAuthority"]),
        audiences: texts(&issuer["audiences"]),
        username: claim(&mappings["username"]).unwrap_or_default(),
        groups: claim(&mappings["groups"]),
        uid: text(&mappings["uid"]["claim"]),
        required,
        algorithms: Vec::new(),
    })
}

/// Silence about an expression would let users in that it keeps out.
fn refuse_expressions(value: &Value, at: &str) -> Result<(), Error> {
    let mappings = &value["claimMappings"];
    for field in ["username", "groups", "uid"] {
        if mappings[field]["expression"].is_string() {
            return Err(invalid(
                format!("{at}.claimMappings.{field}.expression"),
                "expressions are not supported",
            ));
        }
    }
    let has_items = |value: &Value| value.as_array().is_some_and(|list| !list.is_empty());
    if has_items(&mappings["extra"]) {
        return Err(invalid(format!("{at}.claimMappings.extra"), "expressions are not supported"));
    }
    if has_items(&value["userValidationRules"]) {
        return Err(invalid(format!("{at}.userValidationRules"), "expressions are not supported"));
    }
    let rules = value["claimValidationRules"].as_array();
    if rules.into_iter().flatten().any(|rule| rule["expression"].is_string()) {
        return Err(invalid(format!("{at}.claimValidationRules"), "expressions are not supported"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file(jwt: &Value) -> Value {
        json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [jwt],
            "anonymous": {"enabled": true, "conditions": [{"path": "/livez"}]}})
    }

    #[test]
    fn a_file_is_read_and_mistakes_have_a_path() {
        let good = json!({"issuer": {"url": "https://issuer.example", "audiences": ["me"]},
            "claimMappings": {"username": {"claim": "sub", "prefix": "oidc:"}, "groups": {"claim": "roles", "prefix": ""}},
            "claimValidationRules": [{"claim": "hd", "requiredValue": "example"}]});
        let config = AuthenticationConfig::parse(&file(&good)).unwrap();
        assert_eq!(config.jwt[0].required, [("hd".to_owned(), "example".to_owned())]);
        assert_eq!(
            config.jwt[0].discovery(),
            "https://issuer.example/.well-known/openid-configuration"
        );
        assert!(config.anonymous.allows("/livez") && !config.anonymous.allows("/version"));
        for (pointer, value, expect) in [
            (
                "/issuer/url",
                json!("http://x"),
                "jwt[0].issuer.url: Invalid value: \"http://x\": URL scheme must be https",
            ),
            (
                "/issuer/audiences",
                json!([]),
                "jwt[0].issuer.audiences: Required value: at least one issuer.audiences is required",
            ),
            (
                "/claimMappings/username",
                json!({"expression": "claims.sub"}),
                "jwt[0].claimMappings.username.expression: expressions are not supported",
            ),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            assert_eq!(AuthenticationConfig::parse(&file(&bad)).unwrap_err().to_string(), expect);
        }
    }
}
