//! Opening and closing a span: the only code here that is not ordinary PyO3.
//!
//! `span(name, **fields)` by `#[pyfunction]` builds a dictionary of its keywords, and methods by
//! `#[pymethods]` go through a trampoline; together that triples the time of a span. So the three
//! calls of a `with` statement are C functions with the vectorcall convention, put on the module
//! and on the `Span` class by hand. All are part of the limited API.
//!
//! What each unsafe function relies on: it is called by the interpreter with the GIL held, with
//! live borrowed arguments, `slf` of the class whose method it is; and it returns a new reference,
//! or NULL with an exception set. A panic is caught and becomes an exception.

use crate::current;
use crate::span::{Phase, Span};
use crate::values::{utf8, with_text, with_value};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple};
use rvh_trace::{Fields, Level, SAMPLED};
use std::cell::UnsafeCell;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `span()` returns when nothing is to be recorded.
static NO_OP: PyOnceLock<Py<Span>> = PyOnceLock::new();

pub(crate) fn no_op_span(py: Python<'_>) -> Py<Span> {
    match NO_OP.get(py) {
        Some(span) => span.clone_ref(py),
        None => unreachable!("made when the module was imported"),
    }
}

/// Runs the body of a C function; an error or a panic becomes a Python exception.
#[inline]
fn guarded(
    py: Python<'_>,
    body: impl FnOnce() -> PyResult<*mut ffi::PyObject>,
) -> *mut ffi::PyObject {
    let error = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(object)) => return object,
        Ok(Err(error)) => error,
        Err(_) => PyRuntimeError::new_err("rvh_trace panicked: please report it"),
    };
    error.restore(py);
    std::ptr::null_mut()
}

