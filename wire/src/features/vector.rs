//! The bit vector itself.

use std::fmt;
use std::str::FromStr;

use bitcoin::hex::{DisplayHex, FromHex};
use serde::{Deserialize, Serialize};

use super::{Context, Feature};
use crate::units::ParseUnitError;

/// Numbered bits; bit 0 is the lowest of the last byte (BOLT 9).
///
/// Bytes that came from outside are kept as they came, so that signatures over them can be
/// checked; leading zero bytes make no difference to anything else. What is built here is minimal.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Features(#[serde(with = "serde_bytes")] Vec<u8>);

impl Features {
    /// No bit set.
    #[must_use]
    pub fn new() -> Features {
        Features::default()
    }

    /// Big-endian, as on the wire.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Features {
        Features(bytes.to_vec())
    }

    /// The even bits of `required` and the odd bits of `optional`.
    #[must_use]
    pub fn of(required: &[Feature], optional: &[Feature]) -> Features {
        let mut features = Features::new();
        optional.iter().for_each(|f| features.set_optional(*f));
        required.iter().for_each(|f| features.set_required(*f));
        features
    }

    /// Big-endian, as on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Is any bit set?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.trimmed().is_empty()
    }

    #[must_use]
    pub fn has_bit(&self, bit: u32) -> bool {
        let from_end = bit as usize / 8;
        self.0
            .iter()
            .rev()
            .nth(from_end)
            .is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
    }

    /// Sets one bit, whatever it means. For bits that we choose: memory grows with the number.
    pub fn set_bit(&mut self, bit: u32) {
        let from_end = bit as usize / 8;
        let missing = from_end.saturating_add(1).saturating_sub(self.0.len());
        self.0.splice(..0, std::iter::repeat_n(0, missing));
        if let Some(byte) = self.0.iter_mut().rev().nth(from_end) {
            *byte |= 1 << (bit % 8);
        }
    }

    pub fn clear_bit(&mut self, bit: u32) {
        if let Some(byte) = self.0.iter_mut().rev().nth(bit as usize / 8) {
            *byte &= !(1 << (bit % 8));
        }
        self.0 = self.trimmed().to_vec();
    }

    /// The numbers of the bits that are set, rising.
    pub fn bits(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..)
            .step_by(8)
            .zip(self.0.iter().rev())
            .flat_map(|(first, byte)| {
                (0..8)
                    .filter(move |bit| byte >> bit & 1 == 1)
                    .map(move |bit| first + bit)
            })
    }

    /// Either bit of the pair is set.
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        self.has_bit(feature.bit()) || self.has_bit(feature.bit() | 1)
    }

    /// The even bit is set (BOLT 9: also with the odd one beside it).
    #[must_use]
    pub fn requires(&self, feature: Feature) -> bool {
        self.has_bit(feature.bit())
    }

    /// Both sides have the feature.
    #[must_use]
    pub fn shares(&self, other: &Features, feature: Feature) -> bool {
        self.has(feature) && other.has(feature)
    }

    /// Sets the even bit and clears the odd one.
    pub fn set_required(&mut self, feature: Feature) {
        self.clear_bit(feature.bit() | 1);
        self.set_bit(feature.bit());
    }

    /// Sets the odd bit and clears the even one.
    pub fn set_optional(&mut self, feature: Feature) {
        self.clear_bit(feature.bit());
        self.set_bit(feature.bit() | 1);
    }

    /// Clears both bits.
    pub fn unset(&mut self, feature: Feature) {
        self.clear_bit(feature.bit());
        self.clear_bit(feature.bit() | 1);
    }

    /// All bits of both, as `init`'s two fields are to be read (BOLT 1).
    #[must_use]
    pub fn union(&self, other: &Features) -> Features {
        let (mut all, fewer) = if self.0.len() < other.0.len() {
            (other.clone(), self)
        } else {
            (self.clone(), other)
        };
        for (to, from) in all.0.iter_mut().rev().zip(fewer.0.iter().rev()) {
            *to |= from;
        }
        all.0 = all.trimmed().to_vec();
        all
    }

    /// The lowest required bit whose pair is not in `known` at all. BOLT 1: a peer whose `init`
    /// has one must be disconnected.
    #[must_use]
    pub fn unknown_required(&self, known: &Features) -> Option<u32> {
        self.bits()
            .find(|bit| bit % 2 == 0 && !known.has_bit(*bit) && !known.has_bit(bit | 1))
    }

    /// A feature that is set without the one it needs, and that one (BOLT 9, Dependencies).
    #[must_use]
    pub fn missing_dependency(&self) -> Option<(Feature, Feature)> {
        Feature::ALL.iter().find_map(|feature| {
            let needed = feature.dependency()?;
            (self.has(*feature) && !self.has(needed)).then_some((*feature, needed))
        })
    }

    /// What of this may be presented in `context`; bits that name no [`Feature`] (plugins' own)
    /// are left out.
    #[must_use]
    pub fn for_context(&self, context: Context) -> Features {
        let mut kept = Features::new();
        self.bits()
            .filter(|bit| Feature::of_bit(*bit).is_some_and(|feature| feature.is_in(context)))
            .for_each(|bit| kept.set_bit(bit));
        kept
    }

    fn trimmed(&self) -> &[u8] {
        let zeros = self.0.iter().take_while(|b| **b == 0).count();
        self.0.get(zeros..).unwrap_or_default()
    }
}

