//! The heap and the fixed-block pool.

use crate::sample::{Bench, REPETITIONS, WARM_UP, cycles};
use core::alloc::Layout;
use core::hint::black_box;
use stint::ipc::Pool;

const ROUNDS: usize = REPETITIONS + WARM_UP;
const LAYOUT: Layout = match Layout::from_size_align(64, 8) {
    Ok(layout) => layout,
    Err(_) => panic!("64 bytes is a layout"),
};

static POOL: Pool<128, 8> = Pool::new();

/// Blocks that are taken before and freed after the samples. They use up what holes earlier rows have left.
struct Taken([*mut u8; 256]);

impl Taken {
    fn new() -> Self {
        // SAFETY: the layout is not empty.
        let taken = Self(core::array::from_fn(|_| unsafe { alloc::alloc::alloc(LAYOUT) }));
        assert!(taken.0.iter().all(|block| !block.is_null()), "the heap has {} bytes", 256 * LAYOUT.size());
        taken
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        for block in self.0 {
            // SAFETY: allocated in `new` with this layout.
            unsafe { alloc::alloc::dealloc(block, LAYOUT) };
        }
    }
}

pub fn heap_alloc() -> Bench {
    let _taken = Taken::new();
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        let start = cycles();
        // SAFETY: the layout is not empty.
        let block = unsafe { alloc::alloc::alloc(LAYOUT) };
        bench.add(cycles() - start);
        assert!(!block.is_null());
        // SAFETY: allocated above with this layout.
        unsafe { alloc::alloc::dealloc(black_box(block), LAYOUT) };
    }
    bench
}

pub fn heap_free() -> Bench {
    let _taken = Taken::new();
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        // SAFETY: as above.
        let block = black_box(unsafe { alloc::alloc::alloc(LAYOUT) });
        assert!(!block.is_null());
        let start = cycles();
        // SAFETY: as above.
        unsafe { alloc::alloc::dealloc(block, LAYOUT) };
        bench.add(cycles() - start);
    }
    bench
}

/// The longest ways, of blocks that nobody has just freed, and nobody will ask for soon: `(allocating, freeing)`. One is
/// cut out of a larger one; the other is merged with what is free beside it.
fn from_pools() -> (Bench, Bench) {
    let _taken = Taken::new();
    let (mut allocating, mut freeing) = (Bench::new(), Bench::new());
    let mut last: *mut *mut u8 = core::ptr::null_mut();
    for _ in 0..ROUNDS {
        let start = cycles();
        // SAFETY: the layout is not empty.
        let block = unsafe { alloc::alloc::alloc(LAYOUT) };
        allocating.add(cycles() - start);
        assert!(!block.is_null());
        let block = block.cast::<*mut u8>();
        // SAFETY: a block of 64 bytes, aligned to 8.
        unsafe { block.write(last.cast()) };
        last = block;
    }
    while !last.is_null() {
        // SAFETY: written above.
        let next = unsafe { last.read() };
        let start = cycles();
        // SAFETY: allocated above with this layout.
        unsafe { alloc::alloc::dealloc(last.cast(), LAYOUT) };
        freeing.add(cycles() - start);
        last = next.cast();
    }
    (allocating, freeing)
}

pub fn heap_alloc_split() -> Bench {
    from_pools().0
}

pub fn heap_free_merge() -> Bench {
    from_pools().1
}

pub fn pool_alloc() -> Bench {
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        let start = cycles();
        let block = POOL.alloc();
        bench.add(cycles() - start);
        POOL.free(block.expect("a block"));
    }
    bench
}

pub fn pool_free() -> Bench {
    let mut bench = Bench::new();
    for _ in 0..ROUNDS {
        let block = black_box(POOL.alloc()).expect("a block");
        let start = cycles();
        POOL.free(block);
        bench.add(cycles() - start);
    }
    bench
}
