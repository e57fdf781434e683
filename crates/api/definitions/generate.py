#!/usr/bin/env python3
"""Writes endpoints.txt and bodies.txt from the API definitions that LXD and Incus publish.

Usage: generate.py LXD_REPOSITORY INCUS_REPOSITORY

Both arguments are git repositories (bare ones too) that have the tags of RELEASES.
"""

import io
import json
import pathlib
import re
import subprocess
import sys
import tarfile
from collections import defaultdict

import yaml

# The generations of each brand, oldest first: what a user calls it, and the tag that stands for it.
RELEASES = {
    "lxd": [("5.0", "lxd-5.0.2"), ("5.21", "lxd-5.21.7"), ("6", "lxd-6.9")],
    "incus": [("6.0", "v6.0.4"), ("7.0", "v7.0.1"), ("7.3", "v7.3.0")],
}

# Where each brand keeps its definitions.
LAYOUT = {
    "lxd": {
        "routes": "lxd",
        "metadata": "lxd/metadata/configuration.json",
        "extensions": "shared/version/api.go",
    },
    "incus": {
        "routes": "cmd/incusd",
        "metadata": "internal/server/metadata/configuration.json",
        "extensions": "internal/version/api.go",
    },
}

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

# What a placeholder is called, by the segment before it. Releases call the same place by different names.
PLACEHOLDERS = {
    "backups": "backup",
    "bitmaps": "bitmap",
    "buckets": "bucket",
    "certificates": "fingerprint",
    "exec-output": "file",
    "forwards": "address",
    "images": "fingerprint",
    "keys": "key",
    "load-balancer-pools": "pool",
    "load-balancers": "address",
    "logs": "file",
    "network-zones": "zone",
    "nvram": "guid",
    "oidc-sessions": "id",
    "operations": "id",
    "peers": "peer",
    "snapshots": "snapshot",
    "storage-pools": "pool",
    "storage-volumes": "type",
    "volumes": "type",
    "warnings": "id",
}
SECOND_PLACEHOLDERS = {"nvram": "variable", "volumes": "volume"}

# Placeholders that stand for more than one segment.
OPEN = {"images/aliases/{name}"}

# Which extension brings an endpoint, by the beginning of its path (and by the method, where the path alone does not
# say it). The longest beginning counts. Held against the list of extensions of every release below.
EXTENSIONS = {
    "lxd": {
        "auth": "access_management",
        "auth/identities/bearer": "auth_bearer",
        "POST auth/identities/bearer": "auth_bearer_devlxd",
        "POST auth/identities/bearer/{name}/token": "auth_bearer_devlxd",
        "auth/identities/oidc": "access_management_tls",
        "auth/identities/tls": "access_management_tls",
        "auth/oidc-sessions": "auth_oidc_sessions",
        "cluster/links": "cluster_links",
        "GET cluster/members/{name}/state": "cluster_member_state",
        "HEAD instances/{name}/files": "instance_file_head",
        "instances/{name}/rebuild": "instances_rebuild",
        "instances/{name}/uefi-vars": "instances_uefi_vars",
        "metadata/configuration": "metadata_configuration",
        "network-allocations": "network_allocations",
        "networks/{name}/load-balancer-pools": "network_load_balancer_pool",
        "networks/{name}/load-balancers": "network_load_balancer",
        "placement-groups": "instance_placement_groups",
        "PUT projects/{name}/state": "project_replica_mode",
        "replicators": "replicators",
        "storage-pools/{pool}/buckets": "storage_buckets",
        "storage-volumes": "storage_volumes_all",
    },
    "incus": {
        "instances/{name}/access": "instance_access",
        "instances/{name}/bitmaps": "storage_volume_nbd",
        "instances/{name}/debug/memory": "instance_debug_memory",
        "instances/{name}/debug/repair": "instances_debug_repair",
        "instances/{name}/nbd": "instance_nbd",
        "instances/{name}/nvram": "instance_nvram",
        "instances/{name}/port-forward": "instance_port_forward",
        "network-address-sets": "network_address_set",
        "network-integrations": "network_integrations",
        "networks/{name}/load-balancers/{address}/state": "network_load_balancer_state",
        "projects/{name}/access": "project_access",
        "storage-pools/{pool}/buckets/{bucket}/backups": "storage_bucket_backup",
        "storage-pools/{pool}/volumes/{type}/{volume}/bitmaps": "storage_volume_nbd",
        "storage-pools/{pool}/volumes/{type}/{volume}/files": "file_storage_volume",
        "storage-pools/{pool}/volumes/{type}/{volume}/nbd": "storage_volume_nbd",
        "storage-pools/{pool}/volumes/{type}/{volume}/rebuild": "storage_volumes_rebuild",
        "storage-pools/{pool}/volumes/{type}/{volume}/sftp": "custom_volume_sftp",
    },
}

