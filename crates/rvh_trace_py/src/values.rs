//! Python values to attribute values.
//!
//! bool, int, float, str, bytes and sequences of them keep their type. Everything else is recorded
//! as its `str()` and counted; nothing here ever raises in the traced code.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple,
};
use rvh_trace::{Level, Limits, SpanRecord, Value, ValueRef, set_new};
use std::borrow::Cow;

/// What follows of a sequence is left out: an attribute is not a data set.
const LONGEST_LIST: usize = 1024;

/// The UTF-8 of a string that is a `str` object; borrowed from it where possible.
#[inline]
pub(crate) fn utf8<'a>(text: &'a Bound<'_, PyAny>) -> Cow<'a, str> {
    let mut len: ffi::Py_ssize_t = 0;
    // SAFETY: `text` is a `str` (the callers check); the bytes live as long as it does, are valid
    // UTF-8 by CPython's promise, and `len` is set when the pointer is not NULL.
    unsafe {
        let bytes = ffi::PyUnicode_AsUTF8AndSize(text.as_ptr(), &raw mut len);
        if !bytes.is_null() {
            let bytes = std::slice::from_raw_parts(bytes.cast::<u8>(), len as usize);
            return Cow::Borrowed(std::str::from_utf8_unchecked(bytes));
        }
    }
    drop(PyErr::take(text.py()));
    surrogates_replaced(text)
}

/// Lone surrogates have no UTF-8; each becomes U+FFFD.
#[cold]
fn surrogates_replaced(text: &Bound<'_, PyAny>) -> Cow<'static, str> {
    let encoded = text.call_method1("encode", ("utf-16-le", "surrogatepass"));
    let units: Vec<u16> = encoded
        .ok()
        .and_then(|bytes| bytes.cast_into::<PyBytes>().ok())
        .map(|bytes| {
            let pairs = bytes.as_bytes().chunks_exact(2);
            pairs
                .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
                .collect()
        })
        .unwrap_or_default();
    Cow::Owned(String::from_utf16_lossy(&units))
}

/// The level that a caller gave: by its name, or by the number that `logging` gives it.
pub(crate) fn level_of(value: &Bound<'_, PyAny>) -> Option<Level> {
    if value.is_instance_of::<PyString>() {
        return utf8(value).parse().ok();
    }
    match value.extract::<u8>().ok()? {
        10 => Some(Level::Debug),
        20 => Some(Level::Info),
        30 => Some(Level::Warn),
        40 | 50 => Some(Level::Error),
        _ => None,
    }
}

/// `str(object)`, whatever it takes.
pub(crate) fn shown(object: &Bound<'_, PyAny>) -> String {
    match object.str() {
        Ok(text) => utf8(text.as_any()).into_owned(),
        Err(_) => {
            let kind = object.get_type().name();
            let kind = kind.map_or_else(|_| "object".to_owned(), |name| utf8(&name).into_owned());
            format!("<unprintable {kind}>")
        }
    }
}

/// Gives `write` the attribute value of an object. True when it had a type of its own, false when
/// it was recorded as text.
#[inline]
pub(crate) fn with_value<T>(
    object: &Bound<'_, PyAny>,
    write: impl FnOnce(ValueRef<'_>) -> T,
) -> (T, bool) {
    if object.is_exact_instance_of::<PyString>() {
        return (write(ValueRef::Str(&utf8(object))), true);
    }
    if object.is_exact_instance_of::<PyInt>() {
        let mut overflow = 0;
        // SAFETY: `object` is an int, so this cannot fail but by overflow, which it reports.
        let number =
            unsafe { ffi::PyLong_AsLongLongAndOverflow(object.as_ptr(), &raw mut overflow) };
        if overflow == 0 {
            return (write(ValueRef::Int(number)), true);
        }
        return (write(ValueRef::Str(&shown(object))), false);
    }
    if object.is_exact_instance_of::<PyFloat>() {
        // SAFETY: `object` is a float, so this cannot fail.
        let number = unsafe { ffi::PyFloat_AsDouble(object.as_ptr()) };
        return (write(ValueRef::Float(number)), true);
    }
    if object.is_exact_instance_of::<PyBool>() {
        return (
            write(ValueRef::Bool(object.is_truthy().unwrap_or_default())),
            true,
        );
    }
    let (value, typed) = slow_value(object);
    (write(ValueRef::from(&value)), typed)
}

#[cold]
fn slow_value(object: &Bound<'_, PyAny>) -> (Value, bool) {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return (Value::Bytes(bytes.as_bytes().to_vec()), true);
    }
    if let Ok(bytes) = object.cast::<PyByteArray>() {
        return (Value::Bytes(bytes.to_vec()), true);
    }
    if let Ok(list) = object.cast::<PyList>() {
        return list_value(object, list.iter());
    }
    if let Ok(tuple) = object.cast::<PyTuple>() {
        return list_value(object, tuple.iter());
    }
    scalar(object).map_or_else(|| (Value::Str(shown(object)), false), |value| (value, true))
}

/// A scalar, subclasses (an `IntEnum`, a `StrEnum`) included.
fn scalar(object: &Bound<'_, PyAny>) -> Option<Value> {
    if object.is_instance_of::<PyString>() {
        return Some(Value::Str(utf8(object).into_owned()));
    }
    if object.is_instance_of::<PyBool>() {
        return Some(Value::Bool(object.is_truthy().unwrap_or_default()));
    }
    if object.is_instance_of::<PyInt>() {
        return object.extract().ok().map(Value::Int);
    }
    if object.is_instance_of::<PyFloat>() {
        return object.extract().ok().map(Value::Float);
    }
    let bytes = object.cast::<PyBytes>().ok()?;
    Some(Value::Bytes(bytes.as_bytes().to_vec()))
}

/// A sequence keeps its type when its items are of one kind; else its `str()` is recorded.
fn list_value<'py>(
    object: &Bound<'py, PyAny>,
    items: impl Iterator<Item = Bound<'py, PyAny>>,
) -> (Value, bool) {
    let values: Option<Vec<Value>> = items.take(LONGEST_LIST).map(|item| scalar(&item)).collect();
    match values {
        Some(values) if is_homogeneous(&values) => (Value::List(values), true),
        _ => (Value::Str(shown(object)), false),
    }
}

