//! Certificate signing requests: what the built-in signers accept, and signing.
//!
//! Rules: upstream `pkg/apis/certificates/helpers.go`, `pkg/controller/certificates/approver` and the
//! `CertificateSubjectRestriction` admission plugin.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose,
    SubjectPublicKeyInfo,
};
use serde_json::Value;
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer as _,
};

use super::{
    Error,
    issue::{Ca, der_of, san_text},
};
use crate::names;

const CLIENT_KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const SERVING_KUBELET: &str = "kubernetes.io/kubelet-serving";

/// What a request asks for.
#[derive(Debug, Default)]
struct Request {
    common_name: String,
    organizations: Vec<String>,
    /// DNS names and IP addresses.
    hosts: Vec<String>,
    /// It names email addresses, URIs or other things that no built-in signer signs.
    has_other_names: bool,
    public_key_der: Vec<u8>,
}

/// Reads a PEM request and checks the signature that proves possession of the key.
fn parse_request(csr_pem: &str) -> Result<Request, Error> {
    let refuse = |reason: &str| Error::ParseRequest { reason: reason.to_owned() };
    let der = der_of(csr_pem).ok_or_else(|| refuse("not PEM"))?;
    let (_, csr) =
        X509CertificationRequest::from_der(&der).map_err(|_| refuse("not a PKCS#10 request"))?;
    csr.verify_signature().map_err(|_| refuse("its signature is wrong"))?;
    let info = &csr.certification_request_info;
    let texts = |attribute: Result<&str, _>| attribute.ok().map(str::to_owned);
    let mut request = Request {
        common_name: info
            .subject
            .iter_common_name()
            .find_map(|cn| texts(cn.as_str()))
            .unwrap_or_default(),
        organizations: info.subject.iter_organization().filter_map(|o| texts(o.as_str())).collect(),
        public_key_der: info.subject_pki.raw.to_vec(),
        ..Request::default()
    };
    for extension in csr.requested_extensions().into_iter().flatten() {
        if let ParsedExtension::SubjectAlternativeName(names) = extension {
            names.general_names.iter().for_each(|name| request.add_name(name));
        }
    }
    Ok(request)
}

impl Request {
    fn add_name(&mut self, name: &GeneralName<'_>) {
        match san_text(name) {
            Some(host) => self.hosts.push(host),
            None => self.has_other_names = true,
        }
    }

    fn is_of_node(&self) -> bool {
        self.organizations == [names::NODES]
            && self
                .common_name
                .strip_prefix(names::NODE_PREFIX)
                .is_some_and(|node| !node.is_empty())
    }
}

fn decode_request(object: &Value) -> Result<Request, String> {
    let encoded = object["spec"]["request"].as_str().unwrap_or_default();
    let pem =
        BASE64_STANDARD.decode(encoded).map_err(|_| "spec.request is not base64".to_owned())?;
    let pem = String::from_utf8(pem).map_err(|_| "spec.request is not PEM".to_owned())?;
    parse_request(&pem).map_err(|error| error.to_string())
}

fn usages_of(object: &Value) -> BTreeSet<&str> {
    let usages = object["spec"]["usages"].as_array().map(Vec::as_slice).unwrap_or_default();
    usages.iter().filter_map(Value::as_str).collect()
}

/// Whether the usages are `purpose` and `digital signature`, with or without `key encipherment`.
fn are_usages_of(usages: &BTreeSet<&str>, purpose: &str) -> bool {
    let allowed = ["key encipherment", "digital signature", purpose];
    usages.contains("digital signature")
        && usages.contains(purpose)
        && usages.iter().all(|usage| allowed.contains(usage))
}

/// CertificateSubjectRestriction: nobody becomes a cluster administrator by a client certificate. The reason why a new
/// request is refused, if it is.
#[must_use]
pub fn refuse_csr_subject(request: &Value) -> Option<String> {
    if request["spec"]["signerName"] != CLIENT {
        return None;
    }
    let asked = decode_request(request).ok()?;
    asked
        .organizations
        .iter()
        .any(|group| group == names::MASTERS)
        .then(|| format!("use of {CLIENT} signer with {} group is not allowed", names::MASTERS))
}

/// Why a CertificateSigningRequest may not be signed by the built-in signer it names; `None`: it may.
/// `request` is the whole object.
#[must_use]
pub fn refuse_csr(request: &Value) -> Option<String> {
    let asked = match decode_request(request) {
        Ok(asked) => asked,
        Err(reason) => return Some(reason),
    };
    let usages = usages_of(request);
    let signer = request["spec"]["signerName"].as_str().unwrap_or_default();
    let refusal = match signer {
        CLIENT_KUBELET => refuse_kubelet_client(&asked, &usages),
        SERVING_KUBELET => refuse_kubelet_serving(&asked, &usages),
        CLIENT => refuse_client(&asked, &usages),
        _ => Some("the signer is not one of this cluster"),
    };
    refusal.map(str::to_owned)
}

fn refuse_kubelet_client(asked: &Request, usages: &BTreeSet<&str>) -> Option<&'static str> {
    if asked.organizations != [names::NODES] {
        return Some("subject organization is not system:nodes");
    }
    if !asked.hosts.is_empty() || asked.has_other_names {
        return Some("subject alternative names are not allowed");
    }
    if !asked.is_of_node() {
        return Some("subject common name does not begin with system:node: ");
    }
    (!are_usages_of(usages, "client auth"))
        .then_some("usages did not match [key encipherment digital signature client auth]")
}

