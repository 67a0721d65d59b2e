//! Each kind of credential, right and wrong.

use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::runtime::Builder;

use super::*;
use crate::lookup::fake::Objects;

struct Fixture {
    _dir: tempfile::TempDir,
    pki: Pki,
    objects: Arc<Objects>,
    authenticator: Authenticator,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(dir.path(), &[]).unwrap();
    let objects = Arc::new(Objects::default());
    let authenticator = Authenticator::new(&pki, Arc::clone(&objects) as _).unwrap();
    Fixture { _dir: dir, pki, objects, authenticator }
}

impl Fixture {
    fn authenticate(
        &self,
        cert: Option<&[u8]>,
        headers: &[(&'static str, &str)],
    ) -> Result<User, Status> {
        let headers = header_map(headers);
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.authenticator.authenticate(cert, &headers))
    }
}

fn header_map(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|&(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap()))
        .collect()
}

fn token_secret(expiration: &str) -> Value {
    let data = [
        ("token-id", "abcdef"),
        ("token-secret", "0123456789abcdef"),
        ("usage-bootstrap-authentication", "true"),
        ("auth-extra-groups", "system:bootstrappers:kubeadm:default-node-token"),
        ("expiration", expiration),
    ];
    let data: serde_json::Map<String, Value> = data
        .iter()
        .map(|(key, text)| ((*key).to_owned(), json!(BASE64_STANDARD.encode(text))))
        .collect();
    json!({"metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token", "data": data})
}

#[test]
fn no_credential_is_anonymous_and_a_wrong_one_is_refused() {
    let fixture = fixture();
    assert_eq!(fixture.authenticate(None, &[]).unwrap(), User::anonymous());
    assert_eq!(
        fixture.authenticate(None, &[("authorization", "Basic eA==")]).unwrap(),
        User::anonymous()
    );
    let status = fixture.authenticate(None, &[("authorization", "Bearer nonsense")]).unwrap_err();
    assert_eq!((status.reason, status.message.as_str()), (Reason::Unauthorized, "Unauthorized"));
}

#[test]
fn a_certificate_names_user_and_groups() {
    let fixture = fixture();
    let der = x509_parser::pem::parse_x509_pem(fixture.pki.admin().cert_pem.as_bytes())
        .unwrap()
        .1
        .contents;
    let user = fixture.authenticate(Some(&der), &[]).unwrap();
    assert_eq!(user.name, "kubernetes-admin");
    assert_eq!(user.groups, ["system:masters", "system:authenticated"]);
    assert!(user.extra[names::CREDENTIAL_ID][0].starts_with("X509SHA256="));
}

#[test]
fn bootstrap_tokens_work_until_they_expire() {
    let fixture = fixture();
    let good = [("authorization", "Bearer abcdef.0123456789abcdef")];
    assert!(fixture.authenticate(None, &good).is_err());
    fixture.objects.put("", "secrets", token_secret("2999-01-01T00:00:00Z"));
    let user = fixture.authenticate(None, &good).unwrap();
    assert_eq!(user.name, "system:bootstrap:abcdef");
    assert!(user.is_in(names::NODE_TOKEN_BOOTSTRAPPERS) && user.is_in(names::BOOTSTRAPPERS));
    assert!(
        fixture.authenticate(None, &[("authorization", "Bearer abcdef.0123456789abcdee")]).is_err()
    );
    for past in ["2001-01-01T00:00:00Z", "soon"] {
        fixture.objects.put("", "secrets", token_secret(past));
        assert!(fixture.authenticate(None, &good).is_err());
    }
    fixture.objects.put("", "secrets", token_secret("2999-01-01T00:00:00Z"));
    let review = |audience: &str| {
        let audiences = [audience.to_owned()];
        fixture.authenticator.review_token("abcdef.0123456789abcdef", &audiences)
    };
    assert!(review(crate::tokens::ISSUER).is_ok() && review("vault").is_err());
    let mut wrong_group = token_secret("");
    wrong_group["data"]["auth-extra-groups"] = json!(BASE64_STANDARD.encode("system:masters"));
    fixture.objects.put("", "secrets", wrong_group);
    assert!(fixture.authenticate(None, &good).is_err());
}

#[test]
fn made_tokens_are_accepted() {
    let fixture = fixture();
    let (token, secret) =
        crate::bootstrap::bootstrap_token(Some(std::time::Duration::from_secs(60)));
    fixture.objects.put("", "secrets", secret);
    let user =
        fixture.authenticate(None, &[("authorization", &format!("Bearer {token}"))]).unwrap();
    assert!(user.is_in(names::NODE_TOKEN_BOOTSTRAPPERS));
}

#[test]
fn a_websocket_carries_its_token_as_a_protocol_that_is_not_passed_on() {
    let fixture = fixture();
    fixture.objects.put("", "secrets", token_secret(""));
    let offer = format!(
        "v5.channel.k8s.io, {WEBSOCKET_TOKEN_PREFIX}{}",
        BASE64_URL_SAFE_NO_PAD.encode("abcdef.0123456789abcdef")
    );
    let pairs = [("sec-websocket-protocol", offer.as_str())];
    assert_eq!(fixture.authenticate(None, &pairs).unwrap().name, "system:bootstrap:abcdef");
    let mut headers = header_map(&pairs);
    remove_credentials(&mut headers);
    assert_eq!(headers["sec-websocket-protocol"], "v5.channel.k8s.io");
}

#[test]
fn impersonation_lists_every_right_it_needs() {
    let real = User::new("admin", &[]);
    assert_eq!(impersonation(&real, &HeaderMap::new()).unwrap(), None);
    assert!(impersonation(&real, &header_map(&[("impersonate-group", "dev")])).is_err());
    let headers = header_map(&[
        ("impersonate-user", "jane"),
        ("impersonate-group", "dev"),
        ("impersonate-uid", "7"),
        ("impersonate-extra-example.com%2Fteam", "blue"),
    ]);
    let found = impersonation(&real, &headers).unwrap().unwrap();
    assert_eq!(found.user.groups, ["dev", "system:authenticated"]);
    assert_eq!(found.user.extra["example.com/team"], ["blue"]);
    let checks: Vec<_> = found
        .checks
        .iter()
        .map(|check| {
            format!("{}/{}/{}={}", check.group, check.resource, check.subresource, check.name)
        })
        .collect();
    assert_eq!(
        checks,
        [
            "/users/=jane",
            "/groups/=dev",
            "authentication.k8s.io/uids/=7",
            "authentication.k8s.io/userextras/example.com/team=blue",
        ]
    );
    let account = header_map(&[("impersonate-user", "system:serviceaccount:shop:app")]);
    let found = impersonation(&real, &account).unwrap().unwrap();
    assert_eq!(found.checks[0].resource, "serviceaccounts");
    assert_eq!(found.checks[0].namespace, "shop");
    assert!(found.user.is_in("system:serviceaccounts:shop"));
}
