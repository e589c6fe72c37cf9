//! Spans that are open in a generator while it is suspended.
//!
//! A generator runs in its caller's context, so what it makes current would stay current in the
//! caller from one step to the next. `Span.__enter__` therefore looks at the code that calls it.
//! When that is a generator's, the interpreter is asked (`sys.monitoring`, PEP 669) to tell when
//! this one code object yields and goes on: its spans are suspended meanwhile. Other code runs as
//! fast as before.
//!
//! To look costs a sixth of a span, because the interpreter has to make a frame object. So what
//! was found is remembered by the place of the call: the name, which is a constant of the code, the
//! names of the fields, and the module. Two functions of a module may share all three; so nothing
//! is remembered of a name that a generator of the module has among its constants, as far as the
//! module leads to them (generator_names.py). What else it was is looked up again now and then, and
//! once a generator was met, every time.
//!
//! A generator that is a context manager is meant to act on its caller: the spans of one that
//! `contextlib` drives go over to the function with the `with` statement, which may be a generator
//! itself.

use crate::hot_path;
use crate::span::{Phase, Span};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// `CO_GENERATOR` and `CO_ASYNC_GENERATOR` of a code object's `co_flags`. A coroutine is driven by
/// its task, which has a context of its own.
const GENERATOR: u32 = 0x20 | 0x200;

/// Code objects that are known to be no generators. Each is kept alive by its slot, so that no
/// other one can have its address.
static PLAIN: [AtomicPtr<ffi::PyObject>; 256] =
    [const { AtomicPtr::new(std::ptr::null_mut()) }; 256];

/// Code objects that are kept; a program that makes more makes them by `exec`. One that is
/// forgotten is watched all the same.
const MOST_WATCHED: usize = 4096;

/// The code objects of generators that are watched, by address and kept alive.
static WATCHED: Mutex<Option<HashMap<usize, Py<PyAny>>>> = Mutex::new(None);

/// The spans that are open in a generator's frame, outermost first, by the frame's address. A frame
/// lives as long as its generator, and that longer than a `with` block in it.
static OPEN: Mutex<Option<HashMap<usize, Vec<Py<Span>>>>> = Mutex::new(None);

fn with_open<T>(work: impl FnOnce(&mut HashMap<usize, Vec<Py<Span>>>) -> T) -> T {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    work(open.get_or_insert_default())
}

/// The frame that is running, if its code is a generator's.
fn generator_frame(py: Python<'_>) -> Option<(usize, Bound<'_, PyAny>)> {
    // SAFETY: attached; the frame is borrowed from the running thread, or NULL without one, and
    // its code is a new reference.
    let (frame, code) = unsafe {
        let frame = ffi::PyEval_GetFrame();
        if frame.is_null() {
            return None;
        }
        let code = ffi::PyFrame_GetCode(frame);
        (frame, Bound::from_owned_ptr_or_opt(py, code.cast())?)
    };
    is_generator(&code).then_some((frame as usize, code))
}

fn is_generator(code: &Bound<'_, PyAny>) -> bool {
    let slot = &PLAIN[(code.as_ptr() as usize >> 6) % PLAIN.len()];
    slot.load(Ordering::Relaxed) != code.as_ptr() && asked_is_generator(code, slot)
}

fn asked_is_generator(code: &Bound<'_, PyAny>, slot: &AtomicPtr<ffi::PyObject>) -> bool {
    let flags = code.getattr(intern!(code.py(), "co_flags"));
    let generator = flags
        .and_then(|flags| flags.extract::<u32>())
        .is_ok_and(|flags| flags & GENERATOR != 0);
    if !generator {
        let earlier = slot.swap(code.clone().into_ptr(), Ordering::Relaxed);
        // SAFETY: the slot owned the reference that was put there.
        drop(unsafe { Bound::from_owned_ptr_or_opt(code.py(), earlier) });
    }
    generator
}

/// Where `span()` is called: what is known of it is in a slot of `CALLS`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call(u16);

struct Known {
    /// Owned, so that no other object can have its address.
    name: AtomicPtr<ffi::PyObject>,
    /// Owned, or NULL.
    names: AtomicPtr<ffi::PyObject>,
    /// Only compared.
    globals: AtomicPtr<ffi::PyObject>,
    /// How often nothing was looked up; `SHARED` when a generator calls from here.
    skipped: AtomicU32,
}

