//! Arguments that select keys of a database.

use clap::Args;

/// One key, in one of three spellings.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct KeyArg {
    /// The key, as text
    #[arg(value_name = "KEY")]
    pub key: Option<String>,
    /// The key in hexadecimal
    #[arg(long, value_name = "HEX")]
    pub key_hex: Option<String>,
    /// The key in base64
    #[arg(long, value_name = "BASE64")]
    pub key_b64: Option<String>,
}

/// Some keys of a database: all without any of these.
#[derive(Args)]
#[group(multiple = false)]
pub struct SelectionArgs {
    /// Only keys that begin so
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,
    /// The same in hexadecimal
    #[arg(long, value_name = "HEX")]
    pub prefix_hex: Option<String>,
    /// Only keys from FROM on, before TO; either may be left out
    #[arg(long, value_name = "FROM..TO")]
    pub range: Option<String>,
    /// The same in hexadecimal
    #[arg(long, value_name = "FROM..TO")]
    pub range_hex: Option<String>,
}
