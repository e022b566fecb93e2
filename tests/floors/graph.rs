//! The graph of imports between the files of `src/`: an import of a re-exported name leads to the file that defines it.

use std::collections::{BTreeMap, BTreeSet};

use super::modules::{Imported, Module};
use super::reading::Source;

/// All modules of the crate that are not only for tests.
pub(super) struct Graph {
    modules: BTreeMap<Vec<String>, Module>,
}

/// One file imports a name that another file defines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) from: Vec<String>,
    pub(super) to: Vec<String>,
    pub(super) file: String,
    pub(super) line: usize,
}

/// How often a re-export may lead to another one before the search ends.
const MAX_REEXPORTS: usize = 16;

impl Graph {
    pub(super) fn new(sources: &[Source]) -> Self {
        let all: BTreeMap<Vec<String>, Module> =
            sources.iter().map(Module::read).map(|module| (module.path.clone(), module)).collect();
        let mut modules = BTreeMap::new();
        let mut open = vec![Vec::new(), vec!["main".to_owned()]];
        let mut all = all;
        while let Some(path) = open.pop() {
            if let Some(module) = all.remove(&path) {
                open.extend(module.children.iter().map(|child| [path.clone(), vec![child.clone()]].concat()));
                modules.insert(path, module);
            }
        }
        Self { modules }
    }

    pub(super) fn modules(&self) -> impl Iterator<Item = &Module> {
        self.modules.values()
    }

    /// Returns every import of one file from another, each pair of files once.
    pub(super) fn edges(&self) -> Vec<Edge> {
        let mut found = BTreeMap::new();
        for module in self.modules() {
            let targets = module
                .imports
                .iter()
                .flat_map(|import| self.targets(module, import).into_iter().map(move |to| (to, import.line)));
            for (to, line) in targets.filter(|(to, _)| *to != module.path) {
                found.entry((module.path.clone(), to)).or_insert((module.file.clone(), line));
            }
        }
        found.into_iter().map(|((from, to), (file, line))| Edge { from, to, file, line }).collect()
    }

    /// Returns the modules whose files define what an import names.
    fn targets(&self, module: &Module, import: &Imported) -> BTreeSet<Vec<String>> {
        // A face that passes on the names of its children imports nothing for itself.
        if import.is_reexport && import.path.starts_with(&module.path) {
            return BTreeSet::new();
        }
        let (glob, path) = match import.path.split_last() {
            Some((last, path)) if last == "*" => (true, path),
            _ => (false, import.path.as_slice()),
        };
        let Some(found) = self.resolve(path, 0) else { return BTreeSet::new() };
        let is_module = found.is_module;
        let Some(target) = self.modules.get(&found.module) else { return BTreeSet::new() };
        match (is_module && target.is_face(), glob) {
            // The names behind the module's name are followed where they are used.
            (true, false) => BTreeSet::new(),
            (true, true) => {
                let names = target.names.iter().filter(|name| name.is_reexport);
                names.filter_map(|name| self.resolve(&name.path, 0)).map(|found| found.module).collect()
            }
            (false, _) => BTreeSet::from([found.module]),
        }
    }

    /// Returns the module that defines what an absolute path names. `None` for a path that leads out of the crate.
    fn resolve(&self, path: &[String], steps: usize) -> Option<Resolved> {
        if steps > MAX_REEXPORTS {
            return None;
        }
        let mut here: Vec<String> = Vec::new();
        for (index, segment) in path.iter().enumerate() {
            let child = [here.as_slice(), std::slice::from_ref(segment)].concat();
            if self.modules.contains_key(&child) {
                here = child;
                continue;
            }
            let module = self.modules.get(&here)?;
            if module.definitions.iter().any(|definition| definition.name == *segment) {
                return Some(Resolved { module: here, is_module: false });
            }
            let rest = &path[index + 1..];
            let named = module.names.iter().filter(|name| name.name == *segment && name.path != path[..=index]);
            for name in named {
                if let Some(found) = self.resolve(&[name.path.as_slice(), rest].concat(), steps + 1) {
                    return Some(found);
                }
            }
            for glob in module.names.iter().filter(|name| name.name == "*") {
                let inside = [&glob.path[..glob.path.len() - 1], &path[index..]].concat();
                if let Some(found) = self.resolve(&inside, steps + 1).filter(|found| found.is_exact(self, segment)) {
                    return Some(found);
                }
            }
            // The name is a variant or an associated item of something, or it comes from a macro.
            return (!here.is_empty()).then_some(Resolved { module: here, is_module: false });
        }
        Some(Resolved { module: here, is_module: true })
    }

