//! A name and its attributes in one buffer.
//!
//! A queued span must be small, and recording one must not allocate for each attribute. So the
//! name and all attributes are written one after the other into one byte buffer, which is reused
//! from span to span, and are decoded again where there is time: on the exporting thread.
//!
//! The layout: the name's bytes, then for each attribute a tag byte, the key's length (LEB128),
//! the key, and the value (a length first where it has no fixed size).

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A float; NaN and infinities are kept.
    Float(f64),
    /// Text.
    Str(String),
    /// Raw bytes.
    Bytes(Vec<u8>),
    /// A sequence.
    List(Vec<Value>),
}

/// A value to be written, borrowed from its owner.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// True or false.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// Text.
    Str(&'a str),
    /// Raw bytes.
    Bytes(&'a [u8]),
    /// A sequence.
    List(&'a [Value]),
}

impl ValueRef<'_> {
    #[inline]
    fn tag(self) -> u8 {
        match self {
            Self::Bool(_) => BOOL,
            Self::Int(_) => INT,
            Self::Float(_) => FLOAT,
            Self::Str(_) => STR,
            Self::Bytes(_) => BYTES,
            Self::List(_) => LIST,
        }
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Bool(v) => Self::Bool(*v),
            Value::Int(v) => Self::Int(*v),
            Value::Float(v) => Self::Float(*v),
            Value::Str(v) => Self::Str(v),
            Value::Bytes(v) => Self::Bytes(v),
            Value::List(v) => Self::List(v),
        }
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Bool(v) => Self::Bool(v),
            ValueRef::Int(v) => Self::Int(v),
            ValueRef::Float(v) => Self::Float(v),
            ValueRef::Str(v) => Self::Str(v.to_owned()),
            ValueRef::Bytes(v) => Self::Bytes(v.to_vec()),
            ValueRef::List(v) => Self::List(v.to_vec()),
        }
    }
}

macro_rules! value_ref_from {
    ($($kind:ty => $variant:ident),*) => {$(
        impl From<$kind> for ValueRef<'_> {
            fn from(value: $kind) -> Self { Self::$variant(value.into()) }
        }
    )*};
}
value_ref_from!(bool => Bool, i64 => Int, i32 => Int, u32 => Int, i16 => Int, u16 => Int, i8 => Int,
                u8 => Int, f64 => Float, f32 => Float);

/// OTLP has no unsigned integers: what is larger than `i64::MAX` is recorded as that.
impl From<u64> for ValueRef<'_> {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

/// OTLP has no unsigned integers: what is larger than `i64::MAX` is recorded as that.
impl From<usize> for ValueRef<'_> {
    fn from(value: usize) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl<'a> From<&'a [Value]> for ValueRef<'a> {
    fn from(value: &'a [Value]) -> Self {
        Self::List(value)
    }
}

macro_rules! value_from {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Value {
            fn from(value: $kind) -> Self { ValueRef::from(value).into() }
        }
    )*};
}
value_from!(bool, i64, i32, u32, u64, usize, f64, &str, &[u8]);

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Str(value)
    }
}

impl<'a> From<&'a str> for ValueRef<'a> {
    fn from(value: &'a str) -> Self {
        Self::Str(value)
    }
}

impl<'a> From<&'a String> for ValueRef<'a> {
    fn from(value: &'a String) -> Self {
        Self::Str(value)
    }
}

impl<'a> From<&'a [u8]> for ValueRef<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(value)
    }
}

const BOOL: u8 = 0;
const INT: u8 = 1;
const FLOAT: u8 = 2;
const STR: u8 = 3;
const BYTES: u8 = 4;
const LIST: u8 = 5;

/// A name and attributes, each key once.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    buffer: Vec<u8>,
    name_len: u32,
    count: u32,
    dropped: u32,
}

/// Fields as they are in memory.
pub(crate) struct Encoded<'a> {
    pub(crate) name_len: u32,
    pub(crate) count: u32,
    pub(crate) dropped: u32,
    pub(crate) bytes: &'a [u8],
}

/// Longest name, key or value in bytes: a length must fit 32 bits, and a span a queue.
const LONGEST: usize = 16 << 20;

impl Fields {
    /// No attributes yet. `buffer` is taken over, and its old content forgotten.
    #[inline]
    pub fn new(name: &str, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        let name = cut(name, LONGEST);
        buffer.extend_from_slice(name.as_bytes());
        Self {
            buffer,
            name_len: name.len() as u32,
            count: 0,
            dropped: 0,
        }
    }

    /// A copy that lives in `buffer`, whose old content is forgotten.
    #[inline]
    pub fn copy_into(&self, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.extend_from_slice(&self.buffer);
        Self { buffer, ..*self }
    }

