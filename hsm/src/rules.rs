//! What each rule says and where it is kept: the one source of docs/policy-rules.md, of the reasons
//! that `lightning-hsmtool` gives, and of the policy's hash.
//!
//! A new rule: a row here, a negative test whose name begins with its id (`c4_...`), and a mutation in
//! tests/mutations (`cargo xtask policy`).

use std::fmt;

/// A rule in words.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    pub says: &'static str,
    /// The file that keeps it.
    pub place: &'static str,
}

macro_rules! rules {
    ($($rule:ident: $says:literal, in $place:literal;)*) => {
        /// By their ids. None can be turned off.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule { $(#[doc = $says] $rule,)* }

        /// All of them, by id.
        pub const RULES: &[Rule] = &[$(Rule::$rule,)*];

        impl Rule {
            #[must_use]
            pub fn said(self) -> Said {
                match self {
                    $(Rule::$rule => Said { says: $says, place: $place },)*
                }
            }
        }
    };
}

rules! {
    A1: "An approval of a payment binds its hash, amount with fee, payee and expiry, and there are only so many. What is approved in 24 hours, the push of an opening counted, stays below the operator's limit, or the operator approved it.",
        in "hsm/src/pay.rs";
    A2: "What has left, and what the operator said about it, survives a restart and a compaction; a clock that is set back frees nothing.",
        in "hsm/src/velocity.rs";
    B1: "What was decided is in the journal and on the disk before anybody hears of it; a crash at any byte loses nothing of that, and a byte changed anywhere is refused. After an error of the disk nothing is written or answered any more.",
        in "hsm/src/journal.rs";
    B2: "Seed, journal and database belong together, to this chain and to one moment: an older copy of the journal or of the database is refused; nothing is created beside something old. If the operator confirms that the database was put back, nothing is signed of a channel that has revoked anything, until its peer shows the newest state.",
        in "hsm/src/journal/heads.rs";
    B3: "Once the peer has shown a secret of ours that was not given here, no commitment and no close of the channel is signed any more, and of one that comes from a static backup none ever.",
        in "hsm/src/channel/commit.rs";
    C1: "What is signed is a transaction that hsmd has built itself.",
        in "hsm/src/channel/commit.rs";
    C2: "Balances follow from the changes since the last commitment, never from what is said of them, and their sum stays.",
        in "hsm/src/channel.rs";
    C3: "An HTLC leaves its side the reserve that the other demands; fee and anchors are taken from the opener.",
        in "hsm/src/channel/limits.rs";
    C4: "The peer has at most two commitments that are not revoked, numbers neither skip nor go back, and at each number there is one.",
        in "hsm/src/channel/commit.rs";
    C5: "A secret of ours leaves only when the next commitment is verified and durable.",
        in "hsm/src/channel/commit.rs";
    C6: "Our own commitment is signed only if it is the newest, verified and not revoked; a close cannot be undone.",
        in "hsm/src/channel/commit.rs";
    C7: "Feerate and its step, number, value and expiry of HTLCs, and our HTLCs without an output are bounded; an HTLC that goes out has not timed out at the tip, if one was told.",
        in "hsm/src/channel/limits.rs";
    D1: "No message carries a digest, a transaction to sign, a merkle root, a label or a derivation path.",
        in "ipc/messages/hsm/src/lib.rs";
    D2: "Each kind of key is used for a closed list of hashes, none of which is another's; a text for the node key's own has 65,535 bytes at most.",
        in "hsm/src/uses.rs";
    D3: "Who asks, and of which channel, is the socket.",
        in "hsm/src/hsm.rs";
    D4: "What may be asked is a table of role, phase and message; nothing else is answered.",
        in "hsm/src/msgs.rs";
    G1: "An announcement is made of typed fields; chain, direction and flags are the channel's own, and its names are few.",
        in "hsm/src/gossip.rs";
    G2: "The timestamp of an announcement is set here: now, or the second after the last one.",
        in "hsm/src/gossip.rs";
    G3: "Fees and limits of an announcement are in bounds, and announcements are few.",
        in "hsm/src/gossip.rs";
    H1: "An HTLC goes out only for one that came in for good, with its hash, at least its amount and a later timeout, once; or within the budget of an approved payment.",
        in "hsm/src/tickets.rs";
    H2: "An HTLC that has paid for another fails only when that one was not fulfilled and can be claimed in no commitment that is not revoked, or the chain has ended it or has its output worth less than any claim (T1), 3 blocks deep.",
        in "hsm/src/tickets.rs";
    H3: "An HTLC leaves as paid only with its preimage.",
        in "protocol/tx/src/ledger.rs";
    H4: "Preimages of our invoices are derived here, and leave only for HTLCs that are locked in on both sides and reach the invoice's amount.",
        in "hsm/src/invoices.rs";
    I1: "An invoice, ours or one to be paid, is read or encoded here and is for our chain; a payment hash of ours is registered once, and so many at most.",
        in "hsm/src/invoices.rs";
    K1: "The step of a BOLT 8 handshake that needs the node key is done here, for genuine acts alone; derived keys leave, the shared secret does not.",
        in "hsm/src/hsm.rs";
    K2: "A batch of onions has at most 64 points, and a channel at most 20,000 a second, 50,000 at once.",
        in "hsm/src/hsm.rs";
    M1: "A mutual close has no HTLCs, pays our balance to our script, and its fee is capped and comes from the opener.",
        in "hsm/src/channel/close.rs";
    R2: "Labels of secrets are a closed list; a user's own lies below a secret that nothing else is derived from but the key of backups. A backup that was changed or comes from another seed is not opened. The words of the seed are shown to the owner once.",
        in "hsm/src/label.rs";
    S1: "A channel's terms and funding output are fixed once and are in range; a known channel is not recovered once more.",
        in "hsm/src/channel/setup.rs";
    S2: "The script that a close pays us to is this wallet's or on the operator's allowlist, and the one fixed at opening if one was.",
        in "hsm/src/channel/close.rs";
    T1: "Headers follow from the first that was told, by the network's rules, and the chain with the most work counts; a transaction is in a block if its merkle branch proves it. On mainnet, once headers are told, no HTLC goes out when the newest is six hours old.",
        in "hsm/src/tip.rs";
    W1: "Each output of the wallet's is its own, a channel's funding, on the operator's allowlist, approved by the operator, or charged to what may leave (W4).",
        in "hsm/src/spend.rs";
    W2: "A transaction of the wallet's pays no more than it spends, and its fee is below two caps, approved or not.",
        in "hsm/src/spend.rs";
    W3: "A coin is at one of our addresses, comes once, and has the amount that was first said.",
        in "hsm/src/coins.rs";
    W4: "What leaves the wallet in 24 hours, fees counted, stays below the operator's limit, or the operator approved it; of transactions with a coin in common the dearest is charged.",
        in "hsm/src/spending.rs";
    W5: "A signature of the wallet's commits to all inputs and outputs.",
        in "hsm/src/wallet.rs";
    W6: "An output to a channel is its funding output, and is paid only when our commitment 0 is verified.",
        in "hsm/src/spend.rs";
    W7: "What a channel's funding takes from the wallet is the funding output, change of ours and a capped fee.",
        in "hsm/src/spend.rs";
    X1: "What claims outputs on chain is built here, takes none but those whose script is this channel's for us, and pays the channel's own address.",
        in "hsm/src/onchain/proof.rs";
    X2: "The fee of a claim is half of the contract outputs that it takes at most, however many inputs it has, and below the operator's cap.",
        in "hsm/src/onchain/proof.rs";
    X3: "A penalty's key is made from a secret that the peer has revealed and that is stored here.",
        in "hsm/src/onchain/proof.rs";
    X4: "The child of an anchor has a commitment of this channel as its parent, and its fee is half of what is at stake for us at most, and below the operator's cap.",
        in "hsm/src/onchain/proof.rs";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Rule {
    /// The rule of this id.
    #[must_use]
    pub fn from_id(id: &str) -> Option<Rule> {
        RULES.iter().copied().find(|rule| rule.to_string() == id)
    }
}
