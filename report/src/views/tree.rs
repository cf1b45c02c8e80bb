//! The call tree from the root, as text. Only where it branches does it indent, so that deep
//! stacks can be read: a line without a branch before it is called by the line above.

use std::cmp::Reverse;
use std::fmt::Write;

use foldhash::HashMap;

use super::folded::GUESSED;
use super::{Width, table};
use crate::escape;
use crate::ledger::grouped;
use crate::profile::{PathCount, Profile};
use crate::symbols::FunctionId;

/// Indentation grows no further than this many levels of branches.
const MAX_INDENTATION: usize = 60;
/// A tree of more branches is not drawn: it would take gigabytes.
const MAX_NODES: usize = 1 << 24;

/// A function under one caller.
struct Node {
    label: Label,
    total: u64,
    own: u64,
    children: Vec<usize>,
}

/// What a node stands for.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Label {
    Comm(String),
    Function(FunctionId),
    Guessed(FunctionId),
}

/// Stacks merged from their roots.
#[derive(Default)]
struct Tree {
    nodes: Vec<Node>,
    roots: Vec<usize>,
    known: HashMap<(Option<usize>, Label), usize>,
}

/// The tree without branches below `min_percent` of the samples.
pub fn view(profile: &Profile, min_percent: f64, width: Width) -> String {
    let mut tree = Tree::default();
    for count in &profile.counts {
        tree.add(profile, count);
        if tree.nodes.len() > MAX_NODES {
            return "more than 16,777,216 branches: choose fewer samples with --time, --pid or --comm\n".to_owned();
        }
    }
    tree.sort(profile);
    let mut drawing = Drawing { profile, tree: &tree, min_percent, width, cut: 0, text: String::new() };
    drawing.draw();
    drawing.text
}

impl Tree {
    fn add(&mut self, profile: &Profile, count: &PathCount) {
        let mut node = self.child(None, Label::Comm(count.comm.clone()));
        self.nodes[node].total += count.samples;
        for frame in &profile.paths[count.path] {
            let label = if frame.guessed { Label::Guessed } else { Label::Function };
            node = self.child(Some(node), label(frame.function));
            self.nodes[node].total += count.samples;
        }
        self.nodes[node].own += count.samples;
    }

    fn child(&mut self, parent: Option<usize>, label: Label) -> usize {
        if let Some(&node) = self.known.get(&(parent, label.clone())) {
            return node;
        }
        let node = self.nodes.len();
        self.nodes.push(Node { label: label.clone(), total: 0, own: 0, children: Vec::new() });
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
fn key<'a>(profile: &'a Profile, node: &'a Node) -> (Reverse<u64>, &'a str, &'static str) {
    let (name, mark) = label(profile, &node.label);
    (Reverse(node.total), name, mark)
}

/// A name, and the mark that stands behind it.
fn label<'a>(profile: &'a Profile, label: &'a Label) -> (&'a str, &'static str) {
    match label {
        Label::Comm(comm) => (comm, ""),
        Label::Function(function) => {
            let function = &profile.functions[*function as usize];
            (&function.name, if function.kernel { "_[k]" } else { "" })
        }
        Label::Guessed(function) => (&profile.functions[*function as usize].name, GUESSED),
    }
}

/// The text while it is being drawn.
struct Drawing<'a> {
    profile: &'a Profile,
    tree: &'a Tree,
    min_percent: f64,
    width: Width,
    cut: usize,
    text: String,
}

/// A node waiting to be drawn: what stands before it, and before what is below it.
struct Pending {
    node: usize,
    before: String,
    below: String,
}

impl Drawing<'_> {
    fn draw(&mut self) {
        // Writing to a string cannot fail; so below.
        let _ = writeln!(self.text, "total %     total      self  call tree");
        let mut pending = self.visible(&self.tree.roots, "");
        pending.iter_mut().for_each(|root| (root.before, root.below) = (String::new(), String::new()));
        pending.reverse();
        while let Some(next) = pending.pop() {
            self.line(&next);
            let children = self.visible(&self.tree.nodes[next.node].children, &next.below);
            pending.extend(children.into_iter().rev());
        }
        if self.cut > 0 {
            let (cut, percent) = (grouped(self.cut as u64), self.min_percent);
            let _ = writeln!(self.text, "... not shown: {cut} below {percent}%; --min-percent 0 shows all");
        }
    }

    /// The nodes that are heavy enough, with the lines that lead to them.
    fn visible(&mut self, nodes: &[usize], indentation: &str) -> Vec<Pending> {
        let heavy = |node: &&usize| self.profile.percent(self.tree.nodes[**node].total) >= self.min_percent;
        let shown: Vec<usize> = nodes.iter().filter(heavy).copied().collect();
        self.cut += nodes.len() - shown.len();
        if let [node] = shown[..] {
            let indentation = indentation.to_owned();
            return vec![Pending { node, before: indentation.clone(), below: indentation }];
        }
        let deep = indentation.chars().count() >= MAX_INDENTATION * 2;
        let last = shown.len().saturating_sub(1);
        let pending = shown.iter().enumerate().map(|(index, &node)| {
            let (corner, line) = match (deep, index == last) {
                (true, _) => ("", ""),
                (false, true) => ("└─", "  "),
                (false, false) => ("├─", "│ "),
            };
            Pending { node, before: format!("{indentation}{corner}"), below: format!("{indentation}{line}") }
        });
        pending.collect()
    }

    fn line(&mut self, pending: &Pending) {
        let node = &self.tree.nodes[pending.node];
        let percent = self.profile.percent(node.total);
        let (name, mark) = label(self.profile, &node.label);
        let line = format!(
            "{percent:>7.2} {:>9} {:>9}  {}{}{mark}",
            grouped(node.total),
            grouped(node.own),
            pending.before,
            escape::text(name)
        );
        let line = match self.width {
            Width::Columns(columns) => table::shorten(&line, columns.max(60)),
            Width::Unlimited => line,
        };
        let _ = writeln!(self.text, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::tests::sample_profile;

    /// Branches are drawn, chains do not indent, and what was cut is counted.
    #[test]
    fn the_tree_branches_where_stacks_do() {
        let text = view(&sample_profile(), 20.0, Width::Unlimited);
        let expected = "\
total %     total      self  call tree
 100.00        10         0  prog
  90.00         9         0  main
  90.00         9         0  work
  60.00         6         6  ├─work
  30.00         3         3  └─do_sys_[k]
... not shown: 1 below 20%; --min-percent 0 shows all
";
        assert_eq!(text, expected);
    }
}
