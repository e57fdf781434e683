//! The keys of `config`, by kind, as LXD 5.0 and Incus 6.0 know them.

use super::values::Rule::{
    self, Allowance, Any, Bool, Cpus, Expiry, Integer, Lxc, Memory, Nodes, Number, OneOf, Priority,
    Schedule, Size, SomeCpus, Subnet, Swap, Yaml,
};
use crate::flavor::Flavor;

/// Who knows a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    All,
    Incus,
    Lxd,
    /// Instances of one type; profiles, which are for both, take them too.
    Containers,
    Machines,
    /// Instances, but no profile.
    Instances,
}

/// A key, or with a dot at its end all that begin so; who knows it, and what it takes.
pub(crate) type Key = (&'static str, For, Rule);

pub(crate) const INSTANCES: &[Key] = &[
    ("agent.nic_config", For::Machines, Bool),
    ("boot.autostart", For::All, Bool),
    ("boot.autostart.delay", For::All, Integer),
    ("boot.autostart.priority", For::All, Integer),
    ("boot.host_shutdown_timeout", For::All, Integer),
    ("boot.stop.priority", For::All, Integer),
    ("cloud-init.network-config", For::All, Yaml),
    ("cloud-init.user-data", For::All, Any),
    ("cloud-init.vendor-data", For::All, Any),
    (
        "cluster.evacuate",
        For::Incus,
        OneOf(&[
            "auto",
            "migrate",
            "live-migrate",
            "stop",
            "stateful-stop",
            "force-stop",
        ]),
    ),
    (
        "cluster.evacuate",
        For::Lxd,
        OneOf(&["auto", "migrate", "live-migrate", "stop"]),
    ),
    ("environment.", For::All, Any),
    ("image.", For::Instances, Any),
    ("limits.cpu", For::Incus, SomeCpus),
    ("limits.cpu", For::Lxd, Cpus),
    ("limits.cpu.allowance", For::Containers, Allowance),
    ("limits.cpu.nodes", For::Incus, Nodes),
    ("limits.cpu.priority", For::Containers, Priority),
    ("limits.disk.priority", For::All, Priority),
    ("limits.hugepages.64KB", For::Containers, Size),
    ("limits.hugepages.1MB", For::Containers, Size),
    ("limits.hugepages.2MB", For::Containers, Size),
    ("limits.hugepages.1GB", For::Containers, Size),
    ("limits.kernel.", For::Containers, Any),
    ("limits.memory", For::All, Memory),
    (
        "limits.memory.enforce",
        For::Containers,
        OneOf(&["soft", "hard"]),
    ),
    ("limits.memory.hugepages", For::Machines, Bool),
    ("limits.memory.swap", For::Incus, Swap),
    ("limits.memory.swap", For::Lxd, Bool),
    ("limits.memory.swap.priority", For::Containers, Priority),
    ("limits.network.priority", For::Lxd, Priority),
    ("limits.processes", For::Containers, Integer),
    ("linux.kernel_modules", For::Containers, Any),
    ("linux.sysctl.", For::Containers, Any),
    ("migration.incremental.memory", For::Containers, Bool),
    ("migration.incremental.memory.goal", For::Containers, Number),
    (
        "migration.incremental.memory.iterations",
        For::Containers,
        Number,
    ),
    ("migration.stateful", For::Machines, Bool),
    ("nvidia.driver.capabilities", For::Containers, Any),
    ("nvidia.require.cuda", For::Containers, Any),
    ("nvidia.require.driver", For::Containers, Any),
    ("nvidia.runtime", For::Containers, Bool),
    ("raw.apparmor", For::All, Any),
    ("raw.idmap", For::Containers, Any),
    ("raw.lxc", For::Containers, Lxc),
    ("raw.qemu", For::Machines, Any),
    ("raw.qemu.conf", For::Machines, Any),
    ("raw.seccomp", For::Containers, Any),
    ("security.agent.metrics", For::Machines, Bool),
    ("security.csm", For::Incus, Bool),
    ("security.devlxd", For::Lxd, Bool),
    ("security.devlxd.images", For::Lxd, Bool),
    ("security.guestapi", For::Incus, Bool),
    ("security.guestapi.images", For::Incus, Bool),
    ("security.idmap.base", For::Containers, Number),
    ("security.idmap.isolated", For::Containers, Bool),
    ("security.idmap.size", For::Containers, Number),
    ("security.nesting", For::Containers, Bool),
    ("security.privileged", For::Containers, Bool),
    ("security.protection.delete", For::All, Bool),
    ("security.protection.shift", For::Containers, Bool),
    ("security.secureboot", For::Machines, Bool),
    ("security.syscalls.allow", For::Containers, Any),
    ("security.syscalls.deny", For::Containers, Any),
    ("security.syscalls.deny_compat", For::Containers, Bool),
    ("security.syscalls.deny_default", For::Containers, Bool),
    ("security.syscalls.intercept.bpf", For::Containers, Bool),
    (
        "security.syscalls.intercept.bpf.devices",
        For::Containers,
        Bool,
    ),
    ("security.syscalls.intercept.mknod", For::Containers, Bool),
    ("security.syscalls.intercept.mount", For::Containers, Bool),
    (
        "security.syscalls.intercept.mount.allowed",
        For::Containers,
        Any,
    ),
    (
        "security.syscalls.intercept.mount.fuse",
        For::Containers,
        Any,
    ),
    (
        "security.syscalls.intercept.mount.shift",
        For::Containers,
        Bool,
    ),
    (
        "security.syscalls.intercept.sched_setscheduler",
        For::Containers,
        Bool,
    ),
    (
        "security.syscalls.intercept.setxattr",
        For::Containers,
        Bool,
    ),
    ("security.syscalls.intercept.sysinfo", For::Incus, Bool),
    ("snapshots.expiry", For::All, Expiry),
    ("snapshots.pattern", For::All, Any),
    ("snapshots.schedule", For::All, Schedule),
    ("snapshots.schedule.stopped", For::All, Bool),
    ("user.", For::All, Any),
    ("volatile.apply_template", For::Instances, Any),
    ("volatile.base_image", For::Instances, Any),
    ("volatile.cloud-init.instance-id", For::Instances, Any),
    ("volatile.evacuate.origin", For::Instances, Any),
    ("volatile.idmap.base", For::Instances, Any),
    ("volatile.idmap.current", For::Instances, Any),
    ("volatile.idmap.next", For::Instances, Any),
    ("volatile.last_state.idmap", For::Instances, Any),
    ("volatile.last_state.power", For::Instances, Any),
    ("volatile.last_state.ready", For::Instances, Any),
    ("volatile.uuid", For::Instances, Any),
    ("volatile.uuid.generation", For::Instances, Any),
];

/// What may follow `volatile.` and the name of a device.
pub(crate) const OF_DEVICES: [&str; 9] = [
    ".apply_quota",
    ".ceph_rbd",
    ".host_name",
    ".hwaddr",
    ".last_state.created",
    ".last_state.hwaddr",
    ".last_state.mtu",
    ".name",
    ".uuid",
];

pub(crate) const NETWORKS: &[Key] = &[
    ("bgp.", For::All, Any),
    ("bridge.driver", For::All, OneOf(&["native", "openvswitch"])),
    ("bridge.external_interfaces", For::All, Any),
    ("bridge.hwaddr", For::All, Any),
    ("bridge.mode", For::Lxd, OneOf(&["standard", "fan"])),
    ("bridge.mtu", For::All, Integer),
    ("dns.domain", For::All, Any),
    ("dns.mode", For::All, OneOf(&["dynamic", "managed", "none"])),
    ("dns.search", For::All, Any),
    ("dns.zone.forward", For::All, Any),
    ("dns.zone.reverse.ipv4", For::All, Any),
    ("dns.zone.reverse.ipv6", For::All, Any),
    ("ipv4.address", For::All, Subnet),
    ("ipv4.dhcp", For::All, Bool),
    ("ipv4.dhcp.", For::All, Any),
    ("ipv4.firewall", For::All, Bool),
    ("ipv4.nat", For::All, Bool),
    ("ipv4.nat.address", For::All, Any),
    ("ipv4.nat.order", For::All, OneOf(&["before", "after"])),
    ("ipv4.ovn.ranges", For::All, Any),
    ("ipv4.routes", For::All, Any),
    ("ipv4.routing", For::All, Bool),
    ("ipv6.address", For::All, Subnet),
    ("ipv6.dhcp", For::All, Bool),
    ("ipv6.dhcp.stateful", For::All, Bool),
    ("ipv6.dhcp.", For::All, Any),
    ("ipv6.firewall", For::All, Bool),
    ("ipv6.nat", For::All, Bool),
    ("ipv6.nat.address", For::All, Any),
    ("ipv6.nat.order", For::All, OneOf(&["before", "after"])),
    ("ipv6.ovn.ranges", For::All, Any),
    ("ipv6.routes", For::All, Any),
    ("ipv6.routing", For::All, Bool),
    ("parent", For::All, Any),
    ("mtu", For::All, Integer),
    ("raw.dnsmasq", For::All, Any),
    ("security.acls", For::All, Any),
    ("security.acls.", For::All, Any),
    ("tunnel.", For::All, Any),
    ("user.", For::All, Any),
    ("volatile.", For::All, Any),
];

pub(crate) const ZONES: &[Key] = &[
    ("dns.nameservers", For::All, Any),
    ("network.nat", For::All, Bool),
    ("peers.", For::All, Any),
    ("user.", For::All, Any),
];

/// For what has no keys but those of users.
pub(crate) const USERS: &[Key] = &[("user.", For::All, Any)];

pub(crate) const POOLS: &[Key] = &[
    ("rsync.bwlimit", For::All, Any),
    ("rsync.compression", For::All, Bool),
    ("size", For::All, Size),
    ("source", For::All, Any),
    ("user.", For::All, Any),
    ("volatile.", For::All, Any),
    ("volume.", For::All, Any),
];

pub(crate) const VOLUMES: &[Key] = &[
    ("block.", For::All, Any),
    ("initial.", For::Incus, Any),
    ("security.shifted", For::All, Bool),
    ("security.unmapped", For::All, Bool),
    ("size", For::All, Size),
    ("snapshots.expiry", For::All, Expiry),
    ("snapshots.pattern", For::All, Any),
    ("snapshots.schedule", For::All, Schedule),
    ("user.", For::All, Any),
    ("volatile.", For::All, Any),
];

pub(crate) const PROJECTS: &[Key] = &[
    ("backups.compression_algorithm", For::All, Any),
    ("features.images", For::All, Bool),
    ("features.networks", For::All, Bool),
    ("features.networks.zones", For::Incus, Bool),
    ("features.profiles", For::All, Bool),
    ("features.storage.buckets", For::Incus, Bool),
    ("features.storage.volumes", For::All, Bool),
    ("images.", For::All, Any),
    ("limits.containers", For::All, Number),
    ("limits.cpu", For::All, Number),
    ("limits.disk", For::All, Size),
    ("limits.disk.pool.", For::Incus, Size),
    ("limits.instances", For::All, Number),
    ("limits.memory", For::All, Size),
    ("limits.networks", For::All, Number),
    ("limits.processes", For::All, Number),
    ("limits.virtual-machines", For::All, Number),
    ("restricted", For::All, Bool),
    ("restricted.", For::All, Any),
    ("user.", For::All, Any),
];

/// What a key takes; none where nobody of this flavor knows it.
pub(crate) fn find(table: &'static [Key], key: &str, flavor: Flavor) -> Option<(For, Rule)> {
    let fits = |known: &&Key| {
        let (name, who, _) = known;
        let begins = name.ends_with('.') && key.starts_with(name);
        (*name == key || begins)
            && match who {
                For::Incus => flavor == Flavor::Incus,
                For::Lxd => flavor == Flavor::Lxd,
                _ => true,
            }
    };
    let exact = table.iter().find(|known| known.0 == key && fits(known));
    let found = exact.or_else(|| table.iter().find(fits))?;
    Some((found.1, found.2))
}
