//! What every pod task and API handler of one agent uses.

use std::path::PathBuf;
use std::sync::Arc;

use kube::Client;
use podloop::spec::NodeFacts;
use podloop::spec::sizing::Policy;
use tokio_util::sync::CancellationToken;
use vmhost::VmHost;
use volume::{Objects, TokenSource};

use crate::logs::Logs;
use crate::ports::{Images, Links};
use crate::recorder::Recorder;
use crate::services::Services;

/// Handles to the parts of the agent. Cheap to clone behind its `Arc`.
pub struct Shared {
    pub client: Client,
    /// `pod_ip` is empty here; each pod fills in its own.
    pub facts: NodeFacts,
    pub policy: Policy,
    pub images: Arc<dyn Images>,
    pub links: Arc<dyn Links>,
    pub vms: Arc<dyn VmHost>,
    pub objects: Objects,
    pub tokens: Arc<dyn TokenSource>,
    pub services: Services,
    pub recorder: Recorder,
    pub logs: Logs,
    /// Pod records: <state dir>/pods.
    pub pods_dir: PathBuf,
    pub shutdown: CancellationToken,
}
