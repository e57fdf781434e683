//! Files pushed into containers and pulled out of them, on LXD and on Incus.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use crate::support::container::{Container, on_both, within};
use crate::support::folder::listing;
use malleus::client::{Error, FileKind, Limit, Pull, Pulled, Push, Pushed, Source, Wait};
use serde_json::json;

fn wait() -> Wait<'static> {
    Wait::within(within(60))
}

fn bytes(text: &str) -> Source {
    Source::Bytes(text.as_bytes().to_vec())
}

/// Permissions, owner and group of a path as the container sees them.
fn stat(container: &Container, path: &str) -> String {
    let line = container.shell(&format!("stat -c '%a %u %g' '{path}'"));
    line.trim_end().to_owned()
}

#[test]
fn permissions_and_owner_hold_where_the_file_exists_too() {
    on_both(|client| {
        let container = Container::start(client, "files-modes");
        container.shell(
            "cd /tmp && echo old >kept && chmod 711 kept && chown 5:6 kept && ln -s kept link",
        );
        let push = |path: &str| Push::new(&container.name, path, bytes("new\n"));
        let put = |push: &Push| {
            let pushed = client.push(push, &wait()).unwrap();
            assert_eq!(pushed, Pushed { files: 1, bytes: 4 });
        };
        // Nothing asked for, nothing changed.
        put(&push("/tmp/kept"));
        assert_eq!(stat(&container, "/tmp/kept"), "711 5 6");
        // What was not asked for stays.
        put(&push("/tmp/kept").mode(0o600));
        assert_eq!(stat(&container, "/tmp/kept"), "600 5 6");
        put(&push("/tmp/kept").owner(1000, 1001));
        assert_eq!(stat(&container, "/tmp/kept"), "600 1000 1001");
        put(&Push {
            gid: Some(7),
            ..push("/tmp/kept")
        });
        assert_eq!(stat(&container, "/tmp/kept"), "600 1000 7");
        // Through a link, also one that leads nowhere yet.
        put(&push("/tmp/link").mode(0o751).owner(8, 9));
        assert_eq!(stat(&container, "/tmp/kept"), "751 8 9");
        assert_eq!(
            container.shell("readlink /tmp/link; cat /tmp/kept"),
            "kept\nnew\n"
        );
        container.shell("ln -s ../tmp/there /tmp/dangling");
        put(&push("/tmp/dangling").mode(0o640));
        assert_eq!(stat(&container, "/tmp/there"), "640 0 0");
        // New ones, with folders on the way, in a container that is stopped.
        container.change("stop");
        put(&push("/opt/a b/ü/?#%41").mode(0o700).owner(3, 4));
        put(&push("/opt/default"));
        put(&push("/tmp/kept").mode(0o644).owner(0, 0));
        container.change("start");
        assert_eq!(stat(&container, "/opt/a b/ü/?#%41"), "700 3 4");
        assert_eq!(stat(&container, "/opt/a b"), "755 3 4");
        assert_eq!(stat(&container, "/opt/default"), "644 0 0");
        // /tmp may have been emptied by the start: it is the image's own.
        assert_eq!(stat(&container, "/tmp/kept"), "644 0 0");
    });
}

