//! BOLT 11 invoices: any text, and any data part under a right checksum.

use std::time::Duration;

use bech32::{Bech32, Fe32, Fe32IterExt, Hrp};
use bitcoin::Network;

use crate::Target;

/// Three of BOLT 11's examples: without amount, with one and an expiry, with route hints and a fallback.
const EXAMPLES: [&str; 3] = [
    "lnbc1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfjkxaq9qrsgq357wnc5r2ueh7ck6q93dj32dlqnls087fxdwk8qakdyafkq3yap9us6v52vjjsrvywa6rt52cm9r9zqt8r2t7mlcwspyetp5h2tztugp9lfyql",
    EXAMPLE_WITH_AMOUNT,
    EXAMPLE_WITH_HINTS,
];
const EXAMPLE_WITH_AMOUNT: &str = "lnbc2500u1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpu9qrsgquk0rl77nj30yxdy8j9vdx85fkpmdla2087ne0xh8nhedh8w27kyke0lp53ut353s06fv3qfegext0eh0ymjpf39tuven09sam30g4vgpfna3rh";
const EXAMPLE_WITH_HINTS: &str = "lnbc20m1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqhp58yjmdan79s6qqdhdzgynm4zwqd5d7xmw5fk98klysy043l2ahrqsfpp3qjmp7lwpagxun9pygexvgpjdc4jdj85fr9yq20q82gphp2nflc7jtzrcazrra7wwgzxqc8u7754cdlpfrmccae92qgzqvzq2ps8pqqqqqqpqqqqq9qqqvpeuqafqxu92d8lr6fvg0r5gv0heeeqgcrqlnm6jhphu9y00rrhy4grqszsvpcgpy9qqqqqqgqqqqq7qqzq9qrsgqdfjcdk6w3ak5pca9hwfwfh63zrrz06wwfya0ydlzpgzxkn5xagsqz7x9j4jwe7yj7vaf2k9lqsdk45kts2fd0fkr28am0u4w95tt2nsq76cqw0";

const PREFIXES: [&str; 8] = [
    "lnbc",
    "lntb",
    "lntbs",
    "lnbcrt",
    "lnbc2500u",
    "lnbc1p",
    "lnbc20m",
    "lnbc18446744073709551615n",
];

pub fn targets() -> Vec<Target> {
    vec![
        Target::new("bolt11_text", text, 1024, text_seeds),
        Target::new("bolt11_fields", fields, 1024, field_seeds),
    ]
}

fn text(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        read(text);
    }
}

/// First byte: the prefix; the others: words of five bits.
fn fields(data: &[u8]) {
    let Some((first, words)) = data.split_first() else {
        return;
    };
    let prefix = PREFIXES[usize::from(*first) % PREFIXES.len()];
    let hrp = Hrp::parse(prefix).expect("a prefix");
    let words = words
        .iter()
        .filter_map(|word| Fe32::try_from(word % 32).ok());
    let invoice: String = words.with_checksum::<Bech32>(&hrp).chars().collect();
    read(&invoice);
}

fn read(text: &str) {
    let Ok(invoice) = invoice::parse(text) else {
        return;
    };
    let _ = invoice.expires_at();
    for now in [
        Duration::ZERO,
        Duration::from_secs(1_700_000_000),
        Duration::MAX,
    ] {
        let _ = invoice.is_expired(now);
    }
    let _ = invoice.is_for(Network::Bitcoin);
    let _ = invoice.is_about("x");
    // Case is free, but not mixed: the same invoice, whichever it is.
    let other = text.trim().to_ascii_uppercase();
    assert_eq!(
        invoice::parse(&other).map(|i| i.signing_hash),
        Ok(invoice.signing_hash)
    );
}

fn text_seeds() -> Vec<Vec<u8>> {
    EXAMPLES
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect()
}

fn field_seeds() -> Vec<Vec<u8>> {
    let words = |text: &str| {
        let (_, data) = text.rsplit_once('1').expect("a separator");
        let data = &data[..data.len() - 6];
        let words = data.chars().filter_map(|c| Fe32::from_char(c).ok());
        let mut seed = vec![0];
        seed.extend(words.map(Fe32::to_u8));
        seed
    };
    EXAMPLES.iter().map(|text| words(text)).collect()
}
