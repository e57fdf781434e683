//! The client over HTTPS, on both brands.

use std::fs;
use std::io::Cursor;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::AT_ONCE;
use crate::support::container::{Container, connect, within};
use crate::support::daemon::{Daemon, daemons};
use crate::support::https::{Pair, free_address, https, remote};
use crate::support::impostor::{Impostor, Manner};
use malleus::client::{
    Certificate, Client, Error, EventType, Exec, Fingerprint, Https, Identity, Proxy, Push,
    Request, Settings, Source, Stdio, TlsError, Trust, Wait, presented_certificate,
};
use rcgen::{CertificateParams, date_time_ymd};

#[test]
fn requests_files_and_websockets_pass() {
    for flavor in daemons() {
        println!("--- {flavor}");
        let daemon = Daemon::start(flavor);
        let _network = daemon.enter_network();
        let server = https(&connect(&daemon));
        let client = Client::connect(&remote(&server)).unwrap();
        assert_eq!(client.server().auth, "trusted");
        let container = Container::start(&client, "tls");

        // Larger than a record, a window and all buffers on the way.
        let input: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let stdio = Stdio {
            stdin: Some(Box::new(Cursor::new(input.clone()))),
            stdout: &mut stdout,
            stderr: &mut stderr,
            signals: None,
        };
        let exec = Exec::new("tls", ["sh", "-c", "cat; echo done >&2; exit 7"]);
        let exit = client
            .exec_stream(&exec, stdio, &Wait::within(within(60)))
            .unwrap();
        assert_eq!((exit.code, stderr.as_slice()), (7, &b"done\n"[..]));
        assert!(stdout == input, "{} of {} bytes", stdout.len(), input.len());

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, &input).unwrap();
        let push = Push::new("tls", "/tmp/file", Source::File(file));
        client.push(&push, &Wait::within(within(60))).unwrap();
        let expected = container.shell("wc -c < /tmp/file");
        assert_eq!(expected.trim(), input.len().to_string());
        let mut back = Vec::new();
        let download = Request::get("instances/tls/files?path=/tmp/file");
        client.download(&download, &mut back).unwrap();
        assert!(back == input, "{} of {} bytes", back.len(), input.len());
    }
}

#[test]
fn what_is_in_flight_is_cancelled_at_once() {
    for flavor in daemons() {
        println!("--- {flavor}");
        let daemon = Daemon::start(flavor);
        let _network = daemon.enter_network();
        let client = Client::connect(&remote(&https(&connect(&daemon)))).unwrap();
        let mut events = client.events(&[EventType::Operation]).unwrap();
        let cancelled = thread::scope(|threads| {
            let listening = threads.spawn(|| events.next(within(30)));
            let waiting = threads.spawn(|| client.pause(Duration::from_secs(30)));
            thread::sleep(Duration::from_millis(200));
            let begun = Instant::now();
            client.cancel();
            assert!(listening.join().unwrap().is_err());
            assert!(waiting.join().unwrap().is_err());
            begun.elapsed()
        });
        assert!(cancelled < AT_ONCE, "{cancelled:?}");
    }
}

/// Tries to connect where a certificate is pinned, with five seconds for it.
fn refused(address: &str, trust: Trust) -> Error {
    let server = Https {
        trust,
        identity: Some(Pair::new().identity()),
        ..Https::at(address.parse().unwrap())
    };
    let settings = Settings {
        connect_timeout: Duration::from_secs(5),
        ..Settings::default()
    };
    let begun = Instant::now();
    let error = Client::connect_with(&remote(&server), settings).unwrap_err();
    assert!(
        begun.elapsed() < Duration::from_secs(5) + AT_ONCE,
        "{:?}: {error}",
        begun.elapsed()
    );
    assert!(!error.may_have_been_sent(), "{error:?}");
    error
}

fn is_unknown(error: &Error) -> bool {
    matches!(error, Error::Unverified { reason, .. } if matches!(**reason, TlsError::Unknown { .. }))
}

fn fingerprint(pair: &Pair) -> Fingerprint {
    Certificate::from_pem(&pair.certificate)
        .unwrap()
        .fingerprint()
}