fn refuse_kubelet_serving(asked: &Request, usages: &BTreeSet<&str>) -> Option<&'static str> {
    if asked.organizations != [names::NODES] {
        return Some("subject organization is not system:nodes");
    }
    if asked.hosts.is_empty() {
        return Some("at least one DNS or IP subjectAltName is required");
    }
    if asked.has_other_names {
        return Some("subjectAltNames other than DNS names and IP addresses are not allowed");
    }
    if !asked.is_of_node() {
        return Some("subject common name does not begin with system:node: ");
    }
    (!are_usages_of(usages, "server auth"))
        .then_some("usages did not match [key encipherment digital signature server auth]")
}

fn refuse_client(asked: &Request, usages: &BTreeSet<&str>) -> Option<&'static str> {
    if asked.organizations.iter().any(|organization| organization == names::MASTERS) {
        return Some(
            "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed",
        );
    }
    if asked.organizations.len() > 1 {
        return Some("more than one subject organization cannot be signed here");
    }
    if !usages.contains("client auth") {
        return Some("usages must include client auth");
    }
    let allowed = ["key encipherment", "digital signature", "client auth"];
    usages
        .iter()
        .any(|usage| !allowed.contains(usage))
        .then_some("usages beyond client auth are not allowed")
}

/// Under which rights a kubelet's request is approved without a person: subresources of
/// `certificatesigningrequests` in which the requester (`spec.username`) needs `create`. Any of them is enough;
/// an empty list means that a person must decide.
#[must_use]
pub fn recognize_csr(request: &Value) -> Vec<&'static str> {
    let Ok(asked) = decode_request(request) else { return Vec::new() };
    if refuse_csr(request).is_some() {
        return Vec::new();
    }
    let is_own = request["spec"]["username"].as_str() == Some(asked.common_name.as_str());
    match (request["spec"]["signerName"].as_str(), is_own) {
        (Some(CLIENT_KUBELET), true) => vec!["selfnodeclient", "nodeclient"],
        (Some(CLIENT_KUBELET), false) => vec!["nodeclient"],
        (Some(SERVING_KUBELET), true) => vec!["selfnodeserver"],
        _ => Vec::new(),
    }
}

/// Why a kubelet's serving certificate may not bear the names it asks for; `None`: each is the node's name or one of
/// `status.addresses` of its Node. Without this a node could ask for a certificate of the API server.
#[must_use]
pub fn refuse_csr_hosts(request: &Value, node: &Value) -> Option<String> {
    let asked = match decode_request(request) {
        Ok(asked) => asked,
        Err(reason) => return Some(reason),
    };
    if asked.common_name.strip_prefix(names::NODE_PREFIX) != Some(api::meta::name(node)) {
        return Some("subject common name is not the node's".to_owned());
    }
    let addresses = node["status"]["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_own = |host: &str| {
        host == api::meta::name(node)
            || addresses.iter().any(|address| address["address"].as_str() == Some(host))
    };
    let is_refused = |host: &&String| !is_own(host) || super::FIXED_SANS.contains(&host.as_str());
    asked
        .hosts
        .iter()
        .find(is_refused)
        .map(|host| format!("{host:?} is not an address of the node"))
}

pub(super) fn sign(
    ca: &Ca,
    csr_pem: &str,
    usages: &[String],
    ttl: Duration,
) -> Result<String, Error> {
    let request = parse_request(csr_pem)?;
    let failed = |source| Error::IssueCertificate { name: request.common_name.clone(), source };
    let mut params = CertificateParams::new(request.hosts.clone()).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    match request.organizations.as_slice() {
        [] => {}
        [organization] => {
            params.distinguished_name.push(DnType::OrganizationName, organization.as_str())
        }
        _ => {
            return Err(Error::ParseRequest { reason: "it has more than one organization".into() });
        }
    }
    params.distinguished_name.push(DnType::CommonName, request.common_name.as_str());
    params.key_usages = usages.iter().filter_map(|usage| key_usage(usage)).collect();
    params.extended_key_usages = usages.iter().filter_map(|usage| extended_usage(usage)).collect();
    let key = SubjectPublicKeyInfo::from_der(&request.public_key_der).map_err(failed)?;
    let ttl = time::Duration::try_from(ttl).unwrap_or(time::Duration::MAX);
    ca.issue(params, &key, ttl).map_err(failed)
}

fn key_usage(name: &str) -> Option<KeyUsagePurpose> {
    Some(match name {
        "signing" | "digital signature" => KeyUsagePurpose::DigitalSignature,
        "content commitment" => KeyUsagePurpose::ContentCommitment,
        "key encipherment" => KeyUsagePurpose::KeyEncipherment,
        "key agreement" => KeyUsagePurpose::KeyAgreement,
        "data encipherment" => KeyUsagePurpose::DataEncipherment,
        _ => return None,
    })
}

fn extended_usage(name: &str) -> Option<ExtendedKeyUsagePurpose> {
    Some(match name {
        "server auth" => ExtendedKeyUsagePurpose::ServerAuth,
        "client auth" => ExtendedKeyUsagePurpose::ClientAuth,
        _ => return None,
    })
}