const CALLS_KEPT: usize = 512;
const SHARED: u32 = u32::MAX;
const LOOK_AGAIN_AFTER: u32 = 64;

static CALLS: [Known; CALLS_KEPT] = [const {
    Known {
        name: AtomicPtr::new(std::ptr::null_mut()),
        names: AtomicPtr::new(std::ptr::null_mut()),
        globals: AtomicPtr::new(std::ptr::null_mut()),
        skipped: AtomicU32::new(0),
    }
}; CALLS_KEPT];

impl Call {
    /// Nothing is known of the caller.
    pub(crate) const UNKNOWN: Self = Self(u16::MAX);
    /// The caller is no generator, or takes care itself.
    pub(crate) const PLAIN: Self = Self(u16::MAX - 1);

    /// The call of `span()` with this name and a tuple of names of fields, or NULL.
    #[inline]
    pub(crate) fn of(name: &Bound<'_, PyAny>, names: *mut ffi::PyObject) -> Self {
        let at = ((name.as_ptr() as usize >> 4) ^ (names as usize >> 5)) % CALLS_KEPT;
        let known = &CALLS[at];
        if known.name.load(Ordering::Relaxed) == name.as_ptr()
            && known.names.load(Ordering::Relaxed) == names
        {
            return Self(at as u16);
        }
        // SAFETY: attached, and the name is alive.
        if unsafe { ffi::Py_REFCNT(name.as_ptr()) } == 1 {
            // No constant: it is gone after the call.
            return Self::UNKNOWN;
        }
        let py = name.py();
        // SAFETY: attached; `names` is borrowed from the caller or NULL. What is taken out of the
        // slot is the reference that was put there.
        let earlier = unsafe {
            ffi::Py_XINCREF(names);
            let earlier = (
                known.name.swap(name.clone().into_ptr(), Ordering::Relaxed),
                known.names.swap(names, Ordering::Relaxed),
            );
            known.globals.store(std::ptr::null_mut(), Ordering::Relaxed);
            known.skipped.store(0, Ordering::Relaxed);
            (
                Bound::from_owned_ptr_or_opt(py, earlier.0),
                Bound::from_owned_ptr_or_opt(py, earlier.1),
            )
        };
        drop(earlier);
        Self(at as u16)
    }

    /// Whether the caller is known to be no generator. It must be the one who runs.
    #[inline]
    fn is_plain(self) -> bool {
        let Some(known) = CALLS.get(usize::from(self.0)) else {
            return self == Self::PLAIN;
        };
        // SAFETY: attached; the result is borrowed, or NULL, and only compared.
        let globals = unsafe { ffi::PyEval_GetGlobals() };
        let skipped = known.skipped.load(Ordering::Relaxed);
        if globals != known.globals.load(Ordering::Relaxed) || skipped >= LOOK_AGAIN_AFTER {
            return false;
        }
        known.skipped.store(skipped + 1, Ordering::Relaxed);
        true
    }

    /// Remembers what was found.
    #[cold]
    fn found(self, py: Python<'_>, generator: bool) {
        let Some(known) = CALLS.get(usize::from(self.0)) else {
            return;
        };
        if known.skipped.load(Ordering::Relaxed) == SHARED {
            return;
        }
        // SAFETY: attached; the result is borrowed from the running frame, or NULL.
        let globals = unsafe { ffi::PyEval_GetGlobals() };
        let is_new = known.globals.swap(globals, Ordering::Relaxed) != globals;
        let shared = generator || is_new && known.is_in_a_generator(py, globals);
        let skipped = if shared { SHARED } else { 0 };
        known.skipped.store(skipped, Ordering::Relaxed);
    }
}

impl Known {
    /// Whether a generator of the module has the name among its constants.
    fn is_in_a_generator(&self, py: Python<'_>, globals: *mut ffi::PyObject) -> bool {
        // SAFETY: attached; the slot owns the name, the running frame the globals.
        let (name, globals) = unsafe {
            let name = self.name.load(Ordering::Relaxed);
            (
                Bound::from_borrowed_ptr_or_opt(py, name),
                Bound::from_borrowed_ptr_or_opt(py, globals),
            )
        };
        let (Some(name), Some(globals)) = (name, globals) else {
            return true;
        };
        let answer = py.import("rvh_trace.generator_names").and_then(|module| {
            let answer = module.call_method1("may_name", (globals, name))?;
            answer.is_truthy()
        });
        // An exception would not be the traced code's: then it is looked up every time.
        answer.unwrap_or(true)
    }
}

