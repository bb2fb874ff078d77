//! One HTTP/1.1 request over the agent's Unix socket or TLS, with a deadline and a bounded answer.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::endpoint::{Endpoint, TlsEndpoint};

/// What is asked of the agent.
#[derive(Debug)]
pub(crate) struct Call {
    /// The method.
    pub(crate) method: Method,
    /// Path and query, already percent-encoded.
    pub(crate) target: String,
    /// A JSON body.
    pub(crate) body: Option<Vec<u8>>,
    /// Most bytes of answer.
    pub(crate) answer_max: usize,
    /// For the whole exchange, from connecting to the last byte.
    pub(crate) deadline: Duration,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// At most `answer_max` bytes.
    pub(crate) body: Vec<u8>,
}

/// Why there is no reply.
#[derive(Debug, Error)]
pub(crate) enum HttpError {
    /// The environment: nobody listens there, or we may not connect.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The peer is not whom we trust, or does not trust us.
    #[error("cannot agree on TLS")]
    Handshake(#[source] io::Error),
    /// The peer: too slow.
    #[error("expected an answer within {} s, found none", deadline.as_secs())]
    Deadline {
        /// The whole time given.
        deadline: Duration,
    },
    /// The peer: more than expected.
    #[error("expected an answer of at most {max} bytes, found more")]
    TooLong {
        /// The bound.
        max: usize,
    },
    /// The peer: not HTTP, or it hung up.
    #[error("expected an HTTP answer")]
    Protocol(#[source] hyper::Error),
    /// The peer hung up, or its answer broke off.
    #[error("expected a whole answer")]
    Body(#[source] Box<dyn StdError + Send + Sync>),
    /// A bug of this program: a request that cannot be written.
    #[error("cannot form the request")]
    Request(#[source] hyper::http::Error),
    /// The environment: no event loop.
    #[error("cannot start an event loop")]
    Runtime(#[source] io::Error),
}

/// Makes one call on a connection of its own.
pub(crate) fn call(endpoint: &Endpoint, call: Call) -> Result<Reply, HttpError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(HttpError::Runtime)?;
    let deadline = call.deadline;
    runtime
        .block_on(async { tokio::time::timeout(deadline, connect(endpoint, call)).await })
        .unwrap_or(Err(HttpError::Deadline { deadline }))
}

async fn connect(endpoint: &Endpoint, call: Call) -> Result<Reply, HttpError> {
    match endpoint {
        Endpoint::Socket(path) => {
            let stream = UnixStream::connect(path).await.map_err(HttpError::Connect)?;
            exchange(stream, "sealstone", call).await
        }
        Endpoint::Tls(tls) => {
            let TlsEndpoint { host, port, name, config } = &**tls;
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(HttpError::Connect)?;
            let stream = TlsConnector::from(Arc::clone(config))
                .connect(name.clone(), stream)
                .await
                .map_err(HttpError::Handshake)?;
            let authority =
                if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
            exchange(stream, &authority, call).await
        }
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    host: &str,
    call: Call,
) -> Result<Reply, HttpError> {
    let Call { method, target, body, answer_max, deadline: _ } = call;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(HttpError::Protocol)?;
    // Ends with the runtime, at the latest.
    tokio::spawn(connection);
    let request =
        Request::builder().method(method).uri(target).header(HOST, host).header(ACCEPT, "application/json");
    let request = match body {
        Some(body) => request.header(CONTENT_TYPE, "application/json").body(Full::new(Bytes::from(body))),
        None => request.body(Full::new(Bytes::new())),
    }
    .map_err(HttpError::Request)?;
    let response = sender.send_request(request).await.map_err(HttpError::Protocol)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), answer_max).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            HttpError::TooLong { max: answer_max }
        } else {
            HttpError::Body(error)
        }
    })?;
    Ok(Reply { status, body: body.to_bytes().to_vec() })
}

