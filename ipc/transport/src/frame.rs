//! Frames within a stream of bytes.
//!
//! A frame is a header of four bytes, little endian, and a payload. The header's low 24 bits are
//! the payload's length in bytes, its high 8 bits the number of file descriptors that belong to the
//! frame. So a frame without descriptors begins with its length as a plain `u32`.
//!
//! The descriptors are sent with the frame's first byte: they have arrived when the frame has. They
//! may arrive together with an earlier frame, but never out of order, and as each frame says how
//! many are its own, none is ever taken for another frame's.
//!
//! Pure: no socket here, and the bytes may come in pieces of any size.

use crate::error::BadFrame;

/// The longest payload, in bytes.
pub const MAX_FRAME: usize = 4 << 20;
/// The most file descriptors that belong to one frame.
pub const MAX_FDS: usize = 4;
/// The header's length, in bytes.
pub const HEADER: usize = 4;

const LENGTH_BITS: u32 = 24;
const LENGTH_MASK: u32 = (1 << LENGTH_BITS) - 1;
/// An empty decoder gives back what it holds above this, in bytes.
const KEEP: usize = 128 << 10;

/// The header of a frame, or `None` if no frame can be like that.
pub fn header(len: usize, fds: usize) -> Option<[u8; HEADER]> {
    if len > MAX_FRAME || fds > MAX_FDS {
        return None;
    }
    let (len, fds) = (u32::try_from(len).ok()?, u32::try_from(fds).ok()?);
    Some((len | fds << LENGTH_BITS).to_le_bytes())
}

/// A whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it carries.
    pub payload: &'a [u8],
    /// How many file descriptors belong to it, at most [`MAX_FDS`].
    pub fds: usize,
}

/// Finds the frames in bytes that come in pieces. It holds what was pushed and not yet taken as
/// frames: take all frames before pushing more, and it holds less than one frame and one piece.
#[derive(Debug)]
pub struct FrameDecoder {
    buf: Vec<u8>,
    start: usize,
    max: usize,
}

impl FrameDecoder {
    /// A decoder of frames with no more than `max` bytes of payload, and never more than
    /// [`MAX_FRAME`].
    pub fn new(max: usize) -> Self {
        FrameDecoder {
            buf: Vec::new(),
            start: 0,
            max: max.min(MAX_FRAME),
        }
    }

