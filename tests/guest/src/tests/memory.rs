//! Memory: nothing is lost, running out is an error and not the end, and blocks do not overlap.

use crate::framework::Failure;
use crate::{check, check_eq, ktest};
use alloc::alloc::{Layout, alloc, dealloc};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use stint::mm::{self, MemStats};
use stint::task::{self, TaskRef};
use stint::{Error, time};

/// Waits until the reaper has freed everything that ended, and returns the state of memory.
fn settled() -> MemStats {
    let mut last = mm::stats();
    for _ in 0..100 {
        task::sleep_ms(1);
        let now = mm::stats();
        if now == last {
            break;
        }
        last = now;
    }
    last
}

/// The part that must come back: pools and peaks may grow.
fn in_use(stats: MemStats) -> (usize, usize) {
    (
        stats.heap.used_bytes,
        stats.total_bytes - stats.free_bytes - stats.stack_cache_bytes - stats.heap.pool_bytes,
    )
}

/// Makes `count` tasks, half of them joined and half left to the reaper, up to 100 at a time.
fn thousand_tasks(count: u32) -> Result<u32, Failure> {
    static RAN: AtomicU32 = AtomicU32::new(0);
    RAN.store(0, Ordering::Relaxed);
    let mut handles = Vec::new();
    for n in 0..count {
        let builder = if n % 3 == 0 { task::build("many").fifo(10) } else { task::build("many") };
        let handle = builder.stack_bytes(4096 << (n % 3)).spawn(move || {
            RAN.fetch_add(1, Ordering::Relaxed);
        })?;
        if n % 2 == 0 {
            handles.push(handle);
        }
        if n % 100 == 99 {
            for handle in handles.drain(..) {
                handle.join();
            }
            task::sleep_ms(1);
        }
    }
    for handle in handles {
        handle.join();
    }
    Ok(RAN.load(Ordering::Relaxed))
}

ktest! {
    fn a_thousand_tasks_are_made_run_and_reaped_and_no_memory_is_lost() {
        // The first round fills caches and page tables.
        check_eq!(thousand_tasks(200)?, 200);
        let before = settled();
        check_eq!(thousand_tasks(1000)?, 1000, "tasks that ran");
        let after = settled();
        check_eq!(in_use(after), in_use(before), "bytes of heap, and of other pages, in use");
    }
}

ktest! {
    only_in(models::PREEMPTED, models::AT_ONCE),
    fn a_thousand_tasks_can_exist_at_once() {
        let before = settled();
        static GATE: stint::locking::WaitQueue = stint::locking::WaitQueue::new();
        static OPEN: AtomicU32 = AtomicU32::new(0);
        static PASSED: AtomicU32 = AtomicU32::new(0);
        let mut handles = Vec::new();
        for _ in 0..1000 {
            handles.push(task::build("crowd").fifo(10).stack_bytes(4096).spawn(|| {
                GATE.wait_until(|| OPEN.load(Ordering::Relaxed) != 0);
                PASSED.fetch_add(1, Ordering::Relaxed);
            })?);
        }
        check_eq!(GATE.len(), 1000, "tasks that wait");
        OPEN.store(1, Ordering::Relaxed);
        check_eq!(GATE.wake_all(), 1000);
        for handle in handles {
            handle.join();
        }
        check_eq!(PASSED.load(Ordering::Relaxed), 1000);
        check_eq!(in_use(settled()).0, in_use(before).0, "bytes of heap in use");
    }
}

/// A block with a pattern that only its owner writes.
struct Patterned {
    at: *mut u8,
    layout: Layout,
    tag: u8,
}

impl Patterned {
    fn new(random: u64) -> Option<Self> {
        let bytes = 1 + (random >> 20) as usize % if random & 7 == 0 { 20_000 } else { 600 };
        let layout = Layout::from_size_align(bytes, 1 << (random >> 50 & 7)).ok()?;
        // SAFETY: the layout is not empty.
        let at = unsafe { alloc(layout) };
        let tag = (random >> 8) as u8;
        if at.is_null() {
            return None;
        }
        // SAFETY: just allocated with this size.
        unsafe { at.write_bytes(tag, bytes) };
        Some(Self { at, layout, tag })
    }

    /// Whether it is aligned and nobody else has written to it.
    fn is_intact(&self) -> bool {
        // SAFETY: the block is this size and initialised.
        let bytes = unsafe { core::slice::from_raw_parts(self.at, self.layout.size()) };
        self.at.addr().is_multiple_of(self.layout.align()) && bytes.iter().all(|&byte| byte == self.tag)
    }
}

impl Drop for Patterned {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.at, self.layout) };
    }
}

fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *random
}

/// Allocates and frees at random; returns the blocks found damaged.
fn storm(seed: u64, rounds: u32, pause: bool) -> u32 {
    let mut random = seed;
    let mut blocks: Vec<Patterned> = Vec::new();
    let mut damaged = 0;
    for round in 0..rounds {
        if blocks.len() < 60 && next(&mut random) >> 63 == 0 {
            blocks.extend(Patterned::new(next(&mut random)));
        } else if !blocks.is_empty() {
            let at = next(&mut random) as usize % blocks.len();
            damaged += u32::from(!blocks.swap_remove(at).is_intact());
        }
        if pause && round % 50 == 0 {
            task::sleep_ns(20_000);
        }
    }
    damaged + blocks.iter().filter(|block| !block.is_intact()).count() as u32
}

