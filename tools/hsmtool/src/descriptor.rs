//! The checksum of an output script descriptor (BIP 380): eight characters of a BCH code over the
//! place of each character in a table, with the table's rows (three characters' at a time) after.

const INPUT: &str = "0123456789()[],'/*abcdefgh@:$%{}\
                     IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~\
                     ijklmnopqrstuvwxyzABCDEFGH`#\"\\ ";
const OUTPUT: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const GENERATOR: [u64; 5] = [
    0xf5_dee5_1989,
    0xa9_fdca_3312,
    0x1b_ab10_e32d,
    0x37_06b1_677a,
    0x64_4d62_6ffd,
];
/// Characters of the checksum.
const LEN: usize = 8;

/// `descriptor#checksum`; of text that is no descriptor, as it is.
pub fn with_checksum(descriptor: &str) -> String {
    match checksum(descriptor) {
        Some(checksum) => format!("{descriptor}#{checksum}"),
        None => descriptor.to_owned(),
    }
}

fn checksum(descriptor: &str) -> Option<String> {
    let places = descriptor
        .chars()
        .map(|wanted| INPUT.chars().position(|known| known == wanted));
    let places: Vec<usize> = places.collect::<Option<_>>()?;
    let mut symbols: Vec<u64> = Vec::new();
    for three in places.chunks(3) {
        symbols.extend(three.iter().map(|place| (place & 31) as u64));
        symbols.push(
            three
                .iter()
                .fold(0, |row, place| row * 3 + (place >> 5) as u64),
        );
    }
    // The rows of each three come after the three; of all, only whole groups and the last one count.
    symbols.extend([0; LEN]);
    let code = symbols.into_iter().fold(1, step) ^ 1;
    let letter = |at: usize| {
        let five = (code >> (5 * (LEN - 1 - at))) & 31;
        OUTPUT.get(five as usize).map(|letter| char::from(*letter))
    };
    (0..LEN).map(letter).collect()
}

fn step(code: u64, symbol: u64) -> u64 {
    let top = code >> 35;
    let next = ((code & 0x7_ffff_ffff) << 5) ^ symbol;
    let picked = GENERATOR
        .iter()
        .enumerate()
        .filter(|(bit, _)| (top >> bit) & 1 == 1);
    picked.fold(next, |next, (_, generator)| next ^ generator)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Core Lightning 090f4b0e6981d458b07a8e95d3eccf5a7c0b9542, tests/test_wallet.py.
    #[test]
    fn checksums_are_those_of_core_lightning() {
        let key = "xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afYWcLteoGVky7D3UKDP9QyrLp\
                   rQ3VCECoY49yfdDEHGCtMMj92pReUsQ/0/*";
        for (text, sum) in [
            (format!("wpkh({key})"), "hjszq0wk"),
            (format!("sh(wpkh({key}))"), "u0t3u3xz"),
            (format!("tr({key})"), "8e7pq23w"),
        ] {
            assert_eq!(checksum(&text).unwrap(), sum);
        }
        assert_eq!(checksum("wpkh(é)"), None);
    }
}
