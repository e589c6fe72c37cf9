//! Large memory in large pages.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

/// The system's allocator, which asks Linux for pages of 2 MiB where memory is that large, as numpy does, but
/// not for much more.
///
/// A program makes it its own with `#[global_allocator]`; this crate does not. In pages of 4 KiB a table is
/// made page by page, each with a stop of the program, and then looked up in by page. Measured on 10
/// million holds: their sum by the text of ids in 37 ms in place of 42.
#[derive(Debug, Clone, Copy, Default)]
pub struct LargePages;

/// A large page of most processors. Where it is larger, or Linux gives none, memory is as it was.
const PAGE: usize = 1 << 21;

/// From this on glibc's malloc gives all memory back at once, and the next question has to get it anew. To
/// find whole large pages then takes longer than to make small ones, where the system's cache has most of
/// the memory: a union of strings took 450 ms in place of 250, where it took 190 with free memory.
const MUCH: usize = 1 << 25;

/// How memory is laid out: large memory at the start of a page.
fn laid_out(layout: Layout) -> Layout {
    match cfg!(target_os = "linux") && (PAGE..MUCH).contains(&layout.size()) {
        true => layout.align_to(PAGE).unwrap_or(layout),
        false => layout,
    }
}

/// Asks for large pages wherever a whole one fits; the rest stays as it is, so that no page has more memory
/// than was asked for.
#[cfg(target_os = "linux")]
fn advise(memory: *mut u8, bytes: usize) {
    use rustix::mm::{Advice, madvise};

    let whole = bytes - bytes % PAGE;
    if !memory.is_null() && (PAGE..MUCH).contains(&whole) {
        // SAFETY: the memory was given for so many bytes just now, and what it holds stays as it is. A hint
        // that is not followed is no harm.
        let _ = unsafe { madvise(memory.cast(), whole, Advice::LinuxHugepage) };
    }
}

#[cfg(not(target_os = "linux"))]
fn advise(_: *mut u8, _: usize) {}

// SAFETY: memory is the system's, of a layout that is the same whenever it is computed from the same one,
// and of at least the size and alignment asked for.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller says that the size is not 0.
        let memory = unsafe { System.alloc(laid_out(layout)) };
        advise(memory, layout.size());
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if laid_out(layout) == layout {
            // SAFETY: the caller says that the size is not 0.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // The system would make the pages, before it is said how large they may be.
        // SAFETY: as above.
        let memory = unsafe { self.alloc(layout) };
        if !memory.is_null() {
            // SAFETY: so many bytes were given.
            unsafe { memory.write_bytes(0, layout.size()) };
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller says that it is of this layout, which was then the system's.
        unsafe { System.dealloc(memory, laid_out(layout)) };
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller says that so many bytes, rounded up to the alignment, are less than all memory.
        let wanted = unsafe { Layout::from_size_align_unchecked(bytes, layout.align()) };
        if (laid_out(layout), laid_out(wanted)) == (layout, wanted) {
            // SAFETY: the caller says that the memory is of this layout, which the system gave.
            return unsafe { System.realloc(memory, layout, bytes) };
        }
        // As for all memory of a larger alignment, there is old and new at once for a moment.
        // SAFETY: the caller says that the size is not 0.
        let new = unsafe { self.alloc(wanted) };
        if !new.is_null() {
            // SAFETY: both have so many bytes, and the new ones are nobody else's; the old ones are of this
            // layout, and from now on the caller has the new ones.
            unsafe {
                ptr::copy_nonoverlapping(memory, new, layout.size().min(bytes));
                self.dealloc(memory, layout);
            }
        }
        new
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::fs;

    /// Whether Linux was asked for large pages at an address, or has none.
    fn is_advised(memory: *const u8) -> bool {
        if fs::metadata("/sys/kernel/mm/transparent_hugepage").is_err() {
            return true;
        }
        let maps = fs::read_to_string("/proc/self/smaps").expect("Linux tells its maps");
        let mut is_here = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|word| word.split_once('-'));
            let range = range.and_then(|(from, to)| {
                let address = |text| usize::from_str_radix(text, 16).ok();
                Some(address(from)?..address(to)?)
            });
            if let Some(range) = range {
                is_here = range.contains(&memory.addr());
            } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| is_here) {
                return flags.split(' ').any(|flag| flag == "hg");
            }
        }
        false
    }

    /// What is written at a place of memory.
    fn byte(place: usize) -> u8 {
        (place % 251) as u8
    }

    #[test]
    fn memory_keeps_its_bytes_while_it_grows_and_shrinks() {
        let sizes = [
            1,
            3 << 20,
            100,
            PAGE,
            MUCH,
            PAGE - 1,
            9 << 20,
            MUCH - 1,
            (5 << 20) + 7,
            16,
        ];
        for align in [1, 64, 8192] {
            let layout = |size| Layout::from_size_align(size, align).expect("a layout");
            let mut size = 4000;
            // SAFETY: each layout is that of the memory at that time, and no byte beyond it is touched.
            unsafe {
                let mut memory = LargePages.alloc(layout(size));
                (0..size).for_each(|place| memory.add(place).write(byte(place)));
                for next in sizes {
                    memory = LargePages.realloc(memory, layout(size), next);
                    assert_eq!(memory.align_offset(align), 0);
                    assert!(
                        (0..next.min(size)).all(|place| memory.add(place).read() == byte(place))
                    );
                    (0..next).for_each(|place| memory.add(place).write(byte(place)));
                    if (PAGE..MUCH).contains(&next) {
                        assert_eq!(memory.align_offset(PAGE), 0);
                        assert!(is_advised(memory));
                    }
                    size = next;
                }
                LargePages.dealloc(memory, layout(size));
            }
        }
    }

    #[test]
    fn memory_that_others_had_is_zero_where_it_is_asked_for() {
        for size in [100, PAGE, 3 * PAGE + 5] {
            let layout = Layout::from_size_align(size, 8).expect("a layout");
            for _ in 0..3 {
                // SAFETY: the layout is that of the memory, and no byte beyond it is touched.
                unsafe {
                    let memory = LargePages.alloc_zeroed(layout);
                    assert!((0..size).all(|place| memory.add(place).read() == 0));
                    memory.write_bytes(1, size);
                    LargePages.dealloc(memory, layout);
                }
            }
        }
    }
}