#[test]
fn nothing_is_sent_to_a_server_that_is_not_the_pinned_one() {
    let (own, other) = (Pair::new(), Pair::new());
    let (presented, pinned) = (fingerprint(&own), fingerprint(&other));
    let impostor = Impostor::start(Manner::Tls(own));
    let error = refused(&impostor.address, Trust::Pinned(pinned));
    assert!(
        matches!(&error, Error::Unverified { reason, .. } if **reason == TlsError::Changed { pinned, presented }),
        "{error:?}"
    );
    let words = error.to_string();
    assert!(
        words.contains(&pinned.to_string()) && words.contains(&presented.to_string()),
        "{words}"
    );
    // Nor to one that nobody vouches for.
    let error = refused(&impostor.address, Trust::System);
    // A machine may have no authorities at all.
    assert!(
        is_unknown(&error) || matches!(error, Error::InvalidIdentity { .. }),
        "{error:?}"
    );
    let stranger = Certificate::from_pem(&other.certificate).unwrap();
    let error = refused(&impostor.address, Trust::Authorities(vec![stranger]));
    assert!(is_unknown(&error), "{error:?}");
    assert_eq!(impostor.got(), "");
}

#[test]
fn dates_count_for_pinned_certificates_too() {
    for (from, to) in [((2001, 1, 1), (2002, 1, 1)), ((4000, 1, 1), (4001, 1, 1))] {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(to.0, to.1, to.2);
        let pair = Pair::of(&params);
        let presented = fingerprint(&pair);
        let impostor = Impostor::start(Manner::Tls(pair));
        let error = refused(&impostor.address, Trust::Pinned(presented));
        assert!(
            matches!(&error, Error::Unverified { reason, .. } if **reason == TlsError::OutOfDate { presented }),
            "{error:?}"
        );
        assert_eq!(impostor.got(), "");
    }
}

#[test]
fn a_pinned_certificate_may_be_for_any_name_and_its_request_arrives() {
    let pair = Pair::of(&CertificateParams::new(["elsewhere.example".to_owned()]).unwrap());
    let pinned = Trust::Pinned(fingerprint(&pair));
    let impostor = Impostor::start(Manner::Tls(pair));
    let server = Https {
        trust: pinned,
        ..Https::at(impostor.address.parse().unwrap())
    };
    let settings = Settings {
        connect_timeout: Duration::from_secs(3),
        ..Settings::default()
    };
    // It does not answer, but it was sent something: the other tests would see that.
    let error = Client::connect_with(&remote(&server), settings).unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Timeout {
                limit: "connect",
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        impostor.got().starts_with("GET /1.0 HTTP/1.1\r\n"),
        "{}",
        impostor.got()
    );
    assert!(
        impostor
            .got()
            .contains(&format!("host: {}\r\n", impostor.address)),
        "{}",
        impostor.got()
    );
}

#[test]
fn servers_that_speak_no_tls_or_an_older_one_or_nothing() {
    let pin = || Trust::Pinned(fingerprint(&Pair::new()));
    for (manner, expected) in [
        (Manner::Plain, "what answers does not speak TLS"),
        (Manner::Old, "it does not speak TLS 1.3"),
        (
            Manner::Silent,
            "the TLS handshake did not end within the connect limit of 5s",
        ),
        (
            Manner::Closing,
            "closed the connection in the TLS handshake",
        ),
    ] {
        let impostor = Impostor::start(manner);
        let words = refused(&impostor.address, pin()).to_string();
        assert!(words.contains(expected), "{words}");
    }
    let words = refused(&free_address(), pin()).to_string();
    assert!(words.contains("nothing listens at 127.0.0.1:"), "{words}");
    let words = refused("no-such-host.invalid", pin()).to_string();
    assert!(
        words.contains("the name no-such-host.invalid is not known"),
        "{words}"
    );
}

