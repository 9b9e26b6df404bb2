// From the firmware to Rust, and from Rust to the kernel. MMU and caches are off and stay off.
//
// The loader lies where the kernel belongs, so it first moves out of the way: 64 MiB up, or 80 MiB if the device tree
// is there. Other CPUs are in the firmware's spin loop in page 0, which nothing here touches.
//
// With the MMU off, what is written goes to memory past the caches. A line that the caches still hold of it, from
// before, must neither be written back over it nor be found later: ranges are cleaned and invalidated before they
// are written, and again afterwards for what was fetched speculatively.

        .section .head, "ax"
        .global _head
_head:
        b       chain_entry                     // code0
        .long   0                               // code1
        .quad   {TEXT_OFFSET}
        .quad   __image_size
        .quad   0xa                             // little endian, 4 KiB pages, anywhere in memory
        .quad   0
        .quad   0
        .quad   0
        .ascii  "ARM\x64"
        .long   0

chain_entry:
        msr     daifset, #0xf
        mov     x20, x0                         // device tree, or what there is of it
        adrp    x19, _head                      // where the kernel belongs
        mov     x21, #{AWAY}
        add     x21, x19, x21
        mov     x1, #{ROOM}                     // a device tree has at most 2 MiB
        sub     x2, x21, x1
        add     x1, x21, x1
        cmp     x20, x2
        b.lo    1f
        cmp     x20, x1
        b.hs    1f
        mov     x1, #{FURTHER}
        add     x21, x21, x1
1:
        adrp    x22, __copied_end               // page aligned
        sub     x22, x22, x19
        mov     x0, x21
        mov     x1, x22
        bl      chain_clean
        mov     x1, x19
        mov     x2, x21
        add     x3, x21, x22
2:      ldp     x4, x5, [x1], #16
        stp     x4, x5, [x2], #16
        cmp     x2, x3
        b.lo    2b
        mov     x0, x21
        mov     x1, x22
        bl      chain_clean
        ic      iallu
        dsb     sy
        isb
        adr     x4, 3f
        sub     x4, x4, x19
        add     x4, x4, x21
        br      x4
3:                                              // in the copy
        adrp    x4, __stack_top
        mov     sp, x4
        mov     x29, xzr
        mov     x30, xzr
        mov     x0, x20
        mov     x1, x19
        mov     x2, x21
        bl      chain_main

// x0 = start, x1 = bytes: cleans and invalidates the lines of this range, down to memory.
        .global chain_clean
chain_clean:
        add     x1, x1, x0
        mrs     x2, ctr_el0
        ubfx    x2, x2, #16, #4
        mov     x3, #4
        lsl     x3, x3, x2
        sub     x2, x3, #1
        bic     x0, x0, x2
        dsb     sy
1:      dc      civac, x0
        add     x0, x0, x3
        cmp     x0, x1
        b.lo    1b
        dsb     sy
        ret

// x0 = device tree, x1 = kernel: leaves for good, as the firmware would have gone there.
        .global chain_start
chain_start:
        mov     x4, x1
        mov     x1, xzr
        mov     x2, xzr
        mov     x3, xzr
        ic      iallu
        dsb     sy
        isb
        br      x4
