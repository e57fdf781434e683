//! Commands on the network between instances: addresses, and files that one serves to the others.

use bashkit::ExecResult;

use super::Own;
use crate::state::tree::{Content, Node, SharedTree};

impl Own {
    pub(super) fn ip(&self, arguments: &[&str]) -> ExecResult {
        let mut world = self.place.daemon.world();
        let Ok(instance) = world.instance_mut(&self.place.project, &self.place.instance) else {
            return ExecResult::ok("");
        };
        match arguments {
            [
                "addr" | "a" | "address",
                "add",
                address,
                "dev",
                interface,
                ..,
            ] => {
                let (address, prefix) = address.split_once('/').unwrap_or((address, "32"));
                let prefix = prefix.parse().unwrap_or(32);
                let Some(addresses) = instance.interfaces.get_mut(*interface) else {
                    let text = format!("ip: can't find device '{interface}'\n");
                    return ExecResult::err(text, 1);
                };
                // Its own word goes before the lease.
                addresses.insert(0, (address.to_owned(), prefix));
                ExecResult::ok("")
            }
            ["addr" | "a" | "address"] | [] => {
                let mut text = String::new();
                for (name, addresses) in &instance.interfaces {
                    text.push_str(&format!("{name}: <BROADCAST,MULTICAST,UP> mtu 1500\n"));
                    for (address, prefix) in addresses {
                        text.push_str(&format!(
                            "    inet {address}/{prefix} scope global {name}\n"
                        ));
                    }
                }
                ExecResult::ok(text)
            }
            _ => ExecResult::ok(""),
        }
    }

    /// Serves a folder: other instances' `wget` finds it by the instance's address.
    pub(super) fn httpd(&self, arguments: &[&str]) -> ExecResult {
        let after = |option: &str| {
            let at = arguments.iter().position(|argument| *argument == option)?;
            arguments.get(at + 1).copied()
        };
        let folder = after("-h").unwrap_or("/").to_owned();
        let port = after("-p").and_then(|port| port.rsplit(':').next()?.parse().ok());
        let mut world = self.place.daemon.world();
        if let Ok(instance) = world.instance_mut(&self.place.project, &self.place.instance) {
            instance.served.insert(port.unwrap_or(80), folder);
        }
        ExecResult::ok("")
    }

    /// The folder that is served at an address, with the tree that it is in.
    fn served(&self, host: &str, port: u16) -> Option<(SharedTree, String)> {
        let world = self.place.daemon.world();
        let own = ["localhost", "127.0.0.1"].contains(&host);
        let mut all = world.instances.values();
        let found = all.find(|instance| {
            let mut addresses = instance.interfaces.values().flatten();
            let here =
                instance.name == self.place.instance && instance.project == self.place.project;
            (own && here) || instance.name == host || addresses.any(|(address, _)| address == host)
        })?;
        Some((found.tree.clone(), found.served.get(&port)?.clone()))
    }

    pub(super) fn wget(&self, arguments: &[&str]) -> ExecResult {
        let url = arguments
            .iter()
            .find(|argument| argument.starts_with("http://"));
        let Some(rest) = url.and_then(|url| url.strip_prefix("http://")) else {
            return ExecResult::err("wget: only http:// here\n", 1);
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (name, port) = host.split_once(':').unwrap_or((host, "80"));
        let Some((tree, folder)) = self.served(name, port.parse().unwrap_or(80)) else {
            let text = format!("wget: can't connect to remote host ({name}): Connection refused\n");
            return ExecResult::err(text, 1);
        };
        let path = if path.is_empty() { "index.html" } else { path };
        let Ok(bytes) = tree.lock().read(&format!("{folder}/{path}")) else {
            return ExecResult::err("wget: server returned error: HTTP/1.0 404 Not Found\n", 1);
        };
        let to = arguments.iter().position(|argument| *argument == "-O");
        let to = to
            .and_then(|at| arguments.get(at + 1))
            .copied()
            .unwrap_or(path);
        if to == "-" {
            return ExecResult::ok(bytes.to_vec());
        }
        let node = Node::new(Content::File(bytes), 0o644, std::time::SystemTime::now());
        match self.place.tree.lock().write(to, node) {
            Ok(()) => ExecResult::ok(""),
            Err(_) => ExecResult::err(format!("wget: can't open '{to}'\n"), 1),
        }
    }

    /// `nc -z HOST PORT`: whether somebody listens.
    pub(super) fn nc(&self, arguments: &[&str]) -> ExecResult {
        let plain = arguments
            .iter()
            .filter(|argument| !argument.starts_with('-'));
        let plain: Vec<&&str> = plain.collect();
        let listens = match plain.as_slice() {
            [host, port, ..] => port
                .parse()
                .is_ok_and(|port| self.served(host, port).is_some()),
            _ => false,
        };
        ExecResult::with_code("", i32::from(!listens))
    }
}
