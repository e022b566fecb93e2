//! The configured upstreams and the rules for names. A reload replaces all of them at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::mirror::Remote;
use super::naming::Naming;
use crate::config;
use crate::oci::HostName;

/// The part of a registry that a reload replaces.
pub(super) struct Mirrors {
    pub(super) naming: Arc<Naming>,
    pub(super) remotes: HashMap<HostName, Arc<Remote>>,
    /// The configuration that the remotes were made of.
    specs: BTreeMap<HostName, config::Upstream>,
}

impl Mirrors {
    pub(super) fn new(
        naming: Naming,
        remotes: HashMap<HostName, Arc<Remote>>,
        specs: BTreeMap<HostName, config::Upstream>,
    ) -> Self {
        Self { naming: Arc::new(naming), remotes, specs }
    }

    /// Returns the remote that was made of the same configuration, so that what it knows about its upstream is kept.
    pub(super) fn unchanged(&self, spec: &config::Upstream) -> Option<Arc<Remote>> {
        let is_same = self.specs.get(&spec.name) == Some(spec) && !spec.names_files();
        self.remotes.get(&spec.name).filter(|_| is_same).cloned()
    }
}