/// Writes one path segment or query value (RFC 3986, section 2.3: all but the unreserved is escaped).
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    // A lone "." or ".." would be taken for a step in the path.
    if out.bytes().all(|byte| byte == b'.') { out.replace('.', "%2E") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::path::{Path, PathBuf};

    /// A peer that reads a request's head and then does as the test says.
    fn peer(dir: &Path, act: impl FnOnce(&mut std::os::unix::net::UnixStream) + Send + 'static) -> PathBuf {
        let socket = dir.join("agent.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            act(&mut stream);
        });
        socket
    }

    fn get(socket: &Path, deadline: Duration) -> Result<Reply, HttpError> {
        let target = "/v1/status".to_owned();
        let endpoint = Endpoint::Socket(socket.to_owned());
        call(&endpoint, Call { method: Method::GET, target, body: None, answer_max: 16, deadline })
    }

    const SOON: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn an_answer_is_taken_whole() {
        let dir = tempfile::tempdir().unwrap();
        let socket = peer(dir.path(), |stream| {
            stream.write_all(b"HTTP/1.1 503 no\r\ncontent-length: 2\r\n\r\n{}").unwrap();
        });
        let reply = get(&socket, LONG).unwrap();
        assert_eq!((reply.status.as_u16(), reply.body.as_slice()), (503, b"{}".as_slice()));
    }

    #[test]
    fn nobody_there() {
        let dir = tempfile::tempdir().unwrap();
        let absent = get(&dir.path().join("agent.sock"), LONG);
        assert!(matches!(absent, Err(HttpError::Connect(_))), "{absent:?}");
        std::fs::write(dir.path().join("file"), b"").unwrap();
        let not_a_socket = get(&dir.path().join("file"), LONG);
        assert!(matches!(not_a_socket, Err(HttpError::Connect(_))), "{not_a_socket:?}");
        let overlong = get(&dir.path().join("x".repeat(200)), LONG);
        assert!(matches!(overlong, Err(HttpError::Connect(_))), "{overlong:?}");
    }

    #[test]
    fn an_overlong_answer_is_refused_announced_or_not() {
        for head in ["content-length: 17\r\n\r\n", "connection: close\r\n\r\n"] {
            let dir = tempfile::tempdir().unwrap();
            let socket = peer(dir.path(), move |stream| {
                let _ = write!(stream, "HTTP/1.1 200 OK\r\n{head}{}", "x".repeat(17));
            });
            let long = get(&socket, LONG);
            assert!(matches!(long, Err(HttpError::TooLong { max: 16 })), "{long:?}");
        }
    }

    #[test]
    fn a_peer_that_dawdles_runs_into_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let socket = peer(dir.path(), move |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{").unwrap();
            let _ = held.recv();
        });
        let late = get(&socket, SOON);
        assert!(matches!(late, Err(HttpError::Deadline { .. })), "{late:?}");
        drop(release);
    }

    #[test]
    fn garbage_silence_and_half_an_answer_are_named() {
        for answer in [b"SSH-2.0-x\r\n\r\n".as_slice(), b"", b"HTTP/1.1 200"] {
            let dir = tempfile::tempdir().unwrap();
            let socket = peer(dir.path(), move |stream| stream.write_all(answer).unwrap());
            let broken = get(&socket, LONG);
            assert!(matches!(broken, Err(HttpError::Protocol(_))), "{broken:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let socket = peer(dir.path(), |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{").unwrap();
        });
        let broken = get(&socket, LONG);
        assert!(matches!(broken, Err(HttpError::Body(_))), "{broken:?}");
    }

    #[test]
    fn a_segment_never_leaves_its_place() {
        assert_eq!(encoded("acme-1._~"), "acme-1._~");
        assert_eq!(encoded("a/b?c#d%e f&g=h"), "a%2Fb%3Fc%23d%25e%20f%26g%3Dh");
        assert_eq!(encoded("é\n"), "%C3%A9%0A");
        assert_eq!(encoded(".."), "%2E%2E");
        assert_eq!(encoded("."), "%2E");
        assert_eq!(encoded("a.."), "a..");
    }
}
