//! What the record of an operation says: what it acts on, whether it ends by itself, how far it is.
//!
//! LXD up to 6.6 and Incus name the URLs in `resources`; LXD from 6.7 on gives `metadata.entity_url`, and
//! `original_entity_url` of a rename. For most kinds that is the resource itself, but for some its parent, its source or its
//! project:
//!
//! | operation | `entity_url` names |
//! | --- | --- |
//! | makes or changes an instance, snapshot, backup, pool, network, ACL, volume | the resource |
//! | makes a forward, load balancer or peer | its network |
//! | makes a record of a zone | the zone |
//! | copies a volume, moves it to another pool | the source (older servers: nothing) |
//! | renames a volume | the old name |
//! | renames an instance, network or ACL | the new name; `original_entity_url` the old one |
//! | changes many at once, makes an image | the project |
//!
//! So a URL tells which resource was made only where it is a member of the collection that the request was sent to, and only
//! where the request itself does not name it.

use serde_json::Value;

use crate::catalog::Naming;
use crate::path::ApiPath;

/// Whether an operation of this class ends without anybody's doing.
pub fn ends_by_itself(class: &str) -> bool {
    !matches!(class, "token" | "websocket")
}

/// Whether the operation is that of a command in an instance.
pub fn is_command(record: &Value) -> bool {
    record["description"] == "Executing command"
}

/// Whether the operation has not ended.
pub fn is_running(record: &Value) -> bool {
    !matches!(record["status_code"].as_u64(), Some(200 | 400 | 401))
}

/// The paths that an operation acts on, as far as its record tells.
pub fn paths(record: &Value) -> Vec<ApiPath> {
    let resources = record["resources"].as_object();
    let mut urls: Vec<&str> = resources
        .into_iter()
        .flat_map(|kinds| kinds.values())
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if urls.is_empty() {
        let entities = ["entity_url", "original_entity_url"];
        urls.extend(
            entities
                .iter()
                .filter_map(|key| record["metadata"][*key].as_str()),
        );
    }
    urls.into_iter().filter_map(ApiPath::parse).collect()
}

/// The name of what an operation makes in a collection, where the request did not say it. Nothing where the record does not
/// tell either.
pub fn name_of_made(collection: &ApiPath, record: &Value) -> Option<String> {
    let kind = collection.kind_of_members()?;
    let text = |key: &str| record["metadata"][key].as_str().map(str::to_owned);
    let named = match kind.naming {
        Naming::Image => vec![collection.member(&text("fingerprint")?)],
        // The server chose the address.
        Naming::Key("listen_address") => vec![collection.member(&text("listen_address")?)],
        Naming::Key(_) | Naming::Certificate | Naming::Token => paths(record),
    };
    named
        .iter()
        .find_map(|path| collection.name_of_member(path))
        .map(str::to_owned)
}

/// Descriptions of operations that make a volume of another one.
const COPIES_VOLUMES: [&str; 3] = [
    "Copying storage volume",
    "Migrating storage volume",
    "Moving storage volume",
];

/// Whether an operation may make, change or remove a resource: it names the resource, something that it is part of, or a
/// part of it.
pub fn concerns(record: &Value, resource: &ApiPath) -> bool {
    let named = paths(record);
    // On its way to another name or pool a volume is named by its source, or not at all.
    if COPIES_VOLUMES
        .iter()
        .any(|words| record["description"] == *words)
        && resource.is_volume()
    {
        return true;
    }
    let is_whole_project = |path: &ApiPath| {
        path.segments().len() == 2 && path.segments()[0] == "projects" && resource != path
    };
    // What makes an image names nothing, or the project alone.
    if named.iter().all(is_whole_project) {
        let is_image = |word: &String| word == "images";
        return resource.segments().first().is_some_and(is_image);
    }
    named.iter().any(|path| path.touches(resource))
}

