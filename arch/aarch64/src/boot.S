// From reset to the first Rust function.
//
// The loader starts us as an arm64 Image: MMU off, interrupts masked, x0 = physical address of the
// device tree (or 0, or the old ATAG pointer 0x100, or garbage: Rust checks it), at EL2 or EL1. We may be
// at any page-aligned physical address, so everything before `stint_high` is position-independent.
//
// Until the MMU and the caches are on there is no stack, no atomic operation and no `dc zva`; the only
// memory written is the early page tables, and their cache lines are invalidated before and after.
//
// Register use up to stint_high:
//   x20  x0 as the loader gave it        x21  physical address of _head
//   x22  exception level at entry        x25  next free table for the linear map
//   x27  the board's facts               x28  the last step of the ladder that was reached
//
// An exception on the way, at whatever level, ends in ladder_blink: on a board with a light it repeats x28.

// The step with this number is reached. Destroys x0 to x3 and x30.
        .macro  rung, number
        mov     x28, #\number
        bl      ladder_show
        .endm

        .section .head, "ax"
        .global _head
_head:
        b       stint_entry                     // code0
        .long   0                               // code1
        .quad   {TEXT_OFFSET}                   // load at RAM base + this
        .quad   __image_size                    // memory to keep free, bss and stack included
        .quad   0xa                             // little endian, 4 KiB pages, anywhere in memory
        .quad   0
        .quad   0
        .quad   0
        .ascii  "ARM\x64"
        .long   0

        .section .text.boot, "ax"
stint_entry:
        msr     daifset, #0xf
        mov     x20, x0
        adrp    x21, _head                      // page aligned: adrp alone is exact
        adrp    x27, STINT_BOARD_FACTS          // which board: by where in memory we are
        add     x27, x27, :lo12:STINT_BOARD_FACTS
