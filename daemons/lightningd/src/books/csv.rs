//! Income as a table that programs for taxes and books read (`bkpr-dumpincomecsv`): the four forms that Core
//! Lightning writes, column for column.
//!
//! Descriptions come from strangers. None of them ends a cell or a row, nor begins with what makes a
//! spreadsheet take it for a formula.

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use wire::MilliSatoshi;

use super::income::Line;
use crate::store::moves::Tag;

const MSAT_PER_BTC: u64 = 100_000_000_000;
const INVOICE_FEE: &str = "invoice_fee";

/// A form of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Cointracker,
    Koinly,
    Harmony,
    Quickbooks,
}

impl Form {
    pub const ALL: [Form; 4] = [
        Form::Cointracker,
        Form::Koinly,
        Form::Harmony,
        Form::Quickbooks,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Form::Cointracker => "cointracker",
            Form::Koinly => "koinly",
            Form::Harmony => "harmony",
            Form::Quickbooks => "quickbooks",
        }
    }

    /// What every table of this form begins with.
    #[must_use]
    pub fn header(self) -> &'static str {
        match self {
            Form::Cointracker => {
                "Date,Received Quantity,Received Currency,Sent Quantity,Sent Currency,Fee Amount,\
                 Fee Currency,Tag,Account"
            }
            Form::Koinly => {
                "Date,Sent Amount,Sent Currency,Received Amount,Received Currency,Fee Amount,\
                 Fee Currency,Label,Description,TxHash"
            }
            Form::Harmony => {
                "HarmonyCSV v0.2,,,,,,,,,\nProvenance,cln-bookkeeper,,,,,,,,\n,,,,,,,,,\n\
                 Timestamp,Venue,Type,Amount,Asset,Transaction ID,Order ID,Account,Network ID,Note"
            }
            Form::Quickbooks => "Date,Description,Credit,Debit",
        }
    }

    /// `None`: this form has what it says in another row.
    fn row(self, line: &Line, asset: &str) -> Option<Vec<String>> {
        let is_fee_of_payment = line.income.tag == INVOICE_FEE;
        match self {
            Form::Cointracker | Form::Koinly if is_fee_of_payment => None,
            Form::Cointracker => Some(cointracker(line, asset)),
            Form::Koinly => Some(koinly(line, asset)),
            Form::Harmony => Some(harmony(line, asset)),
            Form::Quickbooks => Some(quickbooks(line, asset)),
        }
    }
}

/// The whole table. `currency`: the network's, as invoices name it.
#[must_use]
pub fn table(form: Form, lines: &[Line], currency: &str) -> String {
    let asset = match currency {
        "bc" => "btc",
        other => other,
    };
    let mut text = form.header().to_owned();
    for row in lines.iter().filter_map(|line| form.row(line, asset)) {
        text.push('\n');
        text.push_str(&row.join(","));
    }
    text
}

fn cointracker(line: &Line, asset: &str) -> Vec<String> {
    let income = &line.income;
    let kind = match income.tag {
        "penalty" if income.debit > MilliSatoshi::ZERO => "lost",
        "invoice" | "routed" => "payment",
        _ => "",
    };
    let at = format_description!("[month]/[day]/[year] [hour]:[minute]:[second]");
    let mut row = vec![date(income.at, at)];
    row.extend(with_asset(income.credit, asset));
    row.extend(with_asset(income.debit, asset));
    row.extend(with_asset(fees(line), asset));
    row.extend([kind.to_owned(), line.account.clone()]);
    row
}

fn koinly(line: &Line, asset: &str) -> Vec<String> {
    let income = &line.income;
    let at = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let mut row = vec![date(income.at, at)];
    row.extend(with_asset(income.debit, asset));
    row.extend(with_asset(income.credit, asset));
    row.extend(with_asset(fees(line), asset));
    row.extend([income.tag.to_owned(), description(line), id(line)]);
    row
}

fn harmony(line: &Line, asset: &str) -> Vec<String> {
    let income = &line.income;
    let gained = income.credit > MilliSatoshi::ZERO;
    let of_wallet = line.account == "wallet";
    let kind = match income.tag {
        "onchain_fee" => "fee:network".to_owned(),
        "penalty" if !gained => "loss:penalty".to_owned(),
        tag if of_wallet => format!("transfer:{tag}"),
        tag if gained => format!("income:{tag}"),
        tag => format!("expense:{tag}"),
    };
    let amount = match income.debit > MilliSatoshi::ZERO {
        true => format!("-{}", btc(income.debit)),
        false => btc(income.credit),
    };
    let at = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let outpoint = income.outpoint.map(|outpoint| outpoint.to_string());
    let payment = income.payment_hash.map(|hash| hash.to_string());
    vec![
        date(income.at, at),
        "cln".to_owned(),
        kind,
        amount,
        asset.to_owned(),
        id(line),
        payment.unwrap_or_default(),
        line.account.clone(),
        outpoint.unwrap_or_default(),
        description(line),
    ]
}

fn quickbooks(line: &Line, asset: &str) -> Vec<String> {
    let income = &line.income;
    let said = match &line.description {
        Some(_) => description(line),
        None => "no desc".to_owned(),
    };
    let (tag, account) = (income.tag, &line.account);
    vec![
        date(income.at, format_description!("[day]/[month]/[year]")),
        format!("{tag} ({account}) {asset}: {said}"),
        unless_zero(income.credit),
        unless_zero(income.debit),
    ]
}

/// What a payment of ours cost beyond its amount: these forms have no row of its own for it.
fn fees(line: &Line) -> MilliSatoshi {
    match line.income.tag == Tag::Invoice.word() {
        true => line.income.fees,
        false => MilliSatoshi::ZERO,
    }
}

