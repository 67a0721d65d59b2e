//! What a node does with one pod, decided without I/O, clock or async: the state machine, the status that
//! users see, and the translation of a pod into what the guest is asked.

pub mod backoff;
pub mod conditions;
pub mod container;
mod containers;
pub mod event;
pub mod machine;
pub mod plan;
pub mod probe;
pub mod qos;
pub mod quantity;
pub mod refuse;
pub mod spec;
pub mod status;

pub use container::{ContainerState, Exit, Run};
pub use event::{Action, Event, Hook, HookResult, ProbeKind, ProbeOutcome, PullFailure, Record};
pub use machine::{Machine, Sandbox};
pub use plan::{ContainerPlan, PodPlan, PullPolicy, RestartPolicy, Role};

#[cfg(test)]
mod tests;