# Types of bodies, and requests that take them, that the definitions leave out; read in the Go types of the releases.
MISSING_TYPES = {
    "IdentityBearerTokenPost": {"expiry": "s"},
    "PlacementGroupPost": {"name": "s"},
    "PlacementGroupPut": {"config": "config:placement-group", "description": "s"},
    "PlacementGroupsPost": {"config": "config:placement-group", "description": "s", "name": "s"},
}
MISSING_BODIES = {
    ("POST", "auth/identities/bearer/{name}/token"): "IdentityBearerTokenPost",
    ("POST", "placement-groups/{name}"): "PlacementGroupPost",
}

# Places that take one of a few words, by type and key: what the servers themselves compare with.
WORDS = {
    "ClusterMemberStatePost.action": "evacuate|restore",
    "ImagesPostSource.mode": "pull|push",
    "ImagesPostSource.type": "container|image|instance|snapshot|url|virtual-machine",
    "InstanceConsolePost.type": "console|vga",
    "InstanceSource.type": "conversion|copy|image|migration|none",
    "InstanceStatePut.action": "freeze|restart|start|stop|unfreeze",
    "InstancesPost.type": "container|virtual-machine",
    "NetworkACLRule.action": "allow|allow-stateless|drop|reject",
    "NetworkACLRule.protocol": "icmp4|icmp6|tcp|udp",
    "NetworkACLRule.state": "disabled|enabled|logged",
    "NetworkForwardPort.protocol": "tcp|udp",
    "NetworkLoadBalancerPort.protocol": "tcp|udp",
    "NetworkPeersPost.type": "local|remote",
    "NetworksPost.type": "bridge|macvlan|ovn|physical|sriov",
    "StorageBucketKeyPut.role": "admin|read-only",
    "StorageBucketKeysPost.role": "admin|read-only",
    "StoragePoolsPost.driver": (
        "alletra|btrfs|ceph|cephfs|cephobject|dir|linstor|lvm|lvmcluster|powerflex|powerstore|pure|truenas|zfs"
    ),
    "StorageVolumeSource.type": "copy|migration",
    "StorageVolumesPost.content_type": "block|filesystem|iso",
}

# Keys that a reply adds for the caller's own use, which the types of some requests have inherited.
OF_REPLIES = {"access_entitlements"}

# What the `config` of a type holds. Those not named here have to have a kind; see `config_kind`.
CONFIG_KINDS = {
    "ClusterGroup": "cluster-group",
    "ClusterLink": "cluster-link",
    "ClusterMember": "cluster-member",
    "Instance": "instance",
    "NetworkACL": "network-acl",
    "NetworkAddressSet": "network-address-set",
    "NetworkForward": "network-forward",
    "NetworkIntegration": "network-integration",
    "NetworkLoadBalancer": "network-load-balancer",
    "NetworkLoadBalancerPool": "network-load-balancer-pool",
    "NetworkPeer": "network-peer",
    "NetworkZone": "network-zone",
    "NetworkZoneRecord": "network-zone-record",
    "Network": "network",
    "PlacementGroup": "placement-group",
    "Profile": "instance",
    "Project": "project",
    "Replicator": "replicator",
    "Server": "server",
    "StorageBucket": "storage-bucket",
    "StoragePool": "storage-pool",
    "StorageVolume": "storage-volume",
}