/// Notes a span that was just entered by `with`, if a generator did.
#[inline]
pub(crate) fn entered(span: &Bound<'_, Span>, call: Call) {
    if !call.is_plain() {
        look(span, call);
    }
}

#[cold]
fn look(span: &Bound<'_, Span>, call: Call) {
    let frame = generator_frame(span.py());
    call.found(span.py(), frame.is_some());
    if let Some((frame, code)) = frame {
        belongs_to(span, frame, &code);
    }
}

fn belongs_to(span: &Bound<'_, Span>, frame: usize, code: &Bound<'_, PyAny>) {
    if watch(code)
        && let Ok(mut inner) = span.get().try_borrow_mut()
    {
        inner.generator = frame;
        with_open(|open| open.entry(frame).or_default().push(span.clone().unbind()));
    }
}

/// Forgets a span that has been left.
#[cold]
pub(crate) fn left(span: &Bound<'_, Span>, frame: usize) {
    let gone = with_open(|open| {
        let spans = open.get_mut(&frame)?;
        let at = spans.iter().rposition(|other| other.is(span))?;
        let gone = spans.remove(at);
        if spans.is_empty() {
            open.remove(&frame);
        }
        Some(gone)
    });
    drop(gone);
}

/// Asks the interpreter to tell when this code yields and goes on. False where it cannot: all of
/// its places for tools are taken.
fn watch(code: &Bound<'_, PyAny>) -> bool {
    let py = code.py();
    let address = code.as_ptr() as usize;
    let lock = || WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    if lock()
        .as_ref()
        .is_some_and(|codes| codes.contains_key(&address))
    {
        return true;
    }
    let Some(monitoring) = Monitoring::get(py) else {
        return false;
    };
    if monitoring.watch(code).is_err() {
        return false;
    }
    let forgotten = {
        let mut codes = lock();
        let codes = codes.get_or_insert_default();
        let full = codes.len() >= MOST_WATCHED;
        let forgotten = full.then(|| std::mem::take(codes));
        codes.insert(address, code.clone().unbind());
        forgotten
    };
    // Dropping code objects may run foreign code, so not under the lock.
    drop(forgotten);
    true
}

/// The place of this library among the interpreter's tools.
struct Monitoring {
    tool: u8,
    set_local_events: Py<PyAny>,
    yield_and_resume: u32,
    /// The functions of `contextlib` that enter a context manager which is a generator.
    enters: Vec<Py<PyAny>>,
}

static MONITORING: PyOnceLock<Option<Monitoring>> = PyOnceLock::new();

impl Monitoring {
    fn get(py: Python<'_>) -> Option<&Self> {
        MONITORING
            .get_or_init(py, || Self::begin(py).unwrap_or_default())
            .as_ref()
    }

    fn begin(py: Python<'_>) -> PyResult<Option<Self>> {
        let monitoring = py.import("sys")?.getattr("monitoring")?;
        // 0, 1, 2 and 5 are promised to debuggers, coverage, profilers and optimisers.
        let Some(tool) = [4u8, 3].into_iter().find(|tool| {
            let taken = monitoring.call_method1("use_tool_id", (*tool, "rvh_trace"));
            taken.is_ok()
        }) else {
            return Ok(None);
        };
        let events = monitoring.getattr("events")?;
        let event = |name: &str| events.getattr(name)?.extract::<u32>();
        let resumed = wrap_pyfunction!(resumed, py)?;
        for (name, function) in [
            ("PY_YIELD", &wrap_pyfunction!(yielded, py)?),
            ("PY_RESUME", &resumed),
            ("PY_THROW", &resumed),
        ] {
            monitoring.call_method1("register_callback", (tool, event(name)?, function))?;
        }
        // It cannot be asked for single code objects, and costs nothing until a generator is thrown
        // into.
        monitoring.call_method1("set_events", (tool, event("PY_THROW")?))?;
        let contextlib = py.import("contextlib")?;
        let enters = [
            ("_GeneratorContextManager", "__enter__"),
            ("_AsyncGeneratorContextManager", "__aenter__"),
        ];
        let code_of = |(class, method): (&str, &str)| {
            let function = contextlib.getattr(class)?.getattr(method)?;
            function.getattr("__code__").map(Bound::unbind)
        };
        Ok(Some(Self {
            tool,
            set_local_events: monitoring.getattr("set_local_events")?.unbind(),
            yield_and_resume: event("PY_YIELD")? | event("PY_RESUME")?,
            // Private names: where a later Python has others, such spans stay with the generator.
            enters: enters
                .into_iter()
                .filter_map(|names| code_of(names).ok())
                .collect(),
        }))
    }

