//! API priority and fairness: which requests run now, which wait in which queue, and which are refused
//! (KEP-1040; upstream `apiserver/pkg/util/flowcontrol`).
//!
//! `config` reads the objects, `classify` matches a request, `seats` says what a request costs and how many seats a
//! level has, `level` keeps the queues of one level, all pure; [`Flow`] holds the state and wakes who may run, `sync`
//! follows the objects.
//!
//! Seats are lent and borrowed at each decision instead of every ten seconds: a level always gets its guaranteed
//! seats, more while the other levels leave them idle.

mod classify;
mod config;
mod defaults;
mod gate;
mod level;
mod seats;
mod sync;

pub use defaults::objects as default_objects;
pub use gate::Flow;
pub use seats::{Width, list_width};
pub use sync::follow;

/// API group of FlowSchema and PriorityLevelConfiguration.
pub const GROUP: &str = "flowcontrol.apiserver.k8s.io";
