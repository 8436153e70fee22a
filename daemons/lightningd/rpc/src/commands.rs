//! The commands of this node: names, parameters and words for people. What they do is lightningd's.
//!
//! Names, order, types and defaults are CLN's (tests/vectors/cln/rpc.json says which release).
//! A parameter that CLN gives a default for is `optional` here where its absence means something
//! else than that default.

use crate::param::{Param, Type};

const INDEXES: Type = Type::OneOf(&["created", "updated"]);
const FORWARD_STATES: Type = Type::OneOf(&["offered", "settled", "local_failed", "failed"]);
const PAY_STATES: Type = Type::OneOf(&["pending", "complete", "failed"]);
const NORMAL: &str = "\"normal\"";

/// Commands that CLN does not have.
pub const OURS: &[&str] = &["listsandbox", "backup"];

/// What a command is about, as `help` sorts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Category {
    Node,
    Peer,
    Channel,
    Wallet,
    Invoice,
    Payment,
    Backup,
    Bookkeeper,
}

impl Category {
    pub const ALL: [Category; 8] = [
        Category::Node,
        Category::Peer,
        Category::Channel,
        Category::Wallet,
        Category::Invoice,
        Category::Payment,
        Category::Backup,
        Category::Bookkeeper,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Category::Node => "node",
            Category::Peer => "peer",
            Category::Channel => "channel",
            Category::Wallet => "wallet",
            Category::Invoice => "invoice",
            Category::Payment => "payment",
            Category::Backup => "backup",
            Category::Bookkeeper => "bookkeeper",
        }
    }
}

/// A command as clients see it.
#[derive(Debug)]
pub struct Command {
    pub name: &'static str,
    pub category: Category,
    /// In positional order, the required ones first.
    pub params: &'static [Param],
    /// One line.
    pub summary: &'static str,
    /// What a user has to know before using it.
    pub description: &'static str,
}

impl Command {
    /// The parameters as `help` shows them: `id [len] [pongbytes]`.
    #[must_use]
    pub fn usage(&self) -> String {
        let shown = self.params.iter().filter(|p| !p.dev_only);
        let words: Vec<String> = shown
            .map(|p| {
                if p.required {
                    p.name.to_owned()
                } else {
                    format!("[{}]", p.name)
                }
            })
            .collect();
        words.join(" ")
    }

    /// A page for people to read.
    #[must_use]
    pub fn page(&self) -> String {
        let Command {
            name,
            summary,
            description,
            ..
        } = self;
        let synopsis = wrap(&format!("{name} {}", self.usage()), 76).join("\n      ");
        let mut page =
            format!("NAME\n  {name} - {summary}\n\nSYNOPSIS\n  {synopsis}\n\nDESCRIPTION\n");
        for line in wrap(description, 76) {
            page.push_str(&format!("  {line}\n"));
        }
        if !self.params.is_empty() {
            page.push_str("\nPARAMETERS\n");
        }
        for p in self.params {
            let need = match (p.required, p.default) {
                (true, _) => ", required".to_owned(),
                (false, Some(default)) => format!(", default {}", default.trim_matches('"')),
                (false, None) => String::new(),
            };
            page.push_str(&format!("  {:<22} {}{need}\n", p.name, p.kind.describe()));
        }
        page
    }
}

/// Breaks text between words into lines of at most `width` characters.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

macro_rules! commands {
    ($($ident:ident: $name:literal, $category:ident, [$($param:expr),* $(,)?], $summary:literal, $description:literal;)*) => {
        $(
            pub static $ident: Command = Command {
                name: $name,
                category: Category::$category,
                params: &[$($param),*],
                summary: $summary,
                description: $description,
            };
        )*

        /// Every command.
        pub static ALL: &[&Command] = &[$(&$ident),*];
    };
}

