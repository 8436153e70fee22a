//! OPERATOR's requests about what may leave the node. Nothing is decided here.

use hsm::{Allowance, Hsm};
use hsm_messages::limits as words;

pub fn overview(hsm: &Hsm) -> words::Overview {
    let standing = |which| {
        let standing = hsm.standing(which);
        words::Standing {
            limit: standing.limit,
            used: standing.used,
            left: standing.left(),
        }
    };
    let limits = hsm.limits();
    words::Overview {
        chain_hash: hsm.chain_hash(),
        limits: words::Limits {
            withdraw_per_day: limit(limits.withdraw_per_day),
            pay_per_day: limit(limits.pay_per_day),
            max_feerate: limits.max_feerate,
            max_fee: limits.max_fee,
        },
        holds: hsm.holds(),
        withdrawals: standing(Allowance::Withdrawals),
        payments: standing(Allowance::Payments),
    }
}

pub fn settings(limits: words::Limits) -> hsm::Limits {
    let limit = |limit| match limit {
        words::Limit::InProportion => hsm::Limit::InProportion,
        words::Limit::Exactly(sum) => hsm::Limit::Exactly(sum),
    };
    hsm::Limits {
        withdraw_per_day: limit(limits.withdraw_per_day),
        pay_per_day: limit(limits.pay_per_day),
        max_feerate: limits.max_feerate,
        max_fee: limits.max_fee,
    }
}

pub fn refusals(hsm: &Hsm) -> Vec<words::Refusal> {
    let refusal = |refusal: &hsm::Refusal| words::Refusal {
        number: refusal.number,
        at: refusal.at.0,
        what: shown(&refusal.what),
    };
    hsm.refusals().map(refusal).collect()
}

pub fn approvable(what: words::Approvable) -> hsm::Approvable {
    match what {
        words::Approvable::Spend { payouts, fee } => hsm::Approvable::Spend {
            payouts: payouts
                .into_iter()
                .map(|words::Payout { script, value }| hsm::Payout { script, value })
                .collect(),
            fee,
        },
        words::Approvable::Payment { hash, amount } => hsm::Approvable::Payment { hash, amount },
        words::Approvable::Push { peer, amount } => hsm::Approvable::Push { peer, amount },
    }
}

fn limit(limit: hsm::Limit) -> words::Limit {
    match limit {
        hsm::Limit::InProportion => words::Limit::InProportion,
        hsm::Limit::Exactly(sum) => words::Limit::Exactly(sum),
    }
}

fn shown(what: &hsm::Approvable) -> words::Approvable {
    match what {
        hsm::Approvable::Spend { payouts, fee } => words::Approvable::Spend {
            payouts: payouts
                .iter()
                .map(|payout| words::Payout {
                    script: payout.script.clone(),
                    value: payout.value,
                })
                .collect(),
            fee: *fee,
        },
        hsm::Approvable::Payment { hash, amount } => words::Approvable::Payment {
            hash: *hash,
            amount: *amount,
        },
        hsm::Approvable::Push { peer, amount } => words::Approvable::Push {
            peer: *peer,
            amount: *amount,
        },
    }
}
