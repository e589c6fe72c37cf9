//! Opening and closing a span: the only code here that is not ordinary PyO3.
//!
//! `span(name, **fields)` by `#[pyfunction]` builds a dictionary of its keywords, and methods by
//! `#[pymethods]` go through a trampoline; together that triples the time of a span. So the
//! calls of a `with` statement are C functions with the vectorcall convention, put on the module
//! and on the `Span` class by hand. All are part of the limited API.
//!
//! What each unsafe function relies on: it is called by the interpreter with the GIL held, with
//! live borrowed arguments, `slf` of the class whose method it is; and it returns a new reference,
//! or NULL with an exception set. A panic is caught and becomes an exception.

use crate::generators::Call;
use crate::span::{Phase, Span, State};
use crate::values::{level_of, utf8, with_text, with_value};
use crate::{current, generators, live, spare, start_log};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple};
use rvh_trace::{Fields, Level, Limits, Pipeline};
use std::cell::{RefMut, UnsafeCell};
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What `span()` returns when nothing is to be recorded.
static NO_OP: PyOnceLock<Py<Span>> = PyOnceLock::new();

pub(crate) fn no_op_span(py: Python<'_>) -> Py<Span> {
    match NO_OP.get(py) {
        Some(span) => span.clone_ref(py),
        None => unreachable!("made when the module was imported"),
    }
}

/// Called once, by the first span, where the environment asks for tracing.
static INITIALISE: Mutex<Option<Py<PyAny>>> = Mutex::new(None);
static INITIALISE_WANTED: AtomicBool = AtomicBool::new(false);

/// Lets the first span call a function of no arguments, which sets tracing up. None takes it back.
#[pyfunction]
#[pyo3(signature = (function, /))]
pub(crate) fn initialise_by_first_span(function: Option<Py<PyAny>>) {
    INITIALISE_WANTED.store(function.is_some(), Ordering::Release);
    let earlier = std::mem::replace(
        &mut *INITIALISE.lock().unwrap_or_else(PoisonError::into_inner),
        function,
    );
    drop(earlier);
}

#[inline]
pub(crate) fn initialise_if_wanted(py: Python<'_>) {
    if INITIALISE_WANTED.load(Ordering::Relaxed) && INITIALISE_WANTED.swap(false, Ordering::AcqRel)
    {
        let function = INITIALISE
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Err(error)) = function.map(|function| function.call0(py)) {
            // The traced code is not to blame for a setting that cannot be used.
            error.write_unraisable(py, None);
        }
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

/// The arguments of `span` and `opening`: the name, then fields by keyword.
struct Arguments<'a, 'py> {
    py: Python<'py>,
    values: &'a [*mut ffi::PyObject],
    names: Option<Bound<'py, PyTuple>>,
}

impl<'a, 'py> Arguments<'a, 'py> {
    /// # Safety
    /// They must be what the interpreter passes to a METH_FASTCALL | METH_KEYWORDS function:
    /// `positional` values, then one for each name; `names` is a tuple of `str`, or NULL.
    #[inline]
    unsafe fn new(
        py: Python<'py>,
        args: *const *mut ffi::PyObject,
        positional: ffi::Py_ssize_t,
        names: *mut ffi::PyObject,
    ) -> PyResult<Self> {
        if positional != 1 {
            return Err(PyTypeError::new_err(format!(
                "it takes the name as its one positional argument, and fields by keyword; \
                 got {positional} positional arguments"
            )));
        }
        // SAFETY: by the contract above.
        unsafe {
            let names: Option<Bound<'py, PyTuple>> =
                Bound::from_borrowed_ptr_or_opt(py, names).map(|n| n.cast_into_unchecked());
            let count = 1 + names.as_ref().map_or(0, |names| names.len());
            Ok(Self {
                py,
                values: std::slice::from_raw_parts(args, count),
                names,
            })
        }
    }

    #[inline]
    fn value(&self, i: usize) -> Borrowed<'a, 'py, PyAny> {
        // SAFETY: `i` is checked by the slice; the caller holds a reference meanwhile.
        unsafe { Borrowed::from_ptr(self.py, self.values[i]) }
    }

    /// The fields with their keys. A plain loop: iterators that are nested cost more than what
    /// is done with a field.
    #[inline]
    fn each_field(
        &self,
        mut use_it: impl FnMut(&Borrowed<'_, 'py, PyAny>, Borrowed<'a, 'py, PyAny>),
    ) {
        let Some(names) = &self.names else { return };
        for i in 1..self.values.len() {
            // SAFETY: there is a name for each value but the first; the tuple lives on meanwhile.
            let key = unsafe {
                let at = (i - 1) as ffi::Py_ssize_t;
                Borrowed::from_ptr(self.py, ffi::PyTuple_GetItem(names.as_ptr(), at))
            };
            use_it(&key, self.value(i));
        }
    }

    #[inline]
    fn level(&self) -> Level {
        let mut level = Level::default();
        self.each_field(|key, value| {
            // SAFETY: a name is a `str`.
            let length = unsafe { ffi::PyUnicode_GetLength(key.as_ptr()) };
            if length == LEVEL.len() as ffi::Py_ssize_t && utf8(key) == LEVEL {
                level = level_of(&value).unwrap_or_default();
            }
        });
        level
    }

    /// The fields that are attributes, encoded, and the level.
    #[inline]
    fn write(&self, buffer: Vec<u8>, limits: &Limits) -> (Fields, Level) {
        let mut level = Level::default();
        let mut fields = with_text(&self.value(0), |name| Fields::new(name, buffer));
        self.each_field(|key, value| {
            let key = utf8(key);
            if key == LEVEL {
                level = level_of(&value).unwrap_or_default();
                return;
            }
            let ((), typed) = with_value(&value, |value| {
                rvh_trace::set_new(&mut fields, &key, value, limits);
            });
            if !typed {
                rvh_trace::count_coerced(1);
            }
        });
        (fields, level)
    }
}

/// The field that is not an attribute.
const LEVEL: &str = "level";

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
        // SAFETY: passed on as they came.
        let arguments = unsafe { Arguments::new(py, args, positional, names) }?;
        if !rvh_trace::enabled(Level::Error) {
            initialise_if_wanted(py);
            if !rvh_trace::enabled(Level::Error) {
                return Ok(no_op_span(py).into_ptr());
            }
        }
        // The level that is usual is enough, usually: then the fields are looked at once.
        let usual = Level::default();
        let least = if rvh_trace::enabled(usual) {
            usual
        } else {
            arguments.level()
        };
        let call = Call::of(&arguments.value(0), names);
        open(py, least, call, |pipeline| {
            arguments.write(pipeline.buffer(), &pipeline.settings.limits)
        })
        .map(Bound::into_ptr)
    })
}

