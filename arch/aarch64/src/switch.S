// The switch itself, and the first instructions of a new task.
.text

// cpu_switch_to(x0 = prev, x1 = next) -> x0 = the task that was left.
//
// A call like any other to the code around it, except that it returns as another task: what the AAPCS lets
// a callee destroy is dead here, so x19-x30 and sp are a whole task. x0 is not touched: the next task sees
// who ran before it.
//
// No barrier here: with one CPU the task finds its own cache and TLB maintenance complete when it comes back, and with
// several the caller has waited for it (`context_switch`).
.balign 64
.global cpu_switch_to
cpu_switch_to:
	mov	x9, sp
	stp	x19, x20, [x0, #{CTX_X19} + 16 * 0]
	stp	x21, x22, [x0, #{CTX_X19} + 16 * 1]
	stp	x23, x24, [x0, #{CTX_X19} + 16 * 2]
	stp	x25, x26, [x0, #{CTX_X19} + 16 * 3]
	stp	x27, x28, [x0, #{CTX_X19} + 16 * 4]
	stp	x29, x30, [x0, #{CTX_FP}]
	str	x9, [x0, #{CTX_SP}]
	ldp	x19, x20, [x1, #{CTX_X19} + 16 * 0]
	ldp	x21, x22, [x1, #{CTX_X19} + 16 * 1]
	ldp	x23, x24, [x1, #{CTX_X19} + 16 * 2]
	ldp	x25, x26, [x1, #{CTX_X19} + 16 * 3]
	ldp	x27, x28, [x1, #{CTX_X19} + 16 * 4]
	ldp	x29, x30, [x1, #{CTX_FP}]
	ldr	x9, [x1, #{CTX_SP}]
	mov	sp, x9
	msr	sp_el0, x1
	ret

// A task's first instructions: x19 = entry, x20 = its argument (ArchTask::prepare), x0 = the task that
// was left. The count is FORK_PREEMPT_COUNT and IRQs are masked; schedule_tail unwinds both. The entry
// function never returns.
.global ret_from_fork
ret_from_fork:
	bl	schedule_tail
	mov	x0, x20
	blr	x19
	brk	#1
