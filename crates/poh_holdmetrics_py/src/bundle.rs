//! What proof bundles are made of: the events of an answer, its question, and the answer anew.

use std::sync::Arc;

use poh_holdmetrics::{
    Boost, BoostParts, By, Field, HoldError, Holds, OPEN, Overlap, Query, Weight, score_until,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::arguments::{Dump as Json, Leaves};
use crate::errors::{Place, to_py};
use crate::interrupt::detached;
use crate::options::{ByWord, OverlapWord};
use crate::scores::Scores;

/// The events of a table as lists of holder_id, token_id, start_us, end_us and weight.
pub(crate) fn events<'py>(py: Python<'py>, holds: &Holds) -> PyResult<Bound<'py, PyList>> {
    let events = PyList::empty(py);
    for event in holds.events() {
        events.append((
            event.holder_id,
            event.token_id,
            event.start,
            event.end,
            event.weight.to_string(),
        ))?;
    }
    Ok(events)
}

/// The question of an answer.
pub(crate) fn parameters<'py>(
    py: Python<'py>,
    query: &Query,
    scale: u8,
) -> PyResult<Bound<'py, PyDict>> {
    let by = match query.by {
        By::Holder => "holder",
        By::Token => "token",
        By::Both => "both",
    };
    let overlap = match query.overlap {
        Overlap::Sum => "sum",
        Overlap::Union => "union",
        Overlap::Max => "max",
    };
    let parameters = PyDict::new(py);
    parameters.set_item("at_us", query.at)?;
    parameters.set_item("start_us", query.start)?;
    parameters.set_item("end_us", query.end)?;
    parameters.set_item("by", by)?;
    parameters.set_item("overlap", overlap)?;
    parameters.set_item("scale", scale)?;
    let boost = query
        .boost
        .as_ref()
        .map(|boost| boost_parameters(py, boost))
        .transpose()?;
    parameters.set_item("boost", boost)?;
    Ok(parameters)
}

/// What a boost was made from.
pub(crate) fn boost_parameters<'py>(
    py: Python<'py>,
    boost: &Boost,
) -> PyResult<Bound<'py, PyDict>> {
    let parameters = PyDict::new(py);
    match boost.parts() {
        BoostParts::Steps { steps, cap } => {
            let table = PyList::empty(py);
            for (age, multiplier) in steps {
                let multiplier = multiplier.to_string();
                let step = [
                    age.into_pyobject(py)?.into_any(),
                    multiplier.into_pyobject(py)?.into_any(),
                ];
                table.append(PyList::new(py, step)?)?;
            }
            parameters.set_item("steps_us", table)?;
            parameters.set_item("cap", cap.map(|cap| cap.to_string()))?;
        }
        BoostParts::Linear(over) => parameters.set_item("linear_us", over)?,
        BoostParts::HalfLife(micros) => parameters.set_item("half_life_us", micros)?,
    }
    Ok(parameters)
}

/// The answer to the question `parameters`, anew from events as a bundle has them.
#[pyfunction]
pub(crate) fn recompute(events: Leaves<'_>, parameters: Json<'_>) -> PyResult<Scores> {
    let py = events.0.py();
    let part = |name: &str| parameters.0.get_item(name);
    let query = Query {
        by: part("by")?.extract::<ByWord>()?.0,
        overlap: part("overlap")?.extract::<OverlapWord>()?.0,
        at: part("at_us")?.extract()?,
        start: part("start_us")?.extract()?,
        end: part("end_us")?.extract()?,
        boost: boost(&part("boost")?)?,
        columns: None,
        threads: None,
    };
    let mut holds = Holds::new(part("scale")?.extract()?).map_err(|error| to_py(py, error))?;
    for event in events.0.try_iter()? {
        let parts = py.get_type::<pyo3::types::PyTuple>().call1((event?,))?;
        type Parts = (String, String, i64, Option<i64>, String);
        let (holder, token, start, end, weight): Parts = parts.extract()?;
        let place = Place::of(holds.len(), Field::Weight);
        let weight: Weight = weight
            .parse()
            .map_err(|fault| to_py(py, place.error(fault)))?;
        holds
            .push_row(&holder, &token, start, end.unwrap_or(OPEN), &weight)
            .map_err(|error| to_py(py, error))?;
    }
    let scores = detached(py, holds.len(), |stop| score_until(&holds, &query, stop))?;
    Ok(Scores::with_source(scores, Arc::new(holds), query))
}

/// A boost from what [`boost_parameters`] gave.
pub(crate) fn boost(parts: &Bound<'_, PyAny>) -> PyResult<Option<Boost>> {
    let py = parts.py();
    if parts.is_none() {
        return Ok(None);
    }
    let wrong = |error: HoldError| to_py(py, error);
    let read = |text: String| {
        let weight: Result<Weight, _> = text.parse();
        weight.map_err(|fault| {
            wrong(HoldError::Value {
                field: Field::Weight,
                fault,
            })
        })
    };
    if let Ok(over) = parts.get_item("linear_us") {
        return Boost::linear(over.extract()?).map(Some).map_err(wrong);
    }
    if let Ok(micros) = parts.get_item("half_life_us") {
        return Boost::half_life(micros.extract()?).map(Some).map_err(wrong);
    }
    let mut steps = Vec::new();
    for step in parts.get_item("steps_us")?.try_iter()? {
        let step = step?;
        steps.push((
            step.get_item(0)?.extract()?,
            read(step.get_item(1)?.extract()?)?,
        ));
    }
    let cap = parts
        .get_item("cap")?
        .extract::<Option<String>>()?
        .map(read)
        .transpose()?;
    Boost::steps(steps, cap).map(Some).map_err(wrong)
}
