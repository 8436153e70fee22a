//! Batches take effect in the order of the calls, whoever calls and however.

mod common;

use std::collections::BTreeMap;
use std::sync::Mutex;

use common::{Entry, identity, reopen};
use lightningd_db::{Batch, Db};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Put(u32, u64),
    Delete(u32, u64),
    DeletePrefix(u32),
}

#[derive(Clone, Debug)]
struct Call {
    ops: Vec<Op>,
    wait: bool,
}

fn call() -> impl Strategy<Value = Call> {
    let op = prop_oneof![
        5 => (0u32..3, 0u64..6).prop_map(|(a, b)| Op::Put(a, b)),
        2 => (0u32..3, 0u64..6).prop_map(|(a, b)| Op::Delete(a, b)),
        1 => (0u32..3).prop_map(Op::DeletePrefix),
    ];
    (prop::collection::vec(op, 0..5), any::<bool>()).prop_map(|(ops, wait)| Call { ops, wait })
}

type Model = BTreeMap<(u32, u64), u64>;

/// The same change to the batch and to the model; `stamp` says which call it was.
fn apply(ops: &[Op], stamp: u64, batch: &mut Batch, model: &mut Model) {
    for op in ops {
        match *op {
            Op::Put(a, b) => {
                batch.put(
                    &(a, b),
                    &Entry {
                        number: stamp,
                        filler: vec![],
                    },
                );
                model.insert((a, b), stamp);
            }
            Op::Delete(a, b) => {
                batch.delete::<Entry>(&(a, b));
                model.remove(&(a, b));
            }
            Op::DeletePrefix(a) => {
                batch.delete_prefix::<Entry>(&a);
                model.retain(|key, _| key.0 != a);
            }
        }
    }
}

fn all(db: &Db) -> Model {
    db.iter::<Entry>()
        .unwrap()
        .map(|row| row.map(|(key, e)| (key, e.number)).unwrap())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn calls_take_effect_in_their_order_and_are_seen_at_once(
        calls in prop::collection::vec(call(), 1..60),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let db = Db::create(&path, &identity()).unwrap();
        let mut model = Model::new();
        for (stamp, call) in calls.iter().enumerate() {
            let mut batch = Batch::new();
            apply(&call.ops, stamp as u64, &mut batch, &mut model);
            if call.wait {
                // Not polled: it takes effect all the same.
                drop(db.commit(batch));
            } else {
                db.write(batch).unwrap();
            }
            prop_assert_eq!(&all(&db), &model);
        }
        db.close().unwrap();
        prop_assert_eq!(&all(&reopen(&path)), &model);
    }

    /// Several threads call at once. The lock around each call and its model makes the order of
    /// the calls known; the waiting is done outside.
    #[test]
    fn calls_from_many_threads_take_effect_in_their_order(
        threads in prop::collection::vec(prop::collection::vec(call(), 1..20), 2..5),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let db = Db::create(&path, &identity()).unwrap();
        let model = Mutex::new((Model::new(), 0));
        std::thread::scope(|scope| {
            for calls in &threads {
                let (db, model) = (&db, &model);
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    for call in calls {
                        let mut batch = Batch::new();
                        let committed = {
                            let mut model = model.lock().unwrap();
                            model.1 += 1;
                            let stamp = model.1;
                            apply(&call.ops, stamp, &mut batch, &mut model.0);
                            if call.wait {
                                Some(db.commit(batch))
                            } else {
                                db.write(batch).unwrap();
                                None
                            }
                        };
                        if let Some(committed) = committed {
                            runtime.block_on(committed).unwrap();
                        }
                    }
                });
            }
        });
        let model = model.into_inner().unwrap().0;
        prop_assert_eq!(&all(&db), &model);
        db.close().unwrap();
        prop_assert_eq!(&all(&reopen(&path)), &model);
    }
}
