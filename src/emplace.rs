//! Writing a struct where it is to live.
//!
//! A large value is otherwise built on the stack and copied; for a task that is ten times the work. The
//! fields are written one by one through the pointer, and the list is checked: a field that is missing
//! from it does not compile.

/// `emplace!(at => Type { field: value, … } except a, b)` writes every field of the struct at `at` but the
/// excepted ones.
///
/// # Safety
/// To be used where `at` is valid for writes.
macro_rules! emplace {
    ($at:expr => $ty:ident { $($(#[$attr:meta])* $field:ident: $value:expr,)* } except $($other:ident),*) => {{
        let at: *mut $ty = $at;
        $($(#[$attr])* { (&raw mut (*at).$field).write($value); })*
        // Never called: it checks the list.
        #[expect(dead_code, unreachable_code, reason = "only has to compile")]
        fn all_fields() -> $ty {
            $ty { $($(#[$attr])* $field: unreachable!(),)* $($other: unreachable!(),)* }
        }
    }};
}

pub(crate) use emplace;
