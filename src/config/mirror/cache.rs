//! `mirror.cache`: the size of the cache.

use crate::config::document::show_size;
use crate::config::scalar_type::SIZE;
use crate::config::section::{Keys, Section};

/// The values of `mirror.cache`.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    /// The most bytes that the cache may hold; `None` for 80 % of the file system.
    pub max_size: Option<u64>,
    /// The bytes of the file system that stay free; `None` for 5 % of it, at most 10 GiB.
    pub reserve: Option<u64>,
}

const MIB: u64 = 1 << 20;
/// The size below which a cache holds no image.
const SMALL_CACHE: u64 = 64 * MIB;

impl Section for Cache {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        keys.scalar("maxsize", &SIZE, &mut self.max_size);
        keys.scalar("reserve", &SIZE, &mut self.reserve);
        if self.max_size == Some(0) {
            let message = "is 0, which holds nothing; write a size, or remove the key for 80 % of the file system";
            keys.error("maxsize", message);
        }
        let below = |size: Option<u64>, least: u64| size.filter(|size| (1..least).contains(size));
        if let Some(size) = below(self.max_size, SMALL_CACHE) {
            let message = format!("is {}, which holds no image; write it with a unit, such as 200GiB", show_size(size));
            keys.warn("maxsize", &message);
        }
        if let Some(size) = below(self.reserve, MIB) {
            let message =
                format!("is {}, which is next to nothing; write it with a unit, such as 10GiB", show_size(size));
            keys.warn("reserve", &message);
        }
    }
}
