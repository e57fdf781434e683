//! Connections: where clients find the daemon, and how long each is served.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::access::Peer;
use super::daemon::Daemon;
use super::server::exchange;

/// How long a client may take to begin.
const HANDSHAKE: std::time::Duration = std::time::Duration::from_secs(10);

/// Makes the socket. One that a daemon left behind is replaced; one that answers, and any other file, is not.
///
/// It gets its name once it listens: between `bind` and `listen` a connection is refused, as it is where a daemon was killed.
pub(super) fn unix(path: &Path) -> io::Result<StdListener> {
    let taken = |why: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    match std::fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => {
            return taken("there is a file of that name, which is no socket");
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return taken("another daemon answers there");
        }
        _ => {}
    }
    let unnamed = path.with_file_name(format!(".s{:06x}", fastrand::u32(..1 << 24)));
    let listener = StdListener::bind(&unnamed)?;
    std::fs::rename(&unnamed, path).inspect_err(|_| {
        // Of no use without its name.
        let _ = std::fs::remove_file(&unnamed);
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Takes the address for HTTPS.
pub(super) fn https(address: SocketAddr) -> io::Result<StdTcpListener> {
    let listener = StdTcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Where a daemon answers.
pub(super) struct Listeners {
    pub(super) unix: StdListener,
    pub(super) https: Option<(StdTcpListener, TlsAcceptor)>,
}

/// What all connections of a daemon share.
#[derive(Clone)]
struct Shared {
    daemon: Arc<Daemon>,
    /// Counts the times that it "restarted".
    generation: Arc<watch::Sender<u64>>,
}

/// Answers until it is dropped.
pub(super) async fn run(listeners: Listeners, daemon: Arc<Daemon>) {
    let shared = Shared {
        daemon,
        generation: Arc::new(watch::channel(0_u64).0),
    };
    if let Some((listener, acceptor)) = listeners.https {
        tokio::task::spawn_local(run_https(listener, acceptor, shared.clone()));
    }
    let Ok(listener) = UnixListener::from_std(listeners.unix) else {
        return;
    };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            rest().await;
            continue;
        };
        tokio::task::spawn_local(connection(stream, Peer::Local, shared.clone()));
    }
}

async fn run_https(listener: StdTcpListener, acceptor: TlsAcceptor, shared: Shared) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            rest().await;
            continue;
        };
        tokio::task::spawn_local(encrypted(stream, acceptor.clone(), shared.clone()));
    }
}

/// Accepting fails where there are too many open files: those who are served go on.
async fn rest() {
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
}

/// One connection that begins with a handshake.
async fn encrypted(stream: TcpStream, acceptor: TlsAcceptor, shared: Shared) {
    // Small frames are waited for.
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else {
        return;
    };
    let shown = stream.get_ref().1.peer_certificates();
    let shown = shown.and_then(|chain| chain.first());
    let peer = Peer::Remote(shown.map(|certificate| Arc::from(&**certificate)));
    connection(stream, peer, shared).await;
}

/// One connection, until it ends or the daemon "restarts".
async fn connection<S>(stream: S, peer: Peer, Shared { daemon, generation }: Shared)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut restarted = generation.subscribe();
    let service = service_fn(|request| exchange(&daemon, (request, peer.clone()), &generation));
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        // Broken connections are the clients' affair, or were ordered.
        _ = served => {}
        _ = restarted.changed() => {}
    }
}