/// `span(name, /, **fields)`.
unsafe extern "C" fn span(
    _module: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    positional: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see the module's comment.
    let py = unsafe { Python::assume_attached() };
    guarded(py, || {
        if positional != 1 {
            return Err(PyTypeError::new_err(format!(
                "span() takes the name as its one positional argument, and fields by keyword; \
                 got {positional} positional arguments"
            )));
        }
        // SAFETY: the interpreter passes `positional` values, then one for each name; `names` is
        // a tuple of str, or NULL.
        let (args, names) = unsafe {
            let names = Bound::from_borrowed_ptr_or_opt(py, names).map(|n| n.cast_into_unchecked());
            let count = 1 + names
                .as_ref()
                .map_or(0, |names: &Bound<'_, PyTuple>| names.len());
            (std::slice::from_raw_parts(args, count), names)
        };
        let argument = |i: usize| {
            // SAFETY: `i` is within `args`, checked by the slice; the reference is borrowed.
            unsafe { Borrowed::from_ptr(py, args[i]) }
        };
        let no_op = || Ok(no_op_span(py).into_ptr());
        if !rvh_trace::enabled(Level::Error) {
            return no_op();
        }
        let mut level = Level::Info;
        let mut level_at = usize::MAX;
        for (i, key) in names
            .iter()
            .flat_map(|names| names.iter_borrowed())
            .enumerate()
        {
            if utf8(&key) == "level" {
                level = level_of(&argument(1 + i));
                level_at = i;
            }
        }
        let pipeline = if rvh_trace::enabled(level) {
            rvh_trace::pipeline()
        } else {
            None
        };
        let Some(pipeline) = pipeline.as_ref().and_then(|guard| guard.as_ref()) else {
            return no_op();
        };
        let name = argument(0);
        let mut fields = with_text(&name, |name| Fields::new(name, pipeline.buffer()));
        let limits = &pipeline.settings.limits;
        for (i, key) in names
            .iter()
            .flat_map(|names| names.iter_borrowed())
            .enumerate()
        {
            if i == level_at {
                continue;
            }
            let ((), typed) = with_value(&argument(1 + i), |value| {
                rvh_trace::set_new(&mut fields, &utf8(&key), value, limits);
            });
            if !typed {
                pipeline.count_coerced(1);
            }
        }
        Ok(Bound::new(py, Span::new(fields, level))?.into_ptr())
    })
}

/// The level of a value that a caller gave; what is none counts as the default.
fn level_of(value: &Bound<'_, PyAny>) -> Level {
    let level = if value.is_instance_of::<PyString>() {
        utf8(value).parse().ok()
    } else {
        value.extract().ok().and_then(Level::from_u8)
    };
    level.unwrap_or_default()
}

/// `Span.__enter__()`.
unsafe extern "C" fn enter(
    slf: *mut ffi::PyObject,
    _none: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see the module's comment.
    let (py, slf) = unsafe {
        let py = Python::assume_attached();
        (py, Borrowed::from_ptr(py, slf).cast_unchecked::<Span>())
    };
    guarded(py, || {
        enter_span(&slf);
        Ok(slf.to_owned().into_ptr())
    })
}

/// `Span.__exit__(type, exception, traceback)`.
unsafe extern "C" fn exit(
    slf: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: see the module's comment.
    let (py, slf) = unsafe {
        let py = Python::assume_attached();
        (py, Borrowed::from_ptr(py, slf).cast_unchecked::<Span>())
    };
    guarded(py, || {
        if count != 3 {
            return Err(PyTypeError::new_err(
                "__exit__() takes type, exception and traceback",
            ));
        }
        // SAFETY: there are three arguments, borrowed from the caller.
        let exception = unsafe { Borrowed::from_ptr(py, *args.add(1)) };
        exit_span(&slf, (!exception.is_none()).then_some(&*exception));
        Ok(py.None().into_ptr())
    })
}

/// Starts a span and makes it current. A second time does nothing.
#[inline]
pub(crate) fn enter_span(slf: &Bound<'_, Span>) {
    let Ok(mut span) = slf.try_borrow_mut() else {
        return;
    };
    if span.phase != Phase::New {
        return;
    }
    let Some(previous) = current::get(slf.py()) else {
        return;
    };
    let parent = current::adopt(&previous);
    span.phase = Phase::Open;
    span.record.place(parent.as_ref());
    if rvh_trace::samples(parent.as_ref(), &span.record) {
        span.record.start_ns = rvh_trace::now_ns();
    } else {
        span.recording = false;
        span.record.flags &= !SAMPLED;
        rvh_trace::discard(span.record.take());
    }
    make_current(slf, &mut span, previous);
}

/// Makes a span current that was suspended, or starts it.
pub(crate) fn resume_span(slf: &Bound<'_, Span>) {
    enter_span(slf);
    let Ok(mut span) = slf.try_borrow_mut() else {
        return;
    };
    let Some(current) = current::get(slf.py()) else {
        return;
    };
    if span.phase == Phase::Open && current.as_ptr() != slf.as_ptr() {
        current::adopt(&current);
        make_current(slf, &mut span, current);
    }
}

#[inline]
fn make_current<'py>(slf: &Bound<'py, Span>, span: &mut Span, previous: Bound<'py, PyAny>) {
    span.previous = Some(previous.unbind());
    span.token = current::set(slf.py(), slf.as_ptr()).map(Bound::unbind);
}

/// Ends a span and makes current again what was before it.
#[inline]
pub(crate) fn exit_span(slf: &Bound<'_, Span>, exception: Option<&Bound<'_, PyAny>>) {
    if let Some(exception) = exception
        && slf
            .try_borrow()
            .is_ok_and(|span| span.recording && span.phase == Phase::Open)
    {
        Span::failed(slf, exception);
    }
    let Ok(mut span) = slf.try_borrow_mut() else {
        return;
    };
    if span.phase == Phase::Open {
        span.end_now();
        restore_previous(slf, span);
    }
}

/// Makes current again what was before a span.
pub(crate) fn suspend_span(slf: &Bound<'_, Span>) {
    if let Ok(span) = slf.try_borrow_mut() {
        restore_previous(slf, span);
    }
}

