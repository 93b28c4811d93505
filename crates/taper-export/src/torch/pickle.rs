//! Interprets Python pickles of protocols 2 to 5. The functions that a pickle calls are never run.
//!
//! A pickle is a program for a stack machine. A few bytes can describe a huge value: a value in the memo can be loaded
//! any number of times, values can be nested without limit, and a value can contain itself. So values are entries of
//! one flat list, and they refer to each other by index. An operation adds at most one entry, loading a value copies
//! nothing, and nothing here recurses. Memory is proportional to the length of the pickle.

use std::collections::HashMap;

/// A value that a pickle makes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// A value that no state dict needs: `None`, floats, bytes, sets.
    Other,
    Bool(bool),
    Int(i64),
    /// An integer of more than 64 bits, the lowest byte first.
    Long(&'a [u8]),
    Text(&'a [u8]),
    /// Index in the list of compound values.
    Node(usize),
}

/// A compound value.
#[derive(Debug)]
pub(crate) enum Node<'a> {
    /// A class or function, by module and name.
    Class(&'a [u8], &'a [u8]),
    Tuple(Vec<Value<'a>>),
    List(Vec<Value<'a>>),
    Dict(Vec<(Value<'a>, Value<'a>)>),
    /// A call of a class or function, and the items that were added afterwards.
    Call {
        callable: Value<'a>,
        arguments: Value<'a>,
        items: Vec<(Value<'a>, Value<'a>)>,
    },
    /// An object outside of the pickle, by its description.
    Persistent(Value<'a>),
}

/// The values of a pickle.
#[derive(Debug)]
pub(crate) struct Pickle<'a> {
    nodes: Vec<Node<'a>>,
    pub(crate) root: Value<'a>,
}

impl<'a> Pickle<'a> {
    /// Interprets a pickle to its end. Also returns the bytes after it.
    ///
    /// # Errors
    /// If it is cut off, inconsistent, or has an unknown operation.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), String> {
        let mut machine = Machine {
            rest: bytes,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            nodes: Vec::new(),
        };
        while !machine.step()? {}
        let root = machine.pop()?;
        Ok((Self { nodes: machine.nodes, root }, machine.rest))
    }

    /// All compound values.
    pub(crate) fn nodes(&self) -> &[Node<'a>] {
        &self.nodes
    }

    /// The compound value at the index in a value.
    pub(crate) fn node(&self, value: Value) -> Option<&Node<'a>> {
        match value {
            Value::Node(at) => self.nodes.get(at),
            _ => None,
        }
    }

    /// Module and name of a class or function. The legacy format describes the class of a network as
    /// `('module', class, file, source)`.
    pub(crate) fn class(&self, value: Value) -> Option<(&'a [u8], &'a [u8])> {
        let class = match self.node(value)? {
            Node::Persistent(described) => match *self.values(*described)? {
                [Value::Text(b"module"), class, ..] => self.node(class)?,
                _ => return None,
            },
            node => node,
        };
        match class {
            Node::Class(module, name) => Some((module, name)),
            _ => None,
        }
    }

    /// The values of a tuple or list.
    pub(crate) fn values(&self, value: Value) -> Option<&[Value<'a>]> {
        match self.node(value)? {
            Node::Tuple(values) | Node::List(values) => Some(values),
            _ => None,
        }
    }

    /// The items of a dictionary, or of an object with items.
    pub(crate) fn items(&self, value: Value) -> Option<&[(Value<'a>, Value<'a>)]> {
        match self.node(value)? {
            Node::Dict(items) | Node::Call { items, .. } => Some(items),
            _ => None,
        }
    }
}

struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Value<'a>>,
    /// Heights of the stack at open marks. A later operation combines the values above a mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Value<'a>>,
    nodes: Vec<Node<'a>>,
}

fn cut() -> String {
    "its pickle is cut off or damaged".into()
}

