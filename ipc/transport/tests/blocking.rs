//! The end without a runtime, against another such end and against bytes that no such end sends.

#[path = "fixtures/common.rs"]
mod common;

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::{HELLO, Message, ends, is_null, null, raw, some_fds};
use ipc_transport::codec::{DecodeError, encode};
use ipc_transport::frame::header;
use ipc_transport::{
    BadFrame, Conn, EdgeHello, Error, HelloError, Limits, MAX_FDS, MAX_FRAME, pair,
};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use proptest::prelude::*;

type End = Conn<Message, Message>;

/// An end that has had the other's hello, and that other as a plain socket.
fn end_and_raw() -> (End, UnixStream) {
    let (ours, theirs) = pair().unwrap();
    let mut theirs = UnixStream::from(theirs);
    theirs.write_all(&raw(&common::hello_bytes(), 0)).unwrap();
    let mut end = End::new(ours, HELLO).unwrap();
    end.hello().unwrap();
    (end, theirs)
}

#[test]
fn messages_arrive_in_order_and_then_the_edge_is_closed() {
    let (mut a, mut b) = ends();
    for n in 0..1000 {
        a.send(&Message::Number(n)).unwrap();
    }
    a.send(&Message::Text("last".into())).unwrap();
    a.flush().unwrap();
    drop(a);
    for n in 0..1000 {
        assert_eq!(b.recv().unwrap(), Message::Number(n));
    }
    assert_eq!(b.recv().unwrap(), Message::Text("last".into()));
    assert!(matches!(b.recv(), Err(Error::Closed)));
    assert!(matches!(b.recv(), Err(Error::Closed)), "and stays closed");
    assert!(matches!(b.call(&Message::Empty), Err(Error::Closed)));
}

#[test]
fn the_bytes_of_a_message_are_seen_at_both_ends() {
    let (mut a, mut b) = ends();
    let message = Message::Text("seen".into());
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    a.queue_seen(&message, vec![], |bytes| sent = bytes.to_vec())
        .unwrap();
    assert!(a.flush_nonblocking().unwrap());
    b.hello().unwrap();
    let taken = loop {
        b.fill().unwrap();
        if let Some(taken) = b
            .recv_buffered_seen(|bytes| received = bytes.to_vec())
            .unwrap()
        {
            break taken;
        }
    };
    assert_eq!(taken, message);
    assert_eq!(sent, encode(&message).unwrap());
    assert_eq!(received, sent);
}

#[test]
fn a_call_is_answered() {
    let (mut a, mut b) = ends();
    let server = std::thread::spawn(move || {
        while let Ok(Message::Number(n)) = b.recv() {
            b.send(&Message::Number(n + 1)).unwrap();
        }
    });
    for n in 0..100 {
        assert_eq!(a.call(&Message::Number(n)).unwrap(), Message::Number(n + 1));
    }
    drop(a);
    server.join().unwrap();
}

proptest! {
    #[test]
    fn frames_split_at_any_byte_are_the_same_messages(
        numbers in prop::collection::vec(any::<u64>(), 1..30),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let (mut end, mut other) = end_and_raw();
        let bytes: Vec<u8> =
            numbers.iter().flat_map(|n| raw(&encode(&Message::Number(*n)).unwrap(), 0)).collect();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let mut got = Vec::new();
        for piece in at.windows(2) {
            other.write_all(&bytes[piece[0]..piece[1]]).unwrap();
            while let Some(Message::Number(n)) = end.try_recv().unwrap() {
                got.push(n);
            }
        }
        prop_assert_eq!(got, numbers);
    }

    #[test]
    fn any_bytes_are_messages_or_one_error(bytes in any::<Vec<u8>>()) {
        let (mut end, mut other) = end_and_raw();
        other.write_all(&bytes).unwrap();
        drop(other);
        while end.recv().is_ok() {}
        prop_assert!(matches!(end.recv(), Err(Error::Closed)));
    }
}

