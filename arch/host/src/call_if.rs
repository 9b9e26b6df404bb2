//! A call that depends on a key, without patching.

/// Calls `function`, a safe `extern "C" fn`, while the key is on.
#[macro_export]
macro_rules! call_if {
    ($key:expr, $function:path $(, $argument:expr)*) => {
        if $crate::patch::static_branch::<{ $key }>() {
            $function($($argument),*);
        }
    };
}