    /// The name.
    pub fn name(&self) -> &str {
        text(
            self.buffer
                .get(..self.name_len as usize)
                .unwrap_or_default(),
        )
    }

    /// Gives it another name.
    pub fn rename(&mut self, name: &str) {
        let name = cut(name, LONGEST);
        self.buffer.splice(..self.name_len as usize, name.bytes());
        self.name_len = name.len() as u32;
    }

    /// How many attributes there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many attributes were left out, by a limit.
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Counts one that was left out.
    pub fn count_dropped(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }

    /// Bytes that the buffer takes.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// The buffer, to be used again.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// As it is, to be copied elsewhere.
    pub(crate) fn encoded(&self) -> Encoded<'_> {
        Encoded {
            name_len: self.name_len,
            count: self.count,
            dropped: self.dropped,
            bytes: &self.buffer,
        }
    }

    /// A copy that lives in `buffer`. What is not as this crate writes it reads as less.
    pub(crate) fn from_encoded(encoded: &Encoded<'_>, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.extend_from_slice(encoded.bytes);
        Self {
            name_len: encoded.name_len.min(buffer.len() as u32),
            buffer,
            count: encoded.count,
            dropped: encoded.dropped,
        }
    }

    /// Appends an attribute whose key is known to be new.
    #[inline]
    pub fn push(&mut self, key: &str, value: ValueRef<'_>) {
        let buffer = &mut self.buffer;
        if key.len() < 0x80 {
            buffer.extend_from_slice(&[value.tag(), key.len() as u8]);
            buffer.extend_from_slice(key.as_bytes());
        } else {
            buffer.push(value.tag());
            write_sized(buffer, cut(key, LONGEST).as_bytes());
        }
        // The usual ones here, and not by a call.
        match value {
            ValueRef::Int(v) => buffer.extend_from_slice(&v.to_le_bytes()),
            ValueRef::Float(v) => buffer.extend_from_slice(&v.to_le_bytes()),
            value => write_value(buffer, value),
        }
        self.count += 1;
    }

    /// Sets an attribute; one of the same key is replaced. With `limit` or more others it is
    /// left out and counted.
    pub fn set(&mut self, key: &str, value: ValueRef<'_>, limit: usize) {
        if let Some(range) = self.find(key) {
            self.buffer.drain(range);
            self.count -= 1;
        } else if self.len() >= limit {
            self.count_dropped();
            return;
        }
        self.push(key, value);
    }

    /// Whether there is an attribute of this key.
    pub fn contains(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<Value> {
        self.iter().find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    fn find(&self, key: &str) -> Option<std::ops::Range<usize>> {
        let mut reader = self.reader();
        while !reader.rest.is_empty() {
            let start = self.buffer.len() - reader.rest.len();
            let tag = reader.byte()?;
            let found = reader.sized()? == key.as_bytes();
            reader.skip_value(tag)?;
            if found {
                return Some(start..self.buffer.len() - reader.rest.len());
            }
        }
        None
    }

    /// The keys, without the work of decoding the values.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        let mut reader = self.reader();
        std::iter::from_fn(move || {
            let tag = reader.byte()?;
            let key = text(reader.sized()?);
            reader.skip_value(tag)?;
            Some(key)
        })
    }

    /// The attributes in the order in which they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Value)> {
        self.stored().map(|(key, value)| (key, value.into()))
    }

    /// The attributes as they are in the buffer, with nothing copied.
    pub(crate) fn stored(&self) -> impl Iterator<Item = (&str, Stored<'_>)> {
        let mut reader = self.reader();
        std::iter::from_fn(move || {
            let tag = reader.byte()?;
            let key = text(reader.sized()?);
            Some((key, reader.stored(tag)?))
        })
    }

    fn reader(&self) -> Reader<'_> {
        Reader {
            rest: self
                .buffer
                .get(self.name_len as usize..)
                .unwrap_or_default(),
        }
    }
}

/// The longest start of `text` that has at most `limit` bytes and whole characters.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn text(bytes: &[u8]) -> &str {
    // Only whole strings are written, so this never falls back; checking is cheap where it is read.
    std::str::from_utf8(bytes).unwrap_or_default()
}

#[inline]
fn write_len(buffer: &mut Vec<u8>, mut len: usize) {
    while len >= 0x80 {
        buffer.push(len as u8 | 0x80);
        len >>= 7;
    }
    buffer.push(len as u8);
}

#[inline]
fn write_sized(buffer: &mut Vec<u8>, bytes: &[u8]) {
    write_len(buffer, bytes.len());
    buffer.extend_from_slice(bytes);
}

