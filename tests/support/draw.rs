//! Draws values of any type that can be deserialized: what its fields say is drawn from numbers and
//! bytes that might hurt. So every kind of message is drawn, also one that is added later.

use fastrand::Rng;
use serde::de::value::{Error, U32Deserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use std::collections::VecDeque;

/// What values are made of.
pub struct Draw<'a> {
    pub rng: &'a mut Rng,
    /// Numbers that mean something at the moment.
    pub numbers: &'a [u64],
    /// Bytes that mean something.
    pub blobs: &'a [Vec<u8>],
    /// Processes there are.
    pub processes: u8,
    /// Who speaks: its own name is right more often than another's.
    pub speaker: u8,
    /// Ballots that mean something: their fields in order.
    pub ballots: &'a [[u64; 4]],
    /// What is drawn next, in this order: the fields of a ballot that is drawn as a whole.
    pub next: VecDeque<u64>,
}

impl Draw<'_> {
    pub fn value<T: DeserializeOwned>(&mut self) -> T {
        T::deserialize(self).expect("every value that is drawn can be deserialized")
    }

    pub fn number(&mut self) -> u64 {
        if let Some(next) = self.next.pop_front() {
            return next;
        }
        let rng = &mut self.rng;
        match rng.u8(..20) {
            0 | 1 => 0,
            2 => 1,
            3 => u64::MAX,
            4 => u64::MAX - rng.u64(..3),
            5 => 1 << rng.u32(..64),
            6 => (1_u64 << rng.u32(..64)).wrapping_sub(1),
            7 => rng.u64(..),
            8 => rng.u64(..300),
            _ => {
                let known = rng.choice(self.numbers).copied().unwrap_or(1);
                match rng.u8(..4) {
                    0 => known.wrapping_add(rng.u64(1..3)),
                    1 => known.wrapping_sub(1),
                    _ => known,
                }
            }
        }
    }

    fn small(&mut self) -> u8 {
        if let Some(next) = self.next.pop_front() {
            return next as u8;
        }
        match self.rng.u8(..20) {
            0 => self.rng.u8(..),
            1 => *self.rng.choice(&[63, 64, 255]).unwrap(),
            2..10 => self.speaker,
            _ => self.rng.u8(..self.processes),
        }
    }

    /// How many there are of something: of each process one, more often than not.
    fn length(&mut self) -> usize {
        match self.rng.u8(..20) {
            0 => 0,
            1..4 => 1,
            4 => 2,
            5 => self.rng.usize(..40),
            6 => {
                if self.rng.u8(..50) == 0 {
                    3000
                } else {
                    5
                }
            }
            _ => self.processes.into(),
        }
    }

    pub fn bytes(&mut self) -> Vec<u8> {
        let mut bytes = match self.rng.u8(..10) {
            0 => return vec![0; self.rng.usize(..2) * 20_000],
            1 => return (0..self.rng.usize(..200)).map(|_| self.rng.u8(..)).collect(),
            _ => self.rng.choice(self.blobs).cloned().unwrap_or_default(),
        };
        if !bytes.is_empty() && self.rng.u8(..3) == 0 {
            let at = self.rng.usize(..bytes.len());
            match self.rng.u8(..3) {
                0 => bytes[at] = self.rng.u8(..),
                1 => bytes.truncate(at),
                _ => bytes[at] ^= 0x80,
            }
        }
        bytes
    }

    fn text(&mut self) -> String {
        match self.rng.u8(..12) {
            0 => String::new(),
            1 => "n".repeat(5_000),
            2 => "ä\u{0}\u{202e}".into(),
            n => format!("name{}", n % 4),
        }
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty),+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.number() as $type)
        })+
    };
}

impl<'de> Deserializer<'de> for &mut Draw<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("a value without a type"))
    }

    numbers! {
        deserialize_u16 visit_u16 u16, deserialize_u64 visit_u64 u64, deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64,
        deserialize_f32 visit_f32 f32, deserialize_f64 visit_f64 f64
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u8(self.small())
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let number = if self.rng.u8(..4) > 0 { 0 } else { self.number() };
        visitor.visit_u32(number as u32)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.rng.bool())
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_char('k')
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.text())
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.text())
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_byte_buf(self.bytes())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_byte_buf(self.bytes())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.rng.bool() { visitor.visit_some(self) } else { visitor.visit_none() }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let left = self.length();
        visitor.visit_seq(Items { draw: self, left })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Items { draw: self, left: len })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_seq(Items { draw: self, left: len })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let left = self.length();
        visitor.visit_map(Items { draw: self, left })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &str,
        fields: &[&str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == "Ballot" && self.rng.bool() {
            self.next.extend(self.rng.choice(self.ballots).into_iter().flatten());
        }
        visitor.visit_seq(Items { draw: self, left: fields.len() })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &str,
        variants: &[&str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let variant = self.rng.u32(..variants.len() as u32);
        visitor.visit_enum(Variant { draw: self, variant })
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("nothing is drawn by name"))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

struct Items<'a, 'b> {
    draw: &'a mut Draw<'b>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.draw).map(Some)
    }
}

impl<'de> MapAccess<'de> for Items<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(&mut *self.draw)
    }
}

struct Variant<'a, 'b> {
    draw: &'a mut Draw<'b>,
    variant: u32,
}

impl<'de, 'a, 'b> EnumAccess<'de> for Variant<'a, 'b> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let variant: U32Deserializer<Error> = self.variant.into_deserializer();
        Ok((seed.deserialize(variant)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, '_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.draw)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Items { draw: self.draw, left: len })
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &[&str], visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Items { draw: self.draw, left: fields.len() })
    }
}