#[test]
fn what_cannot_be_pushed_is_said() {
    on_both(|client| {
        let container = Container::start(client, "files-refused");
        container.shell("mkdir -p /tmp/folder/below && touch /tmp/file");
        let local = tempfile::tempdir().unwrap();
        fs::create_dir(local.path().join("empty")).unwrap();
        let folder = || Source::Folder(local.path().to_owned());
        for (push, expected) in [
            (
                Push::new(&container.name, "tmp/x", bytes("")),
                "cannot copy tmp/x: a path in an instance begins with `/`",
            ),
            (
                Push::new(&container.name, "/tmp/", bytes("")),
                "cannot copy /tmp/: the name of the file is missing",
            ),
            (
                Push::new(&container.name, "/tmp/x", bytes("")).mode(0o4755),
                "cannot copy /tmp/x: the API cannot set the permissions 04755, only up to 0777",
            ),
            (
                Push::new(&container.name, "/tmp/folder", bytes("")).mode(0o600),
                "cannot copy /tmp/folder: it is a folder in the instance",
            ),
            (
                Push::new(&container.name, "/tmp/folder", bytes("")),
                "open /tmp/folder: is a directory",
            ),
            (
                Push::new(&container.name, "/tmp/file", folder()),
                "cannot copy /tmp/file: it is not a folder in the instance",
            ),
            (
                Push::new(&container.name, "/tmp/file/x", bytes("")).mode(0o600),
                "not a directory",
            ),
            (
                Push::new(
                    &container.name,
                    "/tmp/x",
                    Source::File("/nonexistent".into()),
                ),
                "cannot read /nonexistent: No such file or directory",
            ),
            (
                Push::new(&container.name, "/tmp/x", Source::File("/dev/null".into())),
                "cannot copy /tmp/x: /dev/null is not a file",
            ),
            (
                Push::new(
                    &container.name,
                    "/tmp/x",
                    Source::Folder("/etc/passwd".into()),
                ),
                "cannot read /etc/passwd: not a directory",
            ),
            (
                Push::new("files-none", "/tmp/x/y/z", bytes("")),
                "Instance not found",
            ),
        ] {
            let error = client.push(&push, &wait()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let changed = Push::new(&container.name, "/tmp/folder", folder()).owner(7, 8);
        client.push(&changed, &wait()).unwrap();
        assert_eq!(stat(&container, "/tmp/folder"), "755 7 8");
        assert_eq!(stat(&container, "/tmp/folder/empty"), "755 7 8");
        assert_eq!(stat(&container, "/tmp/folder/below"), "755 0 0");
        container.change("stop");
        let error = client
            .push(&changed.owner(9, 9), &wait())
            .unwrap_err()
            .to_string();
        println!("{error}");
        assert!(
            error.contains("/tmp/folder: the folder exists, and its owner could not be changed"),
            "{error}"
        );
    });
}

#[test]
fn reading_and_removing() {
    on_both(|client| {
        let container = Container::create(client, "files-read", &json!({}));
        let name = &container.name;
        let file = client.read_file(name, "/etc/group").unwrap();
        assert_eq!(
            (file.kind, file.mode, file.uid, file.gid),
            (FileKind::File, 0o644, 0, 0)
        );
        assert!(file.content.starts_with(b"root:x:0:\n"));
        let link = client.read_file(name, "/bin/sh").unwrap();
        assert_eq!(
            (link.kind, link.content.as_slice()),
            (FileKind::Symlink, &b"/bin/busybox"[..])
        );
        let mut folder = client.read_file(name, "/etc").unwrap();
        folder.names.sort();
        assert_eq!(folder.names[..2], ["group", "passwd"]);
        assert_eq!(
            (folder.kind, folder.content.len()),
            (FileKind::Directory, 0)
        );
        let info = client.stat_file(name, "/bin/busybox").unwrap().unwrap();
        assert_eq!((info.kind, info.mode), (FileKind::File, 0o755));
        assert_eq!(client.stat_file(name, "/none").unwrap(), None);
        client.remove_file(name, "/bin/sh").unwrap();
        for path in ["/bin/sh", "/none"] {
            assert_eq!(
                client.remove_file(name, path).unwrap_err().status(),
                Some(404)
            );
            assert_eq!(
                client.read_file(name, path).unwrap_err().status(),
                Some(404)
            );
        }
        let error = client.remove_file(name, "/etc").unwrap_err();
        assert!(error.to_string().contains("not empty"), "{error}");
    });
}

#[test]
fn a_folder_comes_back_as_it_was() {
    let local = tempfile::tempdir().unwrap();
    let tree = local.path().join("tree");
    for folder in ["empty", "a b/ü/%2F", "private", "x?y#z&p=q"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    let long = "l".repeat(255);
    for (file, mode, content) in [
        ("script", 0o755, "#!/bin/sh\n"),
        ("empty file", 0o644, ""),
        ("a b/ü/%2F/100%", 0o600, "1"),
        ("private/secret", 0o400, "s"),
        ("x?y#z&p=q/+plus+", 0o640, "+"),
        ("-n", 0o444, "dash"),
        ("\\ \"quoted\" \n", 0o644, "line"),
        (&long, 0o644, "long"),
    ] {
        let path = tree.join(file);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(tree.join("private"), fs::Permissions::from_mode(0o700)).unwrap();
    for (link, target) in [
        ("to-file", "script"),
        ("a b/up", "../private"),
        ("outside", "/etc/shadow"),
        ("dangling ü", "no where"),
    ] {
        symlink(target, tree.join(link)).unwrap();
    }
    let expected = listing(&tree);
    on_both(|client| {
        let container = Container::start(client, "files-tree");
        let push = Push::new(&container.name, "/srv/deep/", Source::Folder(tree.clone()));
        let begun = Instant::now();
        let pushed = client.push(&push, &wait()).unwrap();
        println!("pushed {pushed:?} in {:?}", begun.elapsed());
        assert_eq!(
            pushed,
            Pushed {
                files: 12,
                bytes: 25
            }
        );
        let out = tempfile::tempdir().unwrap();
        let pull = Pull::new(&container.name, "/srv/deep/tree/", out.path());
        let pulled = client.pull(&pull, &wait()).unwrap();
        assert_eq!((pulled.files, pulled.bytes), (pushed.files, pushed.bytes));
        assert_eq!(listing(&out.path().join("tree")), expected);
        // Once more over what is there, with changes that must be undone.
        container.shell("cd /srv/deep/tree && chmod 777 script && echo >more && rm to-file && echo file >to-file \
            && ln -sfn elsewhere outside && ln -s /etc 'private/x' ");
        let (script, hidden) = (
            out.path().join("tree/script"),
            out.path().join("tree/private"),
        );
        fs::write(script, "other").unwrap();
        fs::remove_dir_all(&hidden).unwrap();
        symlink("/var", &hidden).unwrap();
        client.push(&push, &wait()).unwrap();
        container.shell("cd /srv/deep/tree && rm more private/x");
        client.pull(&pull, &wait()).unwrap();
        assert_eq!(listing(&out.path().join("tree")), expected);
        assert!(!Path::new("/var/secret").exists());

        // A link that is named is followed, in the instance.
        container.shell("ln -s /srv/deep/tree /srv/current; ln -s current/script /srv/run");
        let to = out.path().join("named");
        client
            .pull(&Pull::new(&container.name, "/srv/current", &to), &wait())
            .unwrap();
        assert_eq!(listing(&to), expected);
        client
            .pull(&Pull::new(&container.name, "/srv/run", out.path()), &wait())
            .unwrap();
        assert_eq!(fs::read(out.path().join("run")).unwrap(), b"#!/bin/sh\n");
        container.shell("ln -s b /tmp/a; ln -s a /tmp/b");
        let error = client
            .pull(&Pull::new(&container.name, "/tmp/a", out.path()), &wait())
            .unwrap_err();
        assert!(
            error.to_string().contains("too many symbolic links"),
            "{error}"
        );
        let missing = out.path().join("none/x");
        let error = client
            .pull(&Pull::new(&container.name, "/none", &missing), &wait())
            .unwrap_err();
        assert_eq!(error.status(), Some(404));
        assert!(!out.path().join("none").exists());
    });
}

#[test]
fn names_that_are_not_utf_8() {
    let local = tempfile::tempdir().unwrap();
    fs::write(local.path().join(OsStr::from_bytes(b"\xff\xfe")), "x").unwrap();
    on_both(|client| {
        let container = Container::start(client, "files-bytes");
        let push = Push::new(
            &container.name,
            "/srv",
            Source::Folder(local.path().to_owned()),
        );
        client.push(&push, &wait()).unwrap();
        assert_eq!(
            container.shell("cd /srv && cat $(printf '\\377\\376')"),
            "x"
        );
        let out = tempfile::tempdir().unwrap();
        let pull = Pull::new(&container.name, "/srv", out.path());
        assert_eq!(
            client.pull(&pull, &wait()).unwrap(),
            Pulled { files: 1, bytes: 1 }
        );
        let pulled = out.path().join("srv").join(OsStr::from_bytes(b"\xff\xfe"));
        assert_eq!(fs::read(pulled).unwrap(), b"x");
    });
}

/// The most memory this process has had at once, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn large_files_are_streamed() {
    const SIZE: u64 = 60 << 20;
    let local = tempfile::tempdir().unwrap();
    let large = local.path().join("large");
    let mut file = fs::File::create(&large).unwrap();
    for block in 0..60_u8 {
        file.write_all(&vec![block; 1 << 20]).unwrap();
    }
    on_both(|client| {
        let container = Container::start(client, "files-large");
        let before = peak();
        let begun = Instant::now();
        let push = Push::new(&container.name, "/tmp/large", Source::File(large.clone()));
        client.push(&push, &wait()).unwrap();
        let pushed = begun.elapsed();
        let begun = Instant::now();
        let back = local.path().join("back");
        let pulled = client.pull(&Pull::new(&container.name, "/tmp/large", &back), &wait());
        assert_eq!(
            pulled.unwrap(),
            Pulled {
                files: 1,
                bytes: SIZE
            }
        );
        let grown = peak() - before;
        println!(
            "60 MiB pushed in {pushed:?}, pulled in {:?}, {grown} KiB more",
            begun.elapsed()
        );
        assert!(grown < 8 << 10, "{grown} KiB");
        assert!(fs::read(&back).unwrap() == fs::read(&large).unwrap());
        fs::remove_file(&back).unwrap();
    });
}

#[test]
fn a_limit_ends_a_pull_and_leaves_no_part() {
    on_both(|client| {
        let container = Container::start(client, "files-limit");
        container.shell("dd if=/dev/zero of=/tmp/large bs=1 count=0 seek=64G 2>/dev/null");
        let out = tempfile::tempdir().unwrap();
        let limit = Wait::within(Limit::after("step", std::time::Duration::from_millis(500)));
        let error = client.pull(
            &Pull::new(&container.name, "/tmp/large", out.path()),
            &limit,
        );
        assert!(
            matches!(error, Err(Error::Timeout { limit: "step", .. })),
            "{error:?}"
        );
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
    });
}

/// Not on simulated daemons, which have neither pipes nor `/proc`.
#[test]
fn what_is_no_file_is_told_and_what_has_no_length_is_read() {
    on_both(|client| {
        if client.server().simulated {
            return;
        }
        let container = Container::start(client, "files-kinds");
        container.shell("mkdir /run/app && cd /run/app && echo 7 >pid && mkfifo control && mkdir deep && mkfifo deep/more");
        let out = tempfile::tempdir().unwrap();
        let skipped = Mutex::new(Vec::new());
        let pulled = client.pull_noting(
            &Pull::new(&container.name, "/run/app", out.path()),
            &wait(),
            &|left_out| skipped.lock().unwrap().push((left_out.path, left_out.kind)),
        );
        assert_eq!(pulled.unwrap(), Pulled { files: 1, bytes: 2 });
        let mut skipped = skipped.into_inner().unwrap();
        skipped.sort();
        let expected = ["/run/app/control", "/run/app/deep/more"];
        assert_eq!(skipped, expected.map(|path| (path.into(), "a pipe")));
        assert!(out.path().join("app/deep").is_dir());
        for (path, what) in [
            ("/run/app/control", "it is a pipe"),
            ("/dev/null", "it is a device"),
        ] {
            let pull = Pull::new(&container.name, path, out.path());
            let error = client.pull(&pull, &wait()).unwrap_err().to_string();
            assert_eq!(error, format!("cannot copy {path}: {what}"));
        }
        for path in [
            "/proc/version",
            "/proc/cpuinfo",
            "/proc/kallsyms",
            "/sys/kernel/mm/transparent_hugepage/enabled",
        ] {
            let to = out.path().join("pseudo");
            let pulled = client.pull(&Pull::new(&container.name, path, &to), &wait());
            let bytes = pulled
                .unwrap_or_else(|error| panic!("{path}: {error}"))
                .bytes;
            assert!(bytes > 0, "{path}");
            assert_eq!(fs::metadata(&to).unwrap().len(), bytes, "{path}");
        }
        let to = out.path().join("pseudo");
        let version = Pull::new(&container.name, "/proc/version", &to);
        client.pull(&version, &wait()).unwrap();
        let read = container.shell("cat /proc/version");
        assert_eq!(fs::read_to_string(&to).unwrap(), read);
        // The instance is as it was: nobody waits for its pipes.
        container.change("stop");
    });
}
