//! `token`: bootstrap tokens, with which a node proves once that it may join (kubeadm's form).

use anyhow::{Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rand::{Rng, distr::slice::Choose};
use serde_json::{Value, json};

use crate::{
    discovery::Kind,
    json::{items_at, text_at},
    output::{age, tabwriter},
    send,
    session::{JSON, Session, now, with_query},
};

/// The group that may ask for a node's certificate.
const GROUPS: &str = "system:bootstrappers:kubeadm:default-node-token";
const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    pub what: What,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Create bootstrap tokens on the server
    Create {
        /// The token; made up if not given. Form: [a-z0-9]{6}.[a-z0-9]{16}
        wanted: Option<String>,
        /// The duration before the token is automatically deleted. If set to '0', the token will never expire
        #[arg(long, default_value = "24h0m0s")]
        ttl: String,
        /// A human friendly description of how this token is used
        #[arg(long)]
        description: Option<String>,
        /// Extra groups that this token will authenticate as when used for authentication
        #[arg(long, value_delimiter = ',', default_value = GROUPS)]
        groups: Vec<String>,
    },
    /// List bootstrap tokens on the server
    List,
    /// Delete bootstrap tokens on the server
    Delete {
        /// Tokens, or the six characters before the dot
        #[arg(required = true)]
        tokens: Vec<String>,
    },
}

fn secrets() -> Kind {
    Kind::built_in("", "v1", "Secret", "secrets", true)
}

/// Does what the subcommand says.
///
/// # Errors
/// What the server answers, or when a token has the wrong form.
pub async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    match arguments.what {
        What::Create { wanted, ttl, description, groups } => {
            let token = wanted.unwrap_or_else(make_token);
            let Some(lifetime) = age::parse_duration(&ttl) else {
                bail!("invalid duration \"{ttl}\"")
            };
            let expires = match lifetime.is_zero() {
                true => None,
                false => Some(now() + SignedDuration::try_from(lifetime)?),
            };
            let secret = plan(&token, expires, description.as_deref(), &groups)?;
            send::post(session, &secrets(), &secret, "").await?;
            println!("{token}");
            Ok(())
        }
        What::List => list(session).await,
        What::Delete { tokens } => {
            for token in tokens {
                let id = token.split('.').next().unwrap_or(&token);
                let path = secrets().object(NAMESPACE, &format!("bootstrap-token-{id}"));
                session.send(Method::DELETE, &path, JSON, &json!({})).await?;
                println!("bootstrap token \"{id}\" deleted");
            }
            Ok(())
        }
    }
}

const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

fn make_token() -> String {
    let letters = Choose::new(ALPHABET).expect("the alphabet is not empty");
    let mut random = rand::rng();
    let mut text =
        |length| -> String { (0..length).map(|_| char::from(*random.sample(letters))).collect() };
    format!("{}.{}", text(6), text(16))
}

fn plan(
    token: &str,
    expires: Option<Timestamp>,
    description: Option<&str>,
    groups: &[String],
) -> Result<Value> {
    let is_part = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| ALPHABET.contains(&byte))
    };
    let Some((id, secret)) =
        token.split_once('.').filter(|(id, secret)| is_part(id, 6) && is_part(secret, 16))
    else {
        bail!(
            "the bootstrap token \"{token}\" was not of the form \"\\\\A([a-z0-9]{{6}})\\\\.([a-z0-9]{{16}})\\\\z\""
        );
    };
    let mut fields = vec![
        ("token-id", id.to_owned()),
        ("token-secret", secret.to_owned()),
        ("usage-bootstrap-authentication", "true".to_owned()),
        ("usage-bootstrap-signing", "true".to_owned()),
        ("auth-extra-groups", groups.join(",")),
    ];
    if let Some(expires) = expires {
        fields.push(("expiration", expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));
    }
    if let Some(description) = description {
        fields.push(("description", description.to_owned()));
    }
    let data: serde_json::Map<_, _> = fields
        .into_iter()
        .map(|(key, value)| (key.to_owned(), STANDARD.encode(value).into()))
        .collect();
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": format!("bootstrap-token-{id}"), "namespace": NAMESPACE },
        "type": TYPE,
        "data": data,
    }))
}

async fn list(session: &Session) -> Result<()> {
    let selector = format!("type={TYPE}");
    let path = with_query(&secrets().collection(Some(NAMESPACE)), &[("fieldSelector", &selector)]);
    let found = session.list(&path).await?;
    let mut lines = vec!["TOKEN\tTTL\tEXPIRES\tUSAGES\tDESCRIPTION\tEXTRA GROUPS".to_owned()];
    lines.extend(
        items_at(&found, "/items")
            .filter(|secret| text_at(secret, "/type") == TYPE)
            .map(|secret| line(secret, now())),
    );
    print!("{}", tabwriter::align(&lines.join("\n"), tabwriter::GET));
    Ok(())
}

fn line(secret: &Value, now: Timestamp) -> String {
    let field = |name: &str| {
        let bytes = STANDARD.decode(text_at(secret, &format!("/data/{name}"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let or_none = |text: String| if text.is_empty() { "<none>".to_owned() } else { text };
    let expires = field("expiration");
    let ttl = match expires.parse::<Timestamp>() {
        Ok(at) if at <= now => "<invalid>".to_owned(),
        Ok(at) => age::human_duration(at.duration_since(now).as_secs()),
        Err(_) => "<forever>".to_owned(),
    };
    let expires = if expires.is_empty() { "<never>".to_owned() } else { expires };
    let usages: Vec<_> = ["authentication", "signing"]
        .into_iter()
        .filter(|usage| field(&format!("usage-bootstrap-{usage}")) == "true")
        .collect();
    [
        format!("{}.{}", field("token-id"), field("token-secret")),
        ttl,
        expires,
        or_none(usages.join(",")),
        or_none(field("description")),
        or_none(field("auth-extra-groups")),
    ]
    .join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_become_secrets_and_lines() {
        let token = make_token();
        assert_eq!((token.len(), token.find('.')), (23, Some(6)));
        assert_ne!(token, make_token());
        let expires = Timestamp::from_second(7200).unwrap();
        let groups = vec![GROUPS.to_owned()];
        let secret = plan("abcdef.0123456789abcdef", Some(expires), None, &groups).unwrap();
        assert_eq!(secret["metadata"]["name"], "bootstrap-token-abcdef");
        assert_eq!(secret["data"]["expiration"], STANDARD.encode("1970-01-01T02:00:00Z"));
        assert_eq!(
            line(&secret, Timestamp::UNIX_EPOCH),
            format!(
                "abcdef.0123456789abcdef\t120m\t1970-01-01T02:00:00Z\tauthentication,signing\t<none>\t{GROUPS}"
            )
        );
        for bad in ["abc.def", "ABCDEF.0123456789abcdef", "abcdef0123456789abcdef"] {
            assert!(plan(bad, None, None, &groups).is_err());
        }
    }
}
