//! Captures Python exceptions: type, text and frames, with no source lines, which come later.
//!
//! It happens in the traced code, so it goes straight to the C API where that is less work, and
//! keeps the names of code objects that it has met.

use crate::values::{shown, utf8};
use pyo3::exceptions::{PyBaseException, PyBaseExceptionGroup};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyType};
use rvh_trace::exception::{Exception, Frame, Place, Relation};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Frames that are kept; a runaway recursion has thousands, and its first ones tell enough.
const MOST_FRAMES: usize = 128;
/// Exceptions of a chain that are kept.
const LONGEST_CHAIN: usize = 8;
/// Members of an exception group that are kept, as many as Python prints.
const WIDEST_GROUP: usize = 15;
/// Exceptions that are kept of all chains and groups together.
const MOST_EXCEPTIONS: usize = 64;
/// Code objects whose names are kept; a program that makes more makes them by `exec`.
const MOST_PLACES: usize = 4096;

/// By address. The code object is kept alive, so that no other one can have its address.
type Places = Mutex<HashMap<usize, (Py<PyAny>, Arc<Place>)>>;
static PLACES: PyOnceLock<Places> = PyOnceLock::new();

/// Captures an exception whose type is `kind` and whose `str()` is `message`.
pub(crate) fn capture(exception: &Bound<'_, PyAny>, kind: String, message: String) -> Exception {
    let mut left = MOST_EXCEPTIONS - 1;
    capture_chain(exception, kind, message, LONGEST_CHAIN, &mut left)
}

fn capture_chain(
    exception: &Bound<'_, PyAny>,
    kind: String,
    message: String,
    chain: usize,
    left: &mut usize,
) -> Exception {
    let mut capture = |other: &Bound<'_, PyAny>, chain| {
        *left = left.checked_sub(1)?;
        Some(capture_chain(
            other,
            self::kind(other),
            shown(other),
            chain,
            left,
        ))
    };
    let (frames, frames_left_out) = frames(exception).unwrap_or_default();
    let earlier = if chain > 1 { earlier(exception) } else { None };
    let earlier = earlier.and_then(|(relation, other)| {
        let captured = capture(&other, chain - 1)?;
        Some((relation, Box::new(captured)))
    });
    let members = members(exception);
    let group: Vec<_> = (members.iter().take(WIDEST_GROUP))
        .map_while(|member| capture(member, LONGEST_CHAIN))
        .collect();
    Exception {
        kind,
        message,
        frames,
        frames_left_out,
        earlier,
        group_left_out: members.len() - group.len(),
        group,
    }
}

/// What an exception group is made of; nothing for other exceptions.
fn members<'py>(exception: &Bound<'py, PyAny>) -> Vec<Bound<'py, PyAny>> {
    if !exception.is_instance_of::<PyBaseExceptionGroup>() {
        return Vec::new();
    }
    let members = exception.getattr(intern!(exception.py(), "exceptions"));
    let members: Vec<_> = (members.and_then(|members| members.extract())).unwrap_or_default();
    // A class may say that it is made of anything.
    (members.into_iter())
        .filter(|member: &Bound<'_, PyAny>| member.is_instance_of::<PyBaseException>())
        .collect()
}

/// The exception before this one, as Python's traceback shows it.
fn earlier<'py>(exception: &Bound<'py, PyAny>) -> Option<(Relation, Bound<'py, PyAny>)> {
    let py = exception.py();
    // SAFETY: `exception` is an exception, checked by `frames` and the callers; both functions
    // return a new reference or NULL, and raise nothing.
    let (cause, context) = unsafe {
        let ptr = exception.as_ptr();
        (
            Bound::from_owned_ptr_or_opt(py, ffi::PyException_GetCause(ptr)),
            Bound::from_owned_ptr_or_opt(py, ffi::PyException_GetContext(ptr)),
        )
    };
    if let Some(cause) = cause {
        return Some((Relation::Cause, cause));
    }
    let context = context?;
    let suppressed = exception.getattr(intern!(py, "__suppress_context__"));
    let suppressed = suppressed.is_ok_and(|flag| flag.is_truthy().unwrap_or_default());
    (!suppressed).then_some((Relation::Context, context))
}

/// By address. The class is kept alive, so that no other one can have its address.
type Kinds = Mutex<HashMap<usize, (Py<PyAny>, String)>>;
static KINDS: PyOnceLock<Kinds> = PyOnceLock::new();
/// Classes whose names are kept; a program that makes more makes them as it goes.
const MOST_KINDS: usize = 256;

/// The type's name, with its module unless that is `builtins`.
pub(crate) fn kind(exception: &Bound<'_, PyAny>) -> String {
    let class = exception.get_type();
    let address = class.as_ptr() as usize;
    let kinds = KINDS.get_or_init(exception.py(), Kinds::default);
    let lock = || kinds.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, kind)) = lock().get(&address) {
        return kind.clone();
    }
    let kind = kind_of(&class);
    let mut kinds = lock();
    if kinds.len() < MOST_KINDS {
        kinds.insert(address, (class.into_any().unbind(), kind.clone()));
    }
    kind
}

fn kind_of(class: &Bound<'_, PyType>) -> String {
    let py = class.py();
    let name = class.getattr(intern!(py, "__qualname__"));
    let name = name.ok().filter(|name| name.is_instance_of::<PyString>());
    let name = name.map_or_else(|| "Exception".to_owned(), |name| utf8(&name).into_owned());
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
    let places = PLACES.get_or_init(py, Places::default);
    // SAFETY: `exception` is an exception, which the callers check; a new reference or NULL.
    let traceback = unsafe {
        let traceback = ffi::PyException_GetTraceback(exception.as_ptr());
        Bound::from_owned_ptr_or_opt(py, traceback)
    };
    let Some(mut traceback) = traceback else {
        return Ok((frames, left_out));
    };
    while !traceback.is_none() {
        if frames.len() < MOST_FRAMES {
            let frame = traceback.getattr(intern!(py, "tb_frame"))?;
            // SAFETY: `tb_frame` is a frame, always; a new reference, never NULL.
            let code = unsafe {
                let code = ffi::PyFrame_GetCode(frame.as_ptr().cast());
                Bound::from_owned_ptr_or_err(py, code.cast())
            }?;
            frames.push(Frame {
                place: place(places, &code)?,
                line: traceback
                    .getattr(intern!(py, "tb_lineno"))?
                    .extract()
                    .unwrap_or(0),
            });
        } else {
            left_out += 1;
        }
        traceback = traceback.getattr(intern!(py, "tb_next"))?;
    }
    Ok((frames, left_out))
}

fn place(places: &Places, code: &Bound<'_, PyAny>) -> PyResult<Arc<Place>> {
    let address = code.as_ptr() as usize;
    let lock = || places.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, place)) = lock().get(&address) {
        return Ok(Arc::clone(place));
    }
    let py = code.py();
    let place = Arc::new(Place {
        file: shown(&code.getattr(intern!(py, "co_filename"))?),
        function: shown(&code.getattr(intern!(py, "co_qualname"))?),
    });
    let forgotten = {
        let mut places = lock();
        let forgotten = if places.len() >= MOST_PLACES {
            std::mem::take(&mut *places)
        } else {
            HashMap::new()
        };
        places.insert(address, (code.clone().unbind(), Arc::clone(&place)));
        forgotten
    };
    // Dropping code objects may run foreign code, so not under the lock.
    drop(forgotten);
    Ok(place)
}