# Entities and groups of configuration.json, and the kind (and its variant) whose keys they are.
ENTITIES = {
    "cluster cluster": "cluster-member",
    "cluster link-conf": "cluster-link",
    "cluster link-volatile-conf": "cluster-link",
    "cluster_group common": "cluster-group",
    "instance": "instance",
    "kernel limits": "instance",
    "network_address_set": "network-address-set",
    "network_forward": "network-forward",
    "network_integration": "network-integration",
    "network_load_balancer": "network-load-balancer",
    "network-load-balancer-pool": "network-load-balancer-pool",
    "network-zone config-options": "network-zone",
    "network_zone": "network-zone",
    "placement-group": "placement-group",
    "project": "project",
    "replicator": "replicator",
    "server": "server",
}

# Entities of configuration.json that hold no keys of `config`: properties of bodies, and of images.
OTHER_ENTITIES = {
    "cluster-link",
    "image",
    "instance-property",
    "network-acl",
    "network-forward",
    "network-load-balancer",
    "network-peering",
    "network-zone record-properties",
}

# Tables of the reference pages of older releases, by page.
PAGES = {
    "server.md": "server",
    "projects.md": "project",
    "reference/cluster_member_config.md": "cluster-member",
    "reference/instance_options.md": "instance",
    "howto/network_forwards.md": "network-forward",
    "howto/network_zones.md": "network-zone",
}

# Slips of the references, as the source of the same releases shows: wrong names, and wrong types.
MISNAMED = {
    "ceph.osd.pg_name": "ceph.osd.pg_num",
    "cephobject.bucket_name_prefix": "cephobject.bucket.name_prefix",
    "security.size": "size",
}
MISTYPED = {"vlan.tagged", "wwn"}
MISTYPED |= {f"security.delegate_bpf.{part}_types" for part in ("attach", "cmd", "map", "prog")}

# Keys that servers take and that not all references list, each read in the source of the releases.
UNLISTED = {
    # Copied from the properties of the image; limits that releases list on a page of their own; older names.
    "instance": [
        "image.*",
        "limits.kernel.*",
        "security.syscalls.blacklist",
        "security.syscalls.blacklist_compat",
        "security.syscalls.blacklist_default",
        "security.syscalls.whitelist",
    ],
    # What chooses the type of a device, and the type that has no keys.
    "device *": ["type"],
    "device none": ["type"],
    "device nic-bridged,nic-ipvlan,nic-macvlan,nic-ovn,nic-p2p,nic-physical,nic-routed,nic-sriov": ["nictype"],
    "device gpu-mdev,gpu-mig,gpu-native-context,gpu-physical,gpu-sriov": ["gputype"],
}

# A driver that references describe together with another one.
SAME_KEYS = {("incus", "lvm"): "lvmcluster"}

# Keys that every kind takes and nobody lists in full. They are left out of the file.
FREE = ("user.", "volatile.")


def main():
    lxd, incus = sys.argv[1:]
    releases = [
        Release(brand, generation, repository, tag)
        for brand, repository in (("lxd", lxd), ("incus", incus))
        for generation, tag in RELEASES[brand]
    ]
    here = pathlib.Path(__file__).parent
    (here / "endpoints.txt").write_text(endpoints(releases))
    (here / "bodies.txt").write_text(bodies(releases))