impl<'a> Machine<'a> {
    /// Interprets one operation. Returns whether it was the last.
    fn step(&mut self) -> Result<bool, String> {
        let op = self.number(1)? as u8;
        match op {
            b'.' => return Ok(true),
            // The protocol, and the length of a frame.
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            // Atoms.
            b'N' | 0x8f => self.stack.push(Value::Other),
            0x88 | 0x89 => self.stack.push(Value::Bool(op == 0x88)),
            b'K' => self.int(1)?,
            b'M' => self.int(2)?,
            b'J' => {
                let value = self.number(4)? as u32 as i32;
                self.stack.push(Value::Int(value.into()));
            }
            0x8a => self.long(1)?,
            0x8b => self.long(4)?,
            b'G' => {
                self.take(8)?;
                self.stack.push(Value::Other);
            }
            0x8c | b'U' => self.text(1)?,
            b'X' | b'T' => self.text(4)?,
            0x8d => self.text(8)?,
            b'C' => self.bytes(1)?,
            b'B' => self.bytes(4)?,
            0x8e | 0x96 => self.bytes(8)?,
            // The memo.
            b'q' => self.put(1)?,
            b'r' => self.put(4)?,
            0x94 => {
                let top = self.top()?;
                self.memo.insert(self.memo.len() as u64, top);
            }
            b'h' => self.get(1)?,
            b'j' => self.get(4)?,
            // The stack.
            b'(' => self.marks.push(self.stack.len()),
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            // Compound values.
            b')' => self.push(Node::Tuple(Vec::new())),
            b']' => self.push(Node::List(Vec::new())),
            b'}' => self.push(Node::Dict(Vec::new())),
            0x85..=0x87 => {
                let values = self.last(usize::from(op) - 0x84)?;
                self.push(Node::Tuple(values));
            }
            b't' => {
                let values = self.since_mark()?;
                self.push(Node::Tuple(values));
            }
            b'l' => {
                let values = self.since_mark()?;
                self.push(Node::List(values));
            }
            b'd' => {
                let values = self.since_mark()?;
                let items = pairs(&values)?;
                self.push(Node::Dict(items));
            }
            0x91 => {
                self.since_mark()?;
                self.stack.push(Value::Other);
            }
            // Items of compound values.
            b'a' => {
                let value = self.pop()?;
                self.append(&[value])?;
            }
            b'e' => {
                let values = self.since_mark()?;
                self.append(&values)?;
            }
            b's' => {
                let item = self.last(2)?;
                self.set(&item)?;
            }
            b'u' => {
                let values = self.since_mark()?;
                self.set(&values)?;
            }
            0x90 => {
                self.since_mark()?;
                self.top()?;
            }
            // The state of an object is ignored.
            b'b' => {
                self.pop()?;
                self.top()?;
            }
            // Classes and calls.
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Node::Class(module, name));
            }
            0x93 => {
                let names = self.last(2)?;
                let [Value::Text(module), Value::Text(name)] = names[..] else { return Err(cut()) };
                self.push(Node::Class(module, name));
            }
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments);
            }
            0x92 => {
                let _keywords = self.pop()?;
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments);
            }
            b'Q' => {
                let description = self.pop()?;
                self.push(Node::Persistent(description));
            }
            other => {
                return Err(format!("its pickle has an unknown operation {other:#04x}"));
            }
        }
        Ok(false)
    }

    fn take(&mut self, n: u64) -> Result<&'a [u8], String> {
        let n = usize::try_from(n).map_err(|_| cut())?;
        let (taken, rest) = self.rest.split_at_checked(n).ok_or_else(cut)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A number of `width` bytes, the lowest first.
    fn number(&mut self, width: u64) -> Result<u64, String> {
        Ok(self.take(width)?.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte)))
    }

    /// Bytes that follow their length.
    fn run(&mut self, width: u64) -> Result<&'a [u8], String> {
        let len = self.number(width)?;
        self.take(len)
    }

    fn line(&mut self) -> Result<&'a [u8], String> {
        let end = self.rest.iter().position(|&byte| byte == b'\n').ok_or_else(cut)?;
        let line = self.take(end as u64)?;
        self.take(1)?;
        Ok(line)
    }

    fn int(&mut self, width: u64) -> Result<(), String> {
        let value = self.number(width)? as i64;
        self.stack.push(Value::Int(value));
        Ok(())
    }

    /// An integer that follows its length. The highest byte has the sign.
    fn long(&mut self, width: u64) -> Result<(), String> {
        let bytes = self.run(width)?;
        let sign = if bytes.last().is_some_and(|&byte| byte >= 0x80) { -1 } else { 0 };
        self.stack.push(match bytes.len() <= 8 {
            true => Value::Int(bytes.iter().rev().fold(sign, |n, &byte| n << 8 | i64::from(byte))),
            false => Value::Long(bytes),
        });
        Ok(())
    }

    fn text(&mut self, width: u64) -> Result<(), String> {
        let text = self.run(width)?;
        self.stack.push(Value::Text(text));
        Ok(())
    }

    fn bytes(&mut self, width: u64) -> Result<(), String> {
        self.run(width)?;
        self.stack.push(Value::Other);
        Ok(())
    }

    fn put(&mut self, width: u64) -> Result<(), String> {
        let at = self.number(width)?;
        let top = self.top()?;
        self.memo.insert(at, top);
        Ok(())
    }

    fn get(&mut self, width: u64) -> Result<(), String> {
        let at = self.number(width)?;
        let value = *self.memo.get(&at).ok_or("its pickle loads a value that it never stored")?;
        self.stack.push(value);
        Ok(())
    }

    fn push(&mut self, node: Node<'a>) {
        self.stack.push(Value::Node(self.nodes.len()));
        self.nodes.push(node);
    }

    /// Height of the stack below which no operation reads.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Value<'a>, String> {
        self.stack[self.floor()..].last().copied().ok_or_else(cut)
    }

    fn pop(&mut self) -> Result<Value<'a>, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// Removes the last `n` values.
    fn last(&mut self, n: usize) -> Result<Vec<Value<'a>>, String> {
        let from = self.stack.len().checked_sub(n).filter(|&from| from >= self.floor());
        Ok(self.stack.split_off(from.ok_or_else(cut)?))
    }

    fn since_mark(&mut self) -> Result<Vec<Value<'a>>, String> {
        let from = self.marks.pop().ok_or_else(cut)?;
        Ok(self.stack.split_off(from))
    }

    /// The compound value on top, to add items.
    fn container(&mut self) -> Result<&mut Node<'a>, String> {
        let Value::Node(at) = self.top()? else { return Err(cut()) };
        self.nodes.get_mut(at).ok_or_else(cut)
    }

    fn append(&mut self, values: &[Value<'a>]) -> Result<(), String> {
        if let Node::List(list) = self.container()? {
            list.extend(values);
        }
        Ok(())
    }

    fn set(&mut self, values: &[Value<'a>]) -> Result<(), String> {
        let new = pairs(values)?;
        match self.container()? {
            Node::Dict(items) | Node::Call { items, .. } => items.extend(new),
            _ => return Err(cut()),
        }
        Ok(())
    }

    fn call(&mut self, callable: Value<'a>, arguments: Value<'a>) {
        let made = match self.node(callable) {
            Some(Node::Class(b"collections", b"OrderedDict" | b"defaultdict")) => {
                Node::Dict(self.first_items(arguments))
            }
            _ => Node::Call { callable, arguments, items: Vec::new() },
        };
        self.push(made);
    }

    fn node(&mut self, value: Value) -> Option<&mut Node<'a>> {
        match value {
            Value::Node(at) => self.nodes.get_mut(at),
            _ => None,
        }
    }

    /// The initial items of an ordered dictionary of Python 2, from a list of pairs. The list is moved out, so a second
    /// call with the same arguments costs nothing.
    fn first_items(&mut self, arguments: Value<'a>) -> Vec<(Value<'a>, Value<'a>)> {
        let first = match self.node(arguments) {
            Some(Node::Tuple(arguments)) => arguments.first().copied(),
            _ => None,
        };
        let list = match first.and_then(|first| self.node(first)) {
            Some(Node::List(list)) => std::mem::take(list),
            _ => Vec::new(),
        };
        let pair = |pair| match self.node(pair) {
            Some(Node::Tuple(pair) | Node::List(pair)) => match pair[..] {
                [key, value] => Some((key, value)),
                _ => None,
            },
            _ => None,
        };
        list.into_iter().filter_map(pair).collect()
    }
}

