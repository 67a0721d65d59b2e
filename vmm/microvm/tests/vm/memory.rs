//! What a VMM process costs beside its guest's RAM, from `/proc/PID/smaps`.

/// Kibibytes of a process, guest RAM apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Pages that only this process has and that it wrote: what one more VM costs.
    pub dirty: u64,
    /// Pages of files (the program) that no other process maps now; a second VMM shares them.
    pub clean: u64,
    /// Guest RAM that the guest has touched.
    pub guest: u64,
}

/// Reads a running VMM's.
pub fn read(pid: u32) -> Memory {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap())
}

/// Prints a running VMM's, as a line of a benchmark.
pub fn print(pid: u32, when: &str) {
    let Memory { dirty, clean, guest } = read(pid);
    println!(
        "  memory {when}: VMM {dirty} KiB private + {clean} KiB program, guest RAM {guest} KiB"
    );
}

/// Guest RAM is what is not dumped (`dd`) and writable; of the others that are not dumped nothing is private.
fn parse(smaps: &str) -> Memory {
    let mut memory = Memory::default();
    let (mut dirty, mut clean) = (0, 0);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let number = |words: &mut std::str::SplitWhitespace<'_>| -> u64 {
            words.next().and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        match words.next() {
            Some("Private_Dirty:") => dirty = number(&mut words),
            Some("Private_Clean:") => clean = number(&mut words),
            Some("VmFlags:") => {
                let flags: Vec<&str> = words.collect();
                if flags.contains(&"dd") && flags.contains(&"wr") {
                    memory.guest += dirty + clean;
                } else {
                    memory.dirty += dirty;
                    memory.clean += clean;
                }
            }
            _ => {}
        }
    }
    memory
}

/// Run as a case: this program has no harness for unit tests.
pub fn smaps_are_split_by_owner() {
    let smaps = "0-1 r-xp 0 0:0 1 /vmm\nPrivate_Clean: 8 kB\nPrivate_Dirty: 0 kB\nVmFlags: rd ex mr\n\
        1-2 rw-p\nPrivate_Clean: 0 kB\nPrivate_Dirty: 12 kB\nVmFlags: rd wr mr\n\
        2-3 rw-p\nPrivate_Clean: 4 kB\nPrivate_Dirty: 4000 kB\nVmFlags: rd wr mr dd\n";
    assert_eq!(parse(smaps), Memory { dirty: 12, clean: 8, guest: 4004 });
}