/// The text of `metadata.<stage>_progress`, such as `rootfs: 35% (12.3MB/s)`: for people, as the wording differs between
/// servers.
pub fn progress(metadata: &Value) -> Option<&str> {
    let mut stages = metadata.as_object()?.iter();
    stages.find_map(|(key, text)| key.ends_with("_progress").then(|| text.as_str()).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path(target: &str) -> ApiPath {
        ApiPath::parse(target).expect("a path of the API")
    }

    #[test]
    fn operations_of_older_and_newer_servers_name_the_same() {
        for record in [
            json!({"resources": {"instances": ["/1.0/instances/c1"]}}),
            json!({"resources": {"containers": ["/1.0/containers/c1?project=p"], "x": null}}),
            json!({"resources": {}, "metadata": {"entity_url": "/1.0/instances/c1?project=p"}}),
            json!({"resources": {}, "metadata": {"entity_url": "/1.0/instances/c2", "original_entity_url": "/1.0/instances/c1"}}),
        ] {
            assert!(concerns(&record, &path("instances/c1")), "{record}");
            assert!(!concerns(&record, &path("instances/c10")), "{record}");
            assert!(!concerns(&record, &path("images/abc")), "{record}");
        }
    }

    #[test]
    fn what_makes_an_image_names_nothing_but_its_project() {
        for record in [
            json!({"resources": null, "metadata": {"download_progress": "rootfs: 3%"}}),
            json!({"resources": {}, "metadata": {"entity_url": "/1.0/projects/default"}}),
        ] {
            assert!(concerns(&record, &path("images")), "{record}");
            assert!(!concerns(&record, &path("instances/c1")), "{record}");
        }
    }

    #[test]
    fn copies_of_volumes_name_their_source_or_nothing() {
        let copy = path("storage-pools/default/volumes/custom/v2");
        for record in [
            json!({"description": "Copying storage volume", "resources": {}, "metadata": {"entity_url": "/1.0/storage-pools/default/volumes/custom/v1"}}),
            json!({"description": "Copying storage volume", "resources": {}, "metadata": {}}),
            json!({"description": "Copying storage volume", "resources": null}),
        ] {
            assert!(concerns(&record, &copy), "{record}");
            assert!(!concerns(&record, &path("instances/v2")), "{record}");
        }
        let other = json!({"description": "Updating storage volume", "resources": {}, "metadata": {"entity_url": "/1.0/storage-pools/default/volumes/custom/v1"}});
        assert!(!concerns(&other, &copy));
    }

    #[test]
    fn names_that_the_server_chose() {
        for (collection, record, expected) in [
            (
                "instances",
                json!({"resources": {"instances": ["/1.0/instances/able-fox"]}}),
                Some("able-fox"),
            ),
            (
                "containers",
                json!({"resources": {}, "metadata": {"entity_url": "/1.0/instances/able-fox?project=p"}}),
                Some("able-fox"),
            ),
            // A copy names its source as well, after itself.
            (
                "instances",
                json!({"resources": {"instances": ["/1.0/instances/able-fox", "/1.0/instances/c1"]}}),
                Some("able-fox"),
            ),
            (
                "instances/c/backups",
                json!({"resources": {"instances": ["/1.0/instances/c"], "backups": ["/1.0/instances/c/backups/backup0"]}}),
                Some("backup0"),
            ),
            (
                "instances/c/snapshots",
                json!({"resources": {}, "metadata": {"entity_url": "/1.0/instances/c/snapshots/snap0"}}),
                Some("snap0"),
            ),
            (
                "networks/n/forwards",
                json!({"resources": {}, "metadata": {"entity_url": "/1.0/networks/n", "listen_address": "192.0.2.7"}}),
                Some("192.0.2.7"),
            ),
            ("images", json!({"metadata": {"fingerprint": ".."}}), None),
            (
                "instances",
                json!({"resources": {"instances": ["/1.0/instances/..", "/1.0/instances/%2e%2E"]}}),
                None,
            ),
            (
                "instances",
                json!({"resources": {"instances": ["/1.0/instances/a%2fb", "/1.0/instances/a%00"]}}),
                None,
            ),
            (
                "networks/n/peers",
                json!({"resources": {}, "metadata": {"entity_url": "/1.0/networks/n"}}),
                None,
            ),
            (
                "images",
                json!({"metadata": {"fingerprint": "ab12"}}),
                Some("ab12"),
            ),
        ] {
            let name = name_of_made(&path(collection), &record);
            assert_eq!(name.as_deref(), expected, "{record}");
        }
    }

    #[test]
    fn progress_is_the_text_of_the_stage() {
        let metadata = json!({"progress": {"stage": "rootfs"}, "download_progress": "rootfs: 35%"});
        assert_eq!(progress(&metadata), Some("rootfs: 35%"));
    }
}
