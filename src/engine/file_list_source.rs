//! Names what the list of a database's files was read from.

/// How it was known which files count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileListSource {
    /// By CURRENT and the MANIFEST, as it should be.
    Manifest,
    /// CURRENT is lost; by the newest MANIFEST, which this is.
    NewestManifest(String),
    /// By nothing: all files were read, and all that they say is uncertain. Why.
    AllFiles(String),
}
