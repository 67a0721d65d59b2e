//! The contracts between the agent, the VMM and the guest, as generated code.
#![allow(clippy::all, missing_docs, unused_qualifications, reason = "generated code")]

/// VMM control: `vmm.proto`.
pub mod vmm {
    tonic::include_proto!("bulkhead.vmm.v1");
}

/// Guest control: `guest.proto`.
pub mod guest {
    tonic::include_proto!("bulkhead.guest.v1");
}
