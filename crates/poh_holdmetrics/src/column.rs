//! One column of numbers: our own, or borrowed from Arrow without a copy.

use std::ops::Deref;

use arrow_buffer::{ArrowNativeType, ScalarBuffer};

/// Numbers that are read often and changed seldom.
#[derive(Debug, Clone)]
pub(crate) struct Column<T: ArrowNativeType> {
    own: Vec<T>,
    /// Counts in place of `own` while it is there.
    shared: Option<ScalarBuffer<T>>,
}

impl<T: ArrowNativeType> Column<T> {
    /// The column as one that can be changed; copies what Arrow holds.
    pub(crate) fn to_mut(&mut self) -> &mut Vec<T> {
        if let Some(shared) = self.shared.take() {
            self.own = shared.to_vec();
        }
        &mut self.own
    }
}

impl<T: ArrowNativeType> Default for Column<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T: ArrowNativeType> Deref for Column<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match &self.shared {
            Some(shared) => shared,
            None => &self.own,
        }
    }
}

impl<T: ArrowNativeType> From<Vec<T>> for Column<T> {
    fn from(own: Vec<T>) -> Self {
        Column { own, shared: None }
    }
}

impl<T: ArrowNativeType> From<ScalarBuffer<T>> for Column<T> {
    fn from(shared: ScalarBuffer<T>) -> Self {
        Column {
            own: Vec::new(),
            shared: Some(shared),
        }
    }
}
