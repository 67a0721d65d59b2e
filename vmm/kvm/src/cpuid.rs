//! What the guest's CPUID instruction says: KVM's supported features with this VM's topology
//! (one package, one thread per core) and without what a pod must not have (nested virtualization,
//! performance counters).

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

/// Leaf 1 ECX.
const VMX: u32 = 1 << 5;
const TSC_DEADLINE: u32 = 1 << 24;
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1 EDX: the count of logical processors in EBX is valid.
const HTT: u32 = 1 << 28;
/// Cache line in units of 8 bytes, leaf 1 EBX.
const CACHE_LINE_UNITS: u32 = 8;
/// Leaf 0x8000_0001 ECX.
const SVM: u32 = 1 << 2;
const PERFCTR_CORE: u32 = 1 << 23;
/// Leaf 0xb ECX: level types.
const LEVEL_THREAD: u32 = 1 << 8;
const LEVEL_CORE: u32 = 2 << 8;

/// Facts for [`adjust`].
#[derive(Clone, Copy, Debug)]
pub struct Topology {
    /// APIC id of the processor that gets the table.
    pub id: u8,
    /// Number of processors.
    pub count: u8,
    /// KVM emulates the TSC deadline timer.
    pub tsc_deadline: bool,
}

impl Topology {
    /// Bits of an APIC id that tell cores apart.
    fn core_bits(self) -> u32 {
        u32::from(self.count).next_power_of_two().trailing_zeros()
    }
}

/// The table was full.
#[derive(Debug, thiserror::Error)]
#[error("add a CPUID leaf")]
pub struct Error;

/// Adapts KVM's table of supported leaves to one processor.
pub fn adjust(supported: &CpuId, topology: Topology) -> Result<CpuId, Error> {
    let mut table = supported.clone();
    let has_topology_leaf = table.as_slice().iter().any(|e| e.function == 0 && e.eax >= 0xb);
    table.retain(|entry| !matches!(entry.function, 0xb | 0x1f));
    for entry in table.as_mut_slice() {
        adjust_entry(entry, topology);
    }
    if has_topology_leaf {
        for entry in topology_leaves(topology) {
            table.push(entry).map_err(|_| Error)?;
        }
    }
    Ok(table)
}

fn adjust_entry(entry: &mut kvm_cpuid_entry2, topology: Topology) {
    let (id, count) = (u32::from(topology.id), u32::from(topology.count));
    match entry.function {
        1 => {
            entry.ebx = (entry.ebx & 0xff) | id << 24 | count << 16 | CACHE_LINE_UNITS << 8;
            entry.ecx = (entry.ecx & !VMX) | HYPERVISOR;
            if topology.tsc_deadline {
                entry.ecx |= TSC_DEADLINE;
            }
            entry.edx = if count > 1 { entry.edx | HTT } else { entry.edx & !HTT };
        }
        4 | 0x8000_001d => share_cache(entry, count),
        0xa | 0x8000_0022 => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0),
        0x8000_0001 => entry.ecx &= !(SVM | PERFCTR_CORE),
        0x8000_0008 => entry.ecx = topology.core_bits() << 12 | (count - 1),
        0x8000_000a => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0),
        0x8000_001e => (entry.eax, entry.ebx, entry.ecx) = (id, id, 0),
        _ => {}
    }
}

/// Caches up to level 2 are a core's own; the others belong to all processors.
fn share_cache(entry: &mut kvm_cpuid_entry2, count: u32) {
    if entry.eax & 0x1f == 0 {
        return;
    }
    let level = (entry.eax >> 5) & 7;
    let sharing = if level >= 3 { count - 1 } else { 0 };
    let cores = if entry.function == 4 { count - 1 } else { 0 };
    entry.eax = (entry.eax & 0x3fff) | (sharing & 0xfff) << 14 | (cores & 0x3f) << 26;
}

fn topology_leaves(topology: Topology) -> [kvm_cpuid_entry2; 2] {
    let leaf = |index, eax, ebx, ecx| kvm_cpuid_entry2 {
        function: 0xb,
        index,
        flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        eax,
        ebx,
        ecx,
        edx: u32::from(topology.id),
        ..Default::default()
    };
    let count = u32::from(topology.count);
    [leaf(0, 0, 1, LEVEL_THREAD), leaf(1, topology.core_bits(), count, LEVEL_CORE | 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(function: u32, eax: u32, ecx: u32) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 { function, eax, ecx, ..Default::default() }
    }

    fn find(table: &CpuId, function: u32, index: u32) -> kvm_cpuid_entry2 {
        *table.as_slice().iter().find(|e| e.function == function && e.index == index).unwrap()
    }

    #[test]
    fn guest_sees_its_topology_and_no_nesting() {
        let supported = CpuId::from_entries(&[
            entry(0, 0xd, 0),
            entry(1, 0, VMX),
            entry(0xa, 7, 7),
            entry(0xb, 9, 9),
            entry(0x8000_0001, 0, SVM),
            entry(0x8000_0008, 0, 0),
        ])
        .unwrap();
        let topology = Topology { id: 2, count: 3, tsc_deadline: true };
        let table = adjust(&supported, topology).unwrap();
        let one = find(&table, 1, 0);
        assert_eq!(one.ebx, 0x0203_0800);
        assert_eq!(one.ecx, HYPERVISOR | TSC_DEADLINE);
        assert_eq!(one.edx, HTT);
        assert_eq!(find(&table, 0xa, 0).eax, 0);
        assert_eq!(find(&table, 0x8000_0001, 0).ecx, 0);
        assert_eq!(find(&table, 0x8000_0008, 0).ecx, 2 << 12 | 2);
        let core = find(&table, 0xb, 1);
        assert_eq!((core.eax, core.ebx, core.edx), (2, 3, 2));
    }
}
