//! Cuts a stream of bytes into JSON documents, wherever reads happen to split it.
//!
//! A request is an object (or an array, which is then refused as a batch); white space between
//! requests is skipped. Only brackets and strings are followed here, each byte once; whether the
//! document is valid JSON is the parser's business.

/// Longest request in bytes. Longer ones are refused and the connection reads no more.
pub const MAX_REQUEST_BYTES: usize = 8 * 1024 * 1024;
/// Deepest nesting of brackets in a request; serde_json itself stops at 128.
pub const MAX_REQUEST_DEPTH: usize = 100;

/// Why the bytes are no request. The stream cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    #[error("Expected {{}} for json command")]
    NotAnObject,
    #[error("brackets that do not match")]
    Mismatch,
    #[error("request longer than {MAX_REQUEST_BYTES} bytes")]
    TooLong,
    #[error("request nested deeper than {MAX_REQUEST_DEPTH}")]
    TooDeep,
}

/// Bytes read and not yet cut.
#[derive(Debug, Default)]
pub struct Framing {
    buffer: Vec<u8>,
    scanned: usize,
    closers: Vec<u8>,
    in_string: bool,
    escaped: bool,
}

impl Framing {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether something other than white space is waiting for its end.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.buffer.iter().any(|b| !b.is_ascii_whitespace())
    }

    /// Bytes that are kept here.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole document; `None` until more bytes come.
    pub fn next_document(&mut self) -> Result<Option<Vec<u8>>, FramingError> {
        if self.scanned == 0 {
            self.skip_space();
        }
        while let Some(&byte) = self.buffer.get(self.scanned) {
            self.scanned += 1;
            if self.scanned > MAX_REQUEST_BYTES {
                return Err(FramingError::TooLong);
            }
            if self.step(byte)? {
                let rest = self.buffer.split_off(self.scanned);
                self.scanned = 0;
                return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
            }
        }
        Ok(None)
    }

    fn skip_space(&mut self) {
        let space = self
            .buffer
            .iter()
            .take_while(|b| b.is_ascii_whitespace())
            .count();
        self.buffer.drain(..space);
    }

    /// True at the bracket that closes the document.
    fn step(&mut self, byte: u8) -> Result<bool, FramingError> {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return Ok(false);
        }
        match byte {
            b'{' => self.open(b'}'),
            b'[' => self.open(b']'),
            b'}' | b']' => match self.closers.pop() {
                Some(expected) if expected == byte => Ok(self.closers.is_empty()),
                Some(_) => Err(FramingError::Mismatch),
                None => Err(FramingError::NotAnObject),
            },
            _ if self.closers.is_empty() => Err(FramingError::NotAnObject),
            b'"' => {
                self.in_string = true;
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    fn open(&mut self, closer: u8) -> Result<bool, FramingError> {
        if self.closers.len() == MAX_REQUEST_DEPTH {
            return Err(FramingError::TooDeep);
        }
        self.closers.push(closer);
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8], chunk: usize) -> (Vec<String>, Option<FramingError>) {
        let (mut framing, mut out) = (Framing::default(), Vec::new());
        for part in bytes.chunks(chunk) {
            framing.push(part);
            loop {
                match framing.next_document() {
                    Ok(Some(doc)) => out.push(String::from_utf8_lossy(&doc).into_owned()),
                    Ok(None) => break,
                    Err(e) => return (out, Some(e)),
                }
            }
        }
        (out, None)
    }

    #[test]
    fn requests_are_found_however_the_bytes_are_split() {
        let stream = b" {\"a\":\"}\\\"{\"}\n\n{\"b\":[{}]}[1]  ";
        for chunk in 1..stream.len() {
            let (docs, error) = all(stream, chunk);
            assert_eq!(docs, [r#"{"a":"}\"{"}"#, r#"{"b":[{}]}"#, "[1]"]);
            assert_eq!(error, None);
        }
    }

    #[test]
    fn what_cannot_be_followed_is_an_error() {
        assert_eq!(all(b"hello", 5).1, Some(FramingError::NotAnObject));
        assert_eq!(all(b"}", 5).1, Some(FramingError::NotAnObject));
        assert_eq!(all(b"{\"a\":[}", 7).1, Some(FramingError::Mismatch));
        assert_eq!(all(&b"[".repeat(MAX_REQUEST_DEPTH), 64).1, None);
        assert_eq!(
            all(&b"[".repeat(MAX_REQUEST_DEPTH + 1), 64).1,
            Some(FramingError::TooDeep)
        );
    }

    #[test]
    fn a_request_longer_than_the_limit_is_an_error() {
        let mut stream = b"{\"a\":\"".to_vec();
        stream.resize(MAX_REQUEST_BYTES, b'x');
        assert_eq!(all(&stream, 1 << 16).1, None);
        stream.push(b'x');
        assert_eq!(all(&stream, 1 << 16).1, Some(FramingError::TooLong));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_their_split_makes_no_difference(bytes: Vec<u8>, chunk in 1usize..9) {
            prop_assert_eq!(all(&bytes, chunk), all(&bytes, bytes.len().max(1)));
        }

        #[test]
        fn brackets_and_quotes_make_no_difference_either(text in "[\\[\\]{}\"\\\\x ]{0,40}", chunk in 1usize..9) {
            prop_assert_eq!(all(text.as_bytes(), chunk), all(text.as_bytes(), text.len().max(1)));
        }
    }
}
