//! Exit codes: 2 for what the user asked wrongly, 1 for what failed.

use std::fmt;

/// Marks an error as one of usage: a flag, an experiment file, or a combination of them.
#[derive(Debug)]
pub struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Usage {}

/// An error of usage.
pub fn usage(message: impl fmt::Display) -> anyhow::Error {
    Usage(message.to_string()).into()
}

/// The exit code of an error.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<Usage>()) { 2 } else { 1 }
}

/// The error and its causes as one sentence; a cause that the message already tells is left out.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if sentence.is_empty() {
            sentence = cause;
        } else if !sentence.contains(&cause) {
            sentence = format!("{sentence}: {cause}");
        }
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_cause_is_told_once() {
        let cause = || anyhow::anyhow!("no such file");
        let told = cause().context("cannot read x: no such file");
        assert_eq!(sentence(&told), "cannot read x: no such file");
        assert_eq!(sentence(&cause().context("cannot read x")), "cannot read x: no such file");
    }

    #[test]
    fn usage_is_found_behind_a_context() {
        let error = Err::<(), _>(usage("wrong")).context("reading the flags").unwrap_err();
        assert_eq!((exit_code(&error), exit_code(&anyhow::anyhow!("failed"))), (2, 1));
    }
}
