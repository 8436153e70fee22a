//! JSON-RPC as a caller sees it: Core Lightning's on a Unix socket, and the error that both it and
//! bitcoind's give.

use serde_json::{Value, json};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a call gave no result.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The other side answered with an error.
    #[error("{method}: error {code}: {message}")]
    Refused {
        /// The method called.
        method: String,
        /// JSON-RPC error code.
        code: i64,
        /// What it said.
        message: String,
        /// The error's `data`, null if it had none.
        data: Box<Value>,
    },
    /// The connection failed, or ended before the reply.
    #[error("{method}: {source}")]
    Io {
        /// The method called.
        method: String,
        /// What went wrong.
        source: io::Error,
    },
    /// The reply is not one.
    #[error("{method}: a reply that is none: {reply}")]
    Garbled {
        /// The method called.
        method: String,
        /// What came instead.
        reply: String,
    },
}

impl RpcError {
    /// The error's code, where the other side answered.
    pub fn code(&self) -> Option<i64> {
        match self {
            RpcError::Refused { code, .. } => Some(*code),
            RpcError::Io { .. } | RpcError::Garbled { .. } => None,
        }
    }
}

/// The result in a reply, or its error.
pub(crate) fn outcome(method: &str, mut reply: Value) -> Result<Value, RpcError> {
    let error = reply.get_mut("error").map(Value::take).unwrap_or_default();
    if !error.is_null() {
        return Err(RpcError::Refused {
            method: method.to_string(),
            code: error["code"].as_i64().unwrap_or_default(),
            message: error["message"].as_str().unwrap_or_default().to_string(),
            data: Box::new(error["data"].clone()),
        });
    }
    match reply.get_mut("result") {
        Some(result) => Ok(result.take()),
        None => Err(RpcError::Garbled {
            method: method.to_string(),
            reply: reply.to_string(),
        }),
    }
}

/// Calls to one node; cheap to clone, usable from many threads, and outlives the node's restarts.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    limit: Duration,
}

impl Client {
    /// Calls on this socket; a reply may take `limit`.
    pub fn new(socket: &Path, limit: Duration) -> Client {
        Client {
            socket: socket.to_path_buf(),
            limit,
        }
    }

    /// One call on a connection of its own. `params` is an object or an array.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub fn call(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        self.connect(method)?.call(method, params)
    }

    /// A connection for many calls.
    ///
    /// # Errors
    /// Where nobody listens on the socket; `purpose` stands in the error.
    pub fn connect(&self, purpose: &str) -> Result<Connection, RpcError> {
        let failed = |source| RpcError::Io {
            method: purpose.to_string(),
            source,
        };
        let stream = UnixStream::connect(&self.socket).map_err(failed)?;
        stream.set_read_timeout(Some(self.limit)).map_err(failed)?;
        let reader = BufReader::new(stream.try_clone().map_err(failed)?);
        Ok(Connection {
            stream,
            reader,
            next_id: 0,
        })
    }
}

/// One connection to a node's RPC socket: a call after the other.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
    next_id: u64,
}

impl Connection {
    /// Sends a call and waits for its reply; notifications in between are dropped.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub fn call(&mut self, method: &str, params: Value) -> Result<Value, RpcError> {
        self.next_id += 1;
        let id = format!("blackbox:{method}#{}", self.next_id);
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let failed = |source| RpcError::Io {
            method: method.to_string(),
            source,
        };
        self.stream
            .write_all(format!("{request}\n\n").as_bytes())
            .map_err(failed)?;
        loop {
            let reply = self.read(method)?;
            if reply["id"].as_str() == Some(&id) {
                return outcome(method, reply);
            }
            if reply["method"].is_null() {
                return Err(RpcError::Garbled {
                    method: method.to_string(),
                    reply: reply.to_string(),
                });
            }
        }
    }

    /// Sends bytes as they are; for tests of what the node says to requests that are none.
    ///
    /// # Errors
    /// That of the socket.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads one JSON value, whoever it is for.
    ///
    /// # Errors
    /// Where the connection ends, stays silent too long, or says something that is not JSON.
    pub fn read(&mut self, method: &str) -> Result<Value, RpcError> {
        let reader = Read::by_ref(&mut self.reader);
        match serde_json::Deserializer::from_reader(reader)
            .into_iter::<Value>()
            .next()
        {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) if error.is_io() => Err(RpcError::Io {
                method: method.to_string(),
                source: error.into(),
            }),
            Some(Err(error)) if error.is_eof() => Err(ended(method)),
            Some(Err(error)) => Err(RpcError::Garbled {
                method: method.to_string(),
                reply: error.to_string(),
            }),
            None => Err(ended(method)),
        }
    }
}

fn ended(method: &str) -> RpcError {
    RpcError::Io {
        method: method.to_string(),
        source: io::ErrorKind::UnexpectedEof.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufRead;
    use std::os::unix::net::UnixListener;

    /// Answers each line that is a request with these texts, `ID` replaced by its id.
    fn serve(listener: UnixListener, replies: &'static [&'static str]) {
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let requests = lines.map(Result::unwrap).filter(|line| !line.is_empty());
            for (request, reply) in requests.zip(replies) {
                let request: Value = serde_json::from_str(&request).unwrap();
                let reply = reply.replace("ID", request["id"].as_str().unwrap());
                stream.write_all(reply.as_bytes()).unwrap();
            }
        });
    }

    #[test]
    fn replies_are_told_from_notifications_and_errors_from_results() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("rpc");
        serve(
            UnixListener::bind(&socket).unwrap(),
            &[
                "{\"jsonrpc\":\"2.0\",\"method\":\"message\",\"params\":{}}\n\n{\"id\":\"ID\",\"result\":{\"a\":1}}\n\n",
                "{\"id\":\"ID\",\"error\":{\"code\":-32602,\"message\":\"no\"}}\n\n",
                "nonsense\n\n",
            ],
        );
        let client = Client::new(&socket, std::time::Duration::from_secs(60));
        let mut connection = client.connect("test").unwrap();
        assert_eq!(connection.call("one", json!({})).unwrap(), json!({"a": 1}));
        assert_eq!(
            connection.call("two", json!([])).unwrap_err().code(),
            Some(-32602)
        );
        assert!(matches!(
            connection.call("three", json!({})),
            Err(RpcError::Garbled { .. })
        ));
    }

    #[test]
    fn nobody_on_the_socket_is_an_io_error() {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::new(
            &folder.path().join("none"),
            std::time::Duration::from_secs(1),
        );
        assert!(matches!(
            client.call("getinfo", json!({})),
            Err(RpcError::Io { .. })
        ));
    }
}
