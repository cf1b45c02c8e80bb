//! Stacks merged from their roots, or, for callers, from a function on outward.

use std::cmp::Reverse;

use foldhash::HashMap;

use crate::profile::{Code, PathFrame, Profile};
use crate::symbols::FunctionId;
use crate::views::marks::Marks;

/// A tree of more branches is not drawn: it would take gigabytes.
const MAX_NODES: usize = 1 << 24;

/// A function under one caller, or above one callee.
pub(in crate::views) struct Node {
    label: Label,
    /// Samples of it and of what is below it.
    pub(in crate::views) total: u64,
    /// Samples that end here.
    pub(in crate::views) own: u64,
    inlined: u64,
    pub(in crate::views) children: Vec<usize>,
}

/// What a node stands for.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Label {
    Root(String),
    Function { function: FunctionId, guessed: bool },
}

/// Stacks merged where they are equal.
#[derive(Default)]
pub(in crate::views) struct Tree {
    pub(in crate::views) nodes: Vec<Node>,
    pub(in crate::views) roots: Vec<usize>,
    known: HashMap<(Option<usize>, Label), usize>,
}

impl Tree {
    /// Merges the stacks of a profile, the heaviest branches first; `None` when there are too many.
    pub(in crate::views) fn of(profile: &Profile) -> Option<Self> {
        let mut tree = Self::default();
        let mut frames = Vec::new();
        for count in &profile.counts {
            profile.show(count.stack, &mut frames);
            tree.add(profile.root(count), &frames, count.samples);
            if tree.nodes.len() > MAX_NODES {
                return None;
            }
        }
        tree.sort(profile);
        Some(tree)
    }

    /// Adds samples of a stack.
    fn add(&mut self, root: Option<&str>, frames: &[PathFrame], samples: u64) {
        let mut last = root.map(|root| self.child(None, Label::Root(root.to_owned())));
        if let Some(root) = last {
            self.nodes[root].total += samples;
        }
        for frame in frames {
            let label = Label::Function { function: frame.function(), guessed: frame.guessed() };
            let place = self.child(last, label);
            let node = &mut self.nodes[place];
            node.total += samples;
            node.inlined += if frame.inlined() { samples } else { 0 };
            last = Some(place);
        }
        if let Some(last) = last {
            self.nodes[last].own += samples;
        }
    }

    fn child(&mut self, parent: Option<usize>, label: Label) -> usize {
        if let Some(&node) = self.known.get(&(parent, label.clone())) {
            return node;
        }
        let node = self.nodes.len();
        self.nodes.push(Node { label: label.clone(), total: 0, own: 0, inlined: 0, children: Vec::new() });
        match parent {
            Some(parent) => self.nodes[parent].children.push(node),
            None => self.roots.push(node),
        }
        self.known.insert((parent, label), node);
        node
    }

    /// Puts the heaviest branches first, equal ones by name.
    fn sort(&mut self, profile: &Profile) {
        let Self { nodes, roots, .. } = self;
        roots.sort_by(|a, b| key(profile, &nodes[*a]).cmp(&key(profile, &nodes[*b])));
        for place in 0..nodes.len() {
            let mut children = std::mem::take(&mut nodes[place].children);
            children.sort_by(|a, b| key(profile, &nodes[*a]).cmp(&key(profile, &nodes[*b])));
            nodes[place].children = children;
        }
    }
}

/// The order of branches: by weight, then by name, the kernel's and guessed ones after others of the same name.
fn key<'a>(profile: &'a Profile, node: &'a Node) -> (Reverse<u64>, &'a str, Code, bool) {
    let Marks { code, guessed, .. } = node.marks(profile);
    (Reverse(node.total), node.name(profile), code, guessed)
}

impl Node {
    /// The name of the function, or of what is at the root.
    pub(in crate::views) fn name<'a>(&'a self, profile: &'a Profile) -> &'a str {
        match &self.label {
            Label::Root(root) => root,
            Label::Function { function, .. } => &profile.functions[*function as usize].name,
        }
    }

    /// The name of the function's module; empty at the root.
    pub(in crate::views) fn module<'a>(&self, profile: &'a Profile) -> &'a str {
        match &self.label {
            Label::Root(_) => "",
            Label::Function { function, .. } => &profile.functions[*function as usize].module,
        }
    }

    /// Whether it stands for samples as a whole, and for no function.
    pub(in crate::views) fn is_root(&self) -> bool {
        matches!(self.label, Label::Root(_))
    }

    /// What kind of frame it is here.
    pub(in crate::views) fn marks(&self, profile: &Profile) -> Marks {
        match &self.label {
            Label::Root(_) => Marks::default(),
            Label::Function { function, guessed } => {
                let function = &profile.functions[*function as usize];
                Marks { guessed: *guessed, ..Marks::of_part(function, self.total, self.inlined) }
            }
        }
    }
}
