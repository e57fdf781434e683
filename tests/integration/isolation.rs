//! Runs in projects of their own.

use std::fs;

use crate::support::ground::{Ground, on_both};
use crate::support::program::{Running, malleus};
use crate::support::scripted::{Answer, Scripted, error, introduction};

#[test]
fn who_may_not_make_a_project_is_told_what_to_do_instead() {
    let text =
        "playbook: 1\nname: isolated\nisolate: project\nsteps:\n  - request: GET instances\n";
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("playbook.yaml"), text).expect("written");
    for (brand, code, words) in [
        ("lxd", 403, "not authorized"),
        ("lxd", 403, "Certificate is restricted"),
        (
            "incus",
            500,
            "User does not have permissions for project \"isolated\"",
        ),
    ] {
        let greeting = match introduction() {
            Answer::Json(status, mut body) => {
                body["metadata"]["environment"]["server"] = brand.into();
                Answer::Json(status, body)
            }
            other => other,
        };
        let server = Scripted::serve(&[
            ("GET /1.0", &[greeting]),
            ("POST /1.0/projects", &[error(code, code, words)]),
        ]);
        let mut program = malleus(folder.path());
        program
            .args(["test", "playbook.yaml", "--remote"])
            .arg(&server.socket);
        let ran = Running::start(&mut program, None).end();
        assert_eq!(ran.code(), Some(1), "{}", ran.stderr());
        let said = ran.stderr();
        assert!(said.contains(words), "{said}");
        assert!(
            said.contains("leave `isolate` away and name one of its projects"),
            "{said}"
        );
        assert!(
            !server
                .lines()
                .iter()
                .any(|line| line.contains("/instances")),
            "{said}"
        );
    }
}

#[test]
fn two_isolated_runs_with_fixed_names_do_not_meet() {
    const FIXED: &str = r#"
playbook: 1
name: fixed
isolate: project
steps:
  - request: POST storage-pools/default/volumes/custom
    body: {name: data}
  - request: POST instances
    body: {name: web, profiles: [default], source: {type: image, alias: busybox}}
  - request: PUT instances/web/state
    body: {action: start}
  - exec: {instance: web, command: [hostname]}
    expect: {stdout: "web\n"}
"#;
    on_both(|flavor| {
        let ground = Ground::new(flavor);
        ground.write("fixed.yaml", FIXED);
        let both = [(), ()].map(|()| ground.start(&ground.daemon.socket, &["test", "fixed.yaml"]));
        for one in both.map(Running::end) {
            assert_eq!(one.code(), Some(0), "{flavor}: {}", one.stderr());
        }
        assert_eq!(ground.is_clean(), Ok(()), "{flavor}");
    });
}

#[test]
fn an_isolated_environment_can_be_brought_up_again() {
    const ENVIRONMENT: &str = r#"
playbook: 1
name: environment
isolate: project
steps:
  - request: POST storage-pools/default/volumes/custom
    body: {name: data}
  - request: POST profiles
    body: {name: "p-{{ run.id }}"}
"#;
    on_both(|flavor| {
        let ground = Ground::new(flavor);
        ground.write("environment.yaml", ENVIRONMENT);
        let state = ground.folder.path().join("state");
        for (arguments, said) in [
            (
                ["up", "environment.yaml"],
                "POST storage-pools/default/volumes/custom",
            ),
            (["up", "environment.yaml"], "POST profiles: unchanged"),
            (["down", "environment"], "3 resources removed"),
        ] {
            let mut program = malleus(ground.folder.path());
            program.env("MALLEUS_STATE_DIR", &state).args(arguments);
            program.arg("--remote").arg(&ground.daemon.socket);
            let ran = Running::start(&mut program, None).end();
            assert_eq!(ran.code(), Some(0), "{flavor}: {}", ran.stderr());
            assert!(ran.stderr().contains(said), "{flavor}: {}", ran.stderr());
        }
        assert_eq!(ground.is_clean(), Ok(()), "{flavor}");
    });
}
