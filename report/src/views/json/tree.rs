//! What is above or below a function, as a list: however deep it is, it can be read without recursion.

use serde::Serialize;

use crate::profile::Profile;
use crate::refine::Side;
use crate::views::tree::{TOO_LARGE, Tree};

/// A function under one caller, or above one callee.
#[derive(Serialize)]
pub(super) struct Branch<'a> {
    parent: Option<usize>,
    name: &'a str,
    module: &'a str,
    marks: String,
    #[serde(rename = "self", skip_serializing_if = "Option::is_none")]
    own: Option<u64>,
    total: u64,
}

/// The branches with at least this share of the samples; each stands behind its parent, heaviest first.
pub(super) fn branches<'a>(profile: &'a Profile, tree: &'a Tree, min_percent: f64) -> Vec<Branch<'a>> {
    let mut branches = Vec::new();
    let mut pending: Vec<(usize, Option<usize>)> = tree.roots.iter().rev().map(|root| (*root, None)).collect();
    while let Some((place, parent)) = pending.pop() {
        let node = &tree.nodes[place];
        if profile.percent(node.total) < min_percent {
            continue;
        }
        let here = Some(branches.len());
        branches.push(Branch {
            parent,
            name: node.name(profile),
            module: node.module(profile),
            marks: node.marks(profile).letters(),
            own: (profile.side != Some(Side::Callers)).then_some(node.own),
            total: node.total,
        });
        pending.extend(node.children.iter().rev().map(|child| (*child, here)));
    }
    branches
}

/// The tree of a profile of which one side of a function is shown.
pub(super) fn tree(profile: &Profile) -> serde_json::Result<Option<Tree>> {
    match profile.side {
        None => Ok(None),
        Some(_) => Tree::of(profile).map(Some).ok_or_else(|| serde::ser::Error::custom(TOO_LARGE)),
    }
}