commands! {
    GETINFO: "getinfo", Node, [],
        "who this node is and how it is doing",
        "Shows the node's id, alias, addresses, features and version, how many peers and channels it has, and how far it has followed the chain. A warning_ member says when bitcoind or this node is still catching up.";
    HELP: "help", Node, [Param::optional("command", Type::String)],
        "lists the commands, or explains one",
        "Without a parameter, every command with its parameters; optional ones stand in brackets. With the name of a command, that one in full.";
    CHECK: "check", Node, [Param::required("command_to_check", Type::String)],
        "tries the parameters of a command without running it",
        "Takes the name of a command and then that command's own parameters, and answers with the error that they would meet, or with the command's name where there is none. Nothing is run or changed.";
    NOTIFICATIONS: "notifications", Node, [Param::required("enable", Type::Bool)],
        "turns progress notifications on or off for this connection",
        "While on, commands given over this connection may send message and progress notifications before their reply. Off when a connection starts.";
    STOP: "stop", Node, [],
        "shuts the node down cleanly",
        "Answers when everything is written and the node is about to exit. Channels stay open; the node must come back before its peers' timeouts run out.";
    GETLOG: "getlog", Node, [Param::or("level", Type::OneOf(&["broken", "unusual", "info", "debug", "trace", "io"]), "\"info\"")],
        "shows the recent log",
        "Shows what the node still holds of its log in memory, at the level given and above.";
    LISTCONFIGS: "listconfigs", Node, [Param::optional("config", Type::String)],
        "shows the options in force and where each was set",
        "For every option, or for the one named, its value and its source: default, cmdline, or file and line. Options that may be given more than once show lists.";
    LISTSANDBOX: "listsandbox", Node, [],
        "shows every process of the node and what it may do",
        "For lightningd and each subdaemon: its process id, user, seccomp mode and filters, capabilities and threads as the kernel shows them now; its Landlock level, namespaces and limits as it read them back itself before it read anything from anybody; its open files; and what this host did not give it, with the reason. Not a command of Core Lightning's.";
    BACKUP: "backup", Backup, [Param::required("destination", Type::String)],
        "copies the whole node to another folder while it runs",
        "Makes the folder destination, which must not be there yet and is named by its full path: a lightning-dir with the database of one moment, hsm-journal, hsm_secret as it is, the configuration, and SHA256SUMS for sha256sum. Payments go on meanwhile, so that it is older than what peers have: a node that is started on it refuses, unless with --await-recovery; then nothing of a channel is signed before its peer has shown its state, and peers that are ahead close. Never run it beside the original. Not a command of Core Lightning's.";
    CONNECT: "connect", Peer, [
            Param::required("id", Type::String), Param::optional("host", Type::String), Param::optional("port", Type::U16)],
        "connects to another node",
        "The id may also be given as id@host or id@host:port. Without a host, the addresses are used that the node has announced or that it was reached at before. The connection is kept up while there is a channel.";
    DISCONNECT: "disconnect", Peer, [Param::required("id", Type::NodeId), Param::or("force", Type::Bool, "false")],
        "closes the connection to a peer",
        "Refused while there are channels with the peer, unless forced. A peer with channels is connected to again.";
    LISTPEERS: "listpeers", Peer, [
            Param::optional("id", Type::NodeId),
            Param::optional("level", Type::OneOf(&["io", "trace", "debug", "info", "unusual"]))],
        "lists the peers that are connected or have channels with us",
        "With an id, only that peer. With a level, each peer's recent log at that level and above is shown, too.";
    PING: "ping", Peer, [
            Param::required("id", Type::NodeId), Param::or("len", Type::U16, "128"), Param::or("pongbytes", Type::U16, "128")],
        "sends a ping to a connected peer and waits for its pong",
        "len is the number of bytes to send and pongbytes the number to ask for. From 65532 pongbytes on, the protocol has the peer send nothing, and the command answers at once.";
    LISTPEERCHANNELS: "listpeerchannels", Channel, [
            Param::optional("id", Type::NodeId), Param::optional("short_channel_id", Type::ShortChannelId),
            Param::optional("channel_id", Type::ChannelId)],
        "lists the channels that are open, opening or closing",
        "With an id, only those with that peer; with a short_channel_id or channel_id, only that one.";
    LISTCLOSEDCHANNELS: "listclosedchannels", Channel, [Param::optional("id", Type::NodeId)],
        "lists the channels that are closed and settled on the chain",
        "With an id, only those with that peer.";
    LISTFORWARDS: "listforwards", Channel, [
            Param::optional("status", FORWARD_STATES), Param::optional("in_channel", Type::ShortChannelId),
            Param::optional("out_channel", Type::ShortChannelId), Param::optional("index", INDEXES),
            Param::optional("start", Type::U64), Param::optional("limit", Type::U32)],
        "lists payments of others that went through this node",
        "One entry for each HTLC that was passed on, or is being; what was refused here and never left is not kept. start and limit page through the list in the order of index, which they need.";
    FUNDCHANNEL: "fundchannel", Channel, [
            Param::required("id", Type::NodeId), Param::required("amount", Type::SatOrAll),
            Param::or("feerate", Type::Feerate, NORMAL), Param::or("announce", Type::Bool, "true"),
            Param::or("minconf", Type::U32, "1"), Param::optional("utxos", Type::Outpoints),
            Param::optional("push_msat", Type::Msat), Param::optional("close_to", Type::String),
            Param::optional("request_amt", Type::Sat), Param::optional("compact_lease", Type::String),
            Param::optional("mindepth", Type::U32), Param::optional("reserve", Type::Sat),
            Param::optional("channel_type", Type::U32s)],
        "opens a channel with a connected peer, paid from the wallet",
        "The amount is in satoshi, or 'all' for all that the wallet can spare. push_msat gives the peer that much at once, for nothing in return. announce false keeps the channel out of gossip. The command answers when the funding transaction is broadcast; the channel is usable when it has confirmed.";
    CLOSE: "close", Channel, [
            Param::required("id", Type::String), Param::or("unilateraltimeout", Type::U32, "172800"),
            Param::optional("destination", Type::String), Param::or("fee_negotiation_step", Type::String, "\"50%\""),
            Param::optional("wrong_funding", Type::Outpoint), Param::or("force_lease_closed", Type::Bool, "false"),
            Param::optional("feerange", Type::Feerates)],
        "closes a channel, together with the peer or else alone",
        "The id is a peer's id where it has a single channel, or a channel id or short_channel_id. If the peer has not closed with us after unilateraltimeout seconds (0: never), our latest commitment transaction is broadcast; our part then comes back only after a delay. The destination defaults to a fresh wallet address.";
    NEWADDR: "newaddr", Wallet, [Param::or("addresstype", Type::OneOf(&["bech32", "p2tr", "all"]), "\"p2tr\"")],
        "makes a fresh address to send bitcoin to",
        "Funds sent to it show in listfunds and can open channels once confirmed.";
    LISTFUNDS: "listfunds", Wallet, [Param::or("spent", Type::Bool, "false")],
        "lists the wallet's outputs and the funds in channels",
        "With spent true, outputs that are spent already are shown, too.";
    WITHDRAW: "withdraw", Wallet, [
            Param::required("destination", Type::String), Param::required("satoshi", Type::SatOrAll),
            Param::or("feerate", Type::Feerate, NORMAL), Param::or("minconf", Type::U16, "1"),
            Param::optional("utxos", Type::Outpoints)],
        "sends bitcoin from the wallet to an address",
        "The amount is in satoshi unless it carries another unit, or 'all'. Some funds are held back as long as there are channels that may need them to pay fees.";
    TXDISCARD: "txdiscard", Wallet, [Param::required("txid", Type::Txid)],
        "gives up a transaction that bitcoind refuses, and frees its coins",
        "Only one of listtransactions that is in no block, and that bitcoind refuses once more now; one that spends its outputs goes with it. Whoever has kept it may still bring it into a block: to rule that out, spend one of its coins, with utxos of withdraw, before you pay the same again.";
    LISTTRANSACTIONS: "listtransactions", Wallet, [],
        "lists the transactions of the wallet and of the channels",
        "Every transaction that paid or spent something of the wallet's or of a channel's, for good, in the order of the chain; then those of ours that are in no block yet, whose blockheight is 0.";
    LISTACCOUNTEVENTS: "bkpr-listaccountevents", Bookkeeper, [
            Param::optional("account", Type::String), Param::optional("payment_id", Type::String)],
        "lists what moved on the chain and in channels",
        "The account is wallet, external, or a channel's channel_id; without one all are shown. payment_id, instead, selects by a payment hash or a transaction's id. The credits of an account less its debits are its balance; onchain_fee entries say what of the difference went to miners. Channels that are closed stay listed.";
    LISTBALANCES: "bkpr-listbalances", Bookkeeper, [],
        "lists what is in each account",
        "The wallet and every channel that was ever funded. account_closed says that the funding output is spent, account_resolved that all that followed from it has ended.";
    LISTINCOME: "bkpr-listincome", Bookkeeper, [
            Param::or("consolidate_fees", Type::Bool, "true"), Param::or("start_time", Type::U32, "0"),
            Param::optional("end_time", Type::U32)],
        "lists what made the node richer or poorer",
        "Times are in seconds since 1970: what is later than start_time, up to end_time. All credits less all debits are what all accounts hold together. Fees on the chain are always shown as one entry for each transaction and account.";
    INSPECT: "bkpr-inspect", Bookkeeper, [Param::required("account", Type::String)],
        "shows the transactions of a channel and what each of them cost",
        "The account is a channel's channel_id. From the funding transaction on, each output that was the channel's, or came from it, with what it was spent by.";
    CHANNELSAPY: "bkpr-channelsapy", Bookkeeper, [
            Param::or("start_time", Type::U64, "0"), Param::optional("end_time", Type::U64)],
        "shows what channels earn for the capital in them",
        "Of each channel in which something moved later than start_time and up to end_time (seconds since 1970): what was routed, what that is of what the channel began with, and what its fees come to in a year at this pace. utilization_ and apy_ are percentages, of the whole channel, or, with _initial, of what that side began with. The last entry, net, is all of them together.";
    DUMPINCOMECSV: "bkpr-dumpincomecsv", Bookkeeper, [
            Param::required("csv_format", Type::String), Param::optional("csv_file", Type::String),
            Param::or("consolidate_fees", Type::Bool, "true"), Param::or("start_time", Type::U64, "0"),
            Param::optional("end_time", Type::U64)],
        "writes the income to a file for other programs",
        "What bkpr-listincome shows, as a table in the format cointracker, koinly, harmony or quickbooks. A csv_file without a full path is put into the network's folder; without any, its name is made of the format and the time. A table that was written before is replaced; any other file that stands there is left alone, and the command refused.";
    REPORT: "bkpr-report", Bookkeeper, [
            Param::required("format", Type::String), Param::optional("headers", Type::Strings),
            Param::or("escape", Type::String, "\"none\""), Param::or("start_time", Type::U32, "0"),
            Param::optional("end_time", Type::U32)],
        "shows the income in lines of your own making",
        "The format is written once for each event of bkpr-listincome, with these tags in braces replaced: account, tag, description, credit, debit, creditdebit, fees (in bitcoin), localtime, utctime, outpoint, txid, payment_id. {tag?text} is text where the event has such a thing (and where an amount is not 0), {tag:text} where it has not, {tag?text:text} says both; text may have tags in it. {{ is a brace. headers come first, a line each. escape csv puts values into quotes where a table needs it. A format that begins with { and ends with } needs a space before it with lightning-cli.";
    EDITDESCRIPTIONBYPAYMENTID: "bkpr-editdescriptionbypaymentid", Bookkeeper, [
            Param::required("payment_id", Type::String), Param::required("description", Type::String)],
        "says in your words what a payment was for",
        "The description is shown with every event of that payment hash, instead of the invoice's, and answered with those that there are; one that comes later has it, too.";
    EDITDESCRIPTIONBYOUTPOINT: "bkpr-editdescriptionbyoutpoint", Bookkeeper, [
            Param::required("outpoint", Type::String), Param::required("description", Type::String)],
        "says in your words what an output was for",
        "As bkpr-editdescriptionbypaymentid, for what came to that output (txid:outnum).";
    FEERATES: "feerates", Wallet, [Param::required("style", Type::OneOf(&["perkb", "perkw"]))],
        "shows the feerates in use",
        "In satoshi per 1000 bytes (perkb) or per 1000 weight units (perkw): the estimates, what each kind of transaction of ours pays, and what is accepted from peers.";
    INVOICE: "invoice", Invoice, [
            Param::required("amount_msat", Type::MsatOrAny), Param::required("label", Type::Label),
            Param::required("description", Type::String), Param::or("expiry", Type::U64, "604800"),
            Param::optional("fallbacks", Type::Strings), Param::optional("preimage", Type::Hash).secret(),
            Param::optional("exposeprivatechannels", Type::Json), Param::optional("cltv", Type::U32),
            Param::or("deschashonly", Type::Bool, "false")],
        "makes an invoice for somebody to pay us",
        "The amount is in millisatoshi unless it carries another unit, or 'any'. The label names the invoice in later commands and must be unique; the description is what the payer sees. expiry is in seconds.";
    LISTINVOICES: "listinvoices", Invoice, [
            Param::optional("label", Type::Label), Param::optional("invstring", Type::String),
            Param::optional("payment_hash", Type::Hash), Param::optional("offer_id", Type::String),
            Param::optional("index", INDEXES), Param::optional("start", Type::U64), Param::optional("limit", Type::U32)],
        "lists invoices and whether they are paid",
        "At most one of label, invstring, payment_hash and offer_id selects. start and limit page through the list in the order of index, which they need.";
    DELINVOICE: "delinvoice", Invoice, [
            Param::required("label", Type::Label), Param::required("status", Type::OneOf(&["paid", "expired", "unpaid"])),
            Param::or("desconly", Type::Bool, "false")],
        "removes an invoice",
        "Only where its status is the one given, so that an invoice which has been paid meanwhile is not lost. With desconly true, only the description is removed.";
    WAITINVOICE: "waitinvoice", Invoice, [Param::required("label", Type::Label)],
        "waits until an invoice is paid or expires",
        "Answers at once where it is already paid or expired. An expired invoice is an error with code 903.";
    WAITANYINVOICE: "waitanyinvoice", Invoice, [
            Param::or("lastpay_index", Type::U64, "0"), Param::optional("timeout", Type::U64)],
        "waits until any invoice is paid",
        "Answers with the first invoice whose pay_index is greater than lastpay_index, at once where there is one. Given each answer's pay_index in turn, it yields every payment once. timeout is in seconds; code 904 says that it ran out.";
    DECODE: "decode", Invoice, [Param::required("string", Type::String)],
        "shows what an invoice or similar string says",
        "Says what kind of string it is, whether it is valid, and every field in it.";
    PAY: "pay", Payment, [
            Param::required("bolt11", Type::String).also_named("invstring"), Param::optional("amount_msat", Type::Msat),
            Param::optional("label", Type::String), Param::or("riskfactor", Type::Number, "10"),
            Param::optional("maxfeepercent", Type::Number), Param::or("retry_for", Type::U16, "60"),
            Param::or("maxdelay", Type::U16, "2016"), Param::optional("exemptfee", Type::Msat),
            Param::optional("localinvreqid", Type::Hex), Param::optional("exclude", Type::Strings),
            Param::optional("maxfee", Type::Msat), Param::optional("description", Type::String),
            Param::optional("partial_msat", Type::Msat)],
        "pays an invoice",
        "amount_msat is needed, and allowed, only where the invoice names no amount. The fee is at most maxfee, or else maxfeepercent (0.5) of the amount, where fees up to exemptfee (5000 msat) are always fine. Attempts are begun for retry_for seconds; what is under way then is waited for. An invoice that is already paid is not paid again: the first payment's result is shown.";
    LISTPAYS: "listpays", Payment, [
            Param::optional("bolt11", Type::String), Param::optional("payment_hash", Type::Hash),
            Param::optional("status", PAY_STATES), Param::optional("index", INDEXES),
            Param::optional("start", Type::U64), Param::optional("limit", Type::U32)],
        "lists payments that we made or tried",
        "One entry for each payment, however many parts it was sent in. At most one of bolt11 and payment_hash selects.";
    LISTSENDPAYS: "listsendpays", Payment, [
            Param::optional("bolt11", Type::String), Param::optional("payment_hash", Type::Hash),
            Param::optional("status", PAY_STATES), Param::optional("index", INDEXES),
            Param::optional("start", Type::U64), Param::optional("limit", Type::U32)],
        "lists the parts that payments were sent in",
        "One entry for each part and attempt. At most one of bolt11 and payment_hash selects.";
    SIGNMESSAGE: "signmessage", Wallet, [Param::required("message", Type::String)],
        "signs a text with the node's key",
        "Whoever knows the node's id can tell by the signature that the text is this node's. zbase is the form that checkmessage takes, here and in other implementations.";
    CHECKMESSAGE: "checkmessage", Wallet, [
            Param::required("message", Type::String), Param::required("zbase", Type::String),
            Param::optional("pubkey", Type::NodeId)],
        "tells whether a text was signed by a node",
        "With pubkey, whether that node signed it. Without, the signer has to be a node that is known here, which is this node alone as long as there is no gossip; code 1301 names any other.";
    MAKESECRET: "makesecret", Backup, [Param::optional("hex", Type::Hex), Param::optional("string", Type::String)],
        "derives a secret of your own from the seed",
        "The secret that belongs to hex or string, one of which is needed. It is the same whenever it is asked for, and tells nothing of the node's own secrets or of those with other names.";
    STATICBACKUP: "staticbackup", Backup, [],
        "shows what is left of each channel if all else is lost",
        "One entry for each channel, readable for who has it: keep it as you would the file emergency.recover, which has the same, sealed. recoverchannel takes these entries.";
    EMERGENCYRECOVER: "emergencyrecover", Backup, [],
        "recovers channels from the file emergency.recover",
        "For a node whose database is lost, with its seed and that file put back. Each channel that is not known here is asked to be closed by its peer, and what that pays us comes to the wallet. Nothing else can be done with such a channel.";
    RECOVERCHANNEL: "recoverchannel", Backup, [Param::required("scb", Type::Strings)],
        "recovers channels from what staticbackup has shown",
        "As emergencyrecover, for the entries of an array. One that cannot be read is passed over.";
    GETEMERGENCYRECOVERDATA: "getemergencyrecoverdata", Backup, [],
        "shows the file emergency.recover and which channels are in it",
        "can_create_penalty is false: a recovered channel takes its balance from any commitment of the peer's, and punishes none.";
    RESTOREFROMPEER: "restorefrompeer", Backup, [],
        "recovers channels from the newest backup that a peer has given back",
        "For a node of which nothing but the seed is left: connect to a peer that had a channel with it first. Otherwise as emergencyrecover.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn required_parameters_come_first_and_no_name_is_used_twice() {
        for command in ALL {
            let mut names: Vec<&str> = command
                .params
                .iter()
                .flat_map(|p| [Some(p.name), p.alias])
                .flatten()
                .collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|w| w[0] != w[1]), "{}", command.name);
            assert!(
                command.params.is_sorted_by_key(|p| !p.required),
                "{}",
                command.name
            );
            assert!(
                command
                    .params
                    .iter()
                    .all(|p| !p.required || p.default.is_none()),
                "{}",
                command.name
            );
        }
    }

    #[test]
    fn every_default_is_a_value_of_its_type() {
        for param in ALL.iter().flat_map(|c| c.params) {
            if let Some(text) = param.default {
                assert!(
                    param
                        .kind
                        .parse(crate::token::Token::parse(text).unwrap())
                        .is_some(),
                    "{}",
                    param.name
                );
            }
        }
    }

    #[test]
    fn a_page_has_the_synopsis_and_every_parameter() {
        let page = FUNDCHANNEL.page();
        assert!(page.contains("\n  fundchannel id amount [feerate] [announce]"));
        for p in FUNDCHANNEL.params {
            assert!(page.contains(&format!("\n  {:<22} ", p.name)), "{}", p.name);
        }
        assert!(
            page.lines()
                .filter(|l| !l.contains("fundchannel id"))
                .all(|l| l.len() <= 100)
        );
    }

    #[test]
    fn wrapping_keeps_every_word() {
        let text = "aa bbb c dddddd";
        assert_eq!(wrap(text, 6), ["aa bbb", "c", "dddddd"]);
        assert_eq!(wrap(text, 3).join(" "), text);
    }
}
