//! The configuration of a client: its files, and notes for the user.

/// The files that a client needs, and what people need to know about them.
pub(super) struct ClientConfig {
    /// The directory in which the client looks for the files.
    pub(super) directory: &'static str,
    /// Sentences for people.
    pub(super) notes: Vec<String>,
    pub(super) files: Vec<ConfigFile>,
}

/// A file of a client's configuration.
pub(super) struct ConfigFile {
    /// The path below the client's directory.
    pub(super) path: String,
    pub(super) content: String,
    pub(super) comments: CommentStyle,
}

/// The way in which a file's format writes comments.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CommentStyle {
    /// Lines that begin with `#`.
    Hash,
    /// The format has no comments.
    None,
}