/// When a child is open, or the token is of another context, something else may be current than
/// the span: then there is nothing to restore here.
#[inline]
fn restore_previous<'py>(slf: &Bound<'py, Span>, mut span: PyRefMut<'py, Span>) {
    let py = slf.py();
    let Some(token) = span.token.take() else {
        return;
    };
    if span.open_children > 0
        && current::get(py).is_none_or(|current| current.as_ptr() != slf.as_ptr())
    {
        return;
    }
    let Some(previous) = span.previous.take().map(|previous| previous.into_bound(py)) else {
        return;
    };
    drop(span);
    let mut parent_ended = false;
    if let Ok(parent) = previous.cast::<Span>()
        && let Ok(mut parent) = parent.try_borrow_mut()
    {
        parent.open_children = parent.open_children.saturating_sub(1);
        parent_ended = parent.phase == Phase::Ended;
    }
    let token = token.into_bound(py);
    let was_reset = !parent_ended && current::reset(py, &token);
    if !was_reset && current::get(py).is_some_and(|current| current.as_ptr() == slf.as_ptr()) {
        current::set(py, still_open(previous).as_ptr());
    }
}

/// The nearest that is still open: a parent that ended before its child is skipped.
fn still_open(mut object: Bound<'_, PyAny>) -> Bound<'_, PyAny> {
    loop {
        let earlier = match object
            .cast::<Span>()
            .ok()
            .and_then(|span| span.try_borrow().ok())
        {
            Some(span) if span.phase == Phase::Ended => span
                .previous
                .as_ref()
                .map(|previous| previous.bind(object.py()).clone()),
            _ => None,
        };
        match earlier {
            Some(earlier) => object = earlier,
            None => return object,
        }
    }
}

/// A method definition that lives as long as the process, as the interpreter asks.
struct Definition(UnsafeCell<ffi::PyMethodDef>);

// SAFETY: the interpreter only reads it.
unsafe impl Sync for Definition {}

const fn definition(
    name: &'static std::ffi::CStr,
    method: ffi::PyMethodDefPointer,
    flags: c_int,
    doc: &'static std::ffi::CStr,
) -> Definition {
    Definition(UnsafeCell::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: method,
        ml_flags: flags,
        ml_doc: doc.as_ptr(),
    }))
}

static SPAN: Definition = definition(
    c"span",
    ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: span },
    ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
    c"span(name, /, **fields)\n--\n\nA span for ``with`` and ``async with``, with these attributes.\n\n\
      The field ``level`` says how much it matters (\"info\" unless given): what is below the level\n\
      of ``init_tracing`` is not recorded.",
);
static ENTER: Definition = definition(
    c"__enter__",
    ffi::PyMethodDefPointer { PyCFunction: enter },
    ffi::METH_NOARGS,
    c"__enter__($self, /)\n--\n\nStarts the span and makes it current.",
);
static EXIT: Definition = definition(
    c"__exit__",
    ffi::PyMethodDefPointer { PyCFunctionFast: exit },
    ffi::METH_FASTCALL,
    c"__exit__($self, type, exception, traceback, /)\n--\n\nEnds the span; an exception is recorded and propagates.",
);

/// Puts the three functions where they belong.
pub(crate) fn install(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    NO_OP.get_or_try_init(py, || Py::new(py, Span::no_op()))?;
    // SAFETY: the definitions are static, and the functions have the signatures of their flags.
    unsafe {
        let function =
            ffi::PyCFunction_NewEx(SPAN.0.get(), std::ptr::null_mut(), std::ptr::null_mut());
        module.add("span", Bound::from_owned_ptr_or_err(py, function)?)?;
        let class = py.get_type::<Span>();
        for definition in [&ENTER, &EXIT] {
            let method = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition.0.get());
            let method = Bound::from_owned_ptr_or_err(py, method)?;
            class.setattr(method.getattr("__name__")?.cast_into::<PyString>()?, method)?;
        }
    }
    Ok(())
}