#[test]
fn the_next_address_is_taken_when_one_is_away() {
    for flavor in daemons() {
        println!("--- {flavor}");
        let daemon = Daemon::start(flavor);
        let _network = daemon.enter_network();
        let mut server = https(&connect(&daemon));
        let good = server.addresses[0].clone();
        server.addresses = vec![free_address().parse().unwrap(), good.clone()];
        let client = Client::connect(&remote(&server)).unwrap();
        client.request(&Request::get("instances")).unwrap();
        // Also one that hangs; its turn is shorter than the limit.
        let silent = Impostor::start(Manner::Silent);
        server.addresses = vec![silent.address.parse().unwrap(), good];
        Client::connect(&remote(&server)).unwrap();
        // But not one that is somebody else.
        let stranger = Impostor::start(Manner::Tls(Pair::new()));
        server.addresses[0] = stranger.address.parse().unwrap();
        let error = Client::connect(&remote(&server)).unwrap_err();
        assert!(matches!(error, Error::Unverified { .. }), "{error:?}");
        assert_eq!(stranger.got(), "");
    }
}

#[test]
fn a_proxy_passes_the_connection_on_and_sees_nothing_of_it() {
    for flavor in daemons() {
        println!("--- {flavor}");
        let daemon = Daemon::start(flavor);
        let _network = daemon.enter_network();
        let direct = https(&connect(&daemon));
        let proxy = Impostor::start(Manner::Proxy(direct.addresses[0].authority()));
        let named = "server.example:1".parse().unwrap();
        for (login, expected) in [
            ("user:secret", Ok(())),
            ("user:wrong", Err("407 Proxy Authentication")),
        ] {
            let value = format!("http://{login}@{}", proxy.address);
            let environment = |name: &str| (name == "https_proxy").then(|| value.clone());
            let server = Https {
                addresses: vec![Clone::clone(&named)],
                proxy: Proxy::of_environment(&environment, &named).unwrap(),
                ..direct.clone()
            };
            match (Client::connect(&remote(&server)), expected) {
                (Ok(client), Ok(())) => assert_eq!(client.server().auth, "trusted"),
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{error}");
                    assert!(!error.to_string().contains("wrong"), "{error}");
                }
                (got, expected) => panic!("{expected:?}: {got:?}"),
            }
        }
        let got = proxy.got();
        assert!(
            got.starts_with("CONNECT server.example:1 HTTP/1.1\r\n") && !got.contains("GET"),
            "{got}"
        );
    }
}

#[test]
fn a_certificate_is_learned_without_sending_anything() {
    let pair = Pair::new();
    let expected = fingerprint(&pair);
    let impostor = Impostor::start(Manner::Tls(pair));
    let server = Https::at(impostor.address.parse().unwrap());
    let seen = presented_certificate(&server, Duration::from_secs(5)).unwrap();
    assert_eq!(seen.fingerprint(), expected);
    assert_eq!(impostor.got(), "");
}

#[test]
fn keys_of_all_forms_that_clients_write() {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |script: &str| {
        let ran = std::process::Command::new("sh")
            .args(["-ec", script])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    };
    let request = "openssl req -x509 -key key -subj /CN=test -days 2 -out crt";
    for (make, expected) in [
        (
            "openssl ecparam -name secp384r1 -genkey -noout -out key",
            Ok(()),
        ),
        ("openssl genrsa -traditional -out key 2048", Ok(())),
        (
            "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:4096 -out key",
            Ok(()),
        ),
        (
            "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key",
            Ok(()),
        ),
        (
            "openssl ecparam -name secp521r1 -genkey -noout -out key",
            Err("of an unknown type"),
        ),
    ] {
        openssl(&format!("{make}; {request}"));
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        match (Identity::from_pem(&read("crt"), &read("key")), expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, _) => panic!("{make}: {got:?}"),
        }
    }
    let (one, other) = (Pair::new(), Pair::new());
    for (certificate, key, part) in [
        (&one.certificate, &other.key, "does not belong to"),
        (
            &one.certificate,
            &one.certificate,
            "there is no private key",
        ),
        (&one.key, &one.key, "there is no certificate"),
        (
            &one.certificate,
            &one.key.replace("PRIVATE", "ENCRYPTED PRIVATE"),
            "is encrypted",
        ),
    ] {
        let error = Identity::from_pem(certificate, key)
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{error}");
    }
}
