//! A YAML file as a tree of keys, each with its place.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};
use std::fmt;

/// A node and where it stands.
pub(super) type Node = Spanned<NodeKind>;

/// What a node is; scalars are left to the typed reading.
#[derive(Debug)]
pub(super) enum NodeKind {
    /// Nothing, `~` or `null`.
    Null,
    /// Any scalar.
    Scalar,
    /// A list.
    List(Vec<Node>),
    /// Keys and values in their order.
    Map(Vec<(Spanned<String>, Node)>),
}

/// The dotted path of what stands at a place: of the innermost key there, or of the outermost
/// value, which begins where its first key does.
pub(super) fn path_at(tree: &Node, location: Location, innermost: bool) -> Option<Vec<String>> {
    let same = |a: Location| (a.line(), a.column()) == (location.line(), location.column());
    let mut found = None;
    walk(tree, &mut Vec::new(), &mut |path, key, value| {
        if (same(key) || same(value)) && (innermost || found.is_none()) {
            found = Some(path.to_vec());
        }
    });
    found
}

/// Visits each key with its path, its place and its value's place; list items count from 0.
pub(super) fn walk(
    node: &Node,
    path: &mut Vec<String>,
    visit: &mut impl FnMut(&[String], Location, Location),
) {
    let entries: Vec<(String, Location, &Node)> = match &node.value {
        NodeKind::Null | NodeKind::Scalar => return,
        NodeKind::List(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| (index.to_string(), item.referenced, item))
            .collect(),
        NodeKind::Map(entries) => {
            entries.iter().map(|(key, value)| (key.value.clone(), key.referenced, value)).collect()
        }
    };
    for (name, key, value) in entries {
        path.push(name);
        visit(path, key, value.referenced);
        walk(value, path, visit);
        path.pop();
    }
}

impl<'de> Deserialize<'de> for NodeKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = NodeKind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML node")
    }

    fn visit_bool<E>(self, _: bool) -> Result<NodeKind, E> {
        Ok(NodeKind::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<NodeKind, E> {
        Ok(NodeKind::Scalar)
    }

    fn visit_i128<E>(self, _: i128) -> Result<NodeKind, E> {
        Ok(NodeKind::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<NodeKind, E> {
        Ok(NodeKind::Scalar)
    }

    fn visit_u128<E>(self, _: u128) -> Result<NodeKind, E> {
        Ok(NodeKind::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<NodeKind, E> {
        Ok(NodeKind::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<NodeKind, E> {
        Ok(NodeKind::Scalar)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<NodeKind, E> {
        Ok(NodeKind::Scalar)
    }

    fn visit_unit<E>(self) -> Result<NodeKind, E> {
        Ok(NodeKind::Null)
    }

    fn visit_none<E>(self) -> Result<NodeKind, E> {
        Ok(NodeKind::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<NodeKind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(NodeKind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<NodeKind, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(NodeKind::Map(entries))
    }
}
