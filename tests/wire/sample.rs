//! Valid messages as bytes, made from their schemas.
//!
//! The bytes are what any encoder must produce for these values: shortest varints, tagged fields
//! in order, none at its default.

use thalweg::wire::{FieldSchema, Kind, StructSchema, Versions};

/// What the values are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Anything.
    Varied,
    /// Null where allowed, else empty or zero; no tagged fields.
    Empty,
    /// Largest and smallest numbers, lengths that need two bytes as varint.
    Extreme,
}

pub const STYLES: [Style; 3] = [Style::Varied, Style::Empty, Style::Extreme];

/// A small generator with a seed (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// One message of `schema` in `version`.
pub fn message(
    schema: &StructSchema,
    version: i16,
    flexible: Versions,
    style: Style,
    seed: u64,
) -> Vec<u8> {
    let flexible = flexible.contains(version);
    let mut sampler =
        Sampler { version, flexible, style, random: Random::new(seed), tagged: false, depth: 0 };
    let mut out = Vec::new();
    sampler.fields(schema, &mut out);
    out
}

struct Sampler {
    version: i16,
    flexible: bool,
    style: Style,
    random: Random,
    /// Inside a tagged field, where no value may be its default.
    tagged: bool,
    depth: usize,
}

impl Sampler {
    fn fields(&mut self, schema: &StructSchema, out: &mut Vec<u8>) {
        for field in schema.fields {
            if field.versions.contains(self.version) {
                self.field(field, out);
            }
        }
        if !self.flexible {
            return;
        }
        let carried: Vec<_> =
            schema.tagged.iter().filter(|f| f.versions.contains(self.version)).collect();
        let sent: Vec<_> = carried.into_iter().filter(|_| self.sends_tagged()).collect();
        uvarint(sent.len(), out);
        for field in sent {
            let mut value = Vec::new();
            let outer = std::mem::replace(&mut self.tagged, true);
            self.field(field, &mut value);
            self.tagged = outer;
            uvarint(field.tag.unwrap() as usize, out);
            uvarint(value.len(), out);
            out.extend(value);
        }
    }

    fn sends_tagged(&mut self) -> bool {
        match self.style {
            Style::Varied => self.random.below(3) > 0,
            Style::Empty => false,
            Style::Extreme => true,
        }
    }

    fn field(&mut self, field: &FieldSchema, out: &mut Vec<u8>) {
        let nullable = field.nullable.contains(self.version);
        let null = nullable
            && !self.tagged
            && match self.style {
                Style::Varied => self.random.below(3) == 0,
                Style::Empty => true,
                Style::Extreme => false,
            };
        self.value(field.kind, nullable, null, out);
    }

    fn value(&mut self, kind: Kind, nullable: bool, null: bool, out: &mut Vec<u8>) {
        match kind {
            Kind::Bool => {
                let value = self.tagged || (self.number() & 1) == 1;
                out.push(u8::from(value));
            }
            Kind::Int8 => out.extend((self.number() as i8).to_be_bytes()),
            Kind::Int16 | Kind::Uint16 => out.extend((self.number() as i16).to_be_bytes()),
            Kind::Int32 | Kind::Uint32 => out.extend((self.number() as i32).to_be_bytes()),
            Kind::Int64 => out.extend(self.number().to_be_bytes()),
            Kind::Float64 => {
                let halves = (self.number() as i32) as f64 / 2.0;
                out.extend(halves.to_be_bytes());
            }
            Kind::Uuid => {
                out.extend(self.number().to_be_bytes());
                out.extend(self.number().to_be_bytes());
            }
            Kind::String => {
                let text = self.text();
                self.length(kind, (!null).then_some(text.len()), out);
                out.extend(if null { &[][..] } else { text.as_bytes() });
            }
            Kind::Bytes | Kind::Records => {
                let len = self.len(300);
                self.length(kind, (!null).then_some(len), out);
                if !null {
                    out.extend((0..len).map(|_| self.random.next() as u8));
                }
            }
            Kind::Array(element) => {
                let count = if self.depth == 0 { self.len(130) } else { self.len(3) };
                self.length(kind, (!null).then_some(count), out);
                self.depth += 1;
                for _ in 0..if null { 0 } else { count } {
                    self.value(*element, false, false, out);
                }
                self.depth -= 1;
            }
            Kind::Struct(schema) => {
                if nullable {
                    out.push(if null { 0xff } else { 1 });
                }
                if !null {
                    self.fields(schema, out);
                }
            }
        }
    }

    fn number(&mut self) -> i64 {
        if self.tagged {
            return 1 + self.random.below(100) as i64;
        }
        match self.style {
            Style::Varied if self.random.below(2) == 0 => self.random.below(200) as i64 - 2,
            Style::Varied => self.random.next() as i64,
            Style::Empty => 0,
            // All ones but the sign in every width: the largest number of each type, once in two.
            Style::Extreme if self.random.below(2) == 0 => 0x7fff_ffff_7fff_7f7f,
            Style::Extreme => i64::MIN | 0x8000_8080,
        }
    }

    /// A length or count; `large` under [`Style::Extreme`].
    fn len(&mut self, large: usize) -> usize {
        match self.style {
            Style::Varied => self.random.below(4) + usize::from(self.tagged),
            Style::Empty => 0,
            Style::Extreme => large,
        }
    }

    fn text(&mut self) -> String {
        let letters: Vec<char> = "abcxyz019.-_äß€漢🦀".chars().collect();
        (0..self.len(200)).map(|_| letters[self.random.below(letters.len())]).collect()
    }

    fn length(&self, kind: Kind, len: Option<usize>, out: &mut Vec<u8>) {
        match (self.flexible, kind) {
            (true, _) => uvarint(len.map_or(0, |len| len + 1), out),
            (false, Kind::String) => out.extend(len.map_or(-1, |len| len as i16).to_be_bytes()),
            (false, _) => out.extend(len.map_or(-1, |len| len as i32).to_be_bytes()),
        }
    }
}

pub fn uvarint(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