/// A new span, or the no-op one when nothing is to be recorded: neither of the level `least` nor of
/// the one that comes with the fields.
#[inline]
fn open(
    py: Python<'_>,
    least: Level,
    call: Call,
    fields: impl FnOnce(&Pipeline) -> (Fields, Level),
) -> PyResult<Bound<'_, Span>> {
    let pipeline = if rvh_trace::enabled(least) {
        rvh_trace::pipeline()
    } else {
        None
    };
    match pipeline {
        Some(pipeline) => {
            let (fields, level) = fields(&pipeline);
            if level != least && !rvh_trace::enabled(level) {
                pipeline.recycle(rvh_trace::SpanRecord::unstarted(fields, level));
                return Ok(no_op_span(py).into_bound(py));
            }
            let mut span = State::new(fields, level);
            span.call = call;
            spare::object(py, span)
        }
        None => Ok(no_op_span(py).into_bound(py)),
    }
}

/// What all spans of a decorated function have in common, encoded once.
#[pyclass(frozen)]
struct Opening {
    fields: Fields,
    level: Level,
}

impl Opening {
    /// A new span. The functions around decorated ones are no generators, or resume and suspend.
    #[inline]
    fn open<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Span>> {
        if !rvh_trace::enabled(Level::Error) {
            initialise_if_wanted(py);
        }
        open(py, self.level, Call::PLAIN, |pipeline| {
            let limits = &pipeline.settings.limits;
            let fields = rvh_trace::copy_within(&self.fields, pipeline.buffer(), limits);
            (fields, self.level)
        })
    }
}

/// `opening(name, /, **fields)`: two functions of no arguments. Both do what `span` does with
/// these, and the second enters the span, too.
unsafe extern "C" fn opening(
    _module: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    positional: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see the module's comment.
    let py = unsafe { Python::assume_attached() };
    guarded(py, || {
        // SAFETY: passed on as they came.
        let arguments = unsafe { Arguments::new(py, args, positional, names) }?;
        let (fields, level) = arguments.write(Vec::new(), &Limits::default());
        let opening = Bound::new(py, Opening { fields, level })?;
        let function = |definition: &'static Definition| {
            let no_module = std::ptr::null_mut();
            // SAFETY: the definition is static; the function keeps a reference to its `self`. It is
            // a new reference, or NULL with an exception set.
            unsafe {
                let function =
                    ffi::PyCFunction_NewEx(definition.0.get(), opening.as_ptr(), no_module);
                Bound::from_owned_ptr_or_err(py, function)
            }
        };
        let functions = [function(&OPEN)?, function(&OPEN_AND_ENTER)?];
        PyTuple::new(py, functions).map(Bound::into_ptr)
    })
}

