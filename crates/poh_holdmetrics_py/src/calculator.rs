//! `calculate_score`: the total of a list of events, as fast as a list can be read.

use poh_holdmetrics::{HoldError, OPEN, Total};
use pyo3::Borrowed;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::arguments::Data;
use crate::errors::to_py;
use crate::event::{Compact, HoldEvent};
use crate::holds::clock;

/// Digits after the point of a sum: microseconds, and weights of nine digits.
const DIGITS: u32 = 6 + Compact::NANO as u32;

/// Seconds times weight of all events together; overlaps add up, open holds accrue until now, closed
/// ones count in full, also where they end later.
///
/// The sum is exact and rounded once. Weights keep nine digits after the point.
///
/// Examples
/// --------
/// >>> from poh_holdmetrics.calculator import calculate_score
/// >>> from poh_holdmetrics import HoldEvent
/// >>> calculate_score([HoldEvent("t", "a", 0, 10), HoldEvent("t", "a", 5, 15)])
/// 20.0
#[pyfunction]
pub(crate) fn calculate_score(events: Data<'_>) -> PyResult<f64> {
    let py = events.0.py();
    let now = clock()?;
    let events: Bound<'_, PyList> = match events.0.cast::<PyList>() {
        Ok(list) => list.clone(),
        Err(_) => py.get_type::<PyList>().call1((&events.0,))?.cast_into()?,
    };
    let kind = py.get_type::<HoldEvent>();
    let mut sum = 0i128;
    for place in 0..events.len() {
        // SAFETY: the place is in the list, and nothing below runs Python code or lets go of the GIL,
        // so the list keeps the event while it is looked at. To take a reference of each, as an
        // iterator does, costs as much as all the rest.
        let event = unsafe {
            let item = pyo3::ffi::PyList_GetItem(events.as_ptr(), place.cast_signed());
            Borrowed::<PyAny>::from_ptr(py, item)
        };
        if !event.get_type_ptr().eq(&kind.as_type_ptr()) {
            return by_table(&events, now);
        }
        // SAFETY: its type is that of HoldEvent.
        let event = unsafe { event.cast_unchecked::<HoldEvent>() };
        let event = event.get();
        let end = if event.end == OPEN { now } else { event.end };
        let Compact::Narrow(units) = event.weight else {
            return by_table(&events, now);
        };
        // Below 2^127: the weight has 63 bits and so has the time.
        let micros = end.saturating_sub(event.start).max(0);
        match sum.checked_add(i128::from(units) * i128::from(micros)) {
            Some(total) => sum = total,
            None => return by_table(&events, now),
        }
    }
    Ok(Total::Narrow(sum).to_f64(DIGITS))
}

/// The general way: other kinds of rows, wide weights, and errors with row and field. Closed holds
/// count in full, so each has its own end as the instant.
fn by_table(events: &Bound<'_, PyList>, now: i64) -> PyResult<f64> {
    let py = events.py();
    let mut holds = poh_holdmetrics::Holds::new(Compact::NANO).map_err(|error| to_py(py, error))?;
    let clock = crate::values::Clock::new(None, false)?;
    crate::input::push_all(&mut holds, events.as_any(), &clock)?;
    let total = poh_holdmetrics::total(&holds, now).map_err(|error: HoldError| to_py(py, error))?;
    Ok(total.to_f64(DIGITS))
}
