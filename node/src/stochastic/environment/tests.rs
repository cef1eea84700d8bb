//! Machines made of a few files.

use std::fs;

use super::*;

const V2: (&str, &str) = (
    "proc/self/mountinfo",
    "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n",
);
const V1: (&str, &str) = (
    "proc/self/mountinfo",
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n",
);
const OWN_V2: (&str, &str) = ("proc/self/cgroup", "0::/pod/app\n");
const OWN_V1: (&str, &str) = ("proc/self/cgroup", "4:memory:/pod/app\n1:cpu:/\n");
const HOST_MEMORY: (&str, &str) = ("proc/pressure/memory", "some avg10=9.00\nfull avg10=4.00 total=1\n");
const HOST_IO: (&str, &str) = ("proc/pressure/io", "some avg10=6.00 total=1\nfull avg10=5.00\n");

fn read(files: &[(&str, &str)]) -> (tempfile::TempDir, Environment) {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let environment = EnvironmentReader::new(root.path()).read();
    (root, environment)
}

fn why(pressure: &Pressure) -> &str {
    match pressure {
        Pressure::Absent { why } => why,
        Pressure::Read { .. } => panic!("{pressure:?}"),
    }
}

#[test]
fn i1_the_own_groups_pressure_comes_before_the_hosts() {
    let (root, environment) = read(&[
        V2,
        OWN_V2,
        HOST_MEMORY,
        HOST_IO,
        (
            "sys/fs/cgroup/pod/app/memory.pressure",
            "some avg10=2.00\nfull avg10=1.50\n",
        ),
        (
            "sys/fs/cgroup/pod/app/io.pressure",
            "some avg10=2.50\nfull avg10=0.50\n",
        ),
        ("sys/fs/cgroup/pod/app/cpu.pressure", "some avg10=3.50\n"),
        (
            "sys/fs/cgroup/pod/memory.pressure",
            "some avg10=99.00\nfull avg10=99.00\n",
        ),
    ]);
    let from = root.path().join("sys/fs/cgroup/pod/app/memory.pressure");
    assert_eq!(environment.memory_full, Pressure::Read { avg10: 1.5, from });
    assert_eq!(environment.io_some.percent(), Some(2.5));
    assert_eq!(environment.cpu_some.percent(), Some(3.5));
}

#[test]
fn i1_where_v1_and_v2_are_mounted_pressure_is_of_the_v2_group_and_memory_of_the_v1_group() {
    let mounts = format!("{}41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", V1.1);
    let own = format!("{}0::/service\n", OWN_V1.1);
    let (_root, environment) = read(&[
        (V1.0, &mounts),
        (OWN_V1.0, &own),
        HOST_MEMORY,
        (
            "sys/fs/cgroup/unified/service/memory.pressure",
            "some avg10=2.00\nfull avg10=1.50\n",
        ),
        ("sys/fs/cgroup/memory/pod/app/memory.limit_in_bytes", "1000\n"),
        ("sys/fs/cgroup/memory/pod/app/memory.usage_in_bytes", "800\n"),
    ]);
    assert_eq!(environment.memory_full.percent(), Some(1.5));
    assert_eq!(environment.memory.map(|m| m.limit), Some(1000));
}

#[test]
fn i1_without_a_group_that_says_it_is_the_hosts_but_never_for_the_cpu() {
    let host_cpu = ("proc/pressure/cpu", "some avg10=77.00\n");
    for files in [vec![V1, OWN_V1], vec![V2, OWN_V2], vec![]] {
        let (_root, environment) = read(&[files, vec![HOST_MEMORY, HOST_IO, host_cpu]].concat());
        assert_eq!(environment.memory_full.percent(), Some(4.0));
        assert_eq!(environment.io_some.percent(), Some(6.0));
        assert_eq!(environment.cpu_some.percent(), None);
    }
}

#[test]
fn i2_what_cannot_be_read_is_absent_and_says_why() {
    let (_root, environment) = read(&[
        V2,
        OWN_V2,
        ("sys/fs/cgroup/pod/app/memory.pressure", ""),
        ("proc/pressure/memory", "some avg10=9.00\n"),
    ]);
    let text = why(&environment.memory_full);
    assert!(text.contains("app/memory.pressure: it is empty; "), "{text}");
    assert!(text.ends_with("proc/pressure/memory: it has no line `full`"), "{text}");
    let text = why(&environment.io_some);
    assert!(
        text.contains("io.pressure: No such file") && text.contains("pressure/io: No such file"),
        "{text}"
    );

    let (_root, environment) = read(&[]);
    assert_eq!(why(&environment.cpu_some), "the process is in no cgroup v2");
    assert_eq!(environment.memory, None);
}

#[test]
fn i2_a_file_that_cannot_be_read_is_absent_too() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("proc/pressure/memory")).unwrap();
    let environment = EnvironmentReader::new(root.path()).read();
    assert!(why(&environment.memory_full).ends_with("Is a directory (os error 21)"));
}

#[test]
fn of_the_groups_with_a_memory_limit_the_one_nearest_it_is_shown() {
    let (root, environment) = read(&[
        V2,
        OWN_V2,
        ("sys/fs/cgroup/pod/app/memory.max", "max\n"),
        ("sys/fs/cgroup/pod/app/memory.current", "700\n"),
        ("sys/fs/cgroup/pod/memory.max", "1000\n"),
        ("sys/fs/cgroup/pod/memory.current", "800\n"),
        ("sys/fs/cgroup/memory.max", "5000\n"),
        ("sys/fs/cgroup/memory.current", "900\n"),
    ]);
    let expected = GroupMemory {
        group: root.path().join("sys/fs/cgroup/pod"),
        used: 800,
        limit: 1000,
    };
    assert_eq!(environment.memory, Some(expected));
}

#[test]
fn v1_says_its_memory_and_what_it_calls_unlimited_is_no_limit() {
    let used = ("sys/fs/cgroup/memory/pod/app/memory.usage_in_bytes", "800\n");
    let limit = |text| ("sys/fs/cgroup/memory/pod/app/memory.limit_in_bytes", text);
    let (_root, environment) = read(&[V1, OWN_V1, used, limit("1000\n")]);
    assert_eq!(environment.memory.map(|m| (m.used, m.limit)), Some((800, 1000)));
    let (_root, environment) = read(&[V1, OWN_V1, used, limit("9223372036854771712\n")]);
    assert_eq!(environment.memory, None);
}
