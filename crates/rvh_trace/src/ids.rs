//! Trace and span identifiers, and where new ones come from.

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// 16 bytes that name a trace; all zero is "none" (W3C Trace Context, section 3.2.2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(pub u128);

/// 8 bytes that name a span; all zero is "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(pub u64);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Counts the forks of this process: a child must not go on with its parent's random numbers.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// To be called in the child of a fork, before it opens a span.
pub(crate) fn reseed_after_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

struct Source {
    forks: u32,
    rng: SmallRng,
}

thread_local! {
    static SOURCE: RefCell<Source> = RefCell::new(Source {
        forks: FORKS.load(Ordering::Relaxed),
        rng: SmallRng::from_os_rng(),
    });
}

fn with_rng<T>(draw: impl FnOnce(&mut SmallRng) -> T) -> T {
    SOURCE.with_borrow_mut(|source| {
        let forks = FORKS.load(Ordering::Relaxed);
        if source.forks != forks {
            *source = Source {
                forks,
                rng: SmallRng::from_os_rng(),
            };
        }
        draw(&mut source.rng)
    })
}

impl TraceId {
    /// A new random identifier; never zero.
    pub fn random() -> Self {
        with_rng(|rng| {
            let number = (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64());
            Self(number.max(1))
        })
    }

    /// Whether it names a trace.
    pub fn is_valid(self) -> bool {
        self.0 != 0
    }
}

/// Both at once, for the first span of a trace.
pub(crate) fn random() -> (TraceId, SpanId) {
    with_rng(|rng| {
        let number = (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64());
        (TraceId(number.max(1)), SpanId(rng.next_u64().max(1)))
    })
}

impl SpanId {
    /// A new random identifier; never zero.
    pub fn random() -> Self {
        with_rng(|rng| Self(rng.next_u64().max(1)))
    }

    /// Whether it names a span.
    pub fn is_valid(self) -> bool {
        self.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_process_does_not_repeat_its_parents_identifiers() {
        let before = SOURCE.with_borrow(|source| source.rng.clone());
        reseed_after_fork();
        let mut repeated = before;
        assert_ne!(SpanId::random().0, repeated.next_u64());
    }
}
