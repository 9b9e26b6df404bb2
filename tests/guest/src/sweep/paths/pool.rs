//! The pool of blocks. H and the interrupt handler take a block each in every run and keep it: a victim that
//! had read the chain of free blocks before would own the same block, and write into it.

use super::Slot;
use crate::path::{Check, Path, expect, expect_true};
use crate::probe;
use stint::ipc::{Block, Pool};
use stint::locking::RawSpinLockIrqSave;

pub const PATHS: &[Path] = &[Path {
    setup: fresh,
    intrude: keep_a_block,
    in_irq: keep_a_block,
    check: nobody_shared,
    ..Path::new("pool_alloc_free", alloc_free)
}];

const BLOCKS: usize = 4;
static POOL: Pool<64, BLOCKS> = Pool::new();
static KEPT: RawSpinLockIrqSave<[Option<Block>; 2]> = RawSpinLockIrqSave::new([None, None]);
static OVERWRITTEN: Slot = Slot::new();

/// Who wrote last into a block.
const VICTIM: u64 = 0x7669_6374_696d;
const INTRUDER: u64 = 0x696e_7472_7564_6572;

fn mark(block: &Block, mark: u64) {
    // SAFETY: 64 bytes, 16-byte aligned, and ours as long as we have the block.
    unsafe { block.as_ptr().cast::<u64>().write_volatile(mark) };
}

fn marked(block: &Block) -> u64 {
    // SAFETY: as above.
    unsafe { block.as_ptr().cast::<u64>().read_volatile() }
}

/// The blocks that were kept are free again, and all were handed out once, so that the path takes them from
/// the chain.
fn fresh() {
    give_back();
    let blocks: [_; BLOCKS] = core::array::from_fn(|_| POOL.alloc());
    blocks.into_iter().flatten().for_each(|block| POOL.free(block));
    OVERWRITTEN.set(0);
}

fn give_back() {
    let kept = core::mem::take(&mut *KEPT.lock());
    kept.into_iter().flatten().for_each(|block| POOL.free(block));
}

fn alloc_free() {
    let Some(block) = POOL.alloc() else { return };
    mark(&block, VICTIM);
    if marked(&block) != VICTIM {
        OVERWRITTEN.set(OVERWRITTEN.get() + 1);
    }
    POOL.free(block);
}

fn keep_a_block() {
    let Some(block) = POOL.alloc() else { return };
    mark(&block, INTRUDER);
    let mut kept = KEPT.lock();
    match kept.iter().position(Option::is_none) {
        Some(place) => kept[place] = Some(block),
        None => POOL.free(block),
    }
}

/// Nobody wrote into another's block, and every block can be had, once.
fn nobody_shared() -> Check {
    let kept = KEPT.lock();
    let count = kept.iter().flatten().count() as u64;
    let intact = kept.iter().flatten().filter(|block| marked(block) == INTRUDER).count() as u64;
    drop(kept);
    let reading = probe::reading();
    expect(
        "blocks kept by H and the handler",
        count,
        u64::from(reading.intrusions) + u64::from(reading.irqs),
    )?;
    expect("of these, blocks nobody else wrote into", intact, count)?;
    expect("times the victim found its block overwritten", OVERWRITTEN.get(), 0)?;
    give_back();
    let blocks: [_; BLOCKS] = core::array::from_fn(|_| POOL.alloc());
    let at = |i: usize| blocks[i].as_ref().map_or(core::ptr::null_mut(), Block::as_ptr);
    let distinct = (0..BLOCKS).all(|i| !at(i).is_null() && (0..i).all(|j| at(i) != at(j)));
    let exhausted = POOL.alloc().is_none();
    blocks.into_iter().flatten().for_each(|block| POOL.free(block));
    expect_true("all blocks of the pool can be had, once", distinct && exhausted)
}