class Release:
    """What one tag publishes."""

    def __init__(self, brand, generation, repository, tag):
        self.brand, self.generation, self.tag = brand, generation, tag
        layout = LAYOUT[brand]
        command = ["git", "-C", repository, "archive", tag, "doc", layout["routes"], layout["extensions"]]
        optional = subprocess.run(
            ["git", "-C", repository, "cat-file", "-e", f"{tag}:{layout['metadata']}"], capture_output=True
        )
        if optional.returncode == 0:
            command.append(layout["metadata"])
        packed = subprocess.run(command, check=True, capture_output=True).stdout
        self.files = {}
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            for member in archive:
                if member.isfile() and re.search(r"\.(go|md|yaml|json)$", member.name):
                    self.files[member.name] = archive.extractfile(member).read().decode()
        self.definitions = yaml.load(self.files["doc/rest-api.yaml"], Loader=yaml.CSafeLoader)
        listed = re.search(r"APIExtensions = \[\]string\{(.*?)\n\}", self.files[layout["extensions"]], re.S)
        self.extensions = set(re.findall(r'^\t"(\w+)",', listed[1], re.M))
        metadata = self.files.get(layout["metadata"])
        self.metadata = json.loads(metadata)["configs"] if metadata else {}

    def operations(self):
        """Method, path and definition of all that is below /1.0."""
        for path, methods in self.definitions["paths"].items():
            if path.startswith("/1.0"):
                for method, operation in methods.items():
                    yield method.upper(), normal(path.removeprefix("/1.0")), operation

    def served(self):
        """Method and path of all that the server answers."""
        served = {(method, path) for method, path, _ in self.operations()}
        for path, methods, _ in self.routes():
            # The table of routes is what the server goes by, wherever it has the path.
            served = {(m, p) for m, p in served if p != path} | {(method, path) for method in methods}
        return served

    def routes(self):
        """Methods by path as the server's own table of routes has them, and the other names of each path."""
        folder = LAYOUT[self.brand]["routes"]
        code = "\n".join(
            text
            for name, text in self.files.items()
            if re.fullmatch(re.escape(folder) + r"/[^/]+\.go", name) and not name.endswith("_test.go")
        )
        table = re.search(r"var api10 = \[\]APIEndpoint\{\n(.*?)\n\}", code, re.S)[1]
        for name in re.findall(r"^\t(\w+),", table, re.M):
            route = re.search(rf"var {name} = APIEndpoint\{{\n(.*?)\n\}}", code, re.S)[1]
            path = re.search(r'^\tPath:\s+"([^"]*)"', route, re.M)
            methods = re.findall(r"^\t(Get|Put|Post|Delete|Patch|Head):", route, re.M)
            aliases = [normal(alias) for alias in re.findall(r'Path: "([^"]*)"\}', route)]
            # One without methods hands its paths on to other endpoints.
            if methods:
                yield normal(path[1] if path else ""), {method.upper() for method in methods}, aliases


def normal(path):
    """A path with the same placeholders in all releases, without its query and without a `/` around it."""
    segments = []
    for segment in path.split("?")[0].strip("/").split("/"):
        if segment.startswith("{"):
            before = segments[-1]
            name = PLACEHOLDERS.get(before, "name")
            if before.startswith("{"):
                name = SECOND_PLACEHOLDERS[segments[-2]]
            elif "/".join(segments) == "networks" or segments == ["cluster", "members"]:
                name = "name"
            segment = f"{{{name}}}"
        segments.append(segment)
    return "/".join(segments)


def shown(path):
    """A path as the files have it."""
    return path.replace("}", "…}") if path in OPEN else path or "/"


# --- Sets of releases ---------------------------------------------------------------------------------------------


def spans(releases, present):
    """The two columns that say which generations have something."""
    return [span([r for r in releases if r.brand == brand], present) for brand in ("lxd", "incus")]


def span(releases, present):
    has = [release in present for release in releases]
    if not any(has):
        return "-"
    first, last = has.index(True), len(has) - 1 - has[::-1].index(True)
    if not all(has[first : last + 1]):
        sys.exit(f"a gap between generations: {[r.tag for r in releases if r in present]}")
    if last == len(has) - 1:
        return f"{releases[first].generation}+"
    if first == last:
        return releases[first].generation
    return f"{releases[first].generation}..{releases[last].generation}"


# --- Endpoints ----------------------------------------------------------------------------------------------------


def endpoints(releases):
    having, aliases = defaultdict(set), defaultdict(set)
    for release in releases:
        for path, _, others in release.routes():
            if path == "instances":
                for other in others:
                    aliases[other].add(release)
        for method, path in release.served():
            having[path, method].add(release)
    lines = defaultdict(lambda: defaultdict(list))
    for (path, method), present in having.items():
        columns = spans(releases, present)
        extension = deciding(releases, method, path, present)
        lines[path][*columns, extension].append(method)
    text = [
        "# Generated by generate.py: edit that, not this.",
        "# METHODS PATH LXD INCUS [EXTENSION], and at the end `= OTHER-NAME NAME LXD INCUS`.",
    ]
    for path in sorted(lines):
        by_methods = sorted(lines[path].items(), key=lambda line: min(map(METHODS.index, line[1])))
        for (lxd, incus, extension), methods in by_methods:
            methods.sort(key=METHODS.index)
            columns = [",".join(methods), shown(path), lxd, incus, extension]
            text.append(" ".join(column for column in columns if column))
    for other, present in sorted(aliases.items()):
        text.append(" ".join(["=", other, "instances", *spans(releases, present)]))
    return "\n".join(text) + "\n"


