// Behind the vectors: the return from an interrupt with its preemption check, and the full frame of every
// other exception. In the vectors' section: the overflow check reaches its target with a `tbnz`, which spans
// 32 KiB and not the text of a big image.
.section .text.vectors, "ax"

// The way out of an interrupt from the kernel; the way in is in its vector (vectors.S). The handler has returned.
// In: x29 = the frame record inside the IrqFrame; everything masked.
.balign 64
.global el1_irq_eoi
el1_irq_eoi:
	ldr	x0, [x29, #{IRQ_NR_OF_FP}]
el1_irq_end:
	// End of interrupt: ICC_EOIR1_EL1, which ignores the special numbers that were no interrupt.
	msr	S3_0_C12_C12_1, x0
.global el1_irq_exit
el1_irq_exit:
	// Back on the stack of the task, IRQs still masked.
	sub	sp, x29, #{IRQ_FP}

	// irq_exit, and the check that makes this a preemptible kernel. One load brings the count, the
	// (inverted) need_resched and the hint that a soft interrupt was raised; taking this interrupt off the
	// count leaves the 64 bits zero exactly if the interrupted code may be preempted and somebody asked for
	// it. Only the low half is stored.
	mrs	x0, sp_el0
	ldp	x1, x2, [x0, #{TI_PREEMPT}]
	sub	x1, x1, #{HARDIRQ_OFFSET}
	str	w1, [x0, #{TI_PREEMPT}]
	cbnz	w2, el1_irq_softirq
el1_irq_preempt:
	cbnz	x1, el1_irq_return

	// A switch. The priority drop must have happened before another task opens interrupts (isb), and
	// whoever runs next must find D, A and F open, as every task has them. (With more than one CPU the isb is a
	// branch: arch::patch.)
2:	isb
	msr	daifclr, #13
	bl	arm64_preempt_schedule_irq
	msr	daifset, #15
	.pushsection .patch, "a"
	.balign	4
	.long	2b - .
	.long	el1_irq_preempt_smp - .
	.long	{KEY_SMP_LOCKS}
	isb
	.popsection

.global el1_irq_return
el1_irq_return:
	ldr	x2, [sp, #{IRQ_PSTATE}]
	ldp	x29, x1, [sp, #{IRQ_FP}]
	msr	spsr_el1, x2
	msr	elr_el1, x1
	ldp	x18, x30, [sp, #{IRQ_X18}]
	ldp	x16, x17, [sp, #{IRQ_X} + 16 * 8]
	ldp	x14, x15, [sp, #{IRQ_X} + 16 * 7]
	ldp	x12, x13, [sp, #{IRQ_X} + 16 * 6]
	ldp	x10, x11, [sp, #{IRQ_X} + 16 * 5]
	ldp	x8, x9, [sp, #{IRQ_X} + 16 * 4]
	ldp	x6, x7, [sp, #{IRQ_X} + 16 * 3]
	ldp	x4, x5, [sp, #{IRQ_X} + 16 * 2]
	ldp	x2, x3, [sp, #{IRQ_X} + 16 * 1]
	ldp	x0, x1, [sp, #{IRQ_X} + 16 * 0]
	add	sp, sp, #{IRQ_FRAME_SIZE}
	// A site of preempt-stats (hooks.S).
.global el1_irq_eret
el1_irq_eret:
	eret
	.pushsection .patch, "a"
	.balign	4
	.long	el1_irq_eret - .
	.long	preempt_thunk_irq_exit - .
	.long	{KEY_PREEMPT_STATS}
	eret
	.popsection
	// No speculation past the return (straight-line).
	dsb	nsh
	isb

// Soft interrupts, before the preemption check, so that a task which one of them wakes runs at this exit. In:
// x0 = thread_info, x1 = its word as stored. Not over a soft interrupt or a section with bottom halves
// disabled: those look for themselves at their end, and never switch, so there is nothing to do at all.
el1_irq_softirq:
	tst	w1, #{INTERRUPT_MASK}
	b.ne	el1_irq_return
	// On the IRQ stack, from its top: the handler has returned. x29 still leads back.
	mrs	x1, tpidr_el1
	adrp	x2, irq_stack_top
	add	x1, x1, x2
	ldr	x1, [x1, :lo12:irq_stack_top]
	mov	sp, x1
	// IRQs will be opened: as before a switch.
	isb
	msr	daifclr, #13
	bl	irq_exit_softirq
	msr	daifset, #15
	sub	sp, x29, #{IRQ_FP}
	mrs	x0, sp_el0
	ldr	x1, [x0, #{TI_PREEMPT}]
	b	el1_irq_preempt

// See irq_stack.rs. In: x0 = the function.
.global call_on_irq_stack
call_on_irq_stack:
	stp	x29, x30, [sp, #-16]!
	mov	x29, sp
	mrs	x1, tpidr_el1
	adrp	x2, irq_stack_top
	add	x1, x1, x2
	ldr	x1, [x1, :lo12:irq_stack_top]
	mov	sp, x1
	blr	x0
	mov	sp, x29
	ldp	x29, x30, [sp], #16
	ret

// The same entry with a memory-mapped interrupt controller.
el1_irq_gicv2:
	bl	handle_arch_irq_gicv2
	b	el1_irq_exit

// The same entry where there is more than one CPU, and each counts for itself. Here, behind the handler: finding this
// CPU's count takes longer than finding the line.
el1_irq_smp:
	mrs	x0, S3_0_C12_C12_0
2:	str	x0, [x29, #{IRQ_NR_OF_FP}]
	bl	handle_arch_irq_smp
.global el1_irq_count
el1_irq_count:
	ldr	x0, [x29, #{IRQ_NR_OF_FP}]
	mrs	x1, tpidr_el1
	adrp	x2, irq_counts
	add	x2, x2, :lo12:irq_counts
	add	x1, x1, x2
	and	x2, x0, #({IRQ_COUNTS} - 1)
	ldr	x3, [x1, x2, lsl #3]
	add	x3, x3, #1
	str	x3, [x1, x2, lsl #3]
	b	el1_irq_end
	.pushsection .patch, "a"
	.balign	4
	.long	2b - .
	.long	el1_irq_timed - .
	.long	{KEY_IRQ_STATS}
	str	x0, [x29, #{IRQ_NR_OF_FP}]
	.popsection

// The same switch where there is more than one CPU.
el1_irq_preempt_smp:
	isb
	msr	daifclr, #13
	bl	arm64_preempt_schedule_irq_smp
	msr	daifset, #15
	b	el1_irq_return

// The entry with the handler timed (`irqs on`).
el1_irq_timed:
	str	x0, [x29, #{IRQ_NR_OF_FP}]
	bl	handle_arch_irq_timed
	b	el1_irq_eoi

// Saves what is left of PtRegs. In: x0, x1 saved and free, sp at the frame.
.macro save_pt_regs
	stp	x2, x3, [sp, #{PT_X} + 16 * 1]
	stp	x4, x5, [sp, #{PT_X} + 16 * 2]
	stp	x6, x7, [sp, #{PT_X} + 16 * 3]
	stp	x8, x9, [sp, #{PT_X} + 16 * 4]
	stp	x10, x11, [sp, #{PT_X} + 16 * 5]
	stp	x12, x13, [sp, #{PT_X} + 16 * 6]
	stp	x14, x15, [sp, #{PT_X} + 16 * 7]
	stp	x16, x17, [sp, #{PT_X} + 16 * 8]
	stp	x18, x19, [sp, #{PT_X} + 16 * 9]
	stp	x20, x21, [sp, #{PT_X} + 16 * 10]
	stp	x22, x23, [sp, #{PT_X} + 16 * 11]
	stp	x24, x25, [sp, #{PT_X} + 16 * 12]
	stp	x26, x27, [sp, #{PT_X} + 16 * 13]
	stp	x28, x30, [sp, #{PT_X28}]
	mrs	x2, elr_el1
	mrs	x3, spsr_el1
	mrs	x4, esr_el1
	mrs	x5, far_el1
	stp	x29, x2, [sp, #{PT_FP}]
	add	x2, sp, #{PT_REGS_SIZE}
	stp	x2, x3, [sp, #{PT_SP}]
	stp	x4, x5, [sp, #{PT_ESR}]
	add	x29, sp, #{PT_FP}
.endm

// A fault in the kernel. Everything stays masked: the handler reports and ends the machine, or mends one cause
// and returns. There is no preemption check here (reference 2.6).
el1_sync:
	save_pt_regs
	mov	x0, sp
	bl	el1_sync_handler
	// The handler returns only if it mended the cause: put everything back, the PC as it left it.
	msr	daifset, #15
	ldp	x28, x30, [sp, #{PT_X28}]
	ldp	x29, x2, [sp, #{PT_FP}]
	ldp	x4, x3, [sp, #{PT_SP}]
	msr	elr_el1, x2
	msr	spsr_el1, x3
	ldp	x26, x27, [sp, #{PT_X} + 16 * 13]
	ldp	x24, x25, [sp, #{PT_X} + 16 * 12]
	ldp	x22, x23, [sp, #{PT_X} + 16 * 11]
	ldp	x20, x21, [sp, #{PT_X} + 16 * 10]
	ldp	x18, x19, [sp, #{PT_X} + 16 * 9]
	ldp	x16, x17, [sp, #{PT_X} + 16 * 8]
	ldp	x14, x15, [sp, #{PT_X} + 16 * 7]
	ldp	x12, x13, [sp, #{PT_X} + 16 * 6]
	ldp	x10, x11, [sp, #{PT_X} + 16 * 5]
	ldp	x8, x9, [sp, #{PT_X} + 16 * 4]
	ldp	x6, x7, [sp, #{PT_X} + 16 * 3]
	ldp	x4, x5, [sp, #{PT_X} + 16 * 2]
	ldp	x2, x3, [sp, #{PT_X} + 16 * 1]
	ldp	x0, x1, [sp, #{PT_X} + 16 * 0]
	add	sp, sp, #{PT_REGS_SIZE}
	eret
	dsb	nsh
	isb

// An exception that must not happen; x0 = its index in the table. x0 and x1 of the interrupted code are saved.
entry_bad:
	mov	x1, x0
	msr	tpidrro_el0, x1
	save_pt_regs
	mov	x0, sp
	mrs	x1, tpidrro_el0
	bl	bad_mode_handler
0:	wfi
	b	0b

// The stack is full: the frame would lie in a guard page. Nothing may be pushed here; x0 is in
// tpidrro_el0 and sp says where the overflow was. Continue on this CPU's overflow stack; never return.
el1_stack_overflow:
	msr	tpidr_el0, x1
	mrs	x0, tpidr_el1
	adrp	x1, overflow_stack_top
	add	x0, x0, x1
	ldr	x0, [x0, :lo12:overflow_stack_top]
	mov	x1, sp
	sub	x0, x0, #{PT_REGS_SIZE}
	mov	sp, x0
	add	x1, x1, #{PT_REGS_SIZE}
	// sp is the overflow stack's frame, x1 the interrupted sp.
	mrs	x0, tpidrro_el0
	str	x0, [sp, #{PT_X}]
	mrs	x0, tpidr_el0
	str	x0, [sp, #{PT_X} + 8]
	msr	tpidr_el0, x1
	save_pt_regs
	mrs	x1, tpidr_el0
	str	x1, [sp, #{PT_SP}]
	mov	x0, sp
	bl	bad_stack_handler
0:	wfi
	b	0b
