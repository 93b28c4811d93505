//! Errors for the user: one sentence and an exit code.

use taper_host::Exit;

pub use taper_experiment::usage;

/// The exit code of an error.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    Exit::of(error.as_ref()).code()
}

/// The error and its causes as one sentence. A cause that the message already contains is left out.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if sentence.is_empty() {
            sentence = cause;
        } else if !sentence.contains(&cause) {
            sentence = format!("{sentence}: {cause}");
        }
    }
    let lines: Vec<String> = sentence.trim_end().lines().map(printable).collect();
    lines.join("\n")
}

/// Escapes control characters in a text for the terminal: names from files may contain terminal commands.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => printable.extend(c.escape_default()),
            false => printable.push(c),
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_cause_is_printed_once() {
        let cause = || anyhow::anyhow!("no such file");
        let told = cause().context("cannot read x: no such file");
        assert_eq!(sentence(&told), "cannot read x: no such file");
        assert_eq!(sentence(&cause().context("cannot read x")), "cannot read x: no such file");
    }

    #[test]
    fn control_characters_in_names_are_escaped() {
        let error = anyhow::anyhow!("node `a\x1b[31m`, é\n  line 2\n");
        assert_eq!(sentence(&error), "node `a\\u{1b}[31m`, é\n  line 2");
        assert_eq!(printable("a\nb\u{9b}"), "a\\nb\\u{9b}");
    }

    #[test]
    fn a_code_is_found_behind_a_context() {
        let code = |error| exit_code(&Err::<(), _>(error).context("on the way").unwrap_err());
        assert_eq!((code(usage("wrong")), code(anyhow::anyhow!("failed"))), (2, 1));
        assert_eq!(code(std::io::Error::from(std::io::ErrorKind::StorageFull).into()), 4);
    }
}
