use proptest::prelude::*;

use super::*;

fn secrets(n: u8) -> Vec<SharedSecret> {
    (1..=n).map(|i| SharedSecret::from_bytes([i; 32])).collect()
}

#[test]
fn short_failures_all_have_the_same_length() {
    let [secret] = &secrets(1)[..] else {
        panic!("one")
    };
    let long = Failure::TemporaryChannelFailure {
        channel_update: vec![1; 138],
    };
    assert_eq!(
        create_error(secret, &Failure::MppTimeout).len(),
        32 + 2 + 256 + 2
    );
    assert_eq!(create_error(secret, &long).len(), 32 + 2 + 256 + 2);
    let longer = Failure::TemporaryChannelFailure {
        channel_update: vec![1; 400],
    };
    assert_eq!(create_error(secret, &longer).len(), 32 + 2 + 404 + 2);
    assert_eq!(
        decode_error(&secrets(1), &create_error(secret, &longer)),
        Some((0, longer))
    );
}

#[test]
fn a_garbled_error_is_nobodys() {
    let secrets = secrets(3);
    let mut error = create_error(&secrets[2], &Failure::MppTimeout);
    error[100] ^= 1;
    wrap_error(&secrets[1], &mut error);
    wrap_error(&secrets[0], &mut error);
    assert_eq!(decode_error(&secrets, &error), None);
}

#[test]
fn an_authentic_error_without_a_message_is_still_the_hops() {
    let secrets = secrets(1);
    for body in [&[][..], &[0], &[0, 5, 1], &[0, 0, 0, 0]] {
        let um = keys::derive(Purpose::Um, secrets[0].as_bytes());
        let mut packet = keys::mac(&*um, &[body]).finalize().into_bytes().to_vec();
        packet.extend(body);
        wrap_error(&secrets[0], &mut packet);
        let expected = Failure::Unknown {
            code: 0,
            data: vec![],
        };
        assert_eq!(decode_error(&secrets, &packet), Some((0, expected)));
    }
}

#[test]
fn more_hops_than_27_are_all_looked_at() {
    let secrets = secrets(30);
    let mut error = create_error(&secrets[29], &Failure::MppTimeout);
    secrets[..29]
        .iter()
        .rev()
        .for_each(|secret| wrap_error(secret, &mut error));
    assert_eq!(
        decode_error(&secrets, &error),
        Some((29, Failure::MppTimeout))
    );
}

#[test]
fn an_error_made_with_the_filling_secret_is_nobodys() {
    let mut error = create_error(&SharedSecret::from_bytes([0; 32]), &Failure::MppTimeout);
    let secrets = secrets(1);
    wrap_error(&secrets[0], &mut error);
    assert_eq!(decode_error(&secrets, &error), None);
    assert_eq!(decode_error(&[], &error), None);
}

proptest! {
    #[test]
    fn garbage_is_nobodys_error(packet in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert_eq!(decode_error(&secrets(5), &packet), None);
    }
}
