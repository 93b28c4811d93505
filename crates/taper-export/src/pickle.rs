//! A look at a pickle before candle's reader runs it: how much memory would that take?
//!
//! Few bytes can stand for much: a value that is put into the memo and taken from it is a copy in that reader, so that
//! forty pairs of what came before are 2⁴⁰ values; nested values are freed by recursion; a text may claim any length. So
//! the operations are followed here with nothing but the size and depth of each value.

use std::collections::HashMap;

/// Nested deeper than any state dict.
const MOST_DEEP: u32 = 64;

/// A value on the stack: of how many it is made, and how deep.
#[derive(Clone, Copy)]
struct Value {
    size: u64,
    depth: u32,
}

const ATOM: Value = Value { size: 1, depth: 1 };

/// Follows the operations of the reader.
///
/// # Errors
/// What is wrong, if the pickle is cut off, has operations that the reader does not know, or would take more memory than
/// its length justifies.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    let most_copied = 64 * bytes.len() as u64;
    let mut scan = Scan { rest: bytes, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    let mut copied = 0u64;
    loop {
        let op = scan.number(1)?;
        match op as u8 {
            b'.' => return Ok(()),
            0x80 => drop(scan.number(1)?),
            b'c' => {
                scan.line()?;
                scan.line()?;
                scan.stack.push(ATOM);
            }
            b'q' | b'r' => {
                let at = scan.number(if op as u8 == b'q' { 1 } else { 4 })?;
                let top = *scan.stack.last().ok_or_else(cut)?;
                copied = copied.saturating_add(top.size);
                scan.memo.insert(at, top);
            }
            b'h' | b'j' => {
                let at = scan.number(if op as u8 == b'h' { 1 } else { 4 })?;
                let value =
                    *scan.memo.get(&at).ok_or("it takes a value that was never put away")?;
                copied = copied.saturating_add(value.size);
                scan.stack.push(value);
            }
            b'X' => {
                let len = scan.number(4)?;
                scan.skip(len)?;
                scan.stack.push(ATOM);
            }
            0x8a => {
                let len = scan.number(1)?;
                scan.skip(len)?;
                scan.stack.push(ATOM);
            }
            width @ (b'J' | b'K' | b'M' | b'G') => {
                scan.skip(match width {
                    b'K' => 1,
                    b'M' => 2,
                    b'J' => 4,
                    _ => 8,
                })?;
                scan.stack.push(ATOM);
            }
            b')' | b'}' | b']' | b'N' | 0x88 | 0x89 => scan.stack.push(ATOM),
            b'(' => scan.marks.push(scan.stack.len()),
            b't' | b'd' => {
                let parts = scan.since_mark()?;
                scan.stack.push(joined(&parts)?);
            }
            n @ 0x85..=0x87 => scan.join(usize::from(n) - 0x84)?,
            b'Q' => scan.join(1)?,
            b'R' | 0x81 | b'b' | b'a' => scan.join(2)?,
            b's' => scan.join(3)?,
            b'u' | b'e' => {
                let parts = scan.since_mark()?;
                let whole = scan.stack.pop().ok_or_else(cut)?;
                scan.stack.push(joined(&[&[whole], &parts[..]].concat())?);
            }
            other => {
                return Err(format!("its pickle has an operation {other:#04x} that is not known"));
            }
        }
        if copied > most_copied {
            return Err("its pickle repeats values beyond measure".into());
        }
    }
}

struct Scan<'a> {
    rest: &'a [u8],
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
}

fn cut() -> String {
    "its pickle is cut off or damaged".into()
}

/// A value made of others. An empty one is as deep as an atom.
fn joined(parts: &[Value]) -> Result<Value, String> {
    let size = parts.iter().fold(1u64, |size, part| size.saturating_add(part.size));
    let depth = 1 + parts.iter().map(|part| part.depth).max().unwrap_or(0);
    match depth > MOST_DEEP {
        true => Err("its pickle is nested too deep".into()),
        false => Ok(Value { size, depth }),
    }
}

impl Scan<'_> {
    fn skip(&mut self, n: u64) -> Result<(), String> {
        let n = usize::try_from(n).map_err(|_| cut())?;
        self.rest = self.rest.get(n..).ok_or_else(cut)?;
        Ok(())
    }

    /// A whole number of so many bytes, the lowest first.
    fn number(&mut self, width: usize) -> Result<u64, String> {
        let (bytes, rest) = self.rest.split_at_checked(width).ok_or_else(cut)?;
        self.rest = rest;
        Ok(bytes.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte)))
    }

    fn line(&mut self) -> Result<(), String> {
        let end = self.rest.iter().position(|&byte| byte == b'\n').ok_or_else(cut)?;
        self.skip(end as u64 + 1)
    }

    fn since_mark(&mut self) -> Result<Vec<Value>, String> {
        let at = self.marks.pop().filter(|&at| at <= self.stack.len()).ok_or_else(cut)?;
        Ok(self.stack.split_off(at))
    }

    /// Makes one value of the last `n`.
    fn join(&mut self, n: usize) -> Result<(), String> {
        let at = self.stack.len().checked_sub(n).ok_or_else(cut)?;
        let parts = self.stack.split_off(at);
        self.stack.push(joined(&parts)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    /// `{'w': (1, 2)}`, with the tuple put away and taken again.
    const HONEST: &[u8] =
        b"\x80\x02}X\x01\x00\x00\x00wK\x01K\x02\x86q\x00sX\x01\x00\x00\x00vh\x00s.";

    #[test]
    fn an_honest_pickle_passes_and_a_part_of_it_does_not() {
        assert_eq!(check(HONEST), Ok(()));
        for len in 0..HONEST.len() {
            assert!(check(&HONEST[..len]).is_err(), "cut to {len} bytes");
        }
    }

    #[test]
    fn what_would_take_more_memory_than_it_is_worth_is_refused() {
        let mut pairs = b"\x80\x02)".to_vec();
        for i in 0..40u8 {
            pairs.extend([b'q', i, b'h', i, 0x86]);
        }
        pairs.push(b'.');
        assert!(check(&pairs).unwrap_err().contains("beyond measure"));
        let deep = [&b"\x80\x02)"[..], &[0x85; 400_000], b"."].concat();
        assert!(check(&deep).unwrap_err().contains("too deep"));
        let long = b"\x80\x02X\xf0\xff\xff\xffabc.";
        assert!(check(long).unwrap_err().contains("cut off"));
        assert!(check(b"\x80\x02\x95.").unwrap_err().contains("0x95"));
    }
}
