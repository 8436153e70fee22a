//! The end on tokio, against another such end and against the end without a runtime.

#[path = "fixtures/common.rs"]
mod common;

use std::future::Future;
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll, Waker};

use common::{HELLO, Message, hello_bytes, is_null, null, raw, some_fds};
use ipc_transport::aio::AsyncConn;
use ipc_transport::{BadFrame, Conn, EdgeHello, Error, HelloError, Limits, MAX_FDS, pair};

type End = AsyncConn<Message, Message>;

fn ends() -> (End, End) {
    let (a, b) = pair().unwrap();
    (End::new(a, HELLO).unwrap(), End::new(b, HELLO).unwrap())
}

/// One end with and one without a runtime.
fn mixed() -> (End, Conn<Message, Message>) {
    let (a, b) = pair().unwrap();
    (End::new(a, HELLO).unwrap(), Conn::new(b, HELLO).unwrap())
}

/// Polls once, without anybody to be woken.
fn once<F: Future>(future: F) -> Poll<F::Output> {
    std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_messages_arrive_in_order_while_as_many_go_back() {
    let (a, b) = ends();
    let (to_b, mut from_b) = a.split();
    let (to_a, mut from_a) = b.split();
    let echo = tokio::spawn(async move {
        while let Ok(message) = from_a.recv().await {
            to_a.send(&message).await.unwrap();
        }
    });
    let count = 100_000;
    let sender = tokio::spawn(async move {
        for n in 0..count {
            to_b.send(&Message::Number(n)).await.unwrap();
        }
        to_b
    });
    for n in 0..count {
        assert_eq!(from_b.recv().await.unwrap(), Message::Number(n));
    }
    drop(sender.await.unwrap());
    echo.await.unwrap();
    assert!(matches!(from_b.recv().await, Err(Error::Closed)));
}

#[tokio::test]
async fn clones_send_on_the_same_edge_and_each_keeps_its_order() {
    let (a, mut b) = ends();
    let (sender, _receiver) = a.split();
    let (clones, each) = (8u64, 2_000);
    for clone in 0..clones {
        let sender = sender.clone();
        tokio::spawn(async move {
            for n in 0..each {
                sender
                    .send(&Message::Number(clone * each + n))
                    .await
                    .unwrap();
            }
        });
    }
    drop(sender);
    let mut next: Vec<u64> = (0..clones).map(|clone| clone * each).collect();
    while let Ok(Message::Number(n)) = b.recv().await {
        let next = &mut next[(n / each) as usize];
        assert_eq!(n, *next);
        *next += 1;
    }
    assert!(
        next.iter()
            .enumerate()
            .all(|(clone, n)| *n == (clone as u64 + 1) * each)
    );
}

#[tokio::test]
async fn descriptors_go_both_ways_between_the_two_kinds_of_end() {
    let (mut a, mut b) = mixed();
    let thread = std::thread::spawn(move || {
        for n in 0..200usize {
            let (message, fds) = b.recv_with_fds().unwrap();
            assert_eq!(
                (message, fds.len()),
                (Message::Number(n as u64), n % (MAX_FDS + 1))
            );
            b.send_with_fds(&Message::Number(n as u64), fds).unwrap();
        }
        b.flush().unwrap();
        b
    });
    let (sender, mut receiver) = {
        a.hello().await.unwrap();
        a.split()
    };
    for n in 0..200usize {
        let message = Message::Number(n as u64);
        sender
            .send_with_fds(&message, some_fds(n % (MAX_FDS + 1)))
            .await
            .unwrap();
    }
    for n in 0..200usize {
        let (message, fds) = receiver.recv_with_fds().await.unwrap();
        assert_eq!(
            (message, fds.len()),
            (Message::Number(n as u64), n % (MAX_FDS + 1))
        );
        assert!(fds.iter().all(is_null));
    }
    drop(thread.join().unwrap());
    assert!(matches!(receiver.recv().await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_descriptor_is_taken_after_its_message() {
    let (a, mut b) = ends();
    let (sender, _receiver) = a.split();
    sender
        .try_send_with_fds(&Message::Empty, vec![null()])
        .unwrap();
    sender.send(&Message::Empty).await.unwrap();
    b.recv().await.unwrap();
    let (_, mut b) = b.split();
    assert!(is_null(&b.take_fd().unwrap()));
    b.recv().await.unwrap();
    assert!(matches!(b.take_fd(), Err(Error::BadFrame(BadFrame::NoFd))));
    assert!(matches!(
        sender
            .send_with_fds(&Message::Empty, some_fds(MAX_FDS + 1))
            .await,
        Err(Error::SendFds(_))
    ));
}

#[tokio::test]
async fn who_sends_to_an_end_that_does_not_read_waits_and_holds_no_more_than_the_limit() {
    let (a, mut b) = mixed();
    let (sender, _receiver) = a.split();
    let text = Message::Text("x".repeat(1000));
    let mut sent = 0u32;
    // Let the writer fill the socket, too.
    for _ in 0..100 {
        loop {
            match sender.try_send(&text) {
                Ok(()) => sent += 1,
                Err(Error::Full { waiting }) => {
                    assert!(waiting < Limits::default().out + 2000);
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
        tokio::task::yield_now().await;
    }
    assert!(once(sender.send(&text)).is_pending());
    assert!(once(sender.flush()).is_pending());
    // The end that reads at last gets all but the message of the send that was given up.
    let thread = std::thread::spawn(move || {
        let mut got = 0u32;
        while b.recv().is_ok_and(|message| message == text) {
            got += 1;
        }
        got
    });
    sender.send(&Message::Text("x".repeat(1000))).await.unwrap();
    sender.flush().await.unwrap();
    sender.send(&Message::Empty).await.unwrap();
    drop(sender);
    assert_eq!(
        tokio::task::spawn_blocking(|| thread.join().unwrap())
            .await
            .unwrap(),
        sent + 1
    );
}

#[tokio::test]
async fn what_waits_is_written_after_the_last_sender_is_gone() {
    let (a, mut b) = ends();
    let (sender, receiver) = a.split();
    for n in 0..5_000 {
        sender.try_send(&Message::Number(n)).unwrap();
    }
    drop((sender, receiver));
    for n in 0..5_000 {
        assert_eq!(b.recv().await.unwrap(), Message::Number(n));
    }
    assert!(matches!(b.recv().await, Err(Error::Closed)));
}

#[tokio::test]
async fn who_sends_learns_that_the_other_end_is_gone() {
    let (a, b) = mixed();
    let (sender, mut receiver) = a.split();
    drop(b);
    while sender.send(&Message::Empty).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(sender.is_closed());
    assert!(matches!(
        sender.try_send(&Message::Empty),
        Err(Error::Closed)
    ));
    assert!(matches!(sender.flush().await, Err(Error::Closed)));
    // Its hello was on the way already.
    assert!(matches!(receiver.recv().await, Err(Error::Closed)));
}

#[tokio::test]
async fn who_waits_for_room_learns_that_the_other_end_is_gone() {
    let (a, b) = mixed();
    let (sender, _receiver) = a.split();
    let text = Message::Text("x".repeat(100_000));
    let waiting = tokio::spawn(async move { while sender.send(&text).await.is_ok() {} });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    drop(b);
    waiting.await.unwrap();
}

#[tokio::test]
async fn a_receive_that_is_given_up_loses_nothing() {
    let (mut a, b) = pair()
        .map(|(a, b)| (End::new(a, HELLO).unwrap(), UnixStream::from(b)))
        .unwrap();
    let payload = ipc_transport::codec::encode(&Message::Number(u64::MAX)).unwrap();
    let bytes = [raw(&hello_bytes(), 0), raw(&payload, 0), raw(&payload, 0)].concat();
    let mut got = 0;
    for byte in bytes {
        std::io::Write::write_all(&mut &b, &[byte]).unwrap();
        // Runs the runtime's driver and looks whether a message is complete.
        let mut receive = std::pin::pin!(a.recv());
        for _ in 0..3 {
            tokio::task::yield_now().await;
            if let Poll::Ready(message) = receive
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
            {
                assert_eq!(message.unwrap(), Message::Number(u64::MAX));
                got += 1;
                break;
            }
        }
    }
    while got < 2 {
        assert_eq!(a.recv().await.unwrap(), Message::Number(u64::MAX));
        got += 1;
    }
    drop(b);
    assert!(matches!(a.recv().await, Err(Error::Closed)));
}

#[tokio::test]
async fn the_end_of_another_edge_or_version_is_refused() {
    for theirs in [
        EdgeHello {
            name: "other",
            ..HELLO
        },
        EdgeHello {
            schema: [2; 32],
            ..HELLO
        },
    ] {
        let (a, b) = pair().unwrap();
        let (mut a, mut b) = (
            End::new(a, HELLO).unwrap(),
            Conn::<Message, Message>::new(b, theirs).unwrap(),
        );
        match a.hello().await.unwrap_err() {
            Error::Hello(HelloError::Name { ours, theirs }) => {
                assert_eq!((ours.as_str(), theirs.as_str()), ("test", "other"));
            }
            Error::Hello(HelloError::Schema { edge, .. }) => assert_eq!(edge, "test"),
            error => panic!("{error}"),
        }
        assert!(matches!(b.hello(), Err(Error::Hello(_))));
    }
}

#[tokio::test]
async fn an_end_within_a_frame_is_not_a_clean_end() {
    let (a, b) = pair().unwrap();
    let mut a = End::new(a, HELLO).unwrap();
    let b = UnixStream::from(b);
    std::io::Write::write_all(&mut &b, &raw(&hello_bytes(), 0)).unwrap();
    std::io::Write::write_all(&mut &b, &[1, 0]).unwrap();
    drop(b);
    assert!(matches!(
        a.recv().await,
        Err(Error::BadFrame(BadFrame::Cut(2)))
    ));
}