ktest! {
    fn blocks_of_the_heap_never_overlap_in_a_storm_of_allocations() {
        let before = mm::stats().heap.used_bytes;
        check_eq!(storm(1, 4000, false), 0, "damaged blocks of one task");
        check_eq!(mm::stats().heap.used_bytes, before, "bytes in use after the storm");
    }
}

ktest! {
    fn the_heap_survives_tasks_that_preempt_each_other_inside_it() {
        let before = settled();
        let interrupts = time::Timer::new_hard(|| {});
        interrupts.start_periodic(3_301)?;
        let mut tasks = Vec::new();
        for n in 0..5u64 {
            let builder = if n % 2 == 0 { task::build("storm") } else { task::build("storm").fifo(10 + n as i32) };
            tasks.push(builder.spawn(move || storm(n + 2, 1200, n % 2 == 1))?);
        }
        for task in tasks {
            check_eq!(task.join(), Some(0), "damaged blocks");
        }
        drop(interrupts);
        check_eq!(settled().heap.used_bytes, before.heap.used_bytes, "bytes in use after the storms");
    }
}

ktest! {
    fn an_allocation_that_cannot_be_had_is_an_error() {
        let mut vector: Vec<u8> = Vec::new();
        check!(vector.try_reserve_exact(1 << 40).is_err(), "a terabyte was allocated");
        let layout = Layout::from_size_align(isize::MAX as usize - 4096, 8).expect("a layout");
        // SAFETY: the layout is not empty.
        check!(core::hint::black_box(unsafe { alloc(layout) }).is_null(), "all addresses were allocated");
        vector.try_reserve_exact(100).map_err(|_| Failure::new(format_args!("100 bytes cannot be had afterwards")))?;
        // Of the largest blocks there are as many as there is memory for, and no more.
        let mut blocks = Vec::new();
        let most = (mm::stats().total_bytes >> 28) + 1;
        check!(blocks.try_reserve_exact(most).is_ok());
        while let (Ok(block), true) = (mm::frames::alloc_pages(mm::frames::ORDER_MAX), blocks.len() < most) {
            blocks.push(block);
        }
        let taken = blocks.len();
        for block in blocks {
            // SAFETY: allocated above, used by nobody.
            unsafe { mm::frames::free_pages(block, mm::frames::ORDER_MAX) };
        }
        check!(taken < most, "{taken} blocks of 256 MiB were allocated");
    }
}

ktest! {
    /// Takes the heap to its last byte; making a task must then fail with a value, and work again afterwards.
    fn a_task_that_finds_no_memory_on_the_heap_is_an_error() {
        let before = settled();
        let mut blocks: Vec<Patterned> = Vec::new();
        check!(blocks.try_reserve_exact(10_000).is_ok());
        let take = |bytes: usize| {
            let layout = Layout::from_size_align(bytes, 8).expect("a layout");
            // SAFETY: the layout is not empty.
            let at = unsafe { alloc(layout) };
            (!at.is_null()).then_some(Patterned { at, layout, tag: 0 })
        };
        for bytes in [16 << 20, 1 << 20, 64 << 10, 4 << 10, 512, 64, 16] {
            while let (Some(block), true) = (take(bytes), blocks.len() < blocks.capacity()) {
                blocks.push(block);
            }
        }
        let spawned = task::build("none").stack_bytes(4096).spawn(|| 1).map(|_| ()).err();
        let created = task::build("none").stack_bytes(4096).create(|_| {}, 0).map(|_| ()).err();
        let exhausted = blocks.len();
        drop(blocks);
        check!(matches!(spawned, Some(Error::NoMemory { .. })), "spawn without memory, with {exhausted} blocks taken: {spawned:?}");
        check!(matches!(created, Some(Error::NoMemory { .. })), "create without memory: {created:?}");
        check_eq!(task::build("again").fifo(10).spawn(|| 2)?.join(), Some(2), "a task afterwards");
        check_eq!(settled().heap.used_bytes, before.heap.used_bytes, "bytes of heap in use");
    }
}

/// Makes tasks with the largest stacks until no page is left, and frees them. How many, and what stopped it.
fn all_stacks_there_are() -> Result<(usize, Error, stint::Result<u32>), Failure> {
    let mut tasks: Vec<TaskRef> = Vec::new();
    check!(tasks.try_reserve_exact(mm::stack::STACKS_MAX + 1).is_ok());
    let refusal = loop {
        match task::build("hungry").stack_bytes(mm::stack::STACK_BYTES_MAX).create(|_| {}, 0) {
            Ok(task) => tasks.push(task),
            Err(error) => break error,
        }
    };
    let ordinary = task::build("ordinary")
        .stack_bytes(4096)
        .fifo(10)
        .spawn(|| 3)
        .map(|handle| handle.join().unwrap_or(0));
    let made = tasks.len();
    drop(tasks);
    mm::stack::trim();
    Ok((made, refusal, ordinary))
}

ktest! {
    fn running_out_of_stacks_is_an_error_and_the_kernel_goes_on() {
        // The first round fills the page tables of the window.
        let _ = all_stacks_there_are()?;
        let before = settled();
        let (made, refusal, ordinary) = all_stacks_there_are()?;
        check!(matches!(refusal, Error::NoMemory { .. }), "after {made} tasks: {refusal}");
        check!(made > 100, "only {made} tasks could be made");
        // There may or may not have been a page left for it; in neither case the end of the world.
        check!(matches!(ordinary, Ok(3) | Err(Error::NoMemory { .. })), "found {ordinary:?}");
        check_eq!(task::build("again").fifo(10).spawn(|| 4)?.join(), Some(4), "a task afterwards");
        check_eq!(in_use(settled()), in_use(before), "bytes of heap, and of other pages, in use");
    }
}
