//! What the trials share.

pub mod options;
pub mod random;
pub mod scene;
pub mod step;

/// Nothing, or what is wrong.
pub fn holds(truth: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if truth {
        Ok(())
    } else {
        Err(otherwise())
    }
}

pub fn equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: T,
    wanted: T,
) -> Result<(), String> {
    holds(found == wanted, || {
        format!("{what} is {found:?}, not {wanted:?}")
    })
}