def deciding(releases, method, path, present):
    """The extension that brings an endpoint to the releases that have it."""
    found = set()
    for brand, extensions in EXTENSIONS.items():
        beginnings = [
            (len(beginning.split()[-1]), beginning.count(" "), extension)
            for beginning, extension in extensions.items()
            if f"{path}/".startswith(beginning.split()[-1] + "/")
            and (" " not in beginning or beginning == f"{method} {path}")
        ]
        own = {release for release in releases if release.brand == brand}
        if not beginnings or not own & present:
            continue
        extension = max(beginnings)[2]
        with_extension = {release for release in own if extension in release.extensions}
        if own & present != with_extension:
            sys.exit(f"{extension} does not decide whether {brand} has {method} {path}")
        found.add(extension)
    if len(found) > 1:
        sys.exit(f"{method} {path} comes by {sorted(found)}: one extension for both brands is expected")
    return "".join(found)


# --- Bodies -------------------------------------------------------------------------------------------------------


def bodies(releases):
    table = Types()
    for release in releases:
        table.add(release)
    text = [
        "# Generated by generate.py: edit that, not this.",
        "# `> METHODS PATH TYPE…`: requests and the types of their bodies.",
    ]
    by_path = defaultdict(list)
    for (method, path), names in table.requests.items():
        by_path[path, tuple(sorted(names))].append(method)
    for (path, names), methods in sorted(by_path.items()):
        methods.sort(key=METHODS.index)
        text.append(f"> {','.join(methods)} {shown(path)} {' '.join(names)}")
    text.append("# `@ TYPE`, and its keys: KEY SHAPE [LXD INCUS [EXTENSION]]. README.md has the shapes.")
    for name in sorted(table.having):
        text.append(f"@ {name}")
        for key in sorted(table.fields[name]):
            for shape, present in sorted(table.fields[name][key].items()):
                columns = [key, shape]
                if present != table.having[name]:
                    columns += spans(releases, present)
                    columns += table.extensions[name, key]
                text.append(" " + " ".join(columns))
        # What a reply shows and a request cannot change.
        if only_shown := sorted(table.shown[name] - table.fields[name].keys()):
            text.append(f" - {' '.join(only_shown)}")
    return "\n".join(text + config(releases)) + "\n"


class Types:
    """The types of all bodies."""

    def __init__(self):
        self.requests = defaultdict(set)
        self.fields = defaultdict(lambda: defaultdict(lambda: defaultdict(set)))
        self.shown = defaultdict(set)
        self.extensions = defaultdict(list)
        self.having = defaultdict(set)

    def add(self, release):
        self.definitions = release.definitions["definitions"]
        served = release.served()
        replies = {}
        wanted = []
        for method, path, operation in release.operations():
            if method == "GET":
                replies[path] = self.reply(operation)
            if (method, path) in served and (name := self.taken(method, path, operation)):
                self.requests[method, path].add(name)
                wanted.append(name)
        while wanted:
            name = wanted.pop()
            if release not in self.having[name]:
                self.having[name].add(release)
                for key, shape in self.keys(name):
                    self.fields[name][key][shape].add(release)
                    wanted += re.findall(r"@(\w+)", shape)
        for (method, path), names in self.requests.items():
            if method in ("PUT", "PATCH"):
                for name in names:
                    self.shown[name] |= replies.get(path, set())

    def taken(self, method, path, operation):
        """The type of a request's body."""
        if (method, path) in MISSING_BODIES:
            return MISSING_BODIES[method, path]
        for parameter in operation.get("parameters", []):
            reference = parameter.get("schema", {}).get("$ref") if parameter["in"] == "body" else None
            name = reference and reference.split("/")[-1]
            # Some name a definition that is not there.
            if name in self.definitions or name in MISSING_TYPES:
                return name
        return None

    def keys(self, name):
        if name in MISSING_TYPES:
            yield from MISSING_TYPES[name].items()
            return
        for key, definition in self.definitions[name].get("properties", {}).items():
            # Go's reader of JSON does not tell capitals from small letters, and one type is written with capitals.
            key = key[0].lower() + key[1:]
            if key in OF_REPLIES:
                continue
            extension = re.search(r"API extensions?: `?(\w+)", definition.get("description", ""))
            if extension and extension[1] not in self.extensions[name, key]:
                self.extensions[name, key].append(extension[1])
            words = WORDS.get(f"{name}.{key}")
            yield key, f"s={words}" if words else Shape(self.definitions, name, key).of(definition)

    def reply(self, operation):
        """The keys of what a GET answers with."""
        schema = operation["responses"].get("200", {}).get("schema", {})
        reference = schema.get("properties", {}).get("metadata", {}).get("$ref", "")
        keys = self.definitions.get(reference.split("/")[-1], {}).get("properties", {})
        return {key for key in keys if key not in OF_REPLIES}


