//! What must end in a panic, and what its report must say. Each of these gets a boot of its own.

use crate::framework::Failure;
use crate::framework::interrupt::Interrupt;
use crate::ktest;
use crate::tests::LOW;
use alloc::boxed::Box;
use alloc::vec::Vec;
use arch::patch::{Key, is_enabled};
use core::hint::black_box;
use stint::irq::softirq::{Vector, local_bh_disable, open_softirq, raise_softirq_irqoff};
use stint::locking::{Mutex, RawSpinLock, Semaphore, SpinLock, SpinLockIrqSave};
use stint::{preempt, sched, task};

/// The end of a test whose panic did not come.
fn survived() -> Result<(), Failure> {
    Err(Failure::new(format_args!("nothing happened")))
}

/// Uses stack without end.
#[inline(never)]
#[expect(unconditional_recursion, reason = "this is what the test is about")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 16]);
    recurse(depth + 1) + frame[(depth % 16) as usize]
}

ktest! {
    panics = "stack overflow: task deep/",
    fn a_stack_overflow_hits_the_guard_page_and_names_the_task() {
        task::build("deep").fifo(LOW).stack_bytes(4096).spawn(|| recurse(0))?.join();
        survived()
    }
}

ktest! {
    panics = "has 16384 bytes of stack",
    fn a_stack_overflow_names_the_size_of_the_stack() {
        task::build("deep").fifo(LOW).stack_bytes(16384).spawn(|| recurse(0))?.join();
        survived()
    }
}

ktest! {
    panics = "with no room left for an exception's frame",
    fn an_interrupt_on_a_full_stack_is_reported_as_an_overflow() {
        // Goes down to a few bytes above the guard page and waits there for an interrupt's frame.
        static LINE: Semaphore = Semaphore::new(0);
        let timer = stint::time::Timer::new_hard(|| { let _ = LINE.give(); });
        timer.start_periodic(50_000)?;
        task::build("crossing").fifo(LOW).stack_bytes(4096).spawn(|| {
            let (low, _) = task::current_ref().stack_bounds().unwrap_or((0, 0));
            // SAFETY: not safe at all: the stack pointer is moved to the last bytes of this task's own stack, and
            // stays there, with interrupts open, until one comes.
            unsafe { core::arch::asm!("mov sp, {low}", "2: b 2b", low = in(reg) low + 64, options(noreturn)) }
        })?.join();
        survived()
    }
}

ktest! {
    panics = "an interrupt handler used up the interrupt stack",
    fn an_overflow_of_the_interrupt_stack_is_told_from_one_of_the_task() {
        let handler = Interrupt::request(8, || { recurse(0); })?;
        handler.raise();
        survived()
    }
}

ktest! {
    panics = "data abort, write, permission",
    fn writing_to_the_kernels_text_is_a_fault() {
        let text = survived as fn() -> Result<(), Failure> as *mut u32;
        // SAFETY: not safe: the page is read-only, which is the point.
        unsafe { text.write_volatile(0xd65f_03c0) };
        survived()
    }
}

ktest! {
    panics = "data abort, write, permission",
    fn writing_to_read_only_data_is_a_fault() {
        static CONSTANT: u64 = 42;
        // SAFETY: as above.
        unsafe { (&raw const CONSTANT).cast_mut().write_volatile(43) };
        survived()
    }
}

ktest! {
    panics = "data abort, write, permission",
    fn writing_to_the_texts_alias_in_the_linear_map_is_a_fault() {
        let text = survived as fn() -> Result<(), Failure> as usize;
        let alias = arch::mmu::linear(arch::boot::image_to_phys(text)).cast::<u32>();
        // SAFETY: as above.
        unsafe { alias.write_volatile(0xd65f_03c0) };
        survived()
    }
}

/// `ret`, where no code may be.
const RETURN: u32 = 0xd65f_03c0;

fn call(address: usize) {
    // SAFETY: not safe: the address is data, and calling it must fault.
    let function = unsafe { core::mem::transmute::<usize, extern "C" fn()>(address) };
    function();
}

ktest! {
    panics = "instruction abort, read or fetch, permission",
    fn executing_the_heap_is_a_fault() {
        let code = Box::new(black_box(RETURN));
        call((&raw const *code).addr());
        survived()
    }
}

ktest! {
    panics = "instruction abort, read or fetch, permission",
    fn executing_the_stack_is_a_fault() {
        let code = black_box(RETURN);
        call((&raw const code).addr());
        survived()
    }
}