/// The first function that `opening` returns.
unsafe extern "C" fn open_again(
    opening: *mut ffi::PyObject,
    _none: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see the module's comment; `opening` is what the function was made with.
    let (py, opening) = unsafe {
        let py = Python::assume_attached();
        let opening = Borrowed::from_ptr(py, opening).cast_unchecked::<Opening>();
        (py, opening)
    };
    guarded(py, || opening.get().open(py).map(Bound::into_ptr))
}

/// The second one.
///
/// By METH_FASTCALL, and not METH_NOARGS: the interpreter has an instruction of its own for that.
unsafe extern "C" fn open_and_enter(
    opening: *mut ffi::PyObject,
    _args: *mut *mut ffi::PyObject,
    _count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: see the module's comment; `opening` is what the function was made with.
    let (py, opening) = unsafe {
        let py = Python::assume_attached();
        let opening = Borrowed::from_ptr(py, opening).cast_unchecked::<Opening>();
        (py, opening)
    };
    guarded(py, || {
        let span = opening.get().open(py)?;
        enter_span(&span);
        Ok(span.into_ptr())
    })
}

/// `leave(span, error=None, /)`: what `span.__exit__` does with an exception or without one.
///
/// For the functions around decorated ones. They do not use `with`, which makes two objects of
/// methods for each span.
unsafe extern "C" fn leave(
    _module: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: see the module's comment.
    let py = unsafe { Python::assume_attached() };
    guarded(py, || {
        // SAFETY: there are `count` arguments, borrowed from the caller.
        let argument = |at| unsafe { Borrowed::from_ptr(py, *args.add(at)) };
        if !(1..=2).contains(&count) {
            return Err(PyTypeError::new_err("leave() takes a span and an error"));
        }
        let error = (count == 2)
            .then(|| argument(1))
            .filter(|error| !error.is_none());
        match argument(0).cast::<Span>() {
            Ok(span) => exit_span(&span, error.as_deref()),
            Err(error) => return Err(error.into()),
        }
        Ok(py.None().into_ptr())
    })
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
        enter_with(&slf);
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

/// What a `with` statement does.
#[inline]
pub(crate) fn enter_with(slf: &Bound<'_, Span>) {
    if let Some(call) = enter_span(slf) {
        generators::entered(slf, call);
    }
}

/// Starts a span and makes it current. A second time does nothing. Returns where it was made.
#[inline]
pub(crate) fn enter_span(slf: &Bound<'_, Span>) -> Option<Call> {
    let mut span = slf.get().try_borrow_mut().ok()?;
    if span.phase != Phase::New {
        return None;
    }
    let previous = current::get(slf.py())?;
    let token = current::set(slf.py(), slf.as_ptr())?;
    let call = span.call;
    let parent = current::adopt(&previous);
    span.start(parent.as_ref(), None);
    span.previous = Some(previous.unbind());
    span.token = Some(token.unbind());
    if span.recording {
        span.live = live::Slot::take(slf);
    }
    if start_log::is_wanted(slf.py()) {
        let name = span.record.name().to_owned();
        drop(span);
        start_log::log_start(slf.py(), &name);
    }
    Some(call)
}

/// Makes a span current that was suspended, or starts it. What was current below it when it was
/// suspended is so again.
pub(crate) fn resume_span(slf: &Bound<'_, Span>) {
    enter_span(slf);
    let py = slf.py();
    let Ok(mut span) = slf.get().try_borrow_mut() else {
        return;
    };
    if span.phase != Phase::Open || span.token.is_some() {
        return;
    }
    let Some(current) = current::get(py) else {
        return;
    };
    current::adopt(&current);
    let inner = span.inner.take();
    make_current(slf, &mut span, current);
    drop(span);
    if let Some(inner) = inner {
        current::set(py, still_open(inner.into_bound(py)).as_ptr());
    }
}

#[inline]
fn make_current<'py>(slf: &Bound<'py, Span>, span: &mut State, previous: Bound<'py, PyAny>) {
    span.previous = Some(previous.unbind());
    span.token = current::set(slf.py(), slf.as_ptr()).map(Bound::unbind);
}

/// Ends a span and makes current again what was before it.
#[inline]
pub(crate) fn exit_span(slf: &Bound<'_, Span>, exception: Option<&Bound<'_, PyAny>>) {
    if let Some(exception) = exception
        && slf
            .get()
            .try_borrow()
            .is_ok_and(|span| span.recording && span.phase == Phase::Open)
    {
        Span::failed(slf, exception);
    }
    let Ok(mut span) = slf.get().try_borrow_mut() else {
        return;
    };
    let generator = std::mem::take(&mut span.generator);
    let is_open = span.phase == Phase::Open;
    if is_open {
        span.end_at(None);
    }
    // Also where `end` was called before.
    let restored = restore_previous(slf, span);
    if generator != 0 {
        generators::left(slf, generator);
    }
    if is_open && restored {
        spare::keep(slf);
    }
}