1:      ldr     x2, [x27, #{FACTS_IMAGE_FROM}]
        cmp     x21, x2
        b.hs    2f
        add     x27, x27, #{FACTS_BYTES}
        b       1b
2:      bl      ladder_begin
        rung    1
        mrs     x22, CurrentEL
        lsr     x22, x22, #2
        cmp     x22, #2
        b.hi    refuse_el3
        adrp    x0, ladder_vectors
        add     x0, x0, :lo12:ladder_vectors
        b.lo    3f
        msr     vbar_el2, x0
3:      msr     vbar_el1, x0
        isb
        cmp     x22, #2
        b.lo    4f
        bl      drop_to_el1
4:      bl      el1_setup
        rung    2
        bl      make_early_tables
        rung    3
        adrp    x1, early_id_l1
        adrp    x2, early_up_l1
        ldr     x0, ={SCTLR_EL1_ON}
        ldr     x8, =stint_high
        b       enable_mmu

// Another CPU, let out of its spin table: it brings nothing along, so it looks for the record with its affinity.
        .global stint_secondary_spin_table
stint_secondary_spin_table:
        mrs     x1, mpidr_el1
        ldr     x2, ={AFFINITY_MASK}
        and     x1, x1, x2
        adrp    x0, secondary_records
        add     x0, x0, :lo12:secondary_records
        mov     x3, #{SECONDARY_RECORDS}
1:      ldr     x2, [x0, #{SECONDARY_AFFINITY}]
        cmp     x2, x1
        b.eq    stint_secondary
        add     x0, x0, #{SECONDARY_RECORD_BYTES}
        subs    x3, x3, #1
        b.ne    1b
        b       secondary_park                  // nobody asked for this CPU

// Another CPU, started by the firmware with x0 = physical address of its record (secondary.rs). The state is that of
// the boot CPU at its entry: MMU and caches off, at the same exception level. The record was cleaned to memory by
// who wrote it; nothing is written here before the MMU is on, and the tables that are then used are walked through the
// caches like everybody else's.
        .global stint_secondary
stint_secondary:
        msr     daifset, #0xf
        mov     x20, x0
        mrs     x22, CurrentEL
        lsr     x22, x22, #2
        cmp     x22, #2
        b.hi    secondary_park
        b.lo    1f
        bl      drop_to_el1
1:      bl      el1_setup
        ldp     x2, x23, [x20, #{SECONDARY_TTBR1}]      // the kernel's tables, top of the stack
        ldp     x24, x25, [x20, #{SECONDARY_TASK}]      // idle task, per-CPU offset
        adrp    x1, early_id_l1
        adrp    x26, early_empty
        ldr     x0, ={SCTLR_EL1_SEALED}         // the final tables hold from the start: WXN as well
        ldr     x8, =secondary_high
        b       enable_mmu

secondary_park:
        wfi
        b       secondary_park

// Sets every EL2 register that can disturb EL1 (reset values are unknown on silicon) and returns to the
// caller at EL1 with everything masked.
drop_to_el1:
        ldr     x0, ={SCTLR_EL2_OFF}
        msr     sctlr_el2, x0
        isb
        mov     x0, #{HCR_EL2_RW}
        msr     hcr_el2, x0                     // EL1 is AArch64; nothing trapped, nothing virtual
        mov     x0, #{CPTR_EL2_NO_TRAP}
        msr     cptr_el2, x0
        msr     hstr_el2, xzr
        msr     vttbr_el2, xzr
        mrs     x0, midr_el1
        msr     vpidr_el2, x0
        mrs     x1, mpidr_el1
        msr     vmpidr_el2, x1
        mov     x1, #3                          // EL1 may use the physical counter and timer
        msr     cnthctl_el2, x1
        msr     cntvoff_el2, xzr                // virtual count = physical count
        msr     cnthp_ctl_el2, xzr              // EL2's own timer has nobody to serve

        // All PMU counters belong to EL1: HPMN = PMCR.N. Without a PMU (version 0 or 15) HPMN is ignored.
        mrs     x1, id_aa64dfr0_el1
        ubfx    x1, x1, #8, #4
        mov     x2, xzr
        cbz     x1, 1f
        cmp     x1, #15
        b.eq    1f
        mrs     x2, pmcr_el0
        ubfx    x2, x2, #11, #5
1:      msr     mdcr_el2, x2

        // Fine-grained traps, where they exist: none.
        mrs     x1, id_aa64mmfr0_el1
        ubfx    x1, x1, #56, #4
        cbz     x1, 2f
        msr     S3_4_C1_C1_4, xzr               // HFGRTR_EL2
        msr     S3_4_C1_C1_5, xzr               // HFGWTR_EL2
        msr     S3_4_C1_C1_6, xzr               // HFGITR_EL2
        msr     S3_4_C3_C1_4, xzr               // HDFGRTR_EL2
        msr     S3_4_C3_C1_5, xzr               // HDFGWTR_EL2
2:
        // GICv3: let EL1 use the system registers.
        mrs     x1, id_aa64pfr0_el1
        ubfx    x1, x1, #24, #4
        cbz     x1, 3f
        mrs     x1, S3_4_C12_C9_5               // ICC_SRE_EL2
        mov     x2, #0x9                        // SRE, Enable
        orr     x1, x1, x2
        msr     S3_4_C12_C9_5, x1
        isb
        mrs     x1, S3_4_C12_C9_5
        tbz     x1, #0, 3f                      // memory-mapped only after all
        msr     S3_4_C12_C11_0, xzr             // ICH_HCR_EL2: no virtual interrupts
3:
        // Cortex-A72. Its own control registers are writable here because the firmware of the boards with this core
        // opens them (ACTLR_EL3); both are written before the MMU and the caches are on, as the manual asks.
        lsr     x1, x0, #24                     // implementer: Arm
        cmp     x1, #0x41
        b.ne    4f
        ubfx    x1, x0, #4, #12                 // part
        mov     x2, #0xd08
        cmp     x1, x2
        b.ne    4f
        // Coherent with the other cores: the firmware has done it, and without it nothing below would be true.
        mrs     x1, S3_1_C15_C2_1               // CPUECTLR_EL1
        tbnz    x1, #6, 5f                      // SMPEN
        orr     x1, x1, #(1 << 6)
        msr     S3_1_C15_C2_1, x1
        isb
5:      // Up to r0p3, erratum 859971: no instruction prefetch across pages. (Bit 55 beside it, which would keep loads from
        // passing stores, CVE-2018-3639, stays clear while there is no EL0: docs/rpi4.md.)
        ubfx    x1, x0, #20, #4                 // variant
        and     x3, x0, #0xf                    // revision
        orr     x1, x3, x1, lsl #4
        cmp     x1, #0x03
        b.hi    4f
        mrs     x1, S3_1_C15_C2_0               // CPUACTLR_EL1
        orr     x1, x1, #(1 << 32)
        msr     S3_1_C15_C2_0, x1
        isb
4:
        ldr     x0, ={SCTLR_EL1_OFF}
        msr     sctlr_el1, x0
        mov     x0, #{SPSR_EL1H_MASKED}
        msr     spsr_el2, x0
        msr     elr_el2, x30
        eret

// EL1 registers that must not be left to chance, TLB and instruction cache cleared, MAIR and TCR set.
el1_setup:
        msr     spsel, #1
        ldr     x0, ={SCTLR_EL1_OFF}
        msr     sctlr_el1, x0
        isb
        msr     cpacr_el1, xzr                  // no FP, no SIMD: trapped, the kernel has none
        msr     mdscr_el1, xzr
        msr     cntkctl_el1, xzr
        msr     contextidr_el1, xzr
        msr     tpidr_el1, xzr
        msr     tpidr_el0, xzr
        msr     tpidrro_el0, xzr
        msr     amair_el1, xzr
        tlbi    vmalle1                         // this CPU's own, before its MMU is on: nobody else has any
        ic      iallu
        dsb     nsh
        isb
        ldr     x0, ={MAIR}
        msr     mair_el1, x0
        ldr     x0, ={TCR}
        mrs     x1, id_aa64mmfr0_el1
        and     x1, x1, #0xf                    // physical address size; 5 = 48 bits is what 4 KiB
        mov     x2, #5                          // descriptors without LPA2 can hold
        cmp     x1, x2
        csel    x1, x1, x2, lo
        bfi     x0, x1, #32, #3
        msr     tcr_el1, x0
        isb
        ret

// x0 = start, x1 = end: drops the lines of [x0, x1) from the data cache.
inval_dcache:
        mrs     x2, ctr_el0
        ubfx    x2, x2, #16, #4
        mov     x3, #4
        lsl     x3, x3, x2
        sub     x2, x3, #1
        bic     x0, x0, x2
1:      dc      ivac, x0
        add     x0, x0, x3
        cmp     x0, x1
        b.lo    1b
        dsb     sy
        ret

// Fills the early tables:
//   TTBR0  one 2 MiB block around the code that turns the MMU on (identity)
//   TTBR1  the image, page by page, writable and executable until the final tables take over;
//          two 2 MiB blocks of the linear map for the device tree; an empty table for early devices
make_early_tables:
        mov     x19, x30
        adrp    x0, early_tables
        adrp    x1, early_tables_end
        bl      inval_dcache
        adrp    x0, early_tables
        adrp    x1, early_tables_end
1:      stp     xzr, xzr, [x0], #16
        cmp     x0, x1
        b.lo    1b

        ldr     x9, ={IDMAP_BLOCK}
        // identity
        adrp    x0, __idmap_start
        adrp    x1, early_id_l1
        adrp    x2, early_id_l2
        orr     x3, x2, #{TABLE}
        ubfx    x4, x0, #30, #9
        str     x3, [x1, x4, lsl #3]
        ubfx    x4, x0, #21, #9
        lsr     x3, x0, #21
        lsl     x3, x3, #21
        orr     x3, x3, x9
        str     x3, [x2, x4, lsl #3]

        // image: {KERNEL_L3_TABLES} consecutive level-3 tables seen as one array of page entries
        adrp    x1, early_up_l1
        adrp    x2, early_kernel_l2
        orr     x3, x2, #{TABLE}
        str     x3, [x1, #({KERNEL_L1_INDEX} * 8)]
        adrp    x4, early_kernel_l3
        mov     x5, #{KERNEL_L3_TABLES}
        orr     x3, x4, #{TABLE}
2:      str     x3, [x2], #8
        add     x3, x3, #4096
        subs    x5, x5, #1
        b.ne    2b
        add     x4, x4, #({TEXT_OFFSET} >> 12 << 3)
        ldr     x9, ={NORMAL_PAGE}
        orr     x3, x21, x9
        adrp    x5, _end                        // page aligned by the linker script
        orr     x5, x5, x9
3:      str     x3, [x4], #8
        add     x3, x3, #4096
        cmp     x3, x5
        b.lo    3b

        // early devices
        adrp    x2, early_mmio_l2
        orr     x3, x2, #{TABLE}
        str     x3, [x1, #({MMIO_L1_INDEX} * 8)]
        adrp    x4, early_mmio_l3
        orr     x3, x4, #{TABLE}
        str     x3, [x2]

        // the device tree, unless the address cannot be one
        adrp    x25, early_linear_l2
        cbz     x20, 4f
        lsr     x0, x20, #{LINEAR_BITS}
        cbnz    x0, 4f
        mov     x0, x20
        bl      map_linear_block
        add     x0, x20, #0x200000
        bl      map_linear_block
4:
        dmb     sy
        adrp    x0, early_tables
        adrp    x1, early_tables_end
        bl      inval_dcache
        br      x19

// Maps the 2 MiB block around physical x0 in the linear map. x1 = early_up_l1.
map_linear_block:
        ldr     x9, ={NORMAL_BLOCK_NX}
        ubfx    x3, x0, #30, #9
        ldr     x4, [x1, x3, lsl #3]
        cbnz    x4, 1f
        orr     x4, x25, #{TABLE}
        add     x25, x25, #4096
        str     x4, [x1, x3, lsl #3]
1:      bic     x4, x4, #{TABLE}
        ubfx    x3, x0, #21, #9
        lsr     x0, x0, #21
        lsl     x0, x0, #21
        orr     x0, x0, x9
        str     x0, [x4, x3, lsl #3]
        ret

// Upper half, MMU and caches on.
stint_high:
        ldr     x0, =early_vectors
        msr     vbar_el1, x0
        isb
        ldr     x0, =__bss_start
        ldr     x1, =__bss_end
1:      cmp     x0, x1
        b.hs    2f
        stp     xzr, xzr, [x0], #16
        b       1b
2:      msr     tpidr_el1, xzr                  // per-CPU offset of the boot CPU
        ldr     x0, =init_task
        msr     sp_el0, x0
        ldr     x0, =__boot_stack_top
        mov     sp, x0
        mov     x29, xzr                        // the chain of frames ends here
        mov     x30, xzr
        mov     x0, x20
        mov     x1, x21
        mov     x2, x22
        b       stint_boot

// Upper half, on the final tables: the identity map goes, the CPU gets what belongs to it, and from the vectors on it
// can report a fault like any other.
secondary_high:
        msr     ttbr0_el1, x26
        isb
        tlbi    vmalle1
        dsb     nsh
        isb
        msr     tpidr_el1, x25
        msr     sp_el0, x24
        mov     sp, x23
        ldr     x0, =vectors
        msr     vbar_el1, x0
        isb
        mov     x29, xzr                        // the chain of frames ends here
        mov     x30, xzr
        b       stint_secondary_start

// The ladder, before there is memory to write to (src/ladder.rs goes on with it). Boards without the row's GPIO block have
// no light, and nothing is printed: then all three return at once.

// Sets up what the firmware leaves to chance: the UART's pins (14 and 15: PL011, the receiver with a pull-up; 32 and 33,
// where the firmware has it for Bluetooth, become inputs), the light's pin, and the UART itself, 115200 8N1.
ladder_begin:
        ldr     x0, [x27, #{FACTS_GPIO}]
        cbz     x0, 9f
        ldr     w1, [x0, #{GPFSEL1}]            // three bits for each of pins 10 to 19
        mov     w2, #{ALT0}
        bfi     w1, w2, #12, #3
        bfi     w1, w2, #15, #3
        str     w1, [x0, #{GPFSEL1}]
        ldr     w1, [x0, #{GPFSEL3}]
        and     w1, w1, #~(0x3f << 6)           // pins 32 and 33: input
        str     w1, [x0, #{GPFSEL3}]
        ldr     w1, [x0, #{GPIO_PULL0}]         // two bits for each of pins 0 to 15
        mov     w2, #{PULL_UP}
        bfi     w1, wzr, #28, #2
        bfi     w1, w2, #30, #2
        str     w1, [x0, #{GPIO_PULL0}]
        ldr     w1, [x0, #{GPFSEL4}]            // the light: pin 42, output
        mov     w2, #1
        bfi     w1, w2, #6, #3
        str     w1, [x0, #{GPFSEL4}]

        ldr     x0, [x27, #{FACTS_UART}]
        mov     w1, #0x100000                   // what the firmware was saying may end, but not keep us for ever
1:      ldr     w2, [x0, #{PL011_FR}]
        subs    w1, w1, #1
        b.eq    2f
        tbnz    w2, #{PL011_FR_BUSY_BIT}, 1b
2:      str     wzr, [x0, #{PL011_CR}]
        ldr     x1, [x27, #{FACTS_CLOCK}]       // divisor in 64ths: 4 * clock / baud, to the nearest
        lsl     x1, x1, #3
        ldr     x2, ={BAUD}
        udiv    x1, x1, x2
        add     x1, x1, #1
        lsr     x1, x1, #1
        and     w2, w1, #0x3f
        lsr     w1, w1, #6
        str     w1, [x0, #{PL011_IBRD}]
        str     w2, [x0, #{PL011_FBRD}]
        mov     w1, #{PL011_LCR_8N1_FIFO}       // latches the divisor
        str     w1, [x0, #{PL011_LCR}]
        str     wzr, [x0, #{PL011_IMSC}]
        mov     w1, #{PL011_CR_ON}
        str     w1, [x0, #{PL011_CR}]
9:      ret

// The light is on, and the number of the step (1 to 9, in x28) is on the wire.
ladder_show:
        ldr     x0, [x27, #{FACTS_GPIO}]
        cbz     x0, 9f
        mov     w1, #{LIGHT_BIT}
        str     w1, [x0, #{GPSET1}]
        ldr     x0, [x27, #{FACTS_UART}]
        mov     w1, #0x100000
1:      ldr     w2, [x0, #{PL011_FR}]
        subs    w1, w1, #1
        b.eq    2f
        tbnz    w2, #{PL011_FR_TXFF_BIT}, 1b
2:      add     w1, w28, #'0'
        str     w1, [x0, #{PL011_DR}]
9:      ret

// The end of a boot that did not get beyond step x28 (1 to 3): so many blinks, a pause, for ever. Nothing is trusted here,
// no timer either: with the caches off a turn of the delay is some tens of nanoseconds.
ladder_blink:
        msr     daifset, #0xf
        ldr     x0, [x27, #{FACTS_GPIO}]
        cbz     x0, secondary_park
        mov     w1, #{LIGHT_BIT}
1:      mov     x2, x28
2:      str     w1, [x0, #{GPSET1}]
        mov     x3, #0x400000
3:      subs    x3, x3, #1
        b.ne    3b
        str     w1, [x0, #{GPCLR1}]
        mov     x3, #0x400000
4:      subs    x3, x3, #1
        b.ne    4b
        subs    x2, x2, #1
        b.ne    2b
        mov     x3, #0x1000000
5:      subs    x3, x3, #1
        b.ne    5b
        b       1b

// Entered at EL3: without firmware above us nothing is set up and nothing will be. Say so and stop.
refuse_el3:
        adrp    x0, msg_el3
        add     x0, x0, :lo12:msg_el3
        ldr     x3, [x27, #{FACTS_UART}]
2:      ldrb    w4, [x0], #1
        cbz     w4, 4f
        mov     x5, #0x100000                   // a UART that is off never drains: wait, but not for ever
3:      ldr     w6, [x3, #{PL011_FR}]
        subs    x5, x5, #1
        b.eq    5f
        tbnz    w6, #{PL011_FR_TXFF_BIT}, 3b
5:      str     w4, [x3, #{PL011_DR}]
        b       2b
4:      b       ladder_blink

        .section .rodata.boot, "a"
msg_el3:
        .ascii  "stint: entered at EL3; expected EL2 or EL1 (boot the flat image kernel8.img, not the ELF "
        .ascii  "file, or put firmware at EL3)\r\n"
        .asciz  "stint: halted\r\n"

// Code that runs while the translation of the code itself changes. Identity mapped, one page.
        .section .idmap.text, "ax"

// x0 = SCTLR, x1 = TTBR0, x2 = TTBR1, x8 = where to go in the upper half.
enable_mmu:
        msr     ttbr0_el1, x1
        msr     ttbr1_el1, x2
        isb
        msr     sctlr_el1, x0
        isb
        ic      iallu                           // nothing fetched before may survive
        dsb     nsh
        isb
        br      x8

// extern "C" fn(ttbr1, empty_ttbr1, sctlr): replaces the upper half's tables by way of an empty one, so
// that no TLB entry of the old ever meets one of the new (break before make). Called at its physical
// address with all interrupts masked; touches no memory, hence no stack.
        .global stint_replace_ttbr1
stint_replace_ttbr1:
        msr     ttbr1_el1, x1
        isb
        tlbi    vmalle1                         // local: the boot CPU is alone
        dsb     nsh
        isb
        msr     ttbr1_el1, x0
        isb
        msr     sctlr_el1, x2
        isb
        tlbi    vmalle1                         // SCTLR.WXN may be held in TLB entries
        dsb     nsh
        isb
        ret

// Vectors for the time before the real ones: a fault in `stint_probe_read32` is an answer, anything else
// is reported and stops the machine.
        .section .text.vectors, "ax"
        .balign 2048
ladder_vectors:                                 // at their physical address, MMU off, EL2 and EL1
        .rept   16
        .balign 128
        b       ladder_blink
        .endr

        .balign 2048
        .global early_vectors
early_vectors:
        .rept   16
        .balign 128
        b       early_trap
        .endr

        .section .text.boot, "ax"
early_trap:
        mrs     x16, elr_el1
        adrp    x17, probe_load
        add     x17, x17, :lo12:probe_load
        cmp     x16, x17
        b.ne    1f
        add     x17, x17, #(probe_failed - probe_load)
        msr     elr_el1, x17
        eret
1:      mrs     x0, esr_el1
        mov     x1, x16
        mrs     x2, far_el1
        mov     x29, xzr
        ldr     x3, =__boot_stack_top           // the old stack pointer may be what is wrong
        mov     sp, x3
        bl      stint_early_fault

// extern "C" fn(addr: *const u32, out: *mut u32) -> bool: reads *addr, false if that faults.
        .global stint_probe_read32
stint_probe_read32:
probe_load:
        ldr     w2, [x0]
        str     w2, [x1]
        mov     w0, #1
        ret
probe_failed:
        mov     w0, wzr
        ret

        .section .early_tables, "aw", %nobits
        .balign 4096
        .global early_tables, early_id_l1, early_up_l1, early_linear_l2, early_mmio_l3, early_empty
early_tables:
early_id_l1:      .skip 4096
early_id_l2:      .skip 4096
early_up_l1:      .skip 4096
early_kernel_l2:  .skip 4096
early_kernel_l3:  .skip 4096 * {KERNEL_L3_TABLES}
early_mmio_l2:    .skip 4096
early_mmio_l3:    .skip 4096
early_linear_l2:  .skip 4096 * {LINEAR_L2_TABLES}
early_empty:      .skip 4096
early_tables_end:

        .section .boot_stack, "aw", %nobits
        .balign 4096
        .skip   {BOOT_STACK_BYTES}
