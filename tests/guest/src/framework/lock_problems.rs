//! What the validation of the lock order has found (debug builds), for the runner and for tests that are wrong on purpose.

/// How often something was found that no test expected.
pub fn count() -> usize {
    #[cfg(debug_assertions)]
    return stint::lockdep::reports();
    #[cfg(not(debug_assertions))]
    0
}

/// Until it is dropped, wrong uses of locks are no failure of the test.
pub struct Expected {
    #[cfg(debug_assertions)]
    _expectation: stint::lockdep::Expectation,
}

/// Until it is dropped, locks are not validated, which takes time.
pub struct Paused {
    #[cfg(debug_assertions)]
    _pause: stint::lockdep::Pause,
}

/// For a test that counts instructions.
#[must_use]
pub fn paused() -> Paused {
    Paused {
        #[cfg(debug_assertions)]
        _pause: stint::lockdep::pause(),
    }
}

/// For a test that does what is reported.
#[must_use]
pub fn expected() -> Expected {
    Expected {
        #[cfg(debug_assertions)]
        _expectation: stint::lockdep::expect(),
    }
}
