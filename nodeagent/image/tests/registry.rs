//! Pulls from Debian's docker-registry on loopback, with an image made by hand and pushed by skopeo.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use image::{Config, Error, Reason, Store};
use serde_json::json;

struct Registry {
    child: Child,
    address: String,
    _storage: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn registry() -> Option<Registry> {
    for program in ["docker-registry", "skopeo"] {
        if Command::new(program).arg("--version").output().is_err() {
            println!("skipped: the program {program}");
            return None;
        }
    }
    let storage = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let config = storage.path().join("config.yml");
    let text = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
        storage.path().display()
    );
    fs::write(&config, text).unwrap();
    let mut child = Command::new("docker-registry")
        .arg("serve")
        .arg(&config)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(log.any(|line| line.unwrap().contains("listening on")), "the registry did not start");
    std::thread::spawn(move || log.for_each(drop));
    Some(Registry { child, address, _storage: storage })
}

/// A `docker save` archive with two layers.
fn archive(path: &Path) {
    let layer = |name: &str, data: &[u8]| {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, data).unwrap();
        tar.into_inner().unwrap()
    };
    let layers = [layer("one", &[1; 100_000]), layer("two", b"2")];
    let diff_ids: Vec<String> = layers.iter().map(|bytes| sha256(bytes)).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Cmd": ["/one"], "Env": ["A=b"], "User": "1000:1000", "WorkingDir": "/w",
                   "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "StopSignal": "SIGQUIT"},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": ["demo/app:v1"],
                           "Layers": ["0/layer.tar", "1/layer.tar"]}]);
    let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    add("config.json", config.to_string().as_bytes());
    add("manifest.json", manifest.to_string().as_bytes());
    for (number, bytes) in layers.iter().enumerate() {
        add(&format!("{number}/layer.tar"), bytes);
    }
    tar.finish().unwrap();
}

fn sha256(bytes: &[u8]) -> String {
    use std::io::Write;
    let mut child =
        Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    format!("sha256:{}", &String::from_utf8(output.stdout).unwrap()[..64])
}

fn open(root: &Path, registry: &Registry) -> Store {
    let insecure_registries = vec![registry.address.clone()];
    Store::open(root, Config { insecure_registries, ..Config::default() }).unwrap()
}