ktest! {
    panics = "instruction abort, read or fetch, permission",
    fn executing_a_static_is_a_fault() {
        static CODE: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(RETURN);
        call(CODE.as_ptr().addr());
        survived()
    }
}

ktest! {
    panics = "not mapped",
    fn reading_through_a_null_pointer_is_a_fault() {
        // SAFETY: not safe: nothing is mapped there, which is the point.
        black_box(unsafe { black_box(core::ptr::null::<u64>()).read_volatile() });
        survived()
    }
}

ktest! {
    panics = "not mapped",
    fn writing_through_a_null_pointer_is_a_fault() {
        // SAFETY: as above.
        unsafe { black_box(core::ptr::null_mut::<u64>()).write_volatile(1) };
        survived()
    }
}

ktest! {
    panics = "unknown or undefined instruction",
    fn an_undefined_instruction_is_reported_as_one() {
        // SAFETY: not safe: the instruction is permanently undefined.
        unsafe { core::arch::asm!("udf #7") };
        survived()
    }
}

ktest! {
    panics = "floating point used in the kernel",
    fn floating_point_in_the_kernel_is_a_fault() {
        // SAFETY: not safe: the kernel does not keep these registers, and traps their use. `fmov d0, #1.0`.
        unsafe { core::arch::asm!(".inst 0x1e6e1000") };
        survived()
    }
}

ktest! {
    panics = "sleeping in atomic context: task init",
    fn sleeping_with_preemption_off_names_the_task() {
        let _guard = preempt::preempt_disable();
        task::sleep_ms(1);
        survived()
    }
}

ktest! {
    panics = "preemption was disabled at tests/guest/src/tests/panics.rs",
    fn sleeping_with_a_spin_lock_names_where_it_was_taken() {
        static LOCK: SpinLock<()> = SpinLock::new(());
        let _guard = LOCK.lock();
        task::sleep_ms(1);
        survived()
    }
}

ktest! {
    panics = "sleeping in atomic context",
    fn waiting_for_a_semaphore_with_a_spin_lock_held_panics() {
        static LOCK: SpinLock<()> = SpinLock::new(());
        static EMPTY: Semaphore = Semaphore::new(0);
        let _guard = LOCK.lock();
        EMPTY.take();
        survived()
    }
}

ktest! {
    panics = "IRQs masked",
    fn waiting_with_interrupts_masked_panics() {
        static LOCK: SpinLockIrqSave<()> = SpinLockIrqSave::new(());
        static EMPTY: Semaphore = Semaphore::new(0);
        let _guard = LOCK.lock();
        let _ = EMPTY.take_timeout(stint::sched::wait::Timeout::In(1_000_000));
        survived()
    }
}

ktest! {
    panics = "sleeping in atomic context",
    fn locking_a_mutex_with_preemption_off_panics_also_if_it_is_free() {
        static FREE: Mutex<()> = Mutex::new(());
        let _guard = preempt::preempt_disable();
        drop(FREE.lock());
        survived()
    }
}

ktest! {
    panics = "sleeping in atomic context",
    fn yielding_with_preemption_off_panics() {
        let _guard = preempt::preempt_disable();
        task::yield_now();
        survived()
    }
}

ktest! {
    panics = "sleeping in atomic context: task sleeper/",
    fn sleeping_in_atomic_context_names_the_task_that_does_it() {
        task::build("sleeper").fifo(LOW).spawn(|| {
            let _guard = preempt::preempt_disable();
            task::park();
        })?.join();
        survived()
    }
}

ktest! {
    panics = "preempt count 0x200 (bottom halves disabled), IRQs open; preemption was disabled at tests/guest/src/tests/panics.rs",
    fn sleeping_with_bottom_halves_disabled_names_where_that_was() {
        if is_enabled(Key::Rt) {
            return Err(Failure::Ignored("in rt a task may sleep with bottom halves disabled"));
        }
        let _guard = local_bh_disable();
        task::sleep_ms(1);
        survived()
    }
}

ktest! {
    panics = "preempt count 0x201 (bottom halves disabled), IRQs open; preemption was disabled at tests/guest/src/tests/panics.rs",
    fn waiting_names_the_outermost_of_the_places_that_forbid_it() {
        static EMPTY: Semaphore = Semaphore::new(0);
        if is_enabled(Key::Rt) {
            return Err(Failure::Ignored("in rt a task may sleep with bottom halves disabled"));
        }
        let _bh = local_bh_disable();
        let _guard = preempt::preempt_disable();
        EMPTY.take();
        survived()
    }
}

