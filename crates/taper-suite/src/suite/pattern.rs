//! Patterns of names.

/// Whether a pattern occurs in a name; `*` matches any text: `s0.95`, `feather*seed0`.
pub fn matches(pattern: &str, name: &str) -> bool {
    is_like(&format!("*{pattern}*"), name)
}

/// Whether a pattern matches a whole name; `*` matches any text.
pub(super) fn is_like(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(first) else { return false };
    // Short texts for `*` leave the most to the rest of the pattern.
    (0..=name.len()).filter(|&at| name.is_char_boundary(at)).any(|at| is_like(rest, &name[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_find_jobs() {
        let name = "feather-s0.95-seed0";
        assert!(matches("feather", name) && matches("s0.95", name));
        assert!(matches("feather*seed0", name) && matches("*", name) && matches("", name));
        assert!(!matches("seed0*feather", name) && !matches("s0.9-", name));
    }
}