#[inline]
fn write_value(buffer: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Bool(v) => buffer.push(u8::from(v)),
        ValueRef::Int(v) => buffer.extend_from_slice(&v.to_le_bytes()),
        ValueRef::Float(v) => buffer.extend_from_slice(&v.to_le_bytes()),
        ValueRef::Str(v) => write_sized(buffer, cut(v, LONGEST).as_bytes()),
        ValueRef::Bytes(v) => write_sized(buffer, &v[..v.len().min(LONGEST)]),
        ValueRef::List(values) => {
            let mut inner = Vec::new();
            for value in values {
                let value = ValueRef::from(value);
                inner.push(value.tag());
                write_value(&mut inner, value);
            }
            write_sized(buffer, &inner);
        }
    }
}

/// A value in the buffer.
#[derive(Clone, Copy)]
pub(crate) enum Stored<'a> {
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(&'a str),
    Bytes(&'a [u8]),
    List(Items<'a>),
}

/// The items of a sequence in the buffer.
#[derive(Clone, Copy)]
pub(crate) struct Items<'a>(Reader<'a>);

impl<'a> Iterator for Items<'a> {
    type Item = Stored<'a>;

    fn next(&mut self) -> Option<Stored<'a>> {
        let tag = self.0.byte()?;
        self.0.stored(tag)
    }
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn eight(&mut self) -> Option<[u8; 8]> {
        self.take(8)?.try_into().ok()
    }

    fn sized(&mut self) -> Option<&'a [u8]> {
        let (mut len, mut shift) = (0usize, 0);
        loop {
            let byte = self.byte()?;
            len |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return self.take(len);
            }
            shift += 7;
        }
    }

    fn skip_value(&mut self, tag: u8) -> Option<()> {
        match tag {
            BOOL => self.take(1)?,
            INT | FLOAT => self.take(8)?,
            _ => self.sized()?,
        };
        Some(())
    }

    fn stored(&mut self, tag: u8) -> Option<Stored<'a>> {
        Some(match tag {
            BOOL => Stored::Bool(self.byte()? != 0),
            INT => Stored::Int(i64::from_le_bytes(self.eight()?)),
            FLOAT => Stored::Float(f64::from_le_bytes(self.eight()?)),
            STR => Stored::Str(text(self.sized()?)),
            BYTES => Stored::Bytes(self.sized()?),
            _ => Stored::List(Items(Reader {
                rest: self.sized()?,
            })),
        })
    }
}

impl From<Stored<'_>> for Value {
    fn from(stored: Stored<'_>) -> Self {
        match stored {
            Stored::Bool(v) => Self::Bool(v),
            Stored::Int(v) => Self::Int(v),
            Stored::Float(v) => Self::Float(v),
            Stored::Str(v) => Self::Str(v.to_owned()),
            Stored::Bytes(v) => Self::Bytes(v.to_vec()),
            Stored::List(items) => Self::List(items.map(Self::from).collect()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Values of all kinds, lists in lists as well.
    pub(crate) fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<f64>()
                .prop_filter("NaN is not equal to itself", |v| !v.is_nan())
                .prop_map(Value::Float),
            any::<String>().prop_map(Value::Str),
            any::<Vec<u8>>().prop_map(Value::Bytes),
        ];
        leaf.prop_recursive(2, 16, 4, |inner| {
            proptest::collection::vec(inner, 0..4).prop_map(Value::List)
        })
    }

    proptest! {
        #[test]
        fn what_is_set_is_what_is_read(
            name in any::<String>(),
            renamed in any::<String>(),
            entries in proptest::collection::vec(("[a-c]{0,2}|\\PC{0,300}", any_value()), 0..12),
        ) {
            let mut fields = Fields::new(&name, Vec::new());
            let mut model: Vec<(String, Value)> = Vec::new();
            for (key, value) in &entries {
                fields.set(key, value.into(), usize::MAX);
                model.retain(|(k, _)| k != key);
                model.push((key.clone(), value.clone()));
            }
            prop_assert_eq!(fields.name(), &name);
            fields.rename(&renamed);
            let read: Vec<(String, Value)> = fields.iter().map(|(k, v)| (k.to_owned(), v)).collect();
            prop_assert_eq!(read, model);
            prop_assert_eq!(fields.name(), &renamed);
        }
    }

    #[test]
    fn a_limit_leaves_out_and_counts() {
        let mut fields = Fields::new("n", Vec::new());
        for i in 0..5 {
            fields.set(&format!("k{i}"), ValueRef::Int(i), 3);
        }
        fields.set("k0", ValueRef::Int(9), 3);
        assert_eq!(
            (fields.len(), fields.dropped(), fields.get("k0")),
            (3, 2, Some(Value::Int(9)))
        );
    }
}
