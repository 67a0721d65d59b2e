//! The etcd store against a real etcd of this machine.
#![allow(clippy::unwrap_used, reason = "a test ends where it is surprised")]

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use store::{Error, conformance, etcd::Etcd};

/// An etcd of our own; killed when dropped.
struct Server {
    child: Child,
    endpoint: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// `None` when etcd is not installed.
fn start(folder: &Path) -> Option<Server> {
    let (endpoint, peer) = (free_url(), free_url());
    let child = Command::new("etcd")
        .args(["--name", "test", "--data-dir"])
        .arg(folder.join("data"))
        .args(["--listen-client-urls", &endpoint, "--advertise-client-urls", &endpoint])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("test={peer}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match child {
        Ok(child) => Some(Server { child, endpoint }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("etcd does not start: {error}"),
    }
}

async fn connect(endpoint: &str) -> Etcd {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match Etcd::connect(&[endpoint.to_owned()]).await {
            Ok(etcd) => return etcd,
            Err(error) => assert!(Instant::now() < deadline, "no etcd: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_the_suite() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = start(folder.path()) else {
        println!("skipped: etcd is not installed");
        return;
    };
    let etcd = connect(&server.endpoint).await;
    conformance::run(Arc::new(etcd), folder.path()).await;
}

#[tokio::test]
async fn says_when_nothing_listens() {
    let error = Etcd::connect(&[free_url()]).await.unwrap_err();
    assert!(matches!(error, Error::Backend { .. }));
}
