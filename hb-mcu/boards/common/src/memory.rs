//! Copying and filling, small before fast: the compiler's own runtime takes 2 KiB for it, this 0.1.
//!
//! The names and what they promise are the ABI's (ARM IHI 0043, "Memory copying, clearing, and setting"); those of
//! `compiler_builtins` are weak, so these take their place. Instructions that an ARMv6-M has, too.

core::arch::global_asm!(
    r#"
    .syntax unified
    .section .text.hb_memory, "ax", %progbits
    .global memcpy, __aeabi_memcpy, __aeabi_memcpy4, __aeabi_memcpy8
    .global memset, __aeabi_memset, __aeabi_memset4, __aeabi_memset8
    .global __aeabi_memclr, __aeabi_memclr4, __aeabi_memclr8
    .p2align 1

    // r0 to, r1 from, r2 bytes. memcpy returns `to`; the others may.
    .thumb_func
memcpy:
    .thumb_func
__aeabi_memcpy:
    .thumb_func
__aeabi_memcpy4:
    .thumb_func
__aeabi_memcpy8:
    push {{r0, lr}}
    mov r3, r0
    orrs r3, r1
    lsls r3, r3, #30
    bne 2f
1:  subs r2, #4
    blo 3f
    ldm r1!, {{r3}}
    stm r0!, {{r3}}
    b 1b
3:  adds r2, #4
2:  subs r2, #1
    blo 4f
    ldrb r3, [r1]
    strb r3, [r0]
    adds r0, #1
    adds r1, #1
    b 2b
4:  pop {{r0, pc}}

    // r0 to, r1 bytes.
    .thumb_func
__aeabi_memclr:
    .thumb_func
__aeabi_memclr4:
    .thumb_func
__aeabi_memclr8:
    movs r2, #0
    // r0 to, r1 bytes, r2 the byte.
    .thumb_func
__aeabi_memset:
    .thumb_func
__aeabi_memset4:
    .thumb_func
__aeabi_memset8:
    mov r3, r1
    mov r1, r2
    mov r2, r3
    // r0 to, r1 the byte, r2 bytes; returns `to`.
    .thumb_func
memset:
    push {{r0, lr}}
5:  subs r2, #1
    blo 4b
    strb r1, [r0]
    adds r0, #1
    b 5b
"#
);