    /// Returns why an import breaks the order of modules, if it does.
    pub(super) fn order_violation(&self, edge: &Edge) -> Option<String> {
        let (from, to) = (&edge.from, &edge.to);
        let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        let place = format!("{}:{}", edge.file, edge.line);
        if from.first().is_some_and(|first| first == "main") || common == from.len() {
            return None;
        }
        if common == to.len() {
            let only = ["registry".to_owned()];
            let imported = self.file(to);
            return (*to != only).then(|| {
                format!(
                    "{place}: imports what {imported}, which lies above it, defines; move that into a file of its own"
                )
            });
        }
        let parent = self.modules.get(&from[..common])?;
        let position = |name: &String| parent.children.iter().position(|child| child == name);
        if position(&to[common]) < position(&from[common]) {
            return None;
        }
        let (above, below) = (&to[common], &from[common]);
        Some(format!("{place}: imports from {}, but {} lists `{above}` below `{below}`", self.file(to), parent.file))
    }

    fn file(&self, path: &[String]) -> &str {
        self.modules.get(path).map_or("?", |module| module.file.as_str())
    }

    /// Returns the strongly connected components of more than one file (Tarjan's algorithm), the largest first.
    pub(super) fn cycles(&self, edges: &[Edge]) -> Vec<Vec<String>> {
        let mut search = Search::default();
        for edge in edges {
            search.next.entry(edge.from.clone()).or_default().push(edge.to.clone());
        }
        for path in self.modules.keys() {
            if !search.index.contains_key(path) {
                search.visit(path);
            }
        }
        let files = |component: &Vec<Vec<String>>| component.iter().map(|path| self.file(path).to_owned()).collect();
        let mut cycles: Vec<Vec<String>> = search.components.iter().map(files).collect();
        cycles.iter_mut().for_each(|files| files.sort());
        cycles.sort_by_key(|files| std::cmp::Reverse(files.len()));
        cycles
    }
}

/// The place that a path leads to.
struct Resolved {
    module: Vec<String>,
    /// Whether the path names the module itself.
    is_module: bool,
}

impl Resolved {
    /// Returns true if the module really defines the name, so that a glob can have brought it.
    fn is_exact(&self, graph: &Graph, name: &str) -> bool {
        let module = graph.modules.get(&self.module);
        self.is_module || module.is_some_and(|module| module.definitions.iter().any(|found| found.name == name))
    }
}

#[derive(Default)]
struct Search {
    next: BTreeMap<Vec<String>, Vec<Vec<String>>>,
    index: BTreeMap<Vec<String>, usize>,
    lowest: BTreeMap<Vec<String>, usize>,
    stack: Vec<Vec<String>>,
    components: Vec<Vec<Vec<String>>>,
}

impl Search {
    fn visit(&mut self, path: &Vec<String>) {
        let index = self.index.len();
        self.index.insert(path.clone(), index);
        self.lowest.insert(path.clone(), index);
        self.stack.push(path.clone());
        for next in self.next.get(path).cloned().unwrap_or_default() {
            let reached = if let Some(index) = self.index.get(&next) {
                self.stack.contains(&next).then_some(*index)
            } else {
                self.visit(&next);
                Some(self.lowest[&next])
            };
            if let Some(reached) = reached {
                let lowest = self.lowest[path].min(reached);
                self.lowest.insert(path.clone(), lowest);
            }
        }
        if self.lowest[path] == index {
            let start = self.stack.iter().position(|open| open == path).unwrap_or(0);
            let component = self.stack.split_off(start);
            if component.len() > 1 {
                self.components.push(component);
            }
        }
    }
}
