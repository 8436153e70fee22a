//! An HTTP/1.1 connection to the backend, made when it is needed and kept as long as it lasts.
//!
//! lightningd is asked at each connection where the backend is and what to say there: bitcoind writes
//! a new cookie at each start, and a name may stand for another address. Whatever the
//! other end sends has a limit, and what is cut short (by a limit, a timeout or because the caller
//! no longer waits) ends the connection, so no answer is ever taken for that of another question.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use ipc_messages::lightningd_chaind::{Located, Location, Login};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::locate::Locator;

/// The longest head of an answer, in bytes.
const MAX_HEAD: usize = 1 << 16;

/// The backend by its name, how it knows us, and who knows where it is.
#[derive(Debug)]
pub struct Backend {
    pub host: String,
    pub port: u16,
    pub login: Login,
    pub locator: Rc<Locator>,
}

/// There is no answer, or none that may be used.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("{0}")]
    Unknown(String),
    #[error(
        "bitcoind does not listen on {at} ({error}): is it running? (options bitcoin-rpcconnect, \
         bitcoin-rpcport)"
    )]
    Connect { at: String, error: io::Error },
    #[error("{at} closed the connection without an answer ({error})")]
    Lost { at: String, error: hyper::Error },
    #[error("{at} does not speak HTTP ({error})")]
    NotHttp { at: String, error: hyper::Error },
    #[error("{at} sent more than {limit} bytes")]
    TooLong { at: String, limit: usize },
    #[error("{at} did not answer within {} s", after.as_secs())]
    Timeout { at: String, after: Duration },
    #[error("bitcoind on {at} does not accept {what}")]
    Unauthorized { at: String, what: String },
    #[error("bitcoind on {at} does not let this host connect (its option rpcallowip)")]
    Forbidden { at: String },
}

impl Backend {
    /// `host:port`.
    pub fn at(&self) -> String {
        match self.host.contains(':') && !self.host.starts_with('[') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    fn refused(&self) -> HttpError {
        let what = match &self.login {
            Login::CookieFile { path } => {
                format!("the cookie in {path}: is that the folder of this bitcoind?")
            }
            Login::User { user } => format!(
                "the password for user {user}: check bitcoin-rpcuser and bitcoin-rpcpassword"
            ),
        };
        HttpError::Unauthorized {
            at: self.at(),
            what,
        }
    }
}

fn authorization(credentials: &str) -> HeaderValue {
    // Base64 is always a valid header; the other arm is for the compiler.
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(credentials)))
        .unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

/// A place for one connection.
#[derive(Debug)]
pub struct Http {
    backend: Rc<Backend>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    requests: SendRequest<Full<Bytes>>,
    authorization: HeaderValue,
    driver: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Http {
    pub fn new(backend: Rc<Backend>) -> Http {
        Http {
            backend,
            open: None,
        }
    }

    /// Posts `body` and waits for the whole answer, at most `limit` bytes, at most `timeout`. May
    /// send the body twice if the backend had closed the kept connection.
    ///
    /// # Errors
    /// See [`HttpError`]. Other states than 401 and 403 are no error here: bitcoind puts its
    /// own into the body.
    pub async fn post(
        &mut self,
        body: Vec<u8>,
        limit: usize,
        timeout: Duration,
    ) -> Result<(StatusCode, Bytes), HttpError> {
        let at = self.backend.at();
        tokio::time::timeout(timeout, self.exchange(Bytes::from(body), limit))
            .await
            .unwrap_or(Err(HttpError::Timeout { at, after: timeout }))
    }

    async fn exchange(
        &mut self,
        body: Bytes,
        limit: usize,
    ) -> Result<(StatusCode, Bytes), HttpError> {
        if let Some(mut open) = self.open.take().filter(|open| !open.requests.is_closed()) {
            // bitcoind closes a connection that was idle for half a minute.
            match self.ask(&mut open, body.clone(), limit).await {
                Err(HttpError::Lost { .. }) => {}
                done => return self.keep(open, done),
            }
        }
        let mut open = self.connect().await?;
        let done = self.ask(&mut open, body, limit).await;
        self.keep(open, done)
    }

    fn keep<T>(&mut self, open: Open, done: Result<T, HttpError>) -> Result<T, HttpError> {
        if done.is_ok() {
            self.open = Some(open);
        }
        done
    }

    async fn connect(&self) -> Result<Open, HttpError> {
        let at = self.backend.at();
        let Located {
            addresses,
            credentials,
        } = match self.backend.locator.locate().await {
            Location::At(located) => located,
            Location::Unknown { why } => return Err(HttpError::Unknown(why)),
        };
        let authorization = authorization(&credentials);
        let stream = TcpStream::connect(addresses.as_slice())
            .await
            .map_err(|error| HttpError::Connect {
                at: at.clone(),
                error,
            })?;
        // Questions are small and each is waited for.
        let _ = stream.set_nodelay(true);
        let (requests, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| HttpError::Lost { at, error })?;
        let driver = tokio::spawn(async move {
            // What goes wrong shows where the answer is waited for.
            let _ = connection.await;
        });
        Ok(Open {
            requests,
            authorization,
            driver,
        })
    }

    async fn ask(
        &self,
        open: &mut Open,
        body: Bytes,
        limit: usize,
    ) -> Result<(StatusCode, Bytes), HttpError> {
        let at = self.backend.at();
        let broken = |error: hyper::Error| match error.is_parse() {
            true => HttpError::NotHttp {
                at: at.clone(),
                error,
            },
            false => HttpError::Lost {
                at: at.clone(),
                error,
            },
        };
        open.requests.ready().await.map_err(broken)?;
        let mut request = Request::post("/").body(Full::new(body)).unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, open.authorization.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(host) = HeaderValue::from_str(&at) {
            headers.insert(HOST, host);
        }
        let answer = open.requests.send_request(request).await.map_err(broken)?;
        match answer.status() {
            StatusCode::UNAUTHORIZED => return Err(self.backend.refused()),
            StatusCode::FORBIDDEN => return Err(HttpError::Forbidden { at }),
            _ => {}
        }
        let status = answer.status();
        match Limited::new(answer.into_body(), limit).collect().await {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(error) => match error.downcast::<hyper::Error>() {
                Ok(error) => Err(broken(*error)),
                Err(error) => {
                    debug_assert!(error.is::<LengthLimitError>());
                    Err(HttpError::TooLong { at, limit })
                }
            },
        }
    }
}
