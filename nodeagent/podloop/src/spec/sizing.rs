//! How large a pod's virtual machine is, and what its VMM process may use on the node.

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};

use super::resources::{amount_milli, memory_limit};

/// Memory of guest kernel, PID 1 and page tables, on top of what the containers may use. Measured as the VM's size less
/// what is available in it after a container has run (`cargo xtask vm-test -p microvm`, `a_pod_runs_on_our_kernel`):
/// 48.1 MiB at 192 MiB with the release build of PID 1; Debian's prebuilt kernel takes 67 MiB.
pub const GUEST_OVERHEAD_BYTES: u64 = 48 << 20;
/// Memory of the VMM process itself, outside the guest's memory. It is a limit, not what is used: 2 MiB are private to the
/// process (same test); the rest is room for what the kernel counts to the group (page tables of the VM, buffers, cache).
pub const VMM_OVERHEAD_BYTES: u64 = 32 << 20;
/// What one container without a memory limit counts for. The guest's memory is only backed where it is used.
pub const UNLIMITED_CONTAINER_BYTES: u64 = 128 << 20;
/// vCPUs of a pod in which some container has no CPU limit.
pub const UNLIMITED_VCPUS: u32 = 1;
/// CPU of VMM threads (I/O) on top of the containers' limits, in thousandths.
const VMM_CPU_MILLI: i64 = 100;
/// Guest memory is given in steps of this size.
const GRANULE: u64 = 2 << 20;

/// Defaults that an operator may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub unlimited_container_bytes: u64,
    pub unlimited_vcpus: u32,
    pub node_cpus: u32,
}

/// The shape of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub vcpus: u32,
    pub memory_bytes: u64,
    /// memory.max of the VMM's cgroup.
    pub cgroup_memory_bytes: u64,
    /// cpu.max of the VMM's cgroup in thousandths of a CPU; absent without limits.
    pub cgroup_cpu_milli: Option<i64>,
    /// CPU request in thousandths, for cpu.weight.
    pub request_cpu_milli: i64,
}

/// Sizes a pod's VM: main containers and sidecars together, or the largest init container if that is more.
#[must_use]
pub fn size(pod: &Pod, policy: Policy) -> Size {
    let memory = pod_memory(pod, policy.unlimited_container_bytes);
    let memory_bytes = (memory + GUEST_OVERHEAD_BYTES).div_ceil(GRANULE) * GRANULE;
    let cpu_limit = pod_cpu_limit(pod);
    let wanted = cpu_limit.map_or(policy.unlimited_vcpus, |milli| {
        u32::try_from(milli.div_euclid(1000) + i64::from(milli % 1000 != 0)).unwrap_or(u32::MAX)
    });
    Size {
        vcpus: wanted.clamp(1, policy.node_cpus.max(1)),
        memory_bytes,
        cgroup_memory_bytes: memory_bytes + VMM_OVERHEAD_BYTES,
        cgroup_cpu_milli: cpu_limit.map(|milli| milli + VMM_CPU_MILLI),
        request_cpu_milli: pod_cpu_request(pod),
    }
}

fn pod_memory(pod: &Pod, unlimited: u64) -> u64 {
    let Some(spec) = &pod.spec else { return unlimited };
    if let Some(limit) = spec.resources.as_ref().and_then(memory_limit) {
        return limit;
    }
    let of = |container: &Container| {
        let resources = container.resources.clone().unwrap_or_default();
        let request = amount_milli(&resources, "memory", false)
            .and_then(|milli| u64::try_from(milli / 1000).ok());
        memory_limit(&resources).unwrap_or_else(|| unlimited.max(request.unwrap_or(0)))
    };
    most(pod, of, |a, b| a + b, u64::max)
}

fn pod_cpu_limit(pod: &Pod) -> Option<i64> {
    let spec = pod.spec.as_ref()?;
    let of = |resources: Option<&ResourceRequirements>| amount_milli(resources?, "cpu", true);
    if let Some(limit) = of(spec.resources.as_ref()) {
        return Some(limit);
    }
    let add = |a: Option<i64>, b: Option<i64>| Some(a? + b?);
    let larger = |a: Option<i64>, b: Option<i64>| Some(a?.max(b?));
    let containers = spec.containers.iter();
    let mains = containers.map(|container| of(container.resources.as_ref())).fold(Some(0), add);
    let inits = spec.init_containers.iter().flatten();
    inits.map(|container| of(container.resources.as_ref())).fold(mains, |sum, init| {
        // Sidecars run beside the main containers, but init containers before them.
        larger(sum, init)
    })
}

fn pod_cpu_request(pod: &Pod) -> i64 {
    let of = |container: &Container| {
        let resources = container.resources.clone().unwrap_or_default();
        amount_milli(&resources, "cpu", false)
            .or_else(|| amount_milli(&resources, "cpu", true))
            .unwrap_or(0)
    };
    most(pod, of, |a, b| a + b, i64::max)
}

/// Main containers and sidecars summed, against each init container with the sidecars before it.
fn most<T: Copy + Default>(
    pod: &Pod,
    of: impl Fn(&Container) -> T,
    add: impl Fn(T, T) -> T,
    larger: impl Fn(T, T) -> T,
) -> T {
    let Some(spec) = &pod.spec else { return T::default() };
    let (mut sidecars, mut peak) = (T::default(), T::default());
    for container in spec.init_containers.iter().flatten() {
        let own = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = add(sidecars, own);
            peak = larger(peak, sidecars);
        } else {
            peak = larger(peak, add(sidecars, own));
        }
    }
    let together = spec.containers.iter().map(of).fold(sidecars, add);
    larger(peak, together)
}
