//! Machines made of a few files.

use std::fs;

use super::*;

/// Lays the files out below a fresh root.
fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("made");
        fs::write(path, text).expect("written");
    }
    root
}

fn detect(mask: usize, files: &[(&str, &str)]) -> Machine {
    Machine::detect_in(root(files).path(), mask)
}

const MEMORY_8G: (&str, &str) = ("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n");
const V2_MOUNT: (&str, &str) = (
    "proc/self/mountinfo",
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
);
const V1_MOUNTS: (&str, &str) = (
    "proc/self/mountinfo",
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
     35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
     41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
);

#[test]
fn without_cgroups_the_mask_and_the_host_hold() {
    assert_eq!(
        detect(6, &[MEMORY_8G]),
        Machine {
            cores: 6,
            memory: 8 << 30
        }
    );
}

#[test]
fn with_nothing_to_read_it_still_gives_a_machine() {
    assert_eq!(
        detect(0, &[]),
        Machine {
            cores: 1,
            memory: MEMORY_UNKNOWN
        }
    );
}

#[test]
fn v2_limits_hold_at_every_level_up_to_the_root() {
    let own = ("proc/self/cgroup", "0::/kube/pod/app\n");
    let files = [
        MEMORY_8G,
        V2_MOUNT,
        own,
        ("sys/fs/cgroup/kube/pod/app/cpu.max", "max 100000\n"),
        ("sys/fs/cgroup/kube/pod/cpu.max", "350000 100000\n"),
        ("sys/fs/cgroup/kube/cpu.max", "600000 100000\n"),
        ("sys/fs/cgroup/kube/pod/app/memory.max", "max\n"),
        ("sys/fs/cgroup/kube/pod/memory.max", "4294967296\n"),
        ("sys/fs/cgroup/kube/memory.max", "2147483648\n"),
    ];
    assert_eq!(
        detect(16, &files),
        Machine {
            cores: 3,
            memory: 2 << 30
        }
    );
}

#[test]
fn a_quota_below_one_core_is_one_core() {
    let files = [
        V2_MOUNT,
        ("proc/self/cgroup", "0::/\n"),
        ("sys/fs/cgroup/cpu.max", "20000 100000\n"),
    ];
    assert_eq!(detect(4, &files).cores, 1);
}

#[test]
fn the_mask_holds_where_the_quota_is_wider() {
    let files = [
        V2_MOUNT,
        ("proc/self/cgroup", "0::/\n"),
        ("sys/fs/cgroup/cpu.max", "800000 100000\n"),
    ];
    assert_eq!(detect(2, &files).cores, 2);
}

#[test]
fn v1_limits_are_read_from_their_own_hierarchies() {
    let files = [
        MEMORY_8G,
        V1_MOUNTS,
        ("proc/self/cgroup", "4:memory:/app\n2:cpu,cpuacct:/app\n0::/\n"),
        ("sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us", "200000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_period_us", "100000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ("sys/fs/cgroup/memory/app/memory.limit_in_bytes", "1073741824\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
    ];
    assert_eq!(
        detect(8, &files),
        Machine {
            cores: 2,
            memory: 1 << 30
        }
    );
}

#[test]
fn an_unlimited_v1_group_limits_nothing() {
    let files = [
        MEMORY_8G,
        V1_MOUNTS,
        ("proc/self/cgroup", "4:memory:/\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
    ];
    assert_eq!(
        detect(8, &files),
        Machine {
            cores: 8,
            memory: 8 << 30
        }
    );
}

#[test]
fn a_container_sees_its_own_group_at_the_root_of_the_mount() {
    let mount = (
        "proc/self/mountinfo",
        "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
    );
    for own in ["4:memory:/docker/abc\n", "4:memory:/elsewhere\n"] {
        let files = [
            MEMORY_8G,
            mount,
            ("proc/self/cgroup", own),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n"),
        ];
        assert_eq!(detect(1, &files).memory, 512 << 20, "{own}");
    }
}

#[test]
fn this_machine_grants_something() {
    let machine = Machine::detect();
    assert!(machine.cores >= 1 && machine.memory >= 64 << 20, "{machine:?}");
}
