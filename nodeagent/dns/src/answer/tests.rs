//! The Kubernetes DNS specification as a table.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn service(name: &str, spec: Value) -> Arc<k8s_openapi::api::core::v1::Service> {
    object(json!({"metadata": {"namespace": "shop", "name": name}, "spec": spec}))
}

fn records() -> Records {
    let ports = json!([{"name": "http", "port": 80, "protocol": "TCP"}]);
    let services = [
        service("web", json!({"clusterIP": "10.96.0.5", "ports": ports})),
        service("db", json!({"clusterIP": "None", "ports": ports})),
        service("out", json!({"type": "ExternalName", "externalName": "Example.org."})),
        service(
            "alias",
            json!({"type": "ExternalName", "externalName": "web.shop.svc.cluster.local"}),
        ),
        service(
            "loop",
            json!({"type": "ExternalName", "externalName": "loop.shop.svc.cluster.local"}),
        ),
    ];
    let slice = object(json!({
        "metadata": {"namespace": "shop", "name": "db-1",
                     "labels": {"kubernetes.io/service-name": "db"}},
        "addressType": "IPv4", "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": ["10.244.1.2"], "hostname": "db-0", "conditions": {"ready": true}},
            {"addresses": ["10.244.1.3"], "conditions": {}},
            {"addresses": ["10.244.1.4"], "hostname": "db-2", "conditions": {"ready": false}}
        ]
    }));
    Records::build("cluster.local", &services, &[slice])
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut query = Message::query();
    query.metadata.id = 0;
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    query
}

/// Answers as sorted text, or why there are none.
fn ask(name: &str, kind: RecordType) -> String {
    match answer(&records(), &query(name, kind)) {
        Decision::Forward => "forward".into(),
        Decision::Chase { target, .. } => format!("chase {target}"),
        Decision::Reply(reply) => {
            let mut answers: Vec<String> =
                reply.answers.iter().map(|record| record.data.to_string()).collect();
            answers.sort();
            let negative = answers.is_empty();
            assert_eq!(negative, !reply.authorities.is_empty(), "{name}: SOA with negatives only");
            let code = format!("{:?}", reply.response_code);
            if negative { code } else { answers.join(" ") }
        }
    }
}

#[test]
fn names_of_the_specification() {
    use RecordType::{A, AAAA, ANY, CNAME, MX, PTR, SRV, TXT};
    let cases = [
        ("web.shop.svc.cluster.local.", A, "10.96.0.5"),
        ("WEB.shop.SVC.cluster.local.", A, "10.96.0.5"),
        ("web.shop.svc.cluster.local.", AAAA, "NoError"),
        ("web.shop.svc.cluster.local.", MX, "NoError"),
        ("_http._tcp.web.shop.svc.cluster.local.", SRV, "0 100 80 web.shop.svc.cluster.local."),
        ("_tcp.web.shop.svc.cluster.local.", A, "NoError"),
        ("_https._tcp.web.shop.svc.cluster.local.", SRV, "NXDomain"),
        ("5.0.96.10.in-addr.arpa.", PTR, "web.shop.svc.cluster.local."),
        ("9.0.96.10.in-addr.arpa.", PTR, "forward"),
        ("db.shop.svc.cluster.local.", A, "10.244.1.2 10.244.1.3"),
        ("db-0.db.shop.svc.cluster.local.", A, "10.244.1.2"),
        ("db-2.db.shop.svc.cluster.local.", A, "NXDomain"),
        (
            "_sql._tcp.db.shop.svc.cluster.local.",
            SRV,
            "0 50 5432 10-244-1-3.db.shop.svc.cluster.local. 0 50 5432 db-0.db.shop.svc.cluster.local.",
        ),
        ("2.1.244.10.in-addr.arpa.", PTR, "db-0.db.shop.svc.cluster.local."),
        ("out.shop.svc.cluster.local.", A, "chase example.org."),
        ("out.shop.svc.cluster.local.", CNAME, "example.org."),
        ("alias.shop.svc.cluster.local.", A, "10.96.0.5 web.shop.svc.cluster.local."),
        ("10-244-1-2.shop.pod.cluster.local.", A, "10.244.1.2"),
        ("10-244-1-256.shop.pod.cluster.local.", A, "NXDomain"),
        ("x.shop.pod.cluster.local.", A, "NXDomain"),
        ("shop.pod.cluster.local.", A, "NoError"),
        ("shop.svc.cluster.local.", ANY, "NoError"),
        ("none.shop.svc.cluster.local.", A, "NXDomain"),
        ("web.other.svc.cluster.local.", A, "NXDomain"),
        ("svc.cluster.local.", A, "NoError"),
        ("cluster.local.", A, "NoError"),
        ("dns-version.cluster.local.", TXT, "1.1.0"),
        ("notcluster.local.", A, "forward"),
        ("example.org.", A, "forward"),
        ("web.shop.svc.cluster.local.example.org.", A, "forward"),
    ];
    for (name, kind, expected) in cases {
        assert_eq!(ask(name, kind), expected, "{name} {kind}");
    }
}

#[test]
fn loops_end() {
    assert!(ask("loop.shop.svc.cluster.local.", RecordType::A).contains("loop"));
}

#[test]
fn nothing_is_missing_before_the_api_was_read() {
    let unknown = Records::unknown("cluster.local");
    let asked = query("web.shop.svc.cluster.local.", RecordType::A);
    let Decision::Reply(reply) = answer(&unknown, &asked) else { panic!("no reply") };
    assert_eq!(reply.response_code, ResponseCode::ServFail);
    assert!(matches!(answer(&unknown, &query("example.org.", RecordType::A)), Decision::Forward));
}

#[test]
fn answers_rotate_and_carry_targets() {
    let mut asked = query("db.shop.svc.cluster.local.", RecordType::A);
    let mut first = Vec::new();
    for id in 0..2 {
        asked.metadata.id = id;
        let Decision::Reply(reply) = answer(&records(), &asked) else { panic!("no reply") };
        assert_eq!((reply.id, reply.answers[0].ttl), (id, 5));
        first.push(reply.answers[0].data.clone());
    }
    assert_ne!(first[0], first[1]);
    let asked = query("_sql._tcp.db.shop.svc.cluster.local.", RecordType::SRV);
    let Decision::Reply(reply) = answer(&records(), &asked) else { panic!("no reply") };
    assert_eq!(reply.additionals.len(), 2);
}

#[test]
fn odd_queries() {
    let none = Message::query();
    let Decision::Reply(reply) = answer(&records(), &none) else { panic!("no reply") };
    assert_eq!(reply.response_code, ResponseCode::FormErr);
    let mut edns = query("x.cluster.local.", RecordType::A);
    assert_eq!(udp_limit(&edns), 512);
    for (offered, limit) in [(100, 512), (1000, 1000), (4096, 1232)] {
        let mut option = Edns::new();
        option.set_max_payload(offered);
        edns.set_edns(option);
        assert_eq!(udp_limit(&edns), limit);
    }
}
