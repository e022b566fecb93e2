//! The names of repositories below a directory, in byte order, as they are asked for: there may be hundreds of thousands, and a
//! page of them needs few.

use std::io;
use std::path::PathBuf;

use super::{CacheStore, HostedStore, StoreError, on_disk};
use crate::oci::{HostName, RepositoryName};
use crate::sys::disk;

impl HostedStore {
    /// At most so many repositories that a manifest was pushed to, in byte order, from the first after `after` on.
    pub async fn repositories_after(
        &self,
        after: Option<String>,
        most: usize,
    ) -> Result<Vec<RepositoryName>, StoreError> {
        let root = self.layout.hosted_repositories();
        let mut names = Names::new(root.clone(), &["_manifests"], after);
        on_disk("list", &root, move || names.take(most, |name| name.parse().ok())).await
    }
}

impl CacheStore {
    /// At most so many repositories that something is known of, in the byte order of `UPSTREAM/NAME`, from the first after
    /// `after` on.
    pub async fn repositories_after(
        &self,
        after: Option<String>,
        most: usize,
    ) -> Result<Vec<(HostName, RepositoryName)>, StoreError> {
        let root = self.layout.mirrored_repositories();
        let mut names = Names::new(root.clone(), &["_links"], after);
        let parse = |text: &str| {
            let (upstream, name) = text.split_once('/')?;
            Some((upstream.parse().ok()?, name.parse().ok()?))
        };
        on_disk("list", &root, move || names.take(most, parse)).await
    }
}

/// A walk that holds one listing for each part of the name it has come to.
struct Names {
    /// A directory that holds one of them is a repository.
    markers: &'static [&'static str],
    after: Option<String>,
    open: Vec<Level>,
}

struct Level {
    directory: PathBuf,
    /// The name of this directory with a slash behind it; empty at the root.
    prefix: String,
    /// What is still to be looked at here, the next one last.
    steps: Vec<Step>,
}

/// A directory is looked at twice: what is below it comes later than its siblings `a-b` and `a.b`, since `-` and `.` sort before `/`.
struct Step {
    /// With a slash at its end: what is below it.
    name: String,
}

impl Names {
    fn new(root: PathBuf, markers: &'static [&'static str], after: Option<String>) -> Self {
        // The root is a level with nothing in it but what is below itself.
        let open = vec![Level { directory: root, prefix: String::new(), steps: vec![Step { name: String::new() }] }];
        Self { markers, after, open }
    }

    fn take<T>(&mut self, most: usize, parse: impl Fn(&str) -> Option<T>) -> io::Result<Vec<T>> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(name) = self.next()?
        {
            taken.extend(parse(&name));
        }
        Ok(taken)
    }

    fn next(&mut self) -> io::Result<Option<String>> {
        while let Some(level) = self.open.last_mut() {
            let Some(step) = level.steps.pop() else {
                self.open.pop();
                continue;
            };
            let name = format!("{}{}", level.prefix, step.name);
            let directory = level.directory.join(&step.name);
            if step.name.is_empty() || step.name.ends_with('/') {
                if self.may_hold_later(&name) {
                    self.open.push(Level { steps: steps(&directory)?, directory, prefix: name });
                }
            } else if self.after.as_deref().is_none_or(|after| name.as_str() > after)
                && self.is_repository(&directory)?
            {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Does something that begins with `prefix` come after where we begin?
    fn may_hold_later(&self, prefix: &str) -> bool {
        self.after.as_deref().is_none_or(|after| prefix > after || after.starts_with(prefix))
    }

    fn is_repository(&self, directory: &std::path::Path) -> io::Result<bool> {
        for marker in self.markers {
            if disk::optional(disk::metadata(&directory.join(marker)))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn steps(directory: &std::path::Path) -> io::Result<Vec<Step>> {
    // What begins with an underscore is a repository's own; names cannot.
    let entries = disk::list(directory)?.into_iter().filter(|entry| entry.is_dir && !entry.name.starts_with('_'));
    let mut names: Vec<String> = entries.flat_map(|entry| [format!("{}/", entry.name), entry.name]).collect();
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names.into_iter().map(|name| Step { name }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::sys::Clock;

    /// In byte order.
    const NAMES: [&str; 9] = ["a", "a-b", "a-b/c", "a.b", "a/b", "a/b/c/d", "a0", "b/c", "c"];

    #[tokio::test]
    async fn in_byte_order_from_anywhere() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path(), Clock::system());
        for name in NAMES {
            let root = store.hosted.layout.hosted_repositories();
            disk::make_dir(&root.join(name).join("_manifests/tags")).unwrap();
        }
        let after = async |after: Option<&str>, most| {
            let found = store.hosted.repositories_after(after.map(str::to_owned), most).await.unwrap();
            found.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(after(None, 100).await, NAMES);
        assert_eq!(after(None, 0).await, [""; 0]);
        for (index, name) in NAMES.iter().enumerate() {
            assert_eq!(after(Some(name), 100).await, NAMES[index + 1..], "after {name}");
            assert_eq!(after(Some(name), 2).await, NAMES[index + 1..].iter().take(2).copied().collect::<Vec<_>>());
        }
        for (between, next) in
            [("a/", "a/b"), ("a-", "a-b"), ("a/b/c", "a/b/c/d"), ("a/z", "a0"), ("b", "b/c"), ("", "a")]
        {
            assert_eq!(after(Some(between), 1).await, [next], "after {between:?}");
        }
        assert!(after(Some("d"), 1).await.is_empty());
    }

    #[tokio::test]
    async fn upstreams_are_first_parts() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path(), Clock::system());
        let root = store.cache.layout.mirrored_repositories();
        for name in ["docker.io/library/a", "r.corp/x", "r.corp:443/x", "docker.io/Bad"] {
            disk::make_dir(&root.join(name).join("_links")).unwrap();
        }
        let found = store.cache.repositories_after(None, 100).await.unwrap();
        let found: Vec<String> = found.iter().map(|(upstream, name)| format!("{upstream}/{name}")).collect();
        assert_eq!(found, ["docker.io/library/a", "r.corp/x", "r.corp:443/x"]);
        let found = store.cache.repositories_after(Some("r.corp/x".to_owned()), 100).await.unwrap();
        assert_eq!(found.len(), 1);
    }
}
