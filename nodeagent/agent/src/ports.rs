//! The edges to images and network, as the pod task sees them: real on a node, faked in tests.

use std::path::PathBuf;

use async_trait::async_trait;
use podloop::event::PullFailure;
use podloop::spec::ImageConfig;
use podloop::spec::sandbox::Card;
use std::os::fd::OwnedFd;

/// An image on the node.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LocalImage {
    pub id: String,
    pub digest: String,
    pub size_bytes: u64,
    /// Bottom first.
    pub layers: Vec<PathBuf>,
    pub config: ImageConfig,
    pub stop_signal: Option<String>,
}

/// User and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    pub username: String,
    pub password: String,
}

/// The image store.
#[async_trait]
pub trait Images: Send + Sync + 'static {
    fn lookup(&self, reference: &str) -> Option<LocalImage>;
    async fn pull(&self, reference: &str, login: Option<Login>) -> Result<LocalImage, PullFailure>;
}

/// The pod network.
#[async_trait]
pub trait Links: Send + Sync + 'static {
    /// Address and tap of a pod; idempotent while no VM holds the tap.
    async fn attach(&self, uid: &str) -> Result<(Card, Option<OwnedFd>), String>;
    /// The same of a pod whose VM runs.
    async fn adopt(&self, uid: &str) -> Result<Card, String>;
    async fn detach(&self, uid: &str) -> Result<(), String>;
}

#[async_trait]
impl Images for image::Store {
    fn lookup(&self, reference: &str) -> Option<LocalImage> {
        image::Store::lookup(self, reference).map(local_image)
    }

    async fn pull(&self, reference: &str, login: Option<Login>) -> Result<LocalImage, PullFailure> {
        let credentials = login
            .map(|login| image::Credentials { username: login.username, password: login.password });
        let (store, reference) = (self.clone(), reference.to_owned());
        // On a thread of its own: conversion of layers is heavy, and must not hold up other pods' events.
        let runtime = tokio::runtime::Handle::current();
        let pulling = move || runtime.block_on(store.pull(&reference, credentials));
        match tokio::task::spawn_blocking(pulling).await {
            Ok(Ok(image)) => Ok(local_image(image)),
            Ok(Err(error)) => Err(pull_failure(&error)),
            Err(error) => {
                let message = format!("the pull failed: {error}");
                Err(PullFailure { reason: "ErrImagePull".into(), message })
            }
        }
    }
}

fn pull_failure(error: &image::Error) -> PullFailure {
    if let image::Error::Reference { reference, .. } = error {
        let message = format!(
            "Failed to apply default image tag \"{reference}\": couldn't parse image name \"{reference}\": invalid reference format"
        );
        return PullFailure { reason: "InvalidImageName".into(), message };
    }
    PullFailure { reason: "ErrImagePull".into(), message: error_chain(error) }
}

fn local_image(image: image::Image) -> LocalImage {
    let image::Image { id, digests, layers, config, size, .. } = image;
    LocalImage {
        digest: digests.into_iter().next().unwrap_or_else(|| id.clone()),
        id,
        size_bytes: size,
        layers: layers.into_iter().map(|layer| layer.path).collect(),
        stop_signal: config.stop_signal,
        config: ImageConfig {
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            env: config.env,
            working_dir: config.working_dir,
            user: config.user,
        },
    }
}

#[async_trait]
impl Links for network::Network {
    async fn attach(&self, uid: &str) -> Result<(Card, Option<OwnedFd>), String> {
        let made =
            network::Network::attach(self, uid).await.map_err(|error| error_chain(&error))?;
        let card = Card {
            mac: made.mac,
            address: made.address.to_string(),
            prefix_length: made.prefix_len,
            gateway: made.gateway.to_string(),
            mtu: made.mtu,
        };
        Ok((card, Some(made.tap)))
    }

    async fn adopt(&self, uid: &str) -> Result<Card, String> {
        let found =
            network::Network::adopt(self, uid).await.map_err(|error| error_chain(&error))?;
        Ok(Card {
            mac: found.mac,
            address: found.address.to_string(),
            prefix_length: found.prefix_len,
            gateway: found.gateway.to_string(),
            mtu: found.mtu,
        })
    }

    async fn detach(&self, uid: &str) -> Result<(), String> {
        network::Network::detach(self, uid).await.map_err(|error| error_chain(&error))
    }
}

/// An error and its causes, "a: b: c".
pub fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