#[test]
fn the_end_of_another_edge_is_refused_with_both_names() {
    let (a, b) = pair().unwrap();
    let mut a = End::new(a, HELLO).unwrap();
    let mut b = End::new(
        b,
        EdgeHello {
            name: "other",
            ..HELLO
        },
    )
    .unwrap();
    for (end, ours, theirs) in [(&mut a, "test", "other"), (&mut b, "other", "test")] {
        match end.hello() {
            Err(Error::Hello(HelloError::Name { ours: x, theirs: y })) => {
                assert_eq!((x.as_str(), y.as_str()), (ours, theirs));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn another_schema_is_refused_before_any_message() {
    let (a, b) = pair().unwrap();
    let mut a = End::new(a, HELLO).unwrap();
    let mut b = End::new(
        b,
        EdgeHello {
            schema: [9; 32],
            ..HELLO
        },
    )
    .unwrap();
    b.send(&Message::Empty).unwrap();
    b.flush().unwrap();
    assert!(!a.greeted());
    assert!(matches!(
        a.recv(),
        Err(Error::Hello(HelloError::Schema { .. }))
    ));
    assert!(
        matches!(a.recv(), Err(Error::Closed)),
        "nothing is taken after that"
    );
}

#[test]
fn descriptors_belong_to_the_message_that_they_were_sent_with() {
    let (mut a, mut b) = ends();
    a.send(&Message::Number(1)).unwrap();
    a.send_with_fds(&Message::Number(2), some_fds(2)).unwrap();
    a.send_with_fd(&Message::Number(3), null()).unwrap();
    a.send(&Message::Number(4)).unwrap();
    a.send_with_fd(&Message::Number(5), null()).unwrap();
    a.flush().unwrap();

    assert_eq!(b.recv().unwrap(), Message::Number(1));
    assert!(matches!(b.take_fd(), Err(Error::BadFrame(BadFrame::NoFd))));
    let (second, fds) = b.recv_with_fds().unwrap();
    assert_eq!((second, fds.len()), (Message::Number(2), 2));
    // Nobody takes the third's: the fifth still gets its own and no other.
    assert_eq!(b.recv().unwrap(), Message::Number(3));
    assert_eq!(b.recv().unwrap(), Message::Number(4));
    assert!(matches!(b.take_fd(), Err(Error::BadFrame(BadFrame::NoFd))));
    assert_eq!(b.recv().unwrap(), Message::Number(5));
    assert!(is_null(&b.take_fd().unwrap()));
    assert!(matches!(b.take_fd(), Err(Error::BadFrame(BadFrame::NoFd))));
}

#[test]
fn descriptors_that_nobody_takes_are_closed_with_the_next_message() {
    let (mut a, mut b) = ends();
    let (watched, sent) = UnixStream::pair().unwrap();
    a.send_with_fd(&Message::Number(1), sent.into()).unwrap();
    a.send(&Message::Number(2)).unwrap();
    a.flush().unwrap();
    assert_eq!(b.recv().unwrap(), Message::Number(1));
    watched.set_nonblocking(true).unwrap();
    let mut byte = [0];
    assert!(
        std::io::Read::read(&mut &watched, &mut byte).is_err(),
        "still open"
    );
    assert_eq!(b.recv().unwrap(), Message::Number(2));
    assert_eq!(
        std::io::Read::read(&mut &watched, &mut byte).unwrap(),
        0,
        "closed"
    );
}

#[test]
fn many_messages_with_descriptors_keep_them_apart_though_the_socket_is_full() {
    let (mut a, mut b) = ends();
    let sender = std::thread::spawn(move || {
        for n in 0..300u64 {
            let text = Message::Text("x".repeat(n as usize * 31 % 5000));
            a.send_with_fds(&text, some_fds(n as usize % (MAX_FDS + 1)))
                .unwrap();
        }
        a.flush().unwrap();
    });
    for n in 0..300usize {
        let (message, fds) = b.recv_with_fds().unwrap();
        assert_eq!(message, Message::Text("x".repeat(n * 31 % 5000)));
        assert_eq!(fds.len(), n % (MAX_FDS + 1));
        assert!(fds.iter().all(is_null));
    }
    sender.join().unwrap();
}

#[test]
fn too_many_descriptors_are_not_sent() {
    let (mut a, _b) = ends();
    let sent = a.send_with_fds(&Message::Empty, some_fds(MAX_FDS + 1));
    assert!(matches!(sent, Err(Error::SendFds(n)) if n == MAX_FDS + 1));
    assert!(!a.wants_write());
}

fn send_raw(socket: &UnixStream, bytes: &[u8], fds: &[OwnedFd]) {
    use std::os::fd::AsRawFd;
    let fds: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let bytes = [std::io::IoSlice::new(bytes)];
    sendmsg::<()>(socket.as_raw_fd(), &bytes, &rights, MsgFlags::empty(), None).unwrap();
}

#[test]
fn a_frame_that_announces_descriptors_which_do_not_come_is_refused() {
    let (mut end, mut other) = end_and_raw();
    other
        .write_all(&raw(&encode(&Message::Empty).unwrap(), 2))
        .unwrap();
    let got = end.recv();
    assert!(matches!(
        got,
        Err(Error::BadFrame(BadFrame::MissingFds { want: 2, have: 0 }))
    ));
}

#[test]
fn descriptors_that_no_frame_announces_do_not_pile_up() {
    let (mut end, other) = end_and_raw();
    let frame = raw(&encode(&Message::Empty).unwrap(), 0);
    let (watched, sent) = UnixStream::pair().unwrap();
    let copies: Vec<OwnedFd> = (0..MAX_FDS)
        .map(|_| sent.as_fd().try_clone_to_owned().unwrap())
        .collect();
    drop(sent);
    let error = (0..100)
        .find_map(|_| {
            send_raw(&other, &frame, &copies);
            end.recv().err()
        })
        .expect("refused at some time");
    assert!(
        matches!(error, Error::BadFrame(BadFrame::TooManyFds)),
        "{error}"
    );
    drop(copies);
    let mut byte = [0];
    assert_eq!(
        std::io::Read::read(&mut &watched, &mut byte).unwrap(),
        0,
        "all are closed"
    );
}

#[test]
fn more_descriptors_at_once_than_a_frame_may_have_are_refused() {
    let (mut end, other) = end_and_raw();
    send_raw(
        &other,
        &raw(&encode(&Message::Empty).unwrap(), 0),
        &some_fds(MAX_FDS + 1),
    );
    assert!(matches!(
        end.recv(),
        Err(Error::BadFrame(BadFrame::TooManyFds))
    ));
}

#[test]
fn an_end_within_a_frame_is_not_a_clean_end() {
    let (mut end, mut other) = end_and_raw();
    let frame = raw(&encode(&Message::Number(u64::MAX)).unwrap(), 0);
    other.write_all(&frame).unwrap();
    other.write_all(&frame[..frame.len() - 1]).unwrap();
    drop(other);
    assert_eq!(end.recv().unwrap(), Message::Number(u64::MAX));
    let cut = frame.len() - 1;
    assert!(matches!(end.recv(), Err(Error::BadFrame(BadFrame::Cut(n))) if n == cut));
}

#[test]
fn a_length_over_the_limit_is_refused_before_its_bytes_come() {
    let (mut end, mut other) = end_and_raw();
    other
        .write_all(&(MAX_FRAME as u32 + 1).to_le_bytes())
        .unwrap();
    assert!(matches!(
        end.recv(),
        Err(Error::BadFrame(BadFrame::TooLong { .. }))
    ));
}

#[test]
fn an_end_has_the_limit_that_it_was_given() {
    let (ours, theirs) = pair().unwrap();
    let mut end = End::with_limits(
        ours,
        HELLO,
        Limits {
            frame: 100,
            ..Limits::default()
        },
    )
    .unwrap();
    let mut other = End::new(theirs, HELLO).unwrap();
    other.send(&Message::Text("x".repeat(90))).unwrap();
    other.send(&Message::Text("x".repeat(99))).unwrap();
    other.flush().unwrap();
    assert!(end.recv().is_ok());
    assert!(matches!(
        end.recv(),
        Err(Error::BadFrame(BadFrame::TooLong { len: 101, max: 100 }))
    ));
}

#[test]
fn a_length_bomb_within_a_frame_is_a_bad_frame() {
    let (mut end, mut other) = end_and_raw();
    let mut bomb = vec![2, 253];
    bomb.extend(u64::MAX.to_le_bytes());
    other.write_all(&raw(&bomb, 0)).unwrap();
    let got = end.recv();
    assert!(
        matches!(
            got,
            Err(Error::BadFrame(BadFrame::Payload(DecodeError::Bomb)))
        ),
        "{got:?}"
    );
}

#[test]
fn bytes_after_the_message_are_a_bad_frame() {
    let (mut end, mut other) = end_and_raw();
    let mut payload = encode(&Message::Empty).unwrap();
    payload.push(0);
    other.write_all(&raw(&payload, 0)).unwrap();
    let got = end.recv();
    assert!(matches!(
        got,
        Err(Error::BadFrame(BadFrame::Payload(DecodeError::Trailing(1))))
    ));
}

#[test]
fn an_end_that_does_not_read_blocks_nobody_and_is_found_out() {
    let (mut a, mut b) = ends();
    let text = Message::Text("x".repeat(1000));
    let mut queued = 0;
    let error = loop {
        match a.queue(&text) {
            Ok(()) => queued += 1,
            Err(error) => break error,
        }
        a.flush_nonblocking().unwrap();
    };
    let limit = Limits::default().out;
    assert!(matches!(error, Error::Full { waiting } if waiting >= limit && waiting < limit + 2000));
    assert!(a.wants_write());
    // It reads after all: everything that was queued arrives.
    for _ in 0..queued {
        while b
            .recv_buffered()
            .unwrap()
            .map(|got| assert_eq!(got, text))
            .is_none()
        {
            a.flush_nonblocking().unwrap();
            b.fill().unwrap();
        }
    }
    assert!(a.flush_nonblocking().unwrap());
    assert!(!a.wants_write());
    assert!(b.try_recv().unwrap().is_none());
}

#[test]
fn descriptors_that_wait_behind_a_full_socket_arrive_with_their_messages() {
    let (mut a, mut b) = ends();
    let text = |n: usize| Message::Text("x".repeat(500 + n));
    for n in 0..600 {
        a.queue_with_fds(&text(n), some_fds(usize::from(n % 100 == 99)))
            .unwrap();
    }
    assert!(
        !a.flush_nonblocking().unwrap(),
        "the socket took it all: nothing waits"
    );
    for n in 0..600 {
        let message = loop {
            match b.try_recv().unwrap() {
                Some(message) => break message,
                None => drop(a.flush_nonblocking().unwrap()),
            }
        };
        assert_eq!(message, text(n));
        assert_eq!(b.take_fd().is_ok(), n % 100 == 99, "{n}");
    }
}

#[test]
fn a_message_of_the_greatest_length_is_sent_and_a_longer_one_is_not() {
    let (mut a, mut b) = ends();
    // A tag and a length of 5 bytes before the text.
    let greatest = Message::Text("x".repeat(MAX_FRAME - 6));
    let longer = Message::Text("x".repeat(MAX_FRAME - 5));
    assert!(matches!(a.send(&longer), Err(Error::Encode(_))));
    assert!(!a.wants_write());
    let sender = std::thread::spawn(move || a.send(&greatest).and_then(|()| a.flush()));
    let Message::Text(got) = b.recv().unwrap() else {
        panic!("no text")
    };
    assert_eq!(got.len(), MAX_FRAME - 6);
    sender.join().unwrap().unwrap();
}

#[test]
fn a_socket_that_is_set_not_to_wait_is_waited_for_all_the_same() {
    let (a, b) = pair().unwrap();
    for end in [&a, &b] {
        UnixStream::from(end.try_clone().unwrap())
            .set_nonblocking(true)
            .unwrap();
    }
    let (mut a, mut b) = (End::new(a, HELLO).unwrap(), End::new(b, HELLO).unwrap());
    let text = Message::Text("x".repeat(2 << 20));
    let sent = text.clone();
    let sender = std::thread::spawn(move || a.call(&sent));
    assert_eq!(b.recv().unwrap(), text);
    b.send(&Message::Empty).unwrap();
    b.flush().unwrap();
    assert_eq!(sender.join().unwrap().unwrap(), Message::Empty);
}

#[test]
fn a_wait_with_an_end_ends() {
    let (mut a, mut b) = ends();
    assert!(a.recv_timeout(Duration::ZERO).unwrap().is_none());
    b.send(&Message::Empty).unwrap();
    b.flush().unwrap();
    assert_eq!(
        a.recv_timeout(Duration::from_secs(600)).unwrap(),
        Some(Message::Empty)
    );
    drop(b);
    assert!(matches!(
        a.recv_timeout(Duration::from_secs(600)),
        Err(Error::Closed)
    ));
}

#[test]
fn a_header_is_what_the_module_says() {
    assert_eq!(raw(b"abc", 1)[..4], header(3, 1).unwrap());
    assert_eq!(raw(b"abc", 1), [3, 0, 0, 1, b'a', b'b', b'c']);
}
