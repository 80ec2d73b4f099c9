use super::*;

/// A machine of these files.
fn root(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let root = Root(folder.path().to_owned());
    (folder, root)
}

#[test]
fn an_empty_machine_is_unknown() {
    let (_folder, root) = root(&[]);
    let (network, machine, limits) = (root.network(), root.machine(None, None), root.limits(None, None));
    assert_eq!((network.somaxconn, network.conntrack_max), (None, None));
    assert!(machine.processors > 0);
    assert_eq!((machine.memory, machine.memory_limit, machine.swap), (None, None, None));
    assert_eq!((machine.quota, machine.huge_pages, machine.crash_kernel), (None, None, false));
    assert_eq!((limits.subject, limits.open_files), (Subject::Shell, Limit::Unknown));
    assert!(root.unit().is_none() && root.interfaces().is_empty());
}

#[test]
fn settings_and_devices_are_read() {
    let (_folder, root) = root(&[
        ("proc/sys/net/core/somaxconn", "4096\n"),
        ("proc/sys/net/ipv4/tcp_syncookies", "1\n"),
        ("proc/sys/net/netfilter/nf_conntrack_max", "not a number\n"),
        ("proc/meminfo", "MemTotal:       1024 kB\nMemFree: 1 kB\n"),
        ("proc/swaps", "Filename Type Size Used Priority\n/swap file 1024 0 -2\n"),
        ("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-5\n"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n"),
        ("sys/kernel/kexec_crash_loaded", "1\n"),
        ("sys/class/net/lo/queues/rx-0/rps_cpus", "ff\n"),
        ("sys/class/net/eth0/device/vendor", "x"),
        ("sys/class/net/eth0/queues/rx-0/rps_cpus", "00,00000000\n"),
        ("sys/class/net/eth0/queues/rx-1/rps_cpus", "00,00000000\n"),
        ("sys/class/net/eth0/queues/tx-0/xps_cpus", "ff\n"),
        ("sys/class/net/eth1/device/vendor", "x"),
        ("sys/class/net/eth1/queues/rx-0/rps_cpus", "0f\n"),
    ]);
    let (network, machine) = (root.network(), root.machine(None, None));
    assert_eq!((network.somaxconn, network.syn_cookies, network.conntrack_max), (Some(4_096), Some(1), None));
    assert_eq!((machine.processors, machine.memory, machine.swap), (6, Some(1 << 20), Some(1 << 20)));
    assert_eq!((machine.huge_pages.as_deref(), machine.crash_kernel), (Some("always"), true));
    let interfaces: Vec<_> = root.interfaces().into_iter().map(|i| (i.name, i.queues, i.steers)).collect();
    assert_eq!(interfaces, [("eth0".into(), 2, false), ("eth1".into(), 1, true)]);
}

#[test]
fn the_tightest_control_group_counts() {
    let (_folder, second) = root(&[
        ("proc/7/cgroup", "0::/system.slice/clickedge.service\n"),
        ("sys/fs/cgroup/system.slice/clickedge.service/memory.max", "max\n"),
        ("sys/fs/cgroup/system.slice/clickedge.service/cpu.max", "400000 100000\n"),
        ("sys/fs/cgroup/system.slice/memory.max", "1073741824\n"),
        ("sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n"),
    ]);
    let machine = second.machine(Some(7), None);
    assert_eq!((machine.memory_limit, machine.quota), (Some(1 << 30), Some(1.5)));

    let (_folder, first) = root(&[
        ("proc/self/cgroup", "4:memory:/box\n2:cpu,cpuacct:/box\n"),
        ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "2147483648\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "50000\n"),
        ("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n"),
    ]);
    let machine = first.machine(None, None);
    assert_eq!((machine.memory_limit, machine.quota), (Some(2 << 30), Some(0.5)));
}

#[test]
fn limits_are_those_of_the_edge_else_of_the_unit_else_of_this_shell() {
    let limits = "Max core file size        0                    unlimited            bytes\n\
                  Max open files            1024                 4096                 files\n\
                  Max locked memory         8388608              8388608              bytes\n";
    let (_folder, root) = root(&[
        ("proc/self/limits", limits),
        ("proc/self/status", "CapEff:\t000001ffffffffff\n"),
        ("proc/7/limits", limits),
        ("proc/7/status", "CapEff:\t0000000000000400\n"),
        ("lib/systemd/system/clickedge.service", "[Service]\nLimitNOFILE=1024\nLimitCORE=0\nMemoryMax=1G\n"),
        ("etc/systemd/system/clickedge.service.d/b.conf", "[Service]\nLimitNOFILE=65536\n"),
        ("etc/systemd/system/clickedge.service.d/a.conf", "[Service]\nLimitNOFILE=2048\n"),
        ("lib/systemd/system/clickedge.service.d/b.conf", "[Service]\nLimitNOFILE=1\n"),
    ]);
    let unit = root.unit().unwrap();
    assert_eq!(unit.file, Path::new("/lib/systemd/system/clickedge.service"));
    let of_unit = root.limits(None, Some(&unit));
    assert_eq!(of_unit.subject, Subject::Unit);
    assert_eq!((of_unit.open_files, of_unit.core), (Limit::At(65_536), Limit::At(0)));
    assert_eq!(of_unit.locked_memory, Limit::At(DEFAULT_LOCKED), "as systemd has it without a key");
    assert_eq!(root.machine(None, Some(&unit)).memory_limit, Some(1 << 30));

    let of_edge = root.limits(Some(7), Some(&unit));
    assert_eq!(of_edge.subject, Subject::Edge(7));
    assert_eq!((of_edge.open_files, of_edge.locked_memory), (Limit::At(4_096), Limit::At(8 << 20)));
    let of_shell = root.limits(None, None);
    assert_eq!((of_shell.subject, of_shell.locked_memory), (Subject::Shell, Limit::Unlimited));
}

#[test]
fn a_folder_has_a_file_system_and_what_it_uses() {
    let outer = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::create_dir(outer.path().join("rings")).unwrap();
    fs::write(outer.path().join("rings/ring-1"), [0; 5_000]).unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let found = folder(&outer.path().join("rings"), &mounts).unwrap();
    assert!(found.is_in_memory() && found.used == 5_000 && found.size >= found.free, "{found:?}");
    let missing = folder(&outer.path().join("later/rings"), &mounts).unwrap();
    assert_eq!((missing.path.as_path(), missing.used), (outer.path(), 0), "the closest folder that exists");
}
