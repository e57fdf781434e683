//! Percent-encoding as URLs of the API need it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// Everything but RFC 3986's unreserved characters: safe in a path segment and in a query value.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Percent-encodes a text, a slash included, so that it is one segment of a path or one query value.
///
/// ```
/// assert_eq!(malleus_core::percent::encode("a/b c"), "a%2Fb%20c");
/// ```
pub fn encode(text: &str) -> String {
    encode_bytes(text.as_bytes())
}

/// Like [`encode`], for paths that need not be text.
pub fn encode_bytes(bytes: &[u8]) -> String {
    percent_encode(bytes, RESERVED).to_string()
}

/// The text that a segment or a query value stands for. Bytes that are not UTF-8 become U+FFFD.
pub fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
