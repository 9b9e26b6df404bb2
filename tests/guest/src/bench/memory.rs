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

/// Blocks that are taken before and freed after the samples. They use up what holes earlier rows have left, so that
/// each sample takes the longest way: no block of the size class, one of a larger class is split.
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