/// Makes current again what was before `resume_span`, also when a span below it is open: that one
/// waits for the next `resume_span`. In another context than that of `resume_span` nothing happens.
pub(crate) fn suspend_span(slf: &Bound<'_, Span>) {
    let py = slf.py();
    let Ok(mut span) = slf.get().try_borrow_mut() else {
        return;
    };
    let (Some(token), Some(current)) = (span.token.take(), current::get(py)) else {
        return;
    };
    let previous = span.previous.take().map(|previous| previous.into_bound(py));
    if !current.is(slf) {
        span.inner = Some(current.unbind());
    }
    drop(span);
    let parent_ended = previous.as_ref().is_some_and(left_by_child);
    let was_reset = current::reset(token.bind(py));
    if let (true, true, Some(previous)) = (was_reset, parent_ended, previous) {
        current::set(py, still_open(previous).as_ptr());
    }
}

/// Tells a parent that a child of it is no longer current. True when the parent has ended.
#[inline]
fn left_by_child(parent: &Bound<'_, PyAny>) -> bool {
    if parent.is_none() {
        return false;
    }
    let Ok(Ok(mut parent)) = parent
        .cast::<Span>()
        .map(|parent| parent.get().try_borrow_mut())
    else {
        return false;
    };
    parent.open_children = parent.open_children.saturating_sub(1);
    parent.phase == Phase::Ended
}

/// When a child is open, or the token is of another context, something else may be current than
/// the span: then there is nothing to restore here. True when the span has no more to do with
/// others.
#[inline]
fn restore_previous(slf: &Bound<'_, Span>, mut span: RefMut<'_, State>) -> bool {
    let py = slf.py();
    let Some(token) = span.token.take() else {
        return false;
    };
    if span.open_children > 0
        && current::get(py).is_none_or(|current| current.as_ptr() != slf.as_ptr())
    {
        return false;
    }
    let Some(previous) = span.previous.take().map(|previous| previous.into_bound(py)) else {
        return false;
    };
    let alone = span.inner.is_none();
    drop(span);
    let parent_ended = left_by_child(&previous);
    let token = token.into_bound(py);
    let was_reset = !parent_ended && current::reset(&token);
    if !was_reset && current::get(py).is_some_and(|current| current.as_ptr() == slf.as_ptr()) {
        current::set(py, still_open(previous).as_ptr());
    }
    alone
}

/// The nearest that is still open: a parent that ended before its child is skipped.
fn still_open(mut object: Bound<'_, PyAny>) -> Bound<'_, PyAny> {
    loop {
        let earlier = match object
            .cast::<Span>()
            .ok()
            .and_then(|span| span.get().try_borrow().ok())
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
static OPENING: Definition = definition(
    c"opening",
    ffi::PyMethodDefPointer {
        PyCFunctionFastWithKeywords: opening,
    },
    ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
    c"opening(name, /, **fields)\n--\n\nTwo functions of no arguments: one that opens such a span, and\n\
      one that enters it, too.",
);
static OPEN: Definition = definition(
    c"open",
    ffi::PyMethodDefPointer {
        PyCFunction: open_again,
    },
    ffi::METH_NOARGS,
    c"open()\n--\n\nOpen a span.",
);
static OPEN_AND_ENTER: Definition = definition(
    c"open_and_enter",
    ffi::PyMethodDefPointer {
        PyCFunctionFast: open_and_enter,
    },
    ffi::METH_FASTCALL,
    c"open_and_enter()\n--\n\nOpen a span and enter it.",
);
static LEAVE: Definition = definition(
    c"leave",
    ffi::PyMethodDefPointer {
        PyCFunctionFast: leave,
    },
    ffi::METH_FASTCALL,
    c"leave(span, error=None, /)\n--\n\nEnd a span, with an exception or without one.",
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

/// Puts the functions where they belong.
pub(crate) fn install(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    NO_OP.get_or_try_init(py, || Py::new(py, Span::from(State::no_op())))?;
    // SAFETY: the definitions are static, and the functions have the signatures of their flags.
    unsafe {
        for (name, definition) in [("span", &SPAN), ("opening", &OPENING), ("leave", &LEAVE)] {
            let (none, no_module) = (std::ptr::null_mut(), std::ptr::null_mut());
            let function = ffi::PyCFunction_NewEx(definition.0.get(), none, no_module);
            module.add(name, Bound::from_owned_ptr_or_err(py, function)?)?;
        }
        let class = py.get_type::<Span>();
        for definition in [&ENTER, &EXIT] {
            let method = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition.0.get());
            let method = Bound::from_owned_ptr_or_err(py, method)?;
            class.setattr(method.getattr("__name__")?.cast_into::<PyString>()?, method)?;
        }
    }
    Ok(())
}