fn is_homogeneous(values: &[Value]) -> bool {
    values
        .windows(2)
        .all(|pair| std::mem::discriminant(&pair[0]) == std::mem::discriminant(&pair[1]))
}

/// A key: a `str` as it is, everything else by `str()`.
#[inline]
pub(crate) fn with_text<T>(object: &Bound<'_, PyAny>, use_it: impl FnOnce(&str) -> T) -> T {
    if object.is_instance_of::<PyString>() {
        use_it(&utf8(object))
    } else {
        use_it(&shown(object))
    }
}

/// Gives each attribute of a mapping to `write`; `None` has none. Returns how many had no type of
/// their own.
pub(crate) fn each_attribute(
    mapping: Option<&Bound<'_, PyAny>>,
    mut write: impl FnMut(&str, ValueRef<'_>),
) -> u64 {
    let Some(mapping) = mapping.filter(|mapping| !mapping.is_none()) else {
        return 0;
    };
    // A copy: the str() of a value is foreign code, and may change the dictionary.
    let dict = match mapping.cast::<PyDict>() {
        Ok(dict) => dict.copy().ok(),
        Err(_) => {
            let class = mapping.py().get_type::<PyDict>();
            class
                .call1((mapping,))
                .ok()
                .and_then(|dict| dict.cast_into::<PyDict>().ok())
        }
    };
    let Some(dict) = dict else { return 1 };
    let mut coerced = 0;
    for (key, value) in &dict {
        let ((), typed) = with_value(&value, |value| with_text(&key, |key| write(key, value)));
        coerced += u64::from(!typed);
    }
    coerced
}

/// Sets the attributes of a mapping for a span that has none yet. Returns how many had no type of
/// their own.
pub(crate) fn set_attributes_of_new(
    record: &mut SpanRecord,
    mapping: &Bound<'_, PyAny>,
    limits: &Limits,
) -> u64 {
    let plain = mapping.cast_exact::<PyDict>().ok().filter(|dict| {
        dict.iter()
            .all(|(key, value)| key.is_exact_instance_of::<PyString>() && is_plain(&value))
    });
    let Some(dict) = plain else {
        return each_attribute(Some(mapping), |key, value| record.set(key, value, limits));
    };
    // Nothing in here calls foreign code, which could change the dictionary; and no key is there
    // twice.
    let mut coerced = 0;
    for (key, value) in dict.iter() {
        let ((), typed) = with_value(&value, |value| {
            set_new(&mut record.fields, &utf8(&key), value, limits);
        });
        coerced += u64::from(!typed);
    }
    coerced
}

fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyBool>()
}

/// The attributes of a mapping, and how many had no type of their own.
pub(crate) fn attributes(mapping: Option<&Bound<'_, PyAny>>) -> (Vec<(String, Value)>, u64) {
    let mut attributes = Vec::new();
    let coerced = each_attribute(mapping, |key, value| {
        attributes.push((key.to_owned(), value.into()))
    });
    (attributes, coerced)
}

/// An attribute value as a Python object; a sequence is a tuple.
pub(crate) fn to_python(py: Python<'_>, value: &Value) -> PyResult<Py<PyAny>> {
    Ok(match value {
        Value::Bool(v) => v.into_pyobject(py)?.to_owned().into_any().unbind(),
        Value::Int(v) => v.into_pyobject(py)?.into_any().unbind(),
        Value::Float(v) => v.into_pyobject(py)?.into_any().unbind(),
        Value::Str(v) => v.into_pyobject(py)?.into_any().unbind(),
        Value::Bytes(v) => PyBytes::new(py, v).into_any().unbind(),
        Value::List(values) => {
            let items = values
                .iter()
                .map(|v| to_python(py, v))
                .collect::<PyResult<Vec<Py<PyAny>>>>()?;
            PyTuple::new(py, items)?.into_any().unbind()
        }
    })
}
