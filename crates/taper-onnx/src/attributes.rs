//! The attributes of a node. An attribute that no operator reads is an error.

use crate::proto::{Attribute, NodeProto, SparseTensor, TensorProto};
use std::{cell::RefCell, collections::BTreeMap};

/// Attributes that have not been read yet.
#[derive(Debug)]
pub(crate) struct Attributes<'a>(RefCell<BTreeMap<&'a str, &'a Attribute>>);

impl<'a> Attributes<'a> {
    /// The attributes of a node.
    ///
    /// # Errors
    /// If two have the same name.
    pub(crate) fn of(node: &'a NodeProto) -> Result<Self, String> {
        let mut attributes = BTreeMap::new();
        for attribute in &node.attribute {
            if attributes.insert(&*attribute.name, attribute).is_some() {
                return Err(format!("its attribute `{}` occurs twice", attribute.name));
            }
        }
        Ok(Self(RefCell::new(attributes)))
    }

    fn take(&self, name: &str) -> Option<&'a Attribute> {
        self.0.borrow_mut().remove(name)
    }

    /// Reads an attribute with `value`. A file may omit a zero, and then only the kind of the attribute is stored.
    fn typed<T>(
        &self,
        name: &str,
        kind: &str,
        value: impl FnOnce(&'a Attribute) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(attribute) = self.take(name) else { return Ok(None) };
        let wrong = || format!("its attribute `{name}` is not of type {kind}");
        value(attribute).ok_or_else(wrong).map(Some)
    }

    pub(crate) fn int(&self, name: &str) -> Result<Option<i64>, String> {
        self.typed(name, "integer", |a| a.i.or((a.kind == 2).then_some(0)))
    }

    pub(crate) fn float(&self, name: &str) -> Result<Option<f32>, String> {
        self.typed(name, "float", |a| a.f.or((a.kind == 1).then_some(0.0)))
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        self.typed(name, "text", |a| match &a.s {
            Some(bytes) => std::str::from_utf8(bytes).ok(),
            None => (a.kind == 3).then_some(""),
        })
    }

    pub(crate) fn ints(&self, name: &str) -> Result<Option<&'a [i64]>, String> {
        let is_list = |a: &Attribute| a.kind == 7 || !a.ints.is_empty();
        self.typed(name, "list of integers", |a| is_list(a).then_some(&a.ints[..]))
    }

    pub(crate) fn floats(&self, name: &str) -> Result<Option<&'a [f32]>, String> {
        let is_list = |a: &Attribute| a.kind == 6 || !a.floats.is_empty();
        self.typed(name, "list of floats", |a| is_list(a).then_some(&a.floats[..]))
    }

    pub(crate) fn tensor(&self, name: &str) -> Result<Option<&'a TensorProto>, String> {
        self.typed(name, "tensor", |a| a.t.as_ref())
    }

    pub(crate) fn sparse_tensor(&self, name: &str) -> Result<Option<&'a SparseTensor>, String> {
        self.typed(name, "sparse tensor", |a| a.sparse_tensor.as_ref())
    }

    /// Reads an attribute that is 0 or 1.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        match self.int(name)? {
            None => Ok(default),
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(other) => Err(format!("its attribute `{name}` is {other}, but must be 0 or 1")),
        }
    }

    /// Skips attributes that have no effect.
    pub(crate) fn ignore(&self, names: &[&str]) {
        self.0.borrow_mut().retain(|name, _| !names.contains(name));
    }

    /// Checks that all attributes have been read.
    ///
    /// # Errors
    /// Names an attribute that has not been read.
    pub(crate) fn finish(&self) -> Result<(), String> {
        match self.0.borrow().keys().next() {
            Some(name) => Err(format!("its attribute `{name}` is not supported")),
            None => Ok(()),
        }
    }
}
