//! The pool of fixed blocks.

use crate::framework::interrupt::Interrupt;
use crate::{check, check_eq, ktest};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use stint::ipc::Pool;
use stint::{ipc, task};

ktest! {
    fn a_pool_gives_out_all_its_blocks_and_no_more() {
        static POOL: Pool<48, 5> = Pool::new();
        let blocks: Vec<_> = (0..5).filter_map(|_| POOL.alloc()).collect();
        check_eq!(blocks.len(), 5);
        check!(POOL.alloc().is_none(), "a sixth block of five");
        let mut addresses: Vec<usize> = blocks.iter().map(|block| block.as_ptr().addr()).collect();
        addresses.sort_unstable();
        check!(addresses.iter().all(|address| address % 16 == 0), "a block is not aligned: {addresses:x?}");
        check!(addresses.windows(2).all(|pair| pair[1] - pair[0] >= 48), "blocks overlap: {addresses:x?}");
        for block in blocks {
            POOL.free(block);
        }
        let again: Vec<_> = core::iter::from_fn(|| POOL.alloc()).collect();
        check_eq!(again.len(), 5, "blocks after all were given back");
        for block in again {
            check!(addresses.contains(&block.as_ptr().addr()), "a block that was not there before");
            POOL.free(block);
        }
    }
}

ktest! {
    fn a_block_is_its_owners_alone() {
        static POOL: Pool<64, 8> = Pool::new();
        let mut tasks = Vec::new();
        let storm = stint::time::Timer::new_hard(|| {
            // The handler takes part: any context may.
            if let Some(block) = POOL.alloc() {
                POOL.free(block);
            }
        });
        storm.start_periodic(3_989)?;
        for tag in 1..=4u8 {
            let builder = if tag % 2 == 0 { task::build("owner").fifo(10 + i32::from(tag)) } else { task::build("owner") };
            tasks.push(builder.spawn(move || {
                let mut spoiled = 0;
                for round in 0..300 {
                    let Some(block) = POOL.alloc() else { continue };
                    // SAFETY: the block is 64 bytes and this task's alone.
                    let bytes = unsafe { core::slice::from_raw_parts_mut(block.as_ptr(), 64) };
                    bytes.fill(tag);
                    if round % 10 == 0 {
                        task::sleep_ns(5_000);
                    }
                    spoiled += bytes.iter().filter(|&&byte| byte != tag).count();
                    POOL.free(block);
                }
                spoiled
            })?);
        }
        for task in tasks {
            check_eq!(task.join(), Some(0), "bytes of a block that another wrote");
        }
        storm.cancel();
        let all: Vec<ipc::Block> = core::iter::from_fn(|| POOL.alloc()).collect();
        check_eq!(all.len(), 8, "blocks in the end");
        all.into_iter().for_each(|block| POOL.free(block));
    }
}

ktest! {
    fn an_interrupt_can_take_a_block_that_a_task_gives_back() {
        static POOL: Pool<32, 1> = Pool::new();
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        static QUEUE: ipc::MsgQueue<ipc::Block, 1> = ipc::MsgQueue::new();
        let interrupt = Interrupt::request(8, || {
            if let Some(block) = POOL.alloc() {
                TAKEN.fetch_add(1, Ordering::Relaxed);
                if let Err((_, block)) = QUEUE.try_put(block) {
                    POOL.free(block);
                }
            }
        })?;
        for _ in 0..5 {
            interrupt.raise();
            // Exhausted: nothing more comes until the block is back.
            interrupt.raise();
            POOL.free(QUEUE.get());
        }
        check_eq!(TAKEN.load(Ordering::Relaxed), 5, "blocks taken by ten interrupts");
    }
}
