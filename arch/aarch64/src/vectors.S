// The EL1 vector table. VBAR_EL1 points here; each entry has 128 bytes (32 instructions), and .org makes
// an entry that outgrows its slot fail to assemble.
//
// The interrupt entry is written out in its slot: it is the hottest path of the kernel. All others push
// a full PtRegs in `entry_full` (entry.S). At every entry the hardware has set D, A, I and F.
//
// x0 cannot be saved before sp moves, and sp cannot be trusted after a stack overflow. The interrupt
// entry does not check: if it runs into a guard page, its first store faults, and the synchronous entry,
// which does check, reports the overflow.

.macro bad_entry kind
	.balign	128
	sub	sp, sp, #{PT_REGS_SIZE}
	stp	x0, x1, [sp, #{PT_X}]
	mov	x0, #\kind
	b	entry_bad
.endm

.section .text.vectors, "ax"
.balign 2048
.global vectors
vectors:
	// Current EL with SP_EL0: the kernel never selects it.
	bad_entry 0
	bad_entry 1
	bad_entry 2
	bad_entry 3

	// Current EL with SP_EL1, synchronous. Is there room for the frame? Ask the MMU (AT, PAR_EL1): the
	// two ends of a frame cannot both be mapped and have a guard page between them. x0 waits in
	// tpidrro_el0, which nothing else uses.
	.org	vectors + 0x200
	sub	sp, sp, #{PT_REGS_SIZE}
	msr	tpidrro_el0, x0
	mov	x0, sp
	at	s1e1w, x0
	isb
	mrs	x0, par_el1
	tbnz	x0, #0, el1_stack_overflow
	add	x0, sp, #({PT_REGS_SIZE} - 8)
	at	s1e1w, x0
	isb
	mrs	x0, par_el1
	tbnz	x0, #0, el1_stack_overflow
	mrs	x0, tpidrro_el0
	stp	x0, x1, [sp, #{PT_X}]
	b	el1_sync

	// Current EL with SP_EL1, IRQ: el1_irq, from the push to the call of the handler, in one slot.
	//
	// Saved: x0-x18, x29, x30, ELR, SPSR - what a C function may destroy, because the handler is one.
	// x29 points at the frame record {{x29, ELR}} and survives the handler, so it is also the way back to
	// this stack; no other register is needed for it. D, A, I and F stay masked throughout the handler: it
	// acknowledges, wakes and returns, so an SError waits that long at the most.
	.org	vectors + 0x280
	// The first instruction is a site of preempt-stats (hooks.S).
.global el1_irq
el1_irq:
	stp	x0, x1, [sp, #-{IRQ_FRAME_SIZE}]!
	stp	x2, x3, [sp, #{IRQ_X} + 16 * 1]
	stp	x4, x5, [sp, #{IRQ_X} + 16 * 2]
	mrs	x0, sp_el0
	mrs	x1, elr_el1
	mrs	x2, spsr_el1
	ldr	w3, [x0, #{TI_PREEMPT}]
	stp	x6, x7, [sp, #{IRQ_X} + 16 * 3]
	stp	x8, x9, [sp, #{IRQ_X} + 16 * 4]
	stp	x10, x11, [sp, #{IRQ_X} + 16 * 5]
	stp	x12, x13, [sp, #{IRQ_X} + 16 * 6]
	stp	x14, x15, [sp, #{IRQ_X} + 16 * 7]
	stp	x16, x17, [sp, #{IRQ_X} + 16 * 8]
	stp	x18, x30, [sp, #{IRQ_X18}]
	stp	x29, x1, [sp, #{IRQ_FP}]
	str	x2, [sp, #{IRQ_PSTATE}]
	add	x29, sp, #{IRQ_FP}

	// irq_enter: this CPU is in a hard interrupt. No preempt_enable in the handler can switch.
	add	w4, w3, #{HARDIRQ_OFFSET}
	str	w4, [x0, #{TI_PREEMPT}]

	// The handler runs on this CPU's IRQ stack, unless the interrupted code is on it already: a soft
	// interrupt, which bit 8 of the count tells. (Hard handlers never open interrupts.) The thread that
	// serves soft interrupts has the bit too, and lends its own stack.
	tbnz	w3, #{SOFTIRQ_BIT}, 1f
	mrs	x1, tpidr_el1
	adrp	x2, irq_stack_top
	add	x1, x1, x2
	ldr	x1, [x1, :lo12:irq_stack_top]
	mov	sp, x1

	// Acknowledge: ICC_IAR1_EL1. The number is kept in the frame until its end is signalled. With more than one
	// CPU, and on a GICv2, the acknowledgement is a branch (arch::patch): the later entry in the table counts.
1:
2:	mrs	x0, S3_0_C12_C12_0
3:	str	x0, [x29, #{IRQ_NR_OF_FP}]
	bl	handle_arch_irq
	b	el1_irq_eoi
	.pushsection .patch, "a"
	.balign	4
	.long	2b - .
	.long	el1_irq_smp - .
	.long	{KEY_SMP_LOCKS}
	mrs	x0, S3_0_C12_C12_0
	.long	2b - .
	.long	el1_irq_gicv2 - .
	.long	{KEY_GIC_V2}
	mrs	x0, S3_0_C12_C12_0
	.long	3b - .
	.long	el1_irq_timed - .
	.long	{KEY_IRQ_STATS}
	str	x0, [x29, #{IRQ_NR_OF_FP}]
	.long	el1_irq - .
	.long	preempt_thunk_irq_entry - .
	.long	{KEY_PREEMPT_STATS}
	stp	x0, x1, [sp, #-{IRQ_FRAME_SIZE}]!
	.popsection

	.org	vectors + 0x300
	bad_entry 6			// FIQ: group 0 is not used
	.org	vectors + 0x380
	bad_entry 7			// SError

	// Lower EL, AArch64 and AArch32: there are no user tasks yet.
	.org	vectors + 0x400
	bad_entry 8
	bad_entry 9
	bad_entry 10
	bad_entry 11
	bad_entry 12
	bad_entry 13
	bad_entry 14
	bad_entry 15
	.org	vectors + 0x800
