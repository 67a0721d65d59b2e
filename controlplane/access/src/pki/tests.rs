//! The directory survives restarts, repairs itself, and signs what kubelets ask for.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn csr(common_name: &str, organization: &str, sans: &[&str]) -> String {
    let sans: Vec<String> = sans.iter().map(|&san| san.to_owned()).collect();
    let mut params = CertificateParams::new(sans).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, organization);
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

fn request(signer: &str, username: &str, usages: &[&str], pem: &str) -> Value {
    json!({"spec": {"signerName": signer, "username": username, "usages": usages,
        "request": BASE64_STANDARD.encode(pem)}})
}

#[test]
fn a_second_start_reads_what_the_first_one_made() {
    let dir = tempfile::tempdir().unwrap();
    let first = Pki::load_or_create(dir.path(), &["10.88.0.1".into()]).unwrap();
    let second = Pki::load_or_create(dir.path(), &["10.88.0.1".into()]).unwrap();
    assert_eq!(first.ca_pem(), second.ca_pem());
    assert_eq!(first.server(), second.server());
    assert_eq!(first.token_key_pem(), second.token_key_pem());
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let metadata = entry.unwrap().metadata().unwrap();
        let private = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.permissions().mode() & 0o777, private);
    }
}

#[test]
fn new_names_and_a_lost_key_make_a_new_server_certificate_under_the_same_ca() {
    let dir = tempfile::tempdir().unwrap();
    let first = Pki::load_or_create(dir.path(), &[]).unwrap();
    let renamed = Pki::load_or_create(dir.path(), &["rack.example".into()]).unwrap();
    assert_ne!(first.server().cert_pem, renamed.server().cert_pem);
    assert_eq!(first.admin(), renamed.admin());
    std::fs::remove_file(dir.path().join("server.key")).unwrap();
    let repaired = Pki::load_or_create(dir.path(), &["rack.example".into()]).unwrap();
    assert_ne!(renamed.server(), repaired.server());
    assert_eq!(first.ca_pem(), repaired.ca_pem());
}

#[test]
fn a_foreign_ca_certificate_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    Pki::load_or_create(dir.path(), &[]).unwrap();
    Pki::load_or_create(other.path(), &[]).unwrap();
    std::fs::copy(other.path().join("ca.crt"), dir.path().join("ca.crt")).unwrap();
    let refused = Pki::load_or_create(dir.path(), &[]);
    assert!(matches!(refused, Err(Error::MismatchedCa { .. })));
}

#[test]
fn signs_a_kubelets_request_with_its_names() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(dir.path(), &[]).unwrap();
    let pem = csr("system:node:a", "system:nodes", &["node-a", "10.88.0.11"]);
    let usages = ["digital signature".to_owned(), "server auth".to_owned()];
    let cert = pki.sign_csr(&pem, &usages, Duration::from_secs(3600)).unwrap();
    let der = issue::der_of(&cert).unwrap();
    let (_, cert) = x509_parser::parse_x509_certificate(&der).unwrap();
    assert_eq!(
        cert.subject().iter_common_name().next().unwrap().as_str().unwrap(),
        "system:node:a"
    );
    assert_eq!(
        cert.subject().iter_organization().next().unwrap().as_str().unwrap(),
        "system:nodes"
    );
    let sans: Vec<String> = cert
        .subject_alternative_name()
        .unwrap()
        .unwrap()
        .value
        .general_names
        .iter()
        .filter_map(issue::san_text)
        .collect();
    assert_eq!(sans, ["node-a", "10.88.0.11"]);
    assert!(cert.extended_key_usage().unwrap().unwrap().value.server_auth);
}

#[test]
fn built_in_signers_refuse_what_upstream_refuses() {
    let kubelet = "kubernetes.io/kube-apiserver-client-kubelet";
    let client = ["digital signature", "client auth"];
    let good =
        request(kubelet, "system:bootstrap:x", &client, &csr("system:node:a", "system:nodes", &[]));
    assert_eq!(refuse_csr(&good), None);
    assert_eq!(recognize_csr(&good), ["nodeclient"]);
    let own =
        request(kubelet, "system:node:a", &client, &csr("system:node:a", "system:nodes", &[]));
    assert_eq!(recognize_csr(&own), ["selfnodeclient", "nodeclient"]);
    let masters = csr("root", "system:masters", &[]);
    let table = [
        request(kubelet, "x", &client, &csr("a", "system:nodes", &[])),
        request(kubelet, "x", &client, &csr("system:node:a", "other", &[])),
        request(kubelet, "x", &client, &csr("system:node:a", "system:nodes", &["host"])),
        request(kubelet, "x", &["server auth"], &csr("system:node:a", "system:nodes", &[])),
        request("kubernetes.io/kube-apiserver-client", "x", &client, &masters),
        request(
            "kubernetes.io/kubelet-serving",
            "x",
            &["digital signature", "server auth"],
            &csr("system:node:a", "system:nodes", &[]),
        ),
        request("example.com/other", "x", &client, &masters),
        request(kubelet, "x", &client, "garbage"),
    ];
    for refused in table {
        assert!(refuse_csr(&refused).is_some(), "{refused}");
        assert!(recognize_csr(&refused).is_empty());
    }
}

#[test]
fn a_serving_certificate_bears_only_the_nodes_own_names() {
    let node = json!({"metadata": {"name": "a"}, "status": {"addresses": [
        {"type": "InternalIP", "address": "10.88.0.11"}, {"type": "Hostname", "address": "localhost"}]}});
    let asks = |sans: &[&str]| {
        let pem = csr("system:node:a", "system:nodes", sans);
        refuse_csr_hosts(
            &request("kubernetes.io/kubelet-serving", "system:node:a", &[], &pem),
            &node,
        )
    };
    assert_eq!(asks(&["a", "10.88.0.11"]), None);
    for foreign in ["kubernetes.default.svc", "10.88.0.12", "localhost", "b"] {
        assert!(asks(&["a", foreign]).is_some(), "{foreign}");
    }
}

#[test]
fn the_two_tls_ends_shake_hands_with_and_without_a_client_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(dir.path(), &[]).unwrap();
    let server = Arc::new(server_tls_config(&pki).unwrap());
    for identity in [None, Some(pki.admin())] {
        let client = Arc::new(client_tls_config(pki.ca_pem(), identity).unwrap());
        let mut client =
            rustls::ClientConnection::new(client, "localhost".try_into().unwrap()).unwrap();
        let mut server = rustls::ServerConnection::new(Arc::clone(&server)).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets().unwrap();
        }
        assert_eq!(server.peer_certificates().is_some(), identity.is_some());
    }
}

#[test]
fn a_kubeconfig_is_yaml_with_the_three_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(dir.path(), &[]).unwrap();
    let config = pki.admin_kubeconfig("https://10.88.0.1:6443");
    assert!(config.contains("server: \"https://10.88.0.1:6443\""));
    assert!(config.contains("current-context: \"kubernetes-admin@bulkhead\""));
    assert!(config.contains(&BASE64_STANDARD.encode(pki.ca_pem())));
}
