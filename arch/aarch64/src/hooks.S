// From the thunks to the recorder: what hooks.rs says, for every kind of site.
//
// In: x29 = the site; at sp the thunk's frame {{x29, x30, DAIF before, value}}; IRQs masked. Everything but x29 and x30
// is the site's and is given back, the flags too. x30 is the site's again on return, x29 is not.
//
// The detour is counted with the cycle counter (under icount: exactly) and added to this CPU's sum, whose address
// the recorder returns. BEFORE: from the branch at the site to the first reading; AFTER: from the second reading to
// the instruction behind the site, without the site's own instruction, which is no detour.

.set HOOK_BEFORE, 10

.macro hook name, event, source, after
.global \name
\name:
	sub	sp, sp, #{HOOK_FRAME}
	stp	x0, x1, [sp]
	mrs	x0, pmccntr_el0
	stp	x2, x3, [sp, #16 * 1]
	stp	x4, x5, [sp, #16 * 2]
	stp	x6, x7, [sp, #16 * 3]
	stp	x8, x9, [sp, #16 * 4]
	stp	x10, x11, [sp, #16 * 5]
	stp	x12, x13, [sp, #16 * 6]
	stp	x14, x15, [sp, #16 * 7]
	stp	x16, x17, [sp, #16 * 8]
	stp	x18, x30, [sp, #16 * 9]
	mrs	x1, nzcv
	sub	x3, x0, #HOOK_BEFORE
	stp	x3, x1, [sp, #16 * 10]
	// preempt_stats_hook(site, daif, count, now, fp, event, pc)
	mov	x0, x29
	.ifc \source, count
	ldp	x1, x2, [sp, #{THUNK_DAIF}]
	.else
	ldr	x1, [sp, #{THUNK_VALUE}]
	mrs	x2, sp_el0
	ldr	w2, [x2, #{TI_PREEMPT}]
	.ifc \source, irq_entry
	add	w2, w2, #{HARDIRQ_OFFSET}
	.endif
	.endif
	ldr	x4, [sp, #{THUNK_FP}]
	mov	w5, #\event
	mrs	x6, elr_el1
	bl	preempt_stats_hook
	ldp	x2, x3, [sp, #16 * 10]
	msr	nzcv, x3
	ldp	x18, x30, [sp, #16 * 9]
	ldp	x16, x17, [sp, #16 * 8]
	ldp	x14, x15, [sp, #16 * 7]
	ldp	x12, x13, [sp, #16 * 6]
	ldp	x10, x11, [sp, #16 * 5]
	ldp	x8, x9, [sp, #16 * 4]
	ldp	x6, x7, [sp, #16 * 3]
	ldp	x4, x5, [sp, #16 * 2]
	mrs	x1, pmccntr_el0
	sub	x1, x1, x2
	add	x1, x1, #\after
	ldr	x2, [x0]
	add	x2, x2, x1
	str	x2, [x0]
	ldp	x2, x3, [sp, #16 * 1]
	ldp	x0, x1, [sp]
	add	sp, sp, #{HOOK_FRAME}
	mov	x29, x30
	ldr	x30, [sp, #8]
	ret	x29
.endm

.section .text.hooks, "ax"
.balign 64
	// Twelve instructions from the second reading to the return, and what each thunk has behind it.
	hook	preempt_hook_irqs, {EVENT_STATE}, irqs, 12 + 2
	hook	preempt_hook_count, {EVENT_STATE}, count, 12 + 4
	hook	preempt_hook_irq_entry, {EVENT_IRQ_ENTRY}, irq_entry, 12 + 2
	hook	preempt_hook_irq_exit, {EVENT_IRQ_EXIT}, irqs, 12 + 1
	hook	preempt_hook_idle_enter, {EVENT_IDLE_ENTER}, irqs, 12
	hook	preempt_hook_idle_leave, {EVENT_IDLE_LEAVE}, irqs, 12 + 4
	hook	preempt_hook_request, {EVENT_REQUEST}, count, 12 + 4
	hook	preempt_hook_served, {EVENT_SERVED}, count, 12 + 4

// The interrupt entry: IRQs have been masked by the hardware, and the count is about to say so. The site is the
// first instruction of the vector, so nothing is saved yet.
.global preempt_thunk_irq_entry
preempt_thunk_irq_entry:
	stp	x29, x30, [sp, #-{THUNK_FRAME}]!
	msr	daifset, #2
	mov	x29, #{PSR_I_BIT}
	str	x29, [sp, #24]
	adrp	x29, el1_irq
	add	x29, x29, :lo12:el1_irq
	bl	preempt_hook_irq_entry
	ldr	x29, [sp], #{THUNK_FRAME}
	stp	x0, x1, [sp, #-{IRQ_FRAME_SIZE}]!
	b	el1_irq + 4

// The interrupt exit: the mask is about to be SPSR's. The site is the `eret`, so everything is back already.
.global preempt_thunk_irq_exit
preempt_thunk_irq_exit:
	stp	x29, x30, [sp, #-{THUNK_FRAME}]!
	msr	daifset, #2
	mrs	x29, spsr_el1
	str	x29, [sp, #24]
	adrp	x29, el1_irq_eret
	add	x29, x29, :lo12:el1_irq_eret
	bl	preempt_hook_irq_exit
	ldr	x29, [sp], #{THUNK_FRAME}
	eret
	dsb	nsh
	isb
