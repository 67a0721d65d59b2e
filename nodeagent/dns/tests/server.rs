//! The server on loopback: UDP, TCP, truncation, upstream.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dns::records::Records;
use dns::{Config, server};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;

const DEADLINE: Duration = Duration::from_secs(5);

fn records() -> Records {
    let service = json!({"metadata": {"namespace": "shop", "name": "many"},
                         "spec": {"clusterIP": "None"}});
    let out = json!({"metadata": {"namespace": "shop", "name": "out"},
                     "spec": {"type": "ExternalName", "externalName": "outside.test"}});
    let endpoints: Vec<_> = (0..200)
        .map(|n| json!({"addresses": [format!("10.244.1.{n}")], "conditions": {"ready": true}}))
        .collect();
    let slice = json!({"metadata": {"namespace": "shop", "name": "many-1",
                                    "labels": {"kubernetes.io/service-name": "many"}},
                       "addressType": "IPv4", "ports": [], "endpoints": endpoints});
    let services = [service, out].map(|value| Arc::new(serde_json::from_value(value).unwrap()));
    let slices = [Arc::new(serde_json::from_value(slice).unwrap())];
    Records::build("cluster.local", &services, &slices)
}

/// A server that knows every name as 192.0.2.1, after one forged answer.
async fn upstream() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let mut reply = Message::response(query.id.wrapping_add(1), query.op_code);
            reply.add_queries(query.queries.iter().cloned());
            socket.send_to(&reply.to_vec().unwrap(), client).await.unwrap();
            reply.metadata.id = query.id;
            let name = query.queries[0].name().clone();
            let data = RData::A(A(Ipv4Addr::new(192, 0, 2, 1)));
            reply.add_answer(Record::from_rdata(name, 60, data));
            socket.send_to(&reply.to_vec().unwrap(), client).await.unwrap();
        }
    });
    address
}

async fn start(upstream: Vec<SocketAddr>) -> SocketAddr {
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    let config = Config { listen, cluster_domain: "cluster.local".into(), upstream };
    let listening = server::bind(&config).await.unwrap();
    let address = listening.udp[0].local_addr().unwrap();
    let (sender, receiver) = watch::channel(Arc::new(records()));
    tokio::spawn(async move {
        server::serve(listening, config.upstream, receiver).await;
        drop(sender);
    });
    address
}

fn query(name: &str) -> Message {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    query
}

async fn over_udp(server: SocketAddr, bytes: &[u8]) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(bytes, server).await.unwrap();
    let mut buffer = [0; 4096];
    let received = tokio::time::timeout(DEADLINE, socket.recv(&mut buffer)).await;
    Message::from_vec(&buffer[..received.expect("no answer").unwrap()]).unwrap()
}

async fn over_tcp(server: SocketAddr, queries: &[Message]) -> Vec<Message> {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let mut replies = Vec::new();
    for query in queries {
        let bytes = query.to_vec().unwrap();
        stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let length = stream.read_u16().await.unwrap();
        let mut buffer = vec![0; usize::from(length)];
        stream.read_exact(&mut buffer).await.unwrap();
        replies.push(Message::from_vec(&buffer).unwrap());
    }
    replies
}

#[tokio::test]
async fn large_answers_go_over_tcp() {
    let server = start(vec![]).await;
    let asked = query("many.shop.svc.cluster.local.");
    let reply = over_udp(server, &asked.to_vec().unwrap()).await;
    assert!(reply.truncation && reply.answers.is_empty());
    let replies = over_tcp(server, &[asked.clone(), asked]).await;
    assert!(replies.iter().all(|reply| reply.answers.len() == 200 && !reply.truncation));
}

#[tokio::test]
async fn foreign_names_come_from_upstream() {
    let dead: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let server = start(vec![dead, upstream().await]).await;
    let asked = query("www.outside.test.");
    let reply = over_udp(server, &asked.to_vec().unwrap()).await;
    assert_eq!((reply.id, reply.answers.len()), (asked.id, 1));
    assert_eq!(over_tcp(server, std::slice::from_ref(&asked)).await[0].answers, reply.answers);
    let alias = over_udp(server, &query("out.shop.svc.cluster.local.").to_vec().unwrap()).await;
    assert_eq!(alias.answers.len(), 2, "the alias and upstream's address for it");
}

#[tokio::test]
async fn without_upstream_foreign_names_are_refused() {
    let server = start(vec![]).await;
    let reply = over_udp(server, &query("www.outside.test.").to_vec().unwrap()).await;
    assert_eq!(reply.response_code, ResponseCode::Refused);
    let garbage = over_udp(server, &[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xff]).await;
    assert_eq!((garbage.id, garbage.response_code), (0x1234, ResponseCode::FormErr));
}
