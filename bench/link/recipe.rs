//! The settings of a scenario: the layer, the upstreams, and Entrepot's configuration.

/// The settings of a scenario.
pub struct Recipe {
    /// The size of the layer, in MiB; one of the sizes that the lab holds.
    pub size: u64,
    pub tls: bool,
    pub endpoints: usize,
    /// Additional keys of Entrepot's upstream, each after a comma.
    pub keys: &'static str,
    /// Keys of Entrepot's `mirror.fill`.
    pub fill: &'static str,
}

impl Default for Recipe {
    fn default() -> Self {
        Self { size: 20, tls: false, endpoints: 1, keys: "", fill: "" }
    }
}