ktest! {
    panics = "preempt count 0x100 (in a softirq), IRQs open",
    fn sleeping_in_a_softirq_panics_and_says_so() {
        if is_enabled(Key::Rt) {
            return Err(Failure::Ignored("in rt softirqs are a thread's"));
        }
        open_softirq(Vector::Timer, || task::sleep_ms(1));
        // As long as ksoftirqd has not run, softirqs wait for it.
        task::sleep_ms(1);
        let handler = Interrupt::request(8, || raise_softirq_irqoff(Vector::Timer))?;
        handler.raise();
        survived()
    }
}

ktest! {
    panics = "(in a hard interrupt over the task), IRQs masked",
    fn waiting_in_a_handler_panics_and_says_so() {
        static EMPTY: Semaphore = Semaphore::new(0);
        let handler = Interrupt::request(8, || EMPTY.take())?;
        handler.raise();
        survived()
    }
}

ktest! {
    panics = "holds the raw lock of tests/guest/src/tests/panics.rs",
    fn a_panic_names_the_locks_that_the_task_holds() {
        static LOCK: RawSpinLock<()> = RawSpinLock::new(());
        let _guard = LOCK.lock();
        panic!("on purpose");
    }
}

ktest! {
    panics = "hardirq 1",
    fn sleeping_in_a_handler_panics_and_the_report_says_where() {
        let handler = Interrupt::request(8, || task::sleep_ms(1))?;
        handler.raise();
        survived()
    }
}

ktest! {
    panics = "preempt count 0x10000 (in a hard interrupt over the task), IRQs masked at src/",
    fn scheduling_in_a_handler_panics() {
        let handler = Interrupt::request(8, sched::core::schedule)?;
        handler.raise();
        survived()
    }
}

ktest! {
    panics = "heap allocation in interrupt context",
    fn allocating_in_a_handler_panics() {
        let handler = Interrupt::request(8, || drop(black_box(Box::new(1u64))))?;
        handler.raise();
        survived()
    }
}

ktest! {
    panics = "heap free in interrupt context",
    fn freeing_in_a_handler_panics() {
        static PLACE: SpinLockIrqSave<Option<Vec<u8>>> = SpinLockIrqSave::new(None);
        *PLACE.lock() = Some(Vec::with_capacity(100));
        let handler = Interrupt::request(8, || drop(PLACE.lock().take()))?;
        handler.raise();
        survived()
    }
}

ktest! {
    panics = "deadlock: task init locks a mutex that it holds",
    fn locking_a_mutex_twice_panics_and_names_the_task() {
        static MUTEX: Mutex<()> = Mutex::new(());
        let _guard = MUTEX.lock();
        let _again = MUTEX.lock();
        survived()
    }
}

ktest! {
    panics = "preemption was disabled at tests/guest/src/tests/panics.rs",
    fn a_task_that_ends_with_preemption_off_panics_and_names_the_place() {
        task::build("leaker").fifo(LOW).spawn(|| core::mem::forget(preempt::preempt_disable()))?.join();
        survived()
    }
}

ktest! {
    panics = "is taken twice on CPU 0",
    fn taking_a_spin_lock_twice_panics_also_where_there_is_no_lock_word() {
        static LOCK: SpinLock<u32> = SpinLock::new(0);
        let _first = LOCK.lock();
        let _second = LOCK.lock();
        survived()
    }
}

ktest! {
    panics = "task again is started twice",
    fn starting_a_task_twice_panics_and_names_it() {
        let task = task::build("again").create(|_| {}, 0)?;
        task.start();
        task.start();
        survived()
    }
}

ktest! {
    panics = "function_that_panics",
    fn the_report_has_a_symbolised_back_trace() {
        #[inline(never)]
        fn function_that_panics(value: u32) -> u32 {
            assert!(black_box(value) > 1, "one is too few");
            value
        }
        black_box(function_that_panics(black_box(1)));
        survived()
    }
}

ktest! {
    panics = "preempt word 0x0000000100000002: preempt 2, softirq 0, hardirq 0, nmi 0; reschedule not wanted",
    fn the_report_decodes_the_preempt_word() {
        let _guards = (preempt::preempt_disable(), preempt::preempt_disable());
        panic!("with two markers set");
    }
}

ktest! {
    panics = "the last words before the end",
    fn the_report_has_the_log_lines_that_nobody_drained() {
        log::error!("the last words before the end");
        panic!("now");
    }
}
