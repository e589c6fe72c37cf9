//! Captures Python exceptions: type, text and frames, with no source lines, which come later.

use crate::values::{shown, utf8};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;
use rvh_trace::exception::{Exception, Frame, Relation};

/// Frames that are kept; a runaway recursion has thousands, and its first ones tell enough.
const MOST_FRAMES: usize = 128;
/// Exceptions of a chain that are kept.
const LONGEST_CHAIN: usize = 8;

/// Captures an exception whose `str()` is `message`.
pub(crate) fn capture(exception: &Bound<'_, PyAny>, message: String) -> Exception {
    capture_chain(exception, message, LONGEST_CHAIN)
}

fn capture_chain<'py>(exception: &Bound<'py, PyAny>, message: String, left: usize) -> Exception {
    let py = exception.py();
    let (frames, frames_left_out) = frames(exception).unwrap_or_default();
    let attribute = |name: &Bound<'py, PyString>| {
        exception
            .getattr(name)
            .ok()
            .filter(|value| !value.is_none())
    };
    let earlier = (left > 1).then(|| {
        if let Some(cause) = attribute(intern!(py, "__cause__")) {
            return Some((Relation::Cause, cause));
        }
        let suppressed = attribute(intern!(py, "__suppress_context__"))
            .is_some_and(|flag| flag.is_truthy().unwrap_or_default());
        let context = attribute(intern!(py, "__context__")).filter(|_| !suppressed);
        context.map(|context| (Relation::Context, context))
    });
    Exception {
        kind: kind(exception),
        message,
        frames,
        frames_left_out,
        earlier: earlier.flatten().map(|(relation, other)| {
            (
                relation,
                Box::new(capture_chain(&other, shown(&other), left - 1)),
            )
        }),
    }
}

/// The type's name, with its module unless that is `builtins`.
pub(crate) fn kind(exception: &Bound<'_, PyAny>) -> String {
    let py = exception.py();
    let class = exception.get_type();
    let name = class
        .qualname()
        .map_or_else(|_| "Exception".to_owned(), |n| utf8(&n).into_owned());
    match class.getattr(intern!(py, "__module__")) {
        Ok(module) if module.is_instance_of::<PyString>() => match utf8(&module).as_ref() {
            "builtins" => name,
            module => format!("{module}.{name}"),
        },
        _ => name,
    }
}

fn frames(exception: &Bound<'_, PyAny>) -> PyResult<(Vec<Frame>, usize)> {
    let py = exception.py();
    let mut frames = Vec::new();
    let mut left_out = 0;
    let mut traceback = exception.getattr(intern!(py, "__traceback__"))?;
    while !traceback.is_none() {
        if frames.len() < MOST_FRAMES {
            let code = traceback
                .getattr(intern!(py, "tb_frame"))?
                .getattr(intern!(py, "f_code"))?;
            frames.push(Frame {
                file: utf8(&code.getattr(intern!(py, "co_filename"))?).into_owned(),
                line: traceback
                    .getattr(intern!(py, "tb_lineno"))?
                    .extract()
                    .unwrap_or(0),
                function: utf8(&code.getattr(intern!(py, "co_qualname"))?).into_owned(),
            });
        } else {
            left_out += 1;
        }
        traceback = traceback.getattr(intern!(py, "tb_next"))?;
    }
    Ok((frames, left_out))
}
