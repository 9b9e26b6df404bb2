//! A call that is a `nop` while its key is off, and that the code around it does not notice.
//!
//! [`static_branch`](crate::patch::static_branch) with a call behind it costs more than its `nop`: the compiler keeps everything
//! that is needed later in registers which a call preserves, and those have to be saved. Here the call is behind the compiler's
//! back. The site branches to a few instructions of its own, which store the arguments and go through `call_if_thunk`: that
//! keeps every register and flag that a call may destroy. So a site costs the `nop`, and that the arguments are in registers.
//!
//! Context: any, that of the function. What lies below `sp` is free: an interrupt could push there at the same instruction.

use core::arch::global_asm;

/// Bytes a site pushes: x16, x30, three arguments and a word to make it a multiple of 16.
pub const FRAME: usize = 48;
/// Bytes the thunk pushes: x0 to x15, x17, x18, the flags, x30.
const SAVED: usize = 160;

// In: x16 = the function, the site's frame at sp. Everything but x16 and x30 is given back.
global_asm!(
    ".section .text.hooks, \"ax\"",
    ".balign 64",
    "call_if_thunk:",
    "sub sp, sp, #{SAVED}",
    "stp x0, x1, [sp]",
    "stp x2, x3, [sp, #16 * 1]",
    "stp x4, x5, [sp, #16 * 2]",
    "stp x6, x7, [sp, #16 * 3]",
    "stp x8, x9, [sp, #16 * 4]",
    "stp x10, x11, [sp, #16 * 5]",
    "stp x12, x13, [sp, #16 * 6]",
    "stp x14, x15, [sp, #16 * 7]",
    "stp x17, x18, [sp, #16 * 8]",
    "mrs x3, nzcv",
    "stp x3, x30, [sp, #16 * 9]",
    "ldp x0, x1, [sp, #{SAVED} + 16]",
    "ldr x2, [sp, #{SAVED} + 32]",
    "blr x16",
    "ldp x3, x30, [sp, #16 * 9]",
    "msr nzcv, x3",
    "ldp x17, x18, [sp, #16 * 8]",
    "ldp x14, x15, [sp, #16 * 7]",
    "ldp x12, x13, [sp, #16 * 6]",
    "ldp x10, x11, [sp, #16 * 5]",
    "ldp x8, x9, [sp, #16 * 4]",
    "ldp x6, x7, [sp, #16 * 3]",
    "ldp x4, x5, [sp, #16 * 2]",
    "ldp x2, x3, [sp, #16 * 1]",
    "ldp x0, x1, [sp]",
    "add sp, sp, #{SAVED}",
    "ret",
    ".global call_if_thunk",
    ".previous",
    SAVED = const SAVED,
);

/// What can be an argument of [`call_if`](crate::call_if): one register.
///
/// # Safety
/// [`Self::word`] is what the register holds where a function of the C ABI takes the value.
pub unsafe trait Argument: Copy {
    /// See the trait.
    fn word(self) -> u64;
}

// SAFETY: a pointer that is not null.
unsafe impl<T> Argument for &T {
    #[inline(always)]
    fn word(self) -> u64 {
        core::ptr::from_ref(self).expose_provenance() as u64
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        // SAFETY: bits beyond the type's are not looked at.
        unsafe impl Argument for $number {
            #[inline(always)]
            fn word(self) -> u64 {
                self as u64
            }
        }
    )*};
}
numbers!(u64, u32, i32, usize);

/// A function with as many arguments as the tuple has, which are words: this is where their types are compared.
pub trait Takes<Arguments> {
    /// The arguments as words.
    type Words;
    /// See there.
    fn words(self, arguments: Arguments) -> Self::Words;
}

impl Takes<()> for extern "C" fn() {
    type Words = [u64; 0];
    #[inline(always)]
    fn words(self, (): ()) -> [u64; 0] {
        []
    }
}

impl<A: Argument> Takes<(A,)> for extern "C" fn(A) {
    type Words = [u64; 1];
    #[inline(always)]
    fn words(self, (a,): (A,)) -> [u64; 1] {
        [a.word()]
    }
}

impl<A: Argument, B: Argument> Takes<(A, B)> for extern "C" fn(A, B) {
    type Words = [u64; 2];
    #[inline(always)]
    fn words(self, (a, b): (A, B)) -> [u64; 2] {
        [a.word(), b.word()]
    }
}

impl<A: Argument, B: Argument, C: Argument> Takes<(A, B, C)> for extern "C" fn(A, B, C) {
    type Words = [u64; 3];
    #[inline(always)]
    fn words(self, (a, b, c): (A, B, C)) -> [u64; 3] {
        [a.word(), b.word(), c.word()]
    }
}

/// `call_if!(KEY, function, a, b, c)`: calls `function`, an `extern "C" fn(A, B, C)` that is safe to call, while the key
/// is on; it has at most three arguments. See the module's text.
#[macro_export]
macro_rules! call_if {
    ($key:expr, $function:path) => {{
        let [] = $crate::call_if::Takes::words($function as extern "C" fn(), ());
        $crate::call_if_site!($key, $function, "",);
    }};
    ($key:expr, $function:path, $a:expr) => {{
        let [a] = $crate::call_if::Takes::words($function as extern "C" fn(_), ($a,));
        $crate::call_if_site!($key, $function, "str {a}, [sp, #16]", a);
    }};
    ($key:expr, $function:path, $a:expr, $b:expr) => {{
        let [a, b] = $crate::call_if::Takes::words($function as extern "C" fn(_, _), ($a, $b));
        $crate::call_if_site!($key, $function, "stp {a}, {b}, [sp, #16]", a, b);
    }};
    ($key:expr, $function:path, $a:expr, $b:expr, $c:expr) => {{
        let [a, b, c] = $crate::call_if::Takes::words($function as extern "C" fn(_, _, _), ($a, $b, $c));
        $crate::call_if_site!($key, $function, "stp {a}, {b}, [sp, #16]\nstr {c}, [sp, #32]", a, b, c);
    }};
}

/// The site of [`call_if`], for that alone.
#[doc(hidden)]
#[macro_export]
macro_rules! call_if_site {
    ($key:expr, $function:path, $store:literal, $($word:ident),*) => {
        // SAFETY: a `nop`, or a call of a function that is safe to call, with arguments of its types that live here; every
        // register and flag is as before behind it. Not `nomem`: it may read and write. Not `nostack`: it pushes.
        unsafe {
            ::core::arch::asm!(
                "2: nop",
                ".pushsection .text.hooks, \"ax\"",
                ".balign 4",
                "3: stp x16, x30, [sp, #-{frame}]!",
                $store,
                "adrp x16, {function}",
                "add x16, x16, :lo12:{function}",
                "bl call_if_thunk",
                "ldp x16, x30, [sp], #{frame}",
                "b 2b + 4",
                ".popsection",
                ".pushsection .patch, \"a\"",
                ".balign 4",
                ".long 2b - .",
                ".long 3b - .",
                ".long {key}",
                "nop",
                ".popsection",
                $($word = in(reg) $word,)*
                function = sym $function,
                key = const $key,
                frame = const $crate::call_if::FRAME,
                options(preserves_flags)
            );
        }
    };
}