fn push(archive: &Path, reference: &str, format: &str) {
    let from = format!("docker-archive:{}", archive.display());
    let to = format!("docker://{reference}");
    let output = Command::new("skopeo")
        .args([
            "--insecure-policy",
            "copy",
            "--dest-tls-verify=false",
            "--format",
            format,
            &from,
            &to,
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn pulls_once_and_keeps() {
    let Some(registry) = registry() else { return };
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("app.tar");
    archive(&file);
    let name = format!("{}/demo/app:v1", registry.address);
    push(&file, &name, "oci");
    let root = work.path().join("store");
    let store = open(&root, &registry);
    assert!(store.lookup(&name).is_none());
    let (one, two) = tokio::join!(store.pull(&name, None), store.pull(&name, None));
    let image = one.unwrap();
    assert_eq!(image, two.unwrap());
    assert_eq!(image.reference, name);
    assert_eq!(image.config.cmd, ["/one"]);
    assert_eq!(image.config.stop_signal.as_deref(), Some("SIGQUIT"));
    assert_eq!(
        (image.config.volumes.as_slice(), image.layers.len()),
        (&["/data".to_owned()][..], 2)
    );
    assert!(image.digests[0].starts_with(&format!("{}/demo/app@sha256:", registry.address)));
    assert_eq!(
        image.size,
        image.layers.iter().map(|layer| fs::metadata(&layer.path).unwrap().len()).sum::<u64>()
    );
    assert_eq!(fs::read_dir(root.join("downloads")).unwrap().count(), 0);

    // A second process finds it by each of its names, and by digest pulls the same.
    let again = open(&root, &registry);
    for known in [&image.id, &name, &image.digests[0]] {
        assert_eq!(again.lookup(known).unwrap().id, image.id, "{known}");
    }
    assert_eq!(again.pull(&image.digests[0], None).await.unwrap().id, image.id);
    // Docker's own manifest format makes another manifest of the same configuration or layers.
    let docker = format!("{}/demo/docker:v1", registry.address);
    push(&file, &docker, "v2s2");
    assert_eq!(again.pull(&docker, None).await.unwrap().layers, image.layers);

    let used: BTreeSet<String> = again.list().into_iter().map(|image| image.id).collect();
    assert_eq!(again.remove_unused(&used).await.unwrap(), 0);
    assert_eq!(again.remove_unused(&BTreeSet::new()).await.unwrap(), image.size);
    assert!(again.list().is_empty() && again.lookup(&name).is_none());
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_need_not_have_it() {
    let Some(registry) = registry() else { return };
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("app.tar");
    archive(&file);
    push(&file, &format!("{}/library/app:v1", registry.address), "oci");
    push(&file, &format!("{}/own/app:v1", registry.address), "oci");
    // An origin that has nothing: one name of the registry stands for another.
    let origin = registry.address.replace("127.0.0.1", "localhost");
    let config = Config {
        insecure_registries: vec![registry.address.clone(), origin.clone()],
        mirrors: vec![
            format!("docker.io={}", registry.address).parse().unwrap(),
            format!("{origin}=127.0.0.1:1").parse().unwrap(),
        ],
        ..Config::default()
    };
    let store = Store::open(&work.path().join("store"), config).unwrap();
    let image = store.pull("app:v1", None).await.unwrap();
    assert_eq!(image.reference, "docker.io/library/app:v1");
    assert!(image.digests[0].starts_with("docker.io/library/app@sha256:"), "{:?}", image.digests);
    let own = store.pull(&format!("{origin}/own/app:v1"), None).await.unwrap();
    assert_eq!(own.reference, format!("{origin}/own/app:v1"), "its mirror does not answer");
    assert!("docker.io".parse::<image::Mirror>().is_err());
}

#[tokio::test]
async fn resumes_a_download() {
    let Some(registry) = registry() else { return };
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("app.tar");
    archive(&file);
    let name = format!("{}/demo/app:v1", registry.address);
    push(&file, &name, "oci");
    // Half of the first layer's compressed blob, as a crash leaves it; and one with wrong bytes.
    let raw = Command::new("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")])
        .output()
        .unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&raw.stdout).unwrap();
    let digest = manifest["layers"][0]["digest"].as_str().unwrap();
    let blob = registry._storage.path().join(format!(
        "docker/registry/v2/blobs/sha256/{}/{}/data",
        &digest[7..9],
        &digest[7..]
    ));
    let bytes = fs::read(blob).unwrap();
    for (what, left) in [("half", bytes[..bytes.len() / 2].to_vec()), ("whole", bytes.clone())] {
        let root = work.path().join(what);
        let store = open(&root, &registry);
        fs::write(root.join("downloads").join(digest.replace(':', "-")), left).unwrap();
        assert_eq!(store.pull(&name, None).await.unwrap().layers.len(), 2, "{what}");
    }
    let root = work.path().join("wrong");
    let store = open(&root, &registry);
    fs::write(root.join("downloads").join(digest.replace(':', "-")), b"wrong").unwrap();
    let error = store.pull(&name, None).await.unwrap_err();
    assert!(matches!(error, Error::Pull { reason: Reason::Digest { .. }, .. }), "{error}");
    store.pull(&name, None).await.expect("the wrong bytes are gone");
}

#[tokio::test]
async fn says_what_users_know() {
    let Some(registry) = registry() else { return };
    let work = tempfile::tempdir().unwrap();
    let store = open(work.path(), &registry);
    let name = format!("{}/no/such:v1", registry.address);
    let error = store.pull(&name, None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "failed to pull and unpack image \"{name}\": failed to resolve reference \"{name}\": {name}: not found"
        )
    );
    assert!(error.is_refusal());
    let error = store.pull("127.0.0.1:1/x", None).await.unwrap_err();
    assert!(error.to_string().contains("failed to do request"), "{error}");
    assert!(!error.is_refusal());
    assert!(store.pull("Not A Reference", None).await.unwrap_err().is_refusal());
}

#[tokio::test]
async fn imports_archives() {
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("app.tar");
    archive(&file);
    let store = Store::open(&work.path().join("store"), Config::default()).unwrap();
    let images = store.import_archive(&file).await.unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].reference, "docker.io/demo/app:v1");
    assert_eq!(store.lookup("demo/app:v1").unwrap().id, images[0].id);
    let layout = work.path().join("oci.tar");
    let copied = Command::new("skopeo")
        .args(["--insecure-policy", "copy"])
        .arg(format!("docker-archive:{}", file.display()))
        .arg(format!("oci-archive:{}:demo/other:v2", layout.display()))
        .output();
    match copied {
        Err(_) => println!("skipped: the program skopeo"),
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let images = store.import_archive(&layout).await.unwrap();
            assert_eq!(images[0].reference, "docker.io/demo/other:v2");
            assert_eq!(images[0].layers.len(), 2);
        }
    }
}

/// In a process of its own: where the certificates are is said by its environment.
#[test]
fn a_node_without_certificate_authorities_says_so() {
    const NAME: &str = "a_node_without_certificate_authorities_says_so";
    const NONE: &str = "/dev/null";
    if std::env::var("SSL_CERT_FILE").is_ok_and(|file| file == NONE) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Config::default()).unwrap();
        let pull = store.pull("localhost:1/demo/app:v1", None);
        let error = tokio::runtime::Runtime::new().unwrap().block_on(pull).unwrap_err();
        assert!(matches!(error, Error::Pull { reason: Reason::NoAuthorities, .. }), "{error}");
        return;
    }
    let mut again = Command::new(std::env::current_exe().unwrap());
    let ended = again.args(["--exact", NAME]).env("SSL_CERT_FILE", NONE).env_remove("SSL_CERT_DIR");
    assert!(ended.status().unwrap().success());
}