impl PartialEq for Features {
    fn eq(&self, other: &Features) -> bool {
        self.trimmed() == other.trimmed()
    }
}

impl Eq for Features {}

impl std::hash::Hash for Features {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.trimmed().hash(state);
    }
}

impl FromIterator<u32> for Features {
    fn from_iter<T: IntoIterator<Item = u32>>(bits: T) -> Features {
        let mut features = Features::new();
        bits.into_iter().for_each(|bit| features.set_bit(bit));
        features
    }
}

impl FromStr for Features {
    type Err = ParseUnitError;

    /// Hex, as in the RPC.
    fn from_str(s: &str) -> Result<Features, ParseUnitError> {
        FromHex::from_hex(s)
            .map(Features)
            .map_err(|_| ParseUnitError("feature vector"))
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.trimmed().as_hex())
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Features({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_built_vector_is_minimal() {
        let mut features = Features::new();
        features.set_bit(0);
        features.set_bit(15);
        assert_eq!(features.as_bytes(), [0x80, 0x01]);
        features.clear_bit(15);
        assert_eq!(features.as_bytes(), [0x01]);
        features.clear_bit(0);
        assert!(features.is_empty() && features.as_bytes().is_empty());
    }

    #[test]
    fn received_bytes_are_kept_but_leading_zeros_mean_nothing() {
        let long = Features::from_bytes(&[0, 0, 2]);
        assert_eq!(long.as_bytes(), [0, 0, 2]);
        assert_eq!(long, Features::from_bytes(&[2]));
        assert_eq!(long.to_string(), "02");
    }

    #[test]
    fn bits_are_numbered_from_the_end() {
        let features: Features = "8001".parse().unwrap();
        assert_eq!(features.bits().collect::<Vec<_>>(), [0, 15]);
        assert!(features.has_bit(15) && !features.has_bit(14) && !features.has_bit(16));
        assert_eq!(features.bits().collect::<Features>(), features);
    }

    #[test]
    fn the_even_bit_wins_and_setting_one_clears_the_other() {
        let both: Features = [22, 23].into_iter().collect();
        assert!(both.requires(Feature::Anchors));
        let mut features = Features::of(&[Feature::Anchors], &[]);
        features.set_optional(Feature::Anchors);
        assert!(features.has(Feature::Anchors) && !features.requires(Feature::Anchors));
        assert_eq!(features.bits().collect::<Vec<_>>(), [23]);
    }

    #[test]
    fn only_an_unknown_even_bit_is_refused() {
        let ours = Features::of(&[], &[Feature::Anchors]);
        let bits = |bits: &[u32]| bits.iter().copied().collect::<Features>();
        assert_eq!(bits(&[22]).unknown_required(&ours), None);
        assert_eq!(bits(&[25]).unknown_required(&ours), None);
        assert_eq!(bits(&[22, 25, 100, 102]).unknown_required(&ours), Some(100));
    }

    #[test]
    fn a_feature_without_its_dependency_is_found() {
        let features = Features::of(&[], &[Feature::Zeroconf]);
        assert_eq!(
            features.missing_dependency(),
            Some((Feature::Zeroconf, Feature::ScidAlias))
        );
        let features = Features::of(&[Feature::ScidAlias], &[Feature::Zeroconf]);
        assert_eq!(features.missing_dependency(), None);
    }

    #[test]
    fn each_context_gets_its_own_features() {
        let all = Features::of(
            &[Feature::PaymentSecret],
            &[Feature::Anchors, Feature::PaymentMetadata, Feature::Keysend],
        );
        let bits = |context| all.for_context(context).bits().collect::<Vec<_>>();
        assert_eq!(bits(Context::Init), [14, 23]);
        assert_eq!(bits(Context::NodeAnnouncement), [14, 23, 55]);
        assert_eq!(bits(Context::Bolt11), [14, 49]);
        assert!(bits(Context::ChannelAnnouncement).is_empty());
    }

    #[test]
    fn a_union_has_all_bits_whichever_is_longer() {
        let (a, b) = (Features::from_bytes(&[1, 0]), Features::from_bytes(&[2]));
        assert_eq!(a.union(&b).as_bytes(), [1, 2]);
        assert_eq!(b.union(&a).as_bytes(), [1, 2]);
    }
}