fn with_asset(amount: MilliSatoshi, asset: &str) -> [String; 2] {
    match amount > MilliSatoshi::ZERO {
        true => [btc(amount), asset.to_owned()],
        false => [String::new(), String::new()],
    }
}

fn unless_zero(amount: MilliSatoshi) -> String {
    match amount > MilliSatoshi::ZERO {
        true => btc(amount),
        false => String::new(),
    }
}

/// What tells this row from others.
fn id(line: &Line) -> String {
    let income = &line.income;
    let txid = income.txid.map(|txid| txid.to_string());
    let payment = || income.payment_hash.map(|hash| hash.to_string());
    let outpoint = || income.outpoint.map(|outpoint| outpoint.to_string());
    txid.or_else(payment).or_else(outpoint).unwrap_or_default()
}

/// As JSON has it, its quotes made single ones.
fn description(line: &Line) -> String {
    match &line.description {
        Some(text) => serde_json::Value::String(plain(text).replace('"', "'")).to_string(),
        None => String::new(),
    }
}

/// A text of a stranger's that no spreadsheet takes for a formula.
#[must_use]
pub fn plain(text: &str) -> String {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    }
}

/// With all eleven places, or `0`.
#[must_use]
pub fn btc(amount: MilliSatoshi) -> String {
    match amount.0 {
        0 => "0".to_owned(),
        msat => format!("{}.{:011}", msat / MSAT_PER_BTC, msat % MSAT_PER_BTC),
    }
}

/// In UTC; nothing for a time that no calendar has.
#[must_use]
pub fn date(at: u64, format: &[BorrowedFormatItem<'_>]) -> String {
    let seconds = i64::try_from(at).ok();
    let at = seconds.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    at.and_then(|at| at.format(format).ok()).unwrap_or_default()
}

#[cfg(test)]
pub mod tests {
    use bitcoin::hashes::Hash;
    use bitcoin::{OutPoint, Txid};
    use wire::PaymentHash;

    use super::*;
    use crate::books::income::Income;

    /// 2026-01-27 17:46:41 UTC.
    pub const AT: u64 = 1_769_536_001;

    pub fn line(tag: &'static str, account: &str, credit: u64, debit: u64) -> Line {
        Line {
            income: Income {
                books: 0,
                tag,
                credit: MilliSatoshi(credit),
                debit: MilliSatoshi(debit),
                fees: MilliSatoshi::ZERO,
                at: AT,
                outpoint: None,
                txid: None,
                payment_hash: None,
            },
            account: account.to_owned(),
            description: None,
        }
    }

    pub fn payment() -> Line {
        let mut paid = line("invoice", "c0ffee", 0, 100_000_001);
        paid.income.fees = MilliSatoshi(1_234);
        paid.income.payment_hash = Some(PaymentHash([0xaa; 32]));
        paid.description = Some("tea, \"hot\"\nnow".to_owned());
        paid
    }

    pub fn deposit() -> Line {
        let mut came = line("deposit", "wallet", 123_000_000_000, 0);
        let txid = Txid::from_byte_array([0xbb; 32]);
        came.income.outpoint = Some(OutPoint { txid, vout: 1 });
        came
    }

    fn lines() -> Vec<Line> {
        let fee = Line {
            income: Income {
                tag: INVOICE_FEE,
                debit: MilliSatoshi(1_234),
                ..payment().income
            },
            ..payment()
        };
        vec![deposit(), payment(), fee]
    }

    fn rows(form: Form) -> Vec<String> {
        let text = table(form, &lines(), "bc");
        let rows = text.strip_prefix(form.header()).unwrap();
        rows.lines().skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn each_form_has_its_columns_in_every_row() {
        let (aa, bb) = ("aa".repeat(32), "bb".repeat(32));
        let said = r#""tea, 'hot'\nnow""#;
        assert_eq!(
            rows(Form::Cointracker),
            [
                "01/27/2026 17:46:41,1.23000000000,btc,,,,,,wallet".to_owned(),
                "01/27/2026 17:46:41,,,0.00100000001,btc,0.00000001234,btc,payment,c0ffee"
                    .to_owned(),
            ]
        );
        assert_eq!(
            rows(Form::Koinly),
            [
                format!("2026-01-27 17:46 UTC,,,1.23000000000,btc,,,deposit,,{bb}:1"),
                format!(
                    "2026-01-27 17:46 UTC,0.00100000001,btc,,,0.00000001234,btc,invoice,{said},{aa}"
                ),
            ]
        );
        assert_eq!(
            rows(Form::Harmony),
            [
                format!(
                    "2026-01-27T17:46:41Z,cln,transfer:deposit,1.23000000000,btc,{bb}:1,,wallet,{bb}:1,"
                ),
                format!(
                    "2026-01-27T17:46:41Z,cln,expense:invoice,-0.00100000001,btc,{aa},{aa},c0ffee,,{said}"
                ),
                format!(
                    "2026-01-27T17:46:41Z,cln,expense:invoice_fee,-0.00000001234,btc,{aa},{aa},c0ffee,,{said}"
                ),
            ]
        );
        assert_eq!(
            rows(Form::Quickbooks),
            [
                "27/01/2026,deposit (wallet) btc: no desc,1.23000000000,".to_owned(),
                format!("27/01/2026,invoice (c0ffee) btc: {said},,0.00100000001"),
                format!("27/01/2026,invoice_fee (c0ffee) btc: {said},,0.00000001234"),
            ]
        );
    }

    #[test]
    fn a_description_is_never_a_formula() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"] {
            assert!(plain(text).starts_with('\''), "{text:?}");
        }
        assert_eq!(plain("a=1"), "a=1");
    }
}
