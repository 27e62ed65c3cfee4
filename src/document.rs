//! Reads the worked examples of docs/format, for tests.
//!
//! For tests: the worked examples of docs/format, read from the documents themselves, so that there is one copy.
//!
//! An example is a fenced block whose first line is ` ```hex NAME `. Within it stand hexadecimal digits in groups
//! of any length; `#` begins a comment that ends with the line.

/// The bytes of the example called `name`; panics if there is not exactly one.
pub(crate) fn example(document: &str, name: &str) -> Vec<u8> {
    let fence = format!("```hex {name}\n");
    let mut blocks = document.split(&fence).skip(1);
    let (Some(block), None) = (blocks.next(), blocks.next()) else {
        panic!("the document has not exactly one example {name}");
    };
    let lines = block.lines().take_while(|line| *line != "```");
    let digits: String = lines
        .filter_map(|line| line.split('#').next())
        .flat_map(str::chars)
        .filter(|character| !character.is_whitespace())
        .collect();
    data_encoding::HEXLOWER
        .decode(digits.as_bytes())
        .expect("an example is hexadecimal")
}

/// Fails with the block that belongs into the document if `bytes` are not its example `name`.
pub(crate) fn assert_example(document: &str, name: &str, bytes: &[u8]) {
    let lines: Vec<String> = bytes
        .chunks(32)
        .map(|line| data_encoding::HEXLOWER.encode(line))
        .collect();
    let block = format!("```hex {name}\n{}\n```", lines.join("\n"));
    assert!(
        document.contains(&format!("```hex {name}\n")),
        "missing:\n{block}"
    );
    assert!(example(document, name) == bytes, "not as documented:\n{block}");
}

#[test]
fn an_example_is_read_without_comments_and_spaces() {
    let document = "text\n```hex one\n00 01  # zero, one\nff\n```\n```hex two\n7f\n```\n";
    assert_eq!(example(document, "one"), [0, 1, 255]);
    assert_eq!(example(document, "two"), [127]);
}
