//! Tests of the shares of fills.

use super::*;
use crate::oci::{Algorithm, Digest};

fn holder(content: &[u8]) -> Holder {
    Holder { repository: "docker.io/library/app".parse().unwrap(), digest: Digest::of(Algorithm::Sha256, content) }
}

#[test]
fn fills_share_a_host_equally_and_background_fills_yield() {
    let settings = config::Fill { connections: config::FillConnections::Fixed(16), ..config::Fill::default() };
    let limits = HostLimits::new(settings, Clock::system(), Arc::default());
    let first = limits.host("a").enter(FillKind::Client, holder(b"Client"));
    assert_eq!(first.share(), 16);
    let second = limits.host("a").enter(FillKind::Client, holder(b"Client"));
    let background = limits.host("a").enter(FillKind::Background, holder(b"Background"));
    let small = limits.host("a").enter(FillKind::Small, holder(b"Small"));
    assert_eq!((first.share(), second.share(), background.share(), small.share()), (8, 8, 1, 1));
    drop((first, second));
    assert_eq!(background.share(), 16);
    assert_eq!(limits.host("b").enter(FillKind::Client, holder(b"Client")).share(), 16);
}
