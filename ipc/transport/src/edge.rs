//! What an edge is, as a type, and the hello with which both ends find out that they mean the same.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::error::HelloError;

/// The longest name of an edge, in bytes.
pub const MAX_NAME: usize = 64;
/// The longest hello, in bytes: a name, its length and a hash.
pub(crate) const MAX_HELLO: usize = MAX_NAME + 1 + 32;

/// A kind of connection between two processes. One file of ipc-messages describes one edge.
pub trait Edge {
    /// Its name, as in logs: `lightningd_channeld`. At most [`MAX_NAME`] bytes.
    const NAME: &'static str;
    /// What goes from the parent to the child, or from who asks to who answers.
    type Down: Serialize + DeserializeOwned;
    /// What goes the other way.
    type Up: Serialize + DeserializeOwned;
}

/// Something that is done with every edge of a crate, such as fuzzing its decoder.
pub trait EachEdge {
    fn edge<E: Edge>(&mut self);
}

/// What an end says of itself in its first frame, and expects of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeHello {
    /// The edge's name, at most [`MAX_NAME`] bytes.
    pub name: &'static str,
    /// The hash of the text of its messages.
    pub schema: [u8; 32],
}

impl EdgeHello {
    /// The hello of edge `E`, whose messages have this hash.
    pub const fn of<E: Edge>(schema: [u8; 32]) -> Self {
        EdgeHello {
            name: E::NAME,
            schema,
        }
    }

    pub(crate) fn frame(&self) -> Hello {
        Hello {
            edge: self.name.to_owned(),
            schema: self.schema,
        }
    }

    /// Whether the other end's first frame says what ours does.
    pub(crate) fn check(&self, payload: &[u8]) -> Result<(), HelloError> {
        let not_hello = |why: String| HelloError::NotHello {
            edge: self.name.to_owned(),
            why,
        };
        let theirs = codec::decode_limited::<Hello, MAX_HELLO>(payload)
            .map_err(|error| not_hello(error.to_string()))?;
        if theirs.edge != self.name {
            let theirs = theirs.edge.escape_default().to_string();
            return Err(HelloError::Name {
                ours: self.name.to_owned(),
                theirs,
            });
        }
        if theirs.schema != self.schema {
            return Err(HelloError::Schema {
                edge: self.name.to_owned(),
                ours: hex(&self.schema),
                theirs: hex(&theirs.schema),
            });
        }
        Ok(())
    }
}

/// The first frame each way. Its layout never changes: two versions can always tell each other that
/// they are two.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    edge: String,
    schema: [u8; 32],
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Edges as types: `Name = "name", what goes down, what comes up;`, and `each`, which visits them all.
#[macro_export]
macro_rules! edges {
    ($($(#[$doc:meta])* $edge:ident = $name:literal, $down:ty, $up:ty;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $edge;

        impl $crate::Edge for $edge {
            const NAME: &'static str = $name;
            type Down = $down;
            type Up = $up;
        }
    )*

        /// Visits every edge of this crate.
        pub fn each(visitor: &mut impl $crate::edge::EachEdge) {
            $(visitor.edge::<$edge>();)*
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: EdgeHello = EdgeHello {
        name: "lightningd_hsmd",
        schema: [1; 32],
    };

    fn check(theirs: &EdgeHello) -> Result<(), HelloError> {
        OURS.check(&codec::encode(&theirs.frame()).unwrap())
    }

    #[test]
    fn the_same_edge_and_schema_agree() {
        check(&OURS).unwrap();
    }

    #[test]
    fn another_edge_is_an_error_that_names_both() {
        let error = check(&EdgeHello {
            name: "chan",
            ..OURS
        })
        .unwrap_err()
        .to_string();
        assert!(
            error.contains("lightningd_hsmd") && error.contains("chan"),
            "{error}"
        );
    }

    #[test]
    fn another_schema_is_an_error_that_names_both() {
        let error = check(&EdgeHello {
            schema: [2; 32],
            ..OURS
        })
        .unwrap_err()
        .to_string();
        assert!(
            error.contains(&"01".repeat(32)) && error.contains(&"02".repeat(32)),
            "{error}"
        );
    }

    #[test]
    fn anything_else_is_no_hello() {
        assert!(matches!(OURS.check(b""), Err(HelloError::NotHello { .. })));
        assert!(matches!(
            OURS.check(&[0; 1000]),
            Err(HelloError::NotHello { .. })
        ));
        let long = Hello {
            edge: "x".repeat(MAX_NAME + 1),
            schema: [1; 32],
        };
        let long = codec::encode(&long).unwrap();
        assert!(matches!(
            OURS.check(&long),
            Err(HelloError::NotHello { .. })
        ));
    }

    #[test]
    fn the_layout_stays_as_it_is() {
        let bytes = codec::encode(
            &EdgeHello {
                name: "ab",
                schema: [7; 32],
            }
            .frame(),
        )
        .unwrap();
        assert_eq!(bytes, [&[2, b'a', b'b'][..], &[7; 32]].concat());
    }
}