class Shape:
    """What a value has to be, in a word or two."""

    def __init__(self, types, owner, key):
        self.types, self.owner, self.key = types, owner, key

    def of(self, definition):
        if self.key == "devices" and not self.owner.startswith("Resources"):
            return "devices"
        if self.key == "config" and (kind := config_kind(self.owner)):
            return f"config:{kind}"
        if "$ref" in definition:
            name = definition["$ref"].split("/")[-1]
            target = self.types[name]
            # Incus 7 has names for the two maps that are everywhere.
            if name == "ConfigMap":
                return "{s}"
            return f"@{name}" if "properties" in target else self.of(target)
        match definition.get("type"), definition.get("format"):
            case "string", "date-time":
                return "t"
            case "string", _:
                return "s"
            case "boolean", _:
                return "b"
            case "integer", _:
                return "i"
            case "number", _:
                return "n"
            case "array", _:
                return f"[{self.of(definition['items'])}]"
            case "object", _:
                return f"{{{self.of(definition.get('additionalProperties', {}))}}}"
            case None, _:
                return "?"
        sys.exit(f"{self.owner}.{self.key}: {definition}")


def config_kind(owner):
    """The kind of entity whose configuration a type holds."""
    bare = re.sub(r"(s?Post|Put|Project|Local|Init)$", "", owner)
    bare = re.sub(r"(Snapshot)s?$", "", bare)
    for name in (bare, bare.rstrip("s"), re.sub("ies$", "y", bare)):
        if name in CONFIG_KINDS:
            return CONFIG_KINDS[name]
    return None


# --- Keys of `config` and of devices ------------------------------------------------------------------------------


def config(releases):
    """Sections of keys, by kind; where a kind has variants, the keys say which of them have them."""
    keys = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    having = defaultdict(lambda: defaultdict(set))
    for release in releases:
        for kind, variant, key, shape in documented(release):
            keys[kind][key][variant][release] = shape
            having[kind][variant].add(release)
    having["device"]["none"] = set(releases)
    for place, more in UNLISTED.items():
        kind, _, variants = place.partition(" ")
        for variant in having[kind] if variants == "*" else variants.split(","):
            for key in more:
                keys[kind][key][variant] = dict.fromkeys(having[kind][variant], "s")
    text = ["# `$ KIND`, and the keys of its `config` or of a device: KEY SHAPE [VARIANTS] [LXD INCUS]. `=`: a variant."]
    for kind, by_key in sorted(keys.items()):
        text.append(f"$ {kind}")
        variants = sorted(having[kind])
        if variants != [""]:
            text += [f" = {v} {' '.join(spans(releases, having[kind][v]))}" for v in variants]
        for key, by_variant in sorted(by_key.items()):
            groups = defaultdict(list)
            for variant, present in by_variant.items():
                shapes = set(present.values())
                # Where releases differ, the more lenient one.
                shape = shapes.pop() if len(shapes) == 1 else "s"
                is_full = present.keys() == having[kind][variant]
                groups[shape, () if is_full else tuple(spans(releases, present))].append(variant)
            for (shape, columns), members in sorted(groups.items()):
                line = [key, shape]
                if variants != [""]:
                    line.append("*" if sorted(members) == variants else ",".join(sorted(members)))
                text.append(" " + " ".join([*line, *columns]))
    return text


