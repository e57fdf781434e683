//! Files against servers that mean ill, and servers newer than those at hand: a scripted server plays them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::container::within;
use crate::support::folder::listing;
use crate::support::program::{Running, malleus};
use crate::support::scripted::{Answer, Scripted, sync};
use malleus::client::{Client, Error, Pull, Pulled, Push, Remote, Source, Wait};
use serde_json::json;

fn wait() -> Wait<'static> {
    Wait::within(within(60))
}

const FILE: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nX-Incus-Type: file\r\n\
    X-Incus-Mode: 0644\r\nX-Incus-Uid: 0\r\nX-Incus-Gid: 0\r\nContent-Length: 4\r\n\r\nevil";
const LINK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nX-Incus-Type: symlink\r\n\
    X-Incus-Mode: 0777\r\nX-Incus-Uid: 0\r\nX-Incus-Gid: 0\r\nContent-Length: 10\r\n\r\n../outside";
const CUT: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nX-Incus-Type: file\r\n\
    X-Incus-Mode: 0644\r\nX-Incus-Uid: 0\r\nX-Incus-Gid: 0\r\nContent-Length: 400\r\n\r\nevil";

/// A folder's list of names, written as JSON.
fn folder(names: &str) -> Answer {
    let body = format!(r#"{{"type":"sync","status_code":200,"metadata":{names}}}"#);
    let text = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Incus-Type: directory\r\nX-Incus-Mode: 0755\r\n\
        X-Incus-Uid: 0\r\nX-Incus-Gid: 0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Answer::Raw(Box::leak(text.into_boxed_str()))
}

const TOP: &str = "GET /1.0/instances/c/files?path=%2Ftop";

#[test]
fn a_malicious_instance_writes_nothing_outside() {
    let below = format!("{TOP}%2Fa");
    let deeper = format!("{TOP}%2Fa%2Foutside");
    let file = [Answer::Raw(FILE)];
    let names = [
        r#"[".."]"#,
        r#"["../evil"]"#,
        r#"["/etc/evil"]"#,
        r#"["a","a"]"#,
        r#"[""]"#,
        r#"["."]"#,
        r#"["a\u0000"]"#,
    ];
    for names in names {
        let script: [(&str, &[Answer]); 3] = [
            (TOP, &[folder(names)]),
            (&below, &[Answer::Raw(LINK), folder(r#"["outside"]"#)]),
            (&deeper, &file),
        ];
        let (result, seen) = pull_scripted(&script, |_| {});
        let error = result.unwrap_err().to_string();
        assert!(
            error.starts_with("cannot copy /top: the server lists"),
            "{error}"
        );
        assert_eq!(
            seen,
            ["\"to\" 755 folder", "\"to/top\" 755 folder"],
            "{names}"
        );
    }
    // A link that an earlier pull made is not gone through.
    let script: [(&str, &[Answer]); 3] = [
        (TOP, &[folder(r#"["a"]"#)]),
        (&below, &[folder(r#"["outside"]"#)]),
        (&deeper, &file),
    ];
    for place in ["to/top", "to/top/a"] {
        let (result, seen) = pull_scripted(&script, |root| {
            fs::create_dir_all(root.join(place).parent().unwrap()).unwrap();
            fs::create_dir(root.join("outside")).unwrap();
            symlink(root.join("outside"), root.join(place)).unwrap();
        });
        assert_eq!(result.unwrap(), Pulled { files: 1, bytes: 4 });
        let evil = format!("{:?}", b"evil");
        assert_eq!(seen[0], "\"outside\" 755 folder");
        assert_eq!(
            seen.last().unwrap(),
            &format!("\"to/top/a/outside\" 644 {evil}")
        );
        assert_eq!(seen.len(), 5, "{seen:?}");
    }
    // A file is written in the place of a link.
    let script: [(&str, &[Answer]); 2] = [(TOP, &[folder(r#"["a"]"#)]), (&below, &file)];
    let (result, seen) = pull_scripted(&script, |root| {
        fs::create_dir_all(root.join("to/top")).unwrap();
        fs::write(root.join("outside"), "good").unwrap();
        symlink("../../outside", root.join("to/top/a")).unwrap();
    });
    result.unwrap();
    assert_eq!(seen[0], format!("\"outside\" 644 {:?}", b"good"));
    // What is cut short does not appear.
    let script: [(&str, &[Answer]); 2] =
        [(TOP, &[folder(r#"["a"]"#)]), (&below, &[Answer::Cut(CUT)])];
    let (result, seen) = pull_scripted(&script, |_| {});
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }), "{error:?}");
    assert_eq!(seen.len(), 2, "{seen:?}");
    // A folder in the place of a file is not replaced.
    let script: [(&str, &[Answer]); 2] = [(TOP, &[folder(r#"["a"]"#)]), (&below, &file)];
    let (result, _) = pull_scripted(&script, |root| {
        fs::create_dir_all(root.join("to/top/a")).unwrap();
    });
    let error = result.unwrap_err().to_string();
    assert!(error.contains("to/top/a: Is a directory"), "{error}");
}

/// Pulls `/top` of a scripted server into `to/`; gives the result and all there is then.
fn pull_scripted(
    script: &[(&str, &[Answer])],
    prepare: impl Fn(&Path),
) -> (Result<Pulled, Error>, Vec<String>) {
    let server = Scripted::serve(script);
    let client = Client::connect(&Remote::Unix(server.socket.clone())).unwrap();
    let root = tempfile::tempdir().unwrap();
    prepare(root.path());
    let mut to = root.path().join("to").into_os_string();
    to.push("/");
    let pulled = client.pull(&Pull::new("c", "/top", to), &wait());
    (pulled, listing(root.path()))
}

#[test]
fn servers_that_can_change_permissions_are_asked_to() {
    let introduction = sync(&json!({
        "auth": "trusted",
        "api_extensions": ["instances_files_modify_permissions"],
        "environment": {"server": "lxd", "server_version": "5.21.3", "project": "default"},
    }));
    let path = "POST /1.0/instances/c%2F1/files?path=%2Fetc%2Fa%20b";
    let server = Scripted::serve(&[("GET /1.0", &[introduction]), (path, &[sync(&json!({}))])]);
    let client = Client::connect(&Remote::Unix(server.socket.clone())).unwrap();
    let push = Push::new("c/1", "/etc/a b", Source::Bytes(b"text".to_vec()))
        .mode(0o600)
        .owner(0, 5);
    client.push(&push, &wait()).unwrap();
    assert_eq!(server.lines(), [path]);
    let received = server.received().pop().unwrap();
    let ours: Vec<_> = received
        .headers
        .iter()
        .filter(|(name, _)| name.starts_with("x-") || name.starts_with("content-"))
        .collect();
    let ours: Vec<_> = ours
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    assert_eq!(
        ours,
        [
            "x-lxd-type: file",
            "x-lxd-mode: 0600",
            "x-lxd-uid: 0",
            "x-lxd-gid: 5",
            "x-lxd-modify-perm: mode,uid,gid",
            "content-type: application/octet-stream",
            "content-length: 4"
        ]
    );
    assert_eq!(received.body, b"text");
}

#[test]
fn later_steps_do_not_go_through_a_link_of_an_instance() {
    let file = [Answer::Raw(FILE)];
    let script: [(&str, &[Answer]); 5] = [
        (
            "GET /1.0/instances/c/files?path=%2Fsite",
            &[folder(r#"["conf"]"#)],
        ),
        (
            "GET /1.0/instances/c/files?path=%2Fsite%2Fconf",
            &[Answer::Raw(LINK)],
        ),
        ("GET /1.0/instances/c/files?path=%2Ffile", &file),
        (
            "GET /1.0/instances/c/files?path=%2Ffolder",
            &[folder(r#"["file"]"#)],
        ),
        ("GET /1.0/instances/c/files?path=%2Ffolder%2Ffile", &file),
    ];
    for step in [
        "pull: {instance: c, path: /file, to: out/site/conf/}",
        "pull: {instance: c, path: /file, to: out/site/conf/name}",
        "pull: {instance: c, path: /file, to: out/site/conf}",
        "pull: {instance: c, path: /file, to: out/site/conf/deep/name}",
        "pull: {instance: c, path: /folder, to: out/site/conf/}",
        "pull: {instance: c, path: /folder, to: out/site/conf}",
        "pull: {instance: c, path: /folder, to: out/site/../site/conf/deep}",
        "request: GET instances/c/logs/a.log\n    save: out/site/conf/name",
        "request: GET instances/c/logs/a.log\n    save: out/site/conf/deep/name",
    ] {
        let server = Scripted::serve(&script);
        let root = tempfile::tempdir().unwrap();
        // Where the instance's link leads.
        fs::create_dir_all(root.path().join("out/outside")).unwrap();
        let playbook = format!(
            "playbook: 1\nname: p\nsteps:\n  - pull: {{instance: c, path: /site, to: out/}}\n  - {step}\n"
        );
        fs::write(root.path().join("playbook.yaml"), playbook).unwrap();
        let mut program = malleus(root.path());
        program
            .args(["run", "playbook.yaml", "--remote"])
            .arg(&server.socket);
        let ran = Running::start(&mut program, None).end();
        assert_eq!(ran.code(), Some(1), "{step}: {}", ran.stderr());
        let told = ran.stderr();
        assert!(
            told.contains("site/conf: it is a symbolic link"),
            "{step}: {told}"
        );
        let link = root.path().join("out/site/conf");
        assert!(link.is_symlink(), "{step}");
        let there = fs::read_dir(root.path().join("out/outside")).unwrap();
        assert_eq!(there.count(), 0, "{step}");
    }
}
