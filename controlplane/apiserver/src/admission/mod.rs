//! Built-in admission, one file per plugin. Order: mutating plugins, then checks.

mod identity;
mod limits;
mod namespaces;
mod priority;
mod runtime_class;
mod service_account;
mod service_address;
mod storage_class;
mod tolerations;

use api::Status;
use serde_json::Value;
use tokio::sync::MutexGuard;

use crate::call::Call;

/// What kind of write is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
}

/// Held until the write is visible, so that what was chosen (an address, a port) is not chosen twice.
pub type Reserved<'a> = Option<MutexGuard<'a, ()>>;

/// Whether the call is about this core resource.
fn is_core(call: &Call, resource: &str) -> bool {
    call.kind.group.is_empty() && call.kind.plural == resource
}

/// Changes a new object.
pub async fn mutate<'a>(call: &'a Call, object: &mut Value) -> Result<Reserved<'a>, Status> {
    namespaces::check_create(call, object)?;
    if is_core(call, "pods") {
        service_account::admit(call, object).await?;
        priority::admit(call, object)?;
        runtime_class::admit(call, object)?;
        tolerations::admit(object);
        limits::admit(call, object)?;
    } else if is_core(call, "persistentvolumeclaims") {
        storage_class::admit(call, object);
        limits::admit(call, object)?;
    } else if is_core(call, "namespaces") {
        namespaces::prepare(object);
    } else if call.kind.plural == "certificatesigningrequests" {
        identity::stamp_request(call, object);
    } else if is_core(call, "services") {
        let reserved = call.app.service_allocation.lock().await;
        service_address::allocate(call, object, None)?;
        return Ok(Some(reserved));
    }
    Ok(None)
}

/// The lock an update needs before it starts.
pub async fn reserve_for_update(call: &Call) -> Reserved<'_> {
    if is_core(call, "services") && call.target.subresource.is_empty() {
        return Some(call.app.service_allocation.lock().await);
    }
    None
}

/// Changes an updated object.
pub fn mutate_update(call: &Call, new: &mut Value, old: &Value) -> Result<(), Status> {
    if is_core(call, "services") && call.target.subresource.is_empty() {
        service_address::allocate(call, new, Some(old))?;
    }
    if call.kind.plural == "certificatesigningrequests" {
        identity::keep_requester(new, old);
    }
    Ok(())
}

/// Refuses what may not be done.
pub fn validate(
    call: &Call,
    operation: Operation,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<(), Status> {
    if operation == Operation::Delete {
        namespaces::check_delete(call, old)?;
    }
    identity::check(call, operation, object, old)
}
