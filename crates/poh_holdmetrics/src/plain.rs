//! Columns of Arrow in one of the types that are read: dictionaries written out, small numbers widened.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal32Type, Decimal64Type, Decimal128Type, Float32Type, Float64Type,
    Int8Type, Int16Type, Int64Type, UInt8Type, UInt16Type,
};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow_schema::DataType;
use arrow_select::take::{TakeOptions, take};

use crate::error::{Fault, HoldError};

/// The same instants or amounts in one of the types that most tables have.
pub(crate) fn plain(array: &ArrayRef) -> Result<ArrayRef, Fault> {
    Ok(match array.data_type() {
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            // What comes from outside may have any keys.
            let options = TakeOptions { check_bounds: true };
            let rows = take(dictionary.values(), dictionary.keys(), Some(options));
            let no_such = |_| Fault::Type("has a key that its dictionary does not have".to_owned());
            plain(&rows.map_err(no_such)?)?
        }
        DataType::Null => Arc::new(Int64Array::new_null(array.len())),
        DataType::Decimal32(_, digits) => {
            let wide = array.as_primitive::<Decimal32Type>();
            let wide = wide.unary::<_, Decimal128Type>(i128::from);
            Arc::new(wide.with_data_type(DataType::Decimal128(38, *digits)))
        }
        DataType::Decimal64(_, digits) => {
            let wide = array.as_primitive::<Decimal64Type>();
            let wide = wide.unary::<_, Decimal128Type>(i128::from);
            Arc::new(wide.with_data_type(DataType::Decimal128(38, *digits)))
        }
        _ => Arc::clone(array),
    })
}

/// As [`plain`], of epoch seconds in any type of number.
pub(crate) fn plain_times(array: &ArrayRef) -> Result<ArrayRef, Fault> {
    let array = plain(array)?;
    Ok(match array.data_type() {
        DataType::Int8 => integers::<Int8Type>(&array),
        DataType::Int16 => integers::<Int16Type>(&array),
        DataType::UInt8 => integers::<UInt8Type>(&array),
        DataType::UInt16 => integers::<UInt16Type>(&array),
        DataType::Float32 => {
            let floats = array.as_primitive::<Float32Type>();
            Arc::new(floats.unary::<_, Float64Type>(f64::from))
        }
        _ => array,
    })
}

fn integers<T: ArrowPrimitiveType>(array: &ArrayRef) -> ArrayRef
where
    T::Native: Into<i64>,
{
    let numbers = array.as_primitive::<T>();
    Arc::new(numbers.unary::<_, Int64Type>(Into::into))
}

/// Refuses a table that has two columns of one name: which is meant can't be told.
pub(crate) fn each_once(batch: &RecordBatch, names: &[&str]) -> Result<(), HoldError> {
    let schema = batch.schema();
    for name in names {
        let mut found = schema.fields().iter().filter(|field| field.name() == name);
        if found.nth(1).is_some() {
            let what = format!("there are two columns \"{name}\"; leave one of them");
            return Err(HoldError::Argument(what));
        }
    }
    Ok(())
}
