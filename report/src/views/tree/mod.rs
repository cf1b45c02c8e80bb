//! The call tree from the root, or what is above or below a function, as text. Only where it branches does it indent, so that deep
//! stacks can be read: a line without a branch before it is called by the line above, or calls it where callers are shown.

mod branches;

use std::fmt::Write;

pub(super) use branches::Tree;

use super::marks::Legend;
use super::page::Style;
use super::shorten::shorten;
use super::{Page, Width};
use crate::escape;
use crate::ledger::grouped;
use crate::profile::Profile;
use crate::refine::Side;

/// Indentation grows no further than this.
const MAX_INDENTATION: usize = 120;
/// Columns before the tree.
const FIGURES: usize = 29;
/// Names are never cut below this.
const MIN_NAME: usize = 16;

/// That there are too many branches.
pub(super) const TOO_LARGE: &str = "more than 16,777,216 branches: choose fewer samples with --time, --pid or --comm";

/// The tree without branches below `min_percent` of the samples.
pub fn view(profile: &Profile, min_percent: f64, page: Page) -> String {
    let Some(tree) = Tree::of(profile) else { return format!("{TOO_LARGE}\n") };
    let text = String::new();
    let mut drawing = Drawing { profile, tree: &tree, min_percent, page, cut: 0, legend: Legend::default(), text };
    drawing.draw();
    drawing.text
}

/// The text while it is being drawn.
struct Drawing<'a> {
    profile: &'a Profile,
    tree: &'a Tree,
    min_percent: f64,
    page: Page,
    cut: usize,
    legend: Legend,
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
        let heading = match self.profile.side {
            None => "total %     total      self  call tree",
            Some(Side::Callees) => "total %     total      self  below each function, what it calls",
            Some(Side::Callers) => "total %     total            below each function, who calls it",
        };
        // Writing to a string cannot fail; so below.
        let _ = writeln!(self.text, "{}", self.page.paint(Style::Heading, heading));
        let mut pending = self.visible(&self.tree.roots, "");
        pending.iter_mut().for_each(|root| (root.before, root.below) = (String::new(), String::new()));
        pending.reverse();
        while let Some(next) = pending.pop() {
            self.line(&next);
            let children = self.visible(&self.tree.nodes[next.node].children, &next.below);
            pending.extend(children.into_iter().rev());
        }
        self.text.push_str(&self.legend.text());
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
        let deep = indentation.chars().count() >= self.max_indentation();
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

    /// On a terminal, about half of what the figures leave is for names.
    fn max_indentation(&self) -> usize {
        match self.page.width {
            Width::Columns(columns) => (columns.saturating_sub(FIGURES) / 2).clamp(4, MAX_INDENTATION),
            Width::Unlimited => MAX_INDENTATION,
        }
    }

    fn line(&mut self, pending: &Pending) {
        let (node, page) = (&self.tree.nodes[pending.node], self.page);
        let percent = self.profile.percent(node.total);
        let marks = node.marks(self.profile);
        self.legend.add(marks);
        let suffix = marks.suffix();
        let mut name = escape::text(node.name(self.profile)).into_owned();
        if let Width::Columns(columns) = page.width {
            let before = FIGURES + pending.before.chars().count() + suffix.len();
            name = shorten(&name, columns.saturating_sub(before).max(MIN_NAME));
        }
        let own = if self.profile.side == Some(Side::Callers) { String::new() } else { grouped(node.own) };
        let heat = Style::of_percent(self.profile.percent(node.own));
        let share = page.paint(if own.is_empty() { Style::Plain } else { heat }, &format!("{percent:>7.2}"));
        let style = if node.is_root() { Style::Heading } else { Style::of(marks) };
        let (before, name) = (page.paint(Style::Faint, &pending.before), page.paint(style, &(name + &suffix)));
        let _ = writeln!(self.text, "{share} {:>9} {own:>9}  {before}{name}", grouped(node.total));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Shape;
    use crate::profile::tests::{around, sample_profile, shaped};

    /// Branches are drawn, chains do not indent, and what was cut is counted.
    #[test]
    fn the_tree_branches_where_stacks_do() {
        let text = view(&sample_profile(), 20.0, Page::plain(Width::Unlimited));
        let expected = "\
total %     total      self  call tree
 100.00        10         0  prog
  90.00         9         0  main
  90.00         9         0  work
  60.00         6         6  ├─work
  30.00         3         3  └─do_sys_[k]
marks: k kernel
... not shown: 1 below 20%; --min-percent 0 shows all
";
        assert_eq!(text, expected);
    }

    /// Below a function is what it calls, itself included; above it is who called it first. Each sample counts once.
    #[test]
    fn both_sides_of_a_function() {
        let of = |side| {
            let refinement = around("work", side);
            view(&shaped(&Shape { refinement, ..Shape::default() }), 0.0, Page::plain(Width::Unlimited))
        };
        let callees = "\
total %     total      self  below each function, what it calls
 100.00         9         0  work
  66.67         6         6  ├─work
  33.33         3         3  └─do_sys_[k]
marks: k kernel
";
        let callers = "\
total %     total            below each function, who calls it
 100.00         9            work
 100.00         9            main
";
        assert_eq!([of(Side::Callees), of(Side::Callers)], [callees, callers]);
    }

    /// On a terminal no line is longer than it is wide.
    #[test]
    fn a_terminal_is_never_wrapped() {
        for width in [50, 60, 80] {
            let text = view(&sample_profile(), 0.0, Page::plain(Width::Columns(width)));
            assert!(
                text.lines().skip(1).filter(|line| !line.starts_with("...")).all(|line| line.chars().count() <= width),
                "{text}"
            );
        }
    }
}