    /// Adds what came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start >= self.buf.len() / 2 {
            // At most as much moves as was taken since the last time: linear in all.
            self.buf.drain(..self.start);
            self.start = 0;
            if self.buf.is_empty() && self.buf.capacity() > KEEP {
                self.buf = Vec::new();
            }
        }
        self.buf.extend_from_slice(bytes);
    }

    /// The next frame, or `None` until more bytes come.
    ///
    /// # Errors
    /// A header that no frame may have. It stays an error: where the next frame would begin is not
    /// known.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, BadFrame> {
        let Some((len, fds)) = self.head()? else {
            return Ok(None);
        };
        let from = self.start + HEADER;
        match self.buf.get(from..from + len) {
            Some(payload) => {
                self.start = from + len;
                Ok(Some(Frame { payload, fds }))
            }
            None => Ok(None),
        }
    }

    /// Whether [`Self::next_frame`] has something to say, a frame or an error.
    pub fn is_ready(&self) -> bool {
        match self.head() {
            Ok(Some((len, _))) => self.buffered() >= HEADER + len,
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// How many bytes are held, those of an unfinished frame among them.
    pub fn buffered(&self) -> usize {
        self.buf.len() - self.start
    }

    fn head(&self) -> Result<Option<(usize, usize)>, BadFrame> {
        let Some(head) = self
            .buf
            .get(self.start..)
            .and_then(|rest| rest.first_chunk::<HEADER>())
        else {
            return Ok(None);
        };
        let head = u32::from_le_bytes(*head);
        // Both parts are less than 2^24: no conversion can fail where usize has 32 bits or more.
        let (len, fds) = (
            (head & LENGTH_MASK) as usize,
            (head >> LENGTH_BITS) as usize,
        );
        if len > self.max {
            return Err(BadFrame::TooLong { len, max: self.max });
        }
        if fds > MAX_FDS {
            return Err(BadFrame::TooManyFds);
        }
        Ok(Some((len, fds)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of(frames: &[(Vec<u8>, usize)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (payload, fds) in frames {
            out.extend(header(payload.len(), *fds).unwrap());
            out.extend(payload);
        }
        out
    }

    fn all(decoder: &mut FrameDecoder) -> Vec<(Vec<u8>, usize)> {
        let mut out = Vec::new();
        while let Some(frame) = decoder.next_frame().unwrap() {
            out.push((frame.payload.to_vec(), frame.fds));
        }
        out
    }

    proptest! {
        #[test]
        fn frames_split_at_any_byte_are_the_same_frames(
            frames in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), 0..=MAX_FDS), 0..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let bytes = bytes_of(&frames);
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let mut decoder = FrameDecoder::new(MAX_FRAME);
            let mut got = Vec::new();
            for pair in at.windows(2) {
                decoder.push(&bytes[pair[0]..pair[1]]);
                prop_assert_eq!(decoder.is_ready(), {
                    let more = all(&mut decoder);
                    got.extend(more.clone());
                    !more.is_empty()
                });
            }
            prop_assert_eq!(got, frames);
            prop_assert_eq!(decoder.buffered(), 0);
        }

        #[test]
        fn any_bytes_are_frames_or_an_error_and_nothing_is_made_up(
            bytes in any::<Vec<u8>>(), max in 0usize..100,
        ) {
            let mut decoder = FrameDecoder::new(max);
            decoder.push(&bytes);
            let mut seen = 0;
            while let Ok(Some(frame)) = decoder.next_frame() {
                prop_assert!(frame.payload.len() <= max && frame.fds <= MAX_FDS);
                prop_assert_eq!(frame.payload, &bytes[seen + HEADER..seen + HEADER + frame.payload.len()]);
                seen += HEADER + frame.payload.len();
            }
            prop_assert_eq!(decoder.buffered(), bytes.len() - seen);
        }
    }

    #[test]
    fn one_byte_at_a_time_is_enough() {
        let frames = vec![(vec![1; 70_000], 0), (vec![], 1), (vec![2; 3], 0)];
        let mut decoder = FrameDecoder::new(MAX_FRAME);
        let mut got = Vec::new();
        for byte in bytes_of(&frames) {
            decoder.push(&[byte]);
            got.extend(all(&mut decoder));
        }
        assert_eq!(got, frames);
    }

    #[test]
    fn a_length_over_the_limit_is_an_error_before_its_bytes_come_and_stays_one() {
        let mut decoder = FrameDecoder::new(100);
        decoder.push(&101u32.to_le_bytes());
        for _ in 0..2 {
            assert!(decoder.is_ready());
            assert!(matches!(
                decoder.next_frame(),
                Err(BadFrame::TooLong { len: 101, max: 100 })
            ));
            decoder.push(&[0; 200]);
        }
    }

    #[test]
    fn a_limit_above_the_greatest_is_the_greatest() {
        let mut decoder = FrameDecoder::new(usize::MAX);
        decoder.push(&(MAX_FRAME as u32 + 1).to_le_bytes());
        assert!(matches!(
            decoder.next_frame(),
            Err(BadFrame::TooLong { .. })
        ));
    }

    #[test]
    fn more_fds_than_a_frame_may_have_are_an_error() {
        let mut decoder = FrameDecoder::new(100);
        decoder.push(&[0, 0, 0, MAX_FDS as u8 + 1]);
        assert!(matches!(decoder.next_frame(), Err(BadFrame::TooManyFds)));
        assert_eq!(header(1, MAX_FDS + 1), None);
        assert_eq!(header(MAX_FRAME + 1, 0), None);
    }

    #[test]
    fn memory_of_a_long_frame_is_given_back() {
        let mut decoder = FrameDecoder::new(MAX_FRAME);
        decoder.push(&bytes_of(&[(vec![7; MAX_FRAME], 0)]));
        assert_eq!(all(&mut decoder).len(), 1);
        decoder.push(&[0]);
        assert!(decoder.buf.capacity() <= KEEP);
    }

    #[test]
    fn the_layout_stays_as_it_is() {
        assert_eq!(header(0x123456, 0), Some([0x56, 0x34, 0x12, 0]));
        assert_eq!(header(3, 2), Some([3, 0, 0, 2]));
    }
}