def documented(release):
    """Kind, variant, key and shape of all keys that a release documents."""
    for place, key, shape in listed(release):
        key = MISNAMED.get(key, wildcard(key))
        if key.startswith(FREE):
            continue
        places = [place]
        kind, variant = place
        if other := SAME_KEYS.get((release.brand, variant)):
            places.append((kind, other))
        for kind, variant in places:
            yield kind, variant, key, "s" if key in MISTYPED else shape


def listed(release):
    """Places (kind and variant) of keys, with the keys and their shapes, as the references have them."""
    seen = set()
    for entity, groups in release.metadata.items():
        for group, content in groups.items():
            for place in places_of(entity, group):
                seen.add(place)
                for entry in content["keys"]:
                    for key, facts in entry.items():
                        yield place, key, SHAPES[facts.get("type", "string")]
    # Older releases have tables in pages, for some kinds or for all.
    for name, text in release.files.items():
        if name.startswith("doc/") and name.endswith(".md"):
            for place, key, shape in tables(name.removeprefix("doc/"), text):
                if place not in seen:
                    yield place, key, shape


SHAPES = {
    "string": "s",
    "blob": "s",
    "string set": "s",
    "space-delimited string": "s",
    "n/a": "s",
    "*": "s",
    "bool": "b",
    "integer": "i",
    "int": "i",
    "int64": "i",
}


def wildcard(key):
    """`*` for the parts of a key that an author chooses."""
    key = re.sub(r"<\w+>|\{\w+\}|\*", "*", key)
    return re.sub(r"(?<=\.)[A-Z][A-Z_]+(?=\.|$)", "*", key)


def places_of(entity, group):
    """The places whose keys a group of configuration.json has."""
    for name in (f"{entity} {group}", entity):
        if name in OTHER_ENTITIES:
            return []
        if name in ENTITIES:
            return [(ENTITIES[name], "")]
    name = entity.replace("_", "-")
    if entity == "devices":
        if group == "unix-char-block":
            return [("device", "unix-block"), ("device", "unix-char")]
        return [("device", device(group))]
    if found := re.fullmatch(r"device-(.+)", name):
        return [("device", device(found[1]))]
    if found := re.fullmatch(r"network-(bridge|macvlan|ovn|physical|sriov)", name):
        return [("network", found[1])]
    if found := re.fullmatch(r"storage-(bucket|volume)-(\w+)", name):
        return [(f"storage-{found[1]}", found[2])]
    if found := re.fullmatch(r"storage-(\w+)", name):
        kind = {"pool-conf": "pool", "common": "pool", "volume-conf": "volume", "bucket-conf": "bucket"}[group]
        return [(f"storage-{kind}", found[1])]
    sys.exit(f"configuration.json has something new: {entity} {group}")


def device(name):
    return {"unix-usb": "usb"}.get(name, name.replace("_", "-"))


def tables(page, text):
    """The tables of keys of a reference page: places, keys and shapes."""
    heading, place, variant = "", None, None
    for line in text.splitlines():
        if line.startswith("#"):
            heading, place = line, None
            if chosen := re.search(r"`(?:nic|gpu)type`: `(\w+)`", line):
                variant = chosen[1]
        elif re.match(r"\|? ?Key *\|", line):
            place = place_of_table(page, heading, variant)
        elif place and "|" in line:
            cells = [cell.strip(" `") for cell in line.strip().strip("|").split("|")]
            if not cells[0].startswith(":"):
                yield place, cells[0], SHAPES.get(cells[1], "s")
        else:
            place = None


def place_of_table(page, heading, variant):
    if page in PAGES:
        return (PAGES[page], "")
    if found := re.fullmatch(r"reference/devices_(nic|gpu)\.md", page):
        return ("device", f"{found[1]}-{variant}")
    if found := re.fullmatch(r"reference/devices_(\w+)\.md", page):
        return ("device", found[1].replace("_", "-"))
    if found := re.fullmatch(r"reference/network_(bridge|macvlan|ovn|physical|sriov)\.md", page):
        return ("network", found[1])
    if found := re.fullmatch(r"reference/storage_(\w+)\.md", page):
        kind = re.search(r"pool|volume|bucket", heading)
        return (f"storage-{kind[0]}", found[1]) if kind else None
    return None


if __name__ == "__main__":
    main()