    fn watch(&self, code: &Bound<'_, PyAny>) -> PyResult<()> {
        let arguments = (self.tool, code, self.yield_and_resume);
        self.set_local_events.call1(code.py(), arguments)?;
        Ok(())
    }

    /// For a frame that `contextlib` drives: the frame of the `with` statement.
    fn with_statement<'py>(&self, frame: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
        let py = frame.py();
        let back = |frame: &Bound<'py, PyAny>| frame.getattr(intern!(py, "f_back")).ok();
        let driver = back(frame).filter(|driver| !driver.is_none())?;
        let code = driver.getattr(intern!(py, "f_code")).ok()?;
        self.enters
            .iter()
            .any(|enter| enter.is(&code))
            .then(|| back(&driver))?
    }
}

/// The outermost span that a generator's frame has open.
fn outermost<'py>(py: Python<'py>, frame: usize) -> Option<Bound<'py, Span>> {
    with_open(|open| {
        let is_open = |span: &&Py<Span>| {
            let span = span.bind(py).get().try_borrow();
            span.is_ok_and(|span| span.phase == Phase::Open)
        };
        let span = open.get(&frame)?.iter().find(is_open)?;
        Some(span.bind(py).clone())
    })
}

/// The interpreter is about to suspend the generator that is running.
#[pyfunction]
#[pyo3(signature = (_code, _offset, _value, /))]
fn yielded(
    py: Python<'_>,
    _code: &Bound<'_, PyAny>,
    _offset: &Bound<'_, PyAny>,
    _value: &Bound<'_, PyAny>,
) {
    // SAFETY: attached; borrowed from the running thread, or NULL without a frame.
    let frame = unsafe { Bound::from_borrowed_ptr_or_opt(py, ffi::PyEval_GetFrame().cast()) };
    let Some(frame) = frame else { return };
    let address = frame.as_ptr() as usize;
    let Some(span) = outermost(py, address) else {
        return;
    };
    let with_statement =
        Monitoring::get(py).and_then(|monitoring| monitoring.with_statement(&frame));
    match with_statement {
        Some(user) => hand_over(py, address, &user),
        None => hot_path::suspend_span(&span),
    }
}

/// The generator that is running goes on, or was thrown into.
#[pyfunction]
#[pyo3(signature = (_code, _offset, _exception=None, /))]
fn resumed(
    py: Python<'_>,
    _code: &Bound<'_, PyAny>,
    _offset: &Bound<'_, PyAny>,
    _exception: Option<&Bound<'_, PyAny>>,
) {
    // SAFETY: attached; only its address counts.
    let frame = unsafe { ffi::PyEval_GetFrame() } as usize;
    if let Some(span) = outermost(py, frame) {
        hot_path::resume_span(&span);
    }
}

/// The spans of a context manager belong to the frame of the `with` statement from now on.
fn hand_over(py: Python<'_>, from: usize, user: &Bound<'_, PyAny>) {
    let spans = with_open(|open| open.remove(&from)).unwrap_or_default();
    let code = user.getattr(intern!(py, "f_code"));
    let code = code.ok().filter(|code| is_generator(code) && watch(code));
    let to = code.map_or(0, |_| user.as_ptr() as usize);
    for span in &spans {
        if let Ok(mut span) = span.bind(py).get().try_borrow_mut() {
            span.generator = to;
        }
    }
    if to != 0 {
        with_open(|open| open.entry(to).or_default().extend(spans));
    }
}
