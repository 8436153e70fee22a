//! How an actor is asked: a bounded queue of requests, each with the way back for its answer.

use tokio::sync::{mpsc, oneshot};

/// What an actor that is to answer is given.
pub type Reply<T> = oneshot::Sender<T>;

/// The asking end.
pub struct Asks<A>(mpsc::Sender<A>);

impl<A> Clone for Asks<A> {
    fn clone(&self) -> Asks<A> {
        Asks(self.0.clone())
    }
}

/// Both ends; `queue`: how many requests may wait, after which who asks waits, too.
#[must_use]
pub fn mailbox<A>(queue: usize) -> (Asks<A>, mpsc::Receiver<A>) {
    let (send, receive) = mpsc::channel(queue);
    (Asks(send), receive)
}

impl<A> Asks<A> {
    /// The answer; `None` if the actor ended or dropped the request.
    pub async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> A) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.0.send(ask(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Says what needs no answer. Nobody hears it if the actor has ended.
    pub async fn tell(&self, ask: A) {
        let _ = self.0.send(ask).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Ask {
        Double(u32, Reply<u32>),
        Forget(Reply<u32>),
    }

    #[tokio::test]
    async fn who_asks_hears_the_answer_or_that_there_is_none() {
        let (asks, mut mail) = mailbox(1);
        let actor = tokio::spawn(async move {
            for _ in 0..2 {
                match mail.recv().await {
                    Some(Ask::Double(n, reply)) => drop(reply.send(2 * n)),
                    Some(Ask::Forget(reply)) => drop(reply),
                    None => {}
                }
            }
        });
        assert_eq!(asks.ask(|reply| Ask::Double(21, reply)).await, Some(42));
        assert_eq!(asks.ask(Ask::Forget).await, None);
        actor.await.unwrap();
        assert_eq!(asks.ask(|reply| Ask::Double(1, reply)).await, None);
    }
}