/// A name from a pickle, for a message.
pub(crate) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(&name[..name.len().min(60)]).into_owned()
}

/// Pairs of keys and values.
fn pairs<'a>(values: &[Value<'a>]) -> Result<Vec<(Value<'a>, Value<'a>)>, String> {
    let (pairs, rest) = values.as_chunks::<2>();
    match rest {
        [] => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
        _ => Err(cut()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{'w': (1, 2), 'v': (1, 2)}`, with one tuple that is stored in the memo and loaded.
    const VALID: &[u8] =
        b"\x80\x02}X\x01\x00\x00\x00wK\x01K\x02\x86q\x00sX\x01\x00\x00\x00vh\x00s.";

    fn bad(bytes: &[u8]) -> String {
        Pickle::read(bytes).unwrap_err()
    }

    #[test]
    fn a_valid_pickle_is_read_and_a_part_of_it_is_not() {
        let (pickle, rest) = Pickle::read(VALID).unwrap();
        let [(w, one), (v, two)] = pickle.items(pickle.root).unwrap() else { panic!("two items") };
        assert_eq!((*w, *v), (Value::Text(b"w"), Value::Text(b"v")));
        assert_eq!(one, two);
        assert_eq!(pickle.values(*one), Some(&[Value::Int(1), Value::Int(2)][..]));
        assert!(rest.is_empty());
        for len in 0..VALID.len() {
            assert!(Pickle::read(&VALID[..len]).is_err(), "cut to {len} bytes");
        }
    }

    #[test]
    fn bytes_after_a_pickle_are_returned() {
        let two = [VALID, b"N."].concat();
        let (_, rest) = Pickle::read(&two).unwrap();
        assert_eq!(rest, b"N.");
        let (pickle, _) = Pickle::read(rest).unwrap();
        assert_eq!(pickle.root, Value::Other);
    }

    #[test]
    fn integers_have_their_sign() {
        fn of(bytes: &[u8]) -> Value<'_> {
            Pickle::read(bytes).unwrap().0.root
        }
        assert_eq!(of(b"J\xfe\xff\xff\xff."), Value::Int(-2));
        assert_eq!(of(b"M\xfe\xff."), Value::Int(65_534));
        assert_eq!(of(b"\x8a\x00."), Value::Int(0));
        assert_eq!(of(b"\x8a\x02\x00\xff."), Value::Int(-256));
        assert_eq!(of(b"\x8b\x01\x00\x00\x00\x7f."), Value::Int(127));
        assert_eq!(of(b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f."), Value::Int(i64::MAX));
    }

    #[test]
    fn dictionaries_of_other_kinds_have_items() {
        // Python 2's OrderedDict([['a', 1]]).
        let old = b"\x80\x02ccollections\nOrderedDict\n](](U\x01aK\x01ee\x85R.";
        let (pickle, _) = Pickle::read(old).unwrap();
        assert_eq!(pickle.items(pickle.root), Some(&[(Value::Text(b"a"), Value::Int(1))][..]));
        // A subclass of a dictionary, and one of a list.
        let own = b"\x80\x04\x8c\x01m\x8c\x01D\x93)\x81(\x8c\x01aK\x01u.";
        let (pickle, _) = Pickle::read(own).unwrap();
        assert_eq!(pickle.items(pickle.root), Some(&[(Value::Text(b"a"), Value::Int(1))][..]));
        let Some(Node::Call { callable, .. }) = pickle.node(pickle.root) else { panic!("a call") };
        assert_eq!(pickle.class(*callable), Some((&b"m"[..], &b"D"[..])));
        let deque = b"\x80\x02ccollections\ndeque\n)R(K\x01K\x02e.";
        assert!(Pickle::read(deque).is_ok());
    }

    #[test]
    fn a_few_bytes_of_a_huge_value_take_little_memory() {
        // Forty pairs, each of the previous value twice, are 2⁴⁰ values.
        let mut pairs = b"\x80\x02)".to_vec();
        for i in 0..40u8 {
            pairs.extend([b'q', i, b'h', i, 0x86]);
        }
        pairs.push(b'.');
        assert_eq!(Pickle::read(&pairs).unwrap().0.nodes().len(), 41);
        // Deeper than any thread's stack, and a list that contains itself.
        let deep = [&b"\x80\x02)"[..], &[0x85; 400_000], b"."].concat();
        assert_eq!(Pickle::read(&deep).unwrap().0.nodes().len(), 400_001);
        assert!(Pickle::read(b"\x80\x02]q\x00h\x00a.").is_ok());
    }

    #[test]
    fn inconsistent_pickles_are_rejected() {
        for bytes in [
            &b"\x80\x02X\xf0\xff\xff\xffabc."[..],
            b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.",
            b"\x80\x02.",
            b"\x80\x02N(.",
            b"\x80\x02u.",
            b"\x80\x02(N0s.",
            b"\x80\x02}(Nu.",
            b"\x80\x02NNa.",
            b"\x80\x02]NNs.",
            b"\x80\x02K\x01K\x02\x93.",
            b"\x80\x02N(\x85.",
        ] {
            assert!(bad(bytes).contains("cut off or damaged"), "{bytes:?}");
        }
        assert!(bad(b"\x80\x02h\x07.").contains("never stored"));
        assert!(bad(b"\x80\x02\x97.").contains("0x97"));
    }
}
