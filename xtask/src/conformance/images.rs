//! The images that the published tests run, made from Debian packages and the tests' own Go programs, under the names that
//! the tests ask for; the rack's registry stands for theirs.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use builder::{
    debian::Packages,
    oci::{self, Programs, Recipe, Tag},
};
use rack::netns;

use super::suite;
use crate::{paths, up::services::REGISTRY};

/// The registry that the rack's stands for.
pub const MIRRORED: &str = "registry.k8s.io";
const AGNHOST: &str = "agnhost";
/// What tests call in a shell there.
const TOOLS: &[&str] =
    &["bash", "bind9-dnsutils", "curl", "iperf", "iproute2", "netcat-openbsd", "busybox-static"];
const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\nuser-defined-in-image:x:1000:1000::/home:/bin/sh\n";
const GROUPS: &str =
    "root:x:0:\nnogroup:x:65534:\ngroup-defined-in-image:x:50000:user-defined-in-image\n";

const TEST_HOST: Recipe = Recipe {
    name: "e2e-test-images/agnhost",
    tag: Tag::Is("2.63.0"),
    layers: &[TOOLS],
    with_dependencies: true,
    programs: &[("agnhost", AGNHOST), ("agnhost-2", AGNHOST)],
    files: &[("etc/passwd", USERS), ("etc/group", GROUPS)],
    folders: &["root", "tmp", "uploads", "home"],
    links: &[("usr/bin/nc", "nc.openbsd")],
    entrypoint: &["/agnhost"],
    command: &["pause"],
    ..Recipe::EMPTY
};

const SHELL: Recipe =
    Recipe { name: "e2e-test-images/busybox", tag: Tag::Is("1.37.0-1"), ..oci::BUSYBOX };

const WEB: Recipe = Recipe { name: "e2e-test-images/nginx", tag: Tag::Is("1.15-4"), ..oci::NGINX };

const PICTURE: Recipe = Recipe {
    name: "e2e-test-images/nautilus",
    tag: Tag::Is("1.8"),
    files: &[("data.json", "{\"image\": \"nautilus.jpg\"}\n"), ("etc/passwd", USERS)],
    command: &["test-webserver"],
    ..TEST_HOST
};

const RECIPES: &[Recipe] = &[
    TEST_HOST,
    Recipe { tag: Tag::Is("2.55"), ..TEST_HOST },
    Recipe { name: "e2e-test-images/glibc-dns-testing", tag: Tag::Is("2.0.0"), ..TEST_HOST },
    SHELL,
    Recipe { name: "e2e-test-images/nonroot", tag: Tag::Is("1.5"), user: "1234", ..SHELL },
    Recipe {
        name: "pause",
        tag: Tag::Is("3.10.2"),
        entrypoint: &["/bin/sh", "-c", "trap 'exit 0' TERM INT; sleep infinity & wait"],
        command: &[],
        ..SHELL
    },
    WEB,
    Recipe { tag: Tag::Is("1.27-0"), ..WEB },
    PICTURE,
    Recipe {
        name: "e2e-test-images/kitten",
        files: &[("data.json", "{\"image\": \"kitten.jpg\"}\n"), ("etc/passwd", USERS)],
        ..PICTURE
    },
];

/// Makes all images and puts them into the rack's registry.
pub fn push() -> Result<()> {
    let programs = Programs::from([(AGNHOST, agnhost()?)]);
    let packages = Packages::of_this_machine(&paths::cache());
    for recipe in RECIPES {
        let made = oci::build(recipe, &packages, &programs, &paths::cache())?;
        println!("image {}", made.name_and_tag);
        oci::push(&made, REGISTRY, netns::WITHIN)?;
    }
    Ok(())
}

/// The program of most tests' containers, static.
fn agnhost() -> Result<PathBuf> {
    suite::built(AGNHOST, |out| {
        let mut command = Command::new("go");
        command.env("CGO_ENABLED", "0").current_dir(suite::module());
        command.args(["build", "-ldflags", "-s -w", "-o"]).arg(out);
        let package = "k8s.io/kubernetes/test/images/agnhost";
        let status = command.arg(package).status().context("failed to start go (1.26)")?;
        ensure!(status.success(), "go build {package} ended with {status}");
        Ok(())
    })
}
