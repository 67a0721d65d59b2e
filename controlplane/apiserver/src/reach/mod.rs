//! Reaching what the server does not listen to itself: services, pods, node agents and URLs.
//!
//! The server is not on the pod network: a pod is reached through a port-forward stream of its node's agent. What has
//! an address of its own (a URL, endpoints that are no pods, pods on their node's network) is dialed directly.
//!
//! [`call()`] makes one bounded HTTP request, [`post_webhook`] does so as a webhook's `clientConfig` says, and
//! [`connect`] hands out the byte stream for everything else.

mod call;
mod connect;
mod error;
pub mod pass;
mod resolve;
mod target;
mod tls;
mod tunnel;

pub use call::{Idle, call, post_webhook};
pub use connect::{BoxStream, connect, to_agent};
pub use error::Error;
pub use resolve::{agent_of, resolve};
pub use target::{Target, WebhookConfig, ca_bundle};
pub use tls::Tls;
