//! Servers that are not what they should be.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::https::Pair;

/// What a server does with its connections.
pub(crate) enum Manner {
    /// Speaks TLS 1.3 with this certificate.
    Tls(Pair),
    /// Speaks HTTP.
    Plain,
    /// Answers as servers do that know TLS up to 1.2.
    Old,
    /// Accepts connections and says nothing.
    Silent,
    /// Closes connections at once.
    Closing,
    /// Speaks TLS with a certificate and passes requests on to a daemon's socket where they bring this bearer token; others get
    /// what daemons say to strangers.
    Front(Pair, String, PathBuf),
    /// Passes connections on to this address, whatever it is asked for, to those who log in as `user` with `secret`.
    Proxy(String),
}

/// The alert `protocol_version`, in a record of TLS 1.2.
const OLD: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 70];

/// A server on loopback, gone with the test process.
pub(crate) struct Impostor {
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    got: Arc<Mutex<Vec<u8>>>,
}

impl Impostor {
    pub(crate) fn start(manner: Manner) -> Impostor {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let got = Arc::default();
        let known = Arc::clone(&got);
        thread::spawn(move || {
            let manner = Arc::new(manner);
            for stream in listener.incoming().map_while(Result::ok) {
                stream.set_read_timeout(Some(Duration::from_secs(20))).ok();
                let (manner, known) = (Arc::clone(&manner), Arc::clone(&known));
                thread::spawn(move || {
                    if let Some(_kept) = manner.receive(stream, &known) {
                        thread::sleep(Duration::from_secs(20));
                    }
                });
            }
        });
        Impostor { address, got }
    }

    /// What has come beside handshakes: as text, of TLS the decrypted one.
    pub(crate) fn got(&self) -> String {
        String::from_utf8_lossy(&self.got.lock().expect("no panic")).into_owned()
    }
}

impl Manner {
    /// Gives back what is to stay open.
    fn receive(&self, mut stream: TcpStream, got: &Mutex<Vec<u8>>) -> Option<TcpStream> {
        let mut buffer = [0; 4096];
        match self {
            Manner::Tls(pair) => {
                let mut tls = StreamOwned::new(serving(pair), stream);
                while let Ok(amount @ 1..) = tls.read(&mut buffer) {
                    got.lock().expect("no panic").extend(&buffer[..amount]);
                }
                None
            }
            Manner::Front(pair, token, socket) => {
                let mut tls = StreamOwned::new(serving(pair), stream);
                let request = one_request(&mut tls)?;
                let head = String::from_utf8_lossy(&request).into_owned();
                let known = head.contains(&format!("authorization: Bearer {token}\r\n"));
                let answer = if known {
                    ask(socket, &request)
                } else {
                    let words = r#"{"type":"error","error":"not authorized","error_code":403}"#;
                    format!(
                        "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{words}",
                        words.len()
                    )
                    .into_bytes()
                };
                tls.write_all(&answer).ok()?;
                tls.conn.send_close_notify();
                tls.flush().ok();
                None
            }
            Manner::Plain => {
                let _hello = stream.read(&mut buffer).unwrap_or(0);
                stream
                    .write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
                    .ok();
                None
            }
            Manner::Old => {
                let _hello = stream.read(&mut buffer).unwrap_or(0);
                stream.write_all(&OLD).ok();
                None
            }
            Manner::Silent => Some(stream),
            Manner::Closing => None,
            Manner::Proxy(to) => {
                let amount = stream.read(&mut buffer).unwrap_or(0);
                got.lock().expect("no panic").extend(&buffer[..amount]);
                let asked = String::from_utf8_lossy(&buffer[..amount]).into_owned();
                // `user:secret` in base64.
                if !asked.contains("Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=") {
                    stream
                        .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                        .ok();
                    return None;
                }
                let server = TcpStream::connect(to).expect("the server listens");
                stream
                    .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    .ok();
                pass_on(stream, server);
                None
            }
        }
    }
}

/// A request as a whole, whose connection is to be closed after it.
fn one_request(from: &mut impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        from.read_exact(&mut byte).ok()?;
        bytes.extend(byte);
    }
    let head = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    from.read_exact(&mut body).ok()?;
    bytes.truncate(bytes.len() - 2);
    bytes.extend(b"Connection: close\r\n\r\n");
    bytes.extend(body);
    Some(bytes)
}

fn ask(socket: &Path, request: &[u8]) -> Vec<u8> {
    let mut daemon = UnixStream::connect(socket).expect("the daemon listens");
    daemon.write_all(request).expect("it reads");
    let mut answer = Vec::new();
    daemon.read_to_end(&mut answer).expect("it answers");
    answer
}

fn pass_on(one: TcpStream, other: TcpStream) {
    one.set_read_timeout(None).ok();
    for (mut from, mut to) in [
        (
            one.try_clone().expect("a copy"),
            other.try_clone().expect("a copy"),
        ),
        (other, one),
    ] {
        thread::spawn(move || {
            std::io::copy(&mut from, &mut to).ok();
            to.shutdown(std::net::Shutdown::Both).ok();
        });
    }
}

fn serving(pair: &Pair) -> ServerConnection {
    let chain =
        vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they belong together");
    ServerConnection::new(Arc::new(config)).expect("a connection")
}
