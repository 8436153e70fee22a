//! Valid values of any type that crosses an edge, made by a deserializer that reads nothing.
//!
//! Each message gets seeds as soon as it exists, without anybody writing them. Where a type takes
//! only some byte strings (a signature, a hash), several are tried.

use serde::de::value::{Error, StrDeserializer, U32Deserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

/// A compressed point and a DER signature: the generator of secp256k1, and r = s = 1.
pub const POINT: [u8; 33] = [
    0x02, 0x79, 0xbe, 0x66, 0x7e, 0xf9, 0xdc, 0xbb, 0xac, 0x55, 0xa0, 0x62, 0x95, 0xce, 0x87, 0x0b,
    0x07, 0x02, 0x9b, 0xfc, 0xdb, 0x2d, 0xce, 0x28, 0xd9, 0x59, 0xf2, 0x81, 0x5b, 0x16, 0xf8, 0x17,
    0x98,
];
const DER: [u8; 8] = [0x30, 6, 2, 1, 1, 2, 1, 1];
/// Byte strings to try. Zeros are no point, so those of a point's length are one.
const LENGTHS: [usize; 8] = [3, 32, 0, 20, 33, 64, 80, 1366];

/// `count` values of each variant of `T`, or `count` values of a `T` that is no enum.
pub fn samples<T: DeserializeOwned>(count: u32) -> Vec<T> {
    let mut out = Vec::new();
    let mut variant = 0;
    loop {
        let mut variants = 0;
        for seed in 0..count {
            let mut maker = Maker::new(variant, seed);
            out.extend(maker.make::<T>());
            variants = maker.variants;
        }
        variant += 1;
        if variant >= variants {
            return out;
        }
    }
}

struct Maker {
    /// Of the outermost enum.
    variant: usize,
    /// How many the outermost enum has, once met.
    variants: usize,
    seed: u32,
    /// Number of choices that were made so far in this attempt.
    made: u32,
    depth: u32,
    /// Which byte string to take at each place that wants one.
    strings: Vec<usize>,
    place: usize,
}

impl Maker {
    fn new(variant: usize, seed: u32) -> Maker {
        Maker {
            variant,
            variants: 0,
            seed,
            made: 0,
            depth: 0,
            strings: vec![],
            place: 0,
        }
    }

    /// Tries again with another byte string wherever one was refused.
    fn make<T: DeserializeOwned>(&mut self) -> Option<T> {
        for _ in 0..10_000 {
            (self.made, self.depth, self.place) = (0, 0, 0);
            if let Ok(value) = T::deserialize(&mut *self) {
                return Some(value);
            }
            let last = self.place.checked_sub(1)?;
            self.strings.truncate(self.place);
            *self.strings.get_mut(last)? += 1;
            if self.strings[last] > LENGTHS.len() {
                return None;
            }
        }
        None
    }

    fn choose(&mut self, of: u32) -> u32 {
        self.made += 1;
        let mixed = (self.seed * 7919 + self.made).wrapping_mul(0x9e37_79b9) >> 16;
        mixed % of.max(1)
    }

    fn number(&mut self) -> u64 {
        const NUMBERS: [u64; 8] = [1, 0, 3, 144, 253, 1000, 200_000, 1_000_000];
        NUMBERS[self.choose(8) as usize]
    }

    fn string(&mut self) -> Vec<u8> {
        let at = self.place;
        self.place += 1;
        if at == self.strings.len() {
            self.strings.push(0);
        }
        match LENGTHS.get(self.strings[at]) {
            Some(33) => POINT.to_vec(),
            Some(len) => vec![self.seed as u8; *len],
            None => DER.to_vec(),
        }
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty, $max:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let number = self.number().min($max);
            visitor.$visit(number as $type)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Maker {
    type Error = Error;

    numbers! {
        deserialize_u8 visit_u8 u8, 100;
        deserialize_u16 visit_u16 u16, 60_000;
        deserialize_u32 visit_u32 u32, 1_000_000;
        deserialize_u64 visit_u64 u64, 1_000_000;
        deserialize_u128 visit_u128 u128, 1_000_000;
        deserialize_i8 visit_i8 i8, 100;
        deserialize_i16 visit_i16 i16, 30_000;
        deserialize_i32 visit_i32 i32, 1_000_000;
        deserialize_i64 visit_i64 i64, 1_000_000;
        deserialize_f32 visit_f32 f32, 1_000;
        deserialize_f64 visit_f64 f64, 1_000;
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("the encoding does not describe itself"))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = self.choose(2) == 1;
        visitor.visit_bool(value)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_char('x')
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str("regtest")
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str("regtest")
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let bytes = self.string();
        visitor.visit_bytes(&bytes)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let bytes = self.string();
        visitor.visit_byte_buf(bytes)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.choose(3) {
            0 => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let left = 1 + self.choose(2) as usize;
        visitor.visit_seq(Parts { maker: self, left })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        // Keys are the only things of 33 parts here.
        if len == POINT.len() {
            let bytes = POINT.into_iter();
            return visitor.visit_seq(de::value::SeqDeserializer::new(bytes));
        }
        visitor.visit_seq(Parts {
            maker: self,
            left: len,
        })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Parts {
            maker: self,
            left: 1,
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_seq(Parts {
            maker: self,
            left: fields.len(),
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.depth += 1;
        let index = if self.depth == 1 {
            self.variants = variants.len();
            self.variant
        } else {
            self.choose(variants.len() as u32) as usize
        };
        visitor.visit_enum(Variant {
            maker: self,
            index: index as u32,
        })
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        StrDeserializer::<Error>::new("x").deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

struct Parts<'a> {
    maker: &'a mut Maker,
    left: usize,
}

impl<'de> SeqAccess<'de> for Parts<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.maker).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Parts<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(&mut *self.maker)
    }
}

struct Variant<'a> {
    maker: &'a mut Maker,
    index: u32,
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a> {
    type Error = Error;
    type Variant = &'a mut Maker;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, &'a mut Maker), Error> {
        let index: U32Deserializer<Error> = self.index.into_deserializer();
        Ok((seed.deserialize(index)?, self.maker))
    }
}

impl<'de> VariantAccess<'de> for &mut Maker {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Parts {
            maker: self,
            left: len,
        })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_seq(Parts {
            maker: self,
            left: fields.len(),
        })
    }
}
