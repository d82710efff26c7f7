//! `kitfox decode`: explains bytes of the wire.

mod explain;
mod fields;
mod secured;

use std::fs;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::PathBuf;

use data_encoding::HEXLOWER_PERMISSIVE;
use lexopt::prelude::{Long, Short, Value};

use crate::failure::Failure;
use crate::text::{self, Style};

use explain::{Explanation, Line};

/// Bytes of a line that are shown.
const SHOWN_BYTES: usize = 8;

/// Room for the name of a part, and for its indent.
const NAME_CHARS: usize = 15;

/// What the command line says.
pub(crate) struct Options {
    /// The bytes are an acceptor's, which cannot be told from frames.
    secured: bool,
    source: Source,
}

/// Where the bytes come from.
enum Source {
    Hex(String),
    File(PathBuf),
    Input,
}

/// `None` if the command is to be explained.
pub(crate) fn parse(args: &mut lexopt::Parser) -> Result<Option<Options>, Failure> {
    let (mut hex, mut file, mut secured) = (String::new(), None, false);
    while let Some(arg) = args.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(None),
            Long("secured") => secured = true,
            Long("file") => file = Some(PathBuf::from(args.value()?)),
            Value(digits) => hex += &digits.to_string_lossy(),
            other => return Err(other.unexpected().into()),
        }
    }
    let source = match (hex.is_empty(), file) {
        (true, None) => Source::Input,
        (true, Some(path)) => Source::File(path),
        (false, None) => Source::Hex(hex),
        (false, Some(_)) => return Err(Failure::usage("give hex digits or --file, not both")),
    };
    Ok(Some(Options { secured, source }))
}

pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let bytes = match options.source {
        Source::Hex(text) => from_hex(text.as_bytes())
            .ok_or_else(|| Failure::usage(format!("\"{text}\" is not pairs of hex digits")))?,
        Source::File(path) => {
            let bytes = fs::read(&path);
            raw(bytes.map_err(|error| Failure::usage(format!("--file {}: {error}", path.display())))?)
        }
        Source::Input => raw(read_input()?),
    };
    let secured = options.secured || secured::is_dialler(&bytes);
    let explanation = if secured { secured::stream(&bytes) } else { explain::stream(&bytes) };
    // Who reads no further does not want to know more.
    let _ = print(&explanation, &bytes, Style::detect());
    match explanation.wrong() {
        0 => Ok(()),
        1 => Err(Failure::peer("one thing is wrong with these bytes")),
        wrong => Err(Failure::peer(format!("{wrong} things are wrong with these bytes"))),
    }
}

fn read_input() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut input = io::stdin().lock();
    if input.is_terminal() {
        eprintln!("kitfox decode: type hex digits, and Ctrl-D at their end");
    }
    input.read_to_end(&mut bytes).map_err(|error| Failure::usage(format!("standard input: {error}")))?;
    Ok(bytes)
}

/// The bytes that hex digits stand for, if they are nothing else; spaces, lines, colons and a 0x in front are allowed.
fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    let text = text.strip_prefix(b"0x").unwrap_or(text);
    let digits: Vec<u8> =
        text.iter().copied().filter(|byte| !byte.is_ascii_whitespace() && *byte != b':').collect();
    HEXLOWER_PERMISSIVE.decode(&digits).ok()
}

/// Bytes as they are, unless they are hex digits and nothing else: no connection begins like one.
fn raw(bytes: Vec<u8>) -> Vec<u8> {
    from_hex(&bytes).unwrap_or(bytes)
}

fn print(explanation: &Explanation, bytes: &[u8], style: Style) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for line in &explanation.lines {
        writeln!(out, "{}", show(line, bytes, style))?;
    }
    let (count, len) = (explanation.count, bytes.len() as u64);
    let plural = |count: u64| if count == 1 { "" } else { "s" };
    let verdict = match explanation.wrong() {
        0 => style.green("nothing is wrong"),
        _ => style.red("something is wrong, see above"),
    };
    let units = format!("{} {}{}", text::count(count), explanation.unit, plural(count));
    writeln!(out, "{units} in {} byte{}; {verdict}", text::count(len), plural(len))?;
    out.flush()
}

fn show(line: &Line, bytes: &[u8], style: Style) -> String {
    let shown = &bytes[line.at.start..line.at.end.min(line.at.start + SHOWN_BYTES)];
    let mut hex: Vec<_> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    if shown.len() < line.at.len() {
        hex.push("..".to_owned());
    }
    let (offset, hex) = (style.dim(&format!("{:08x}", line.at.start)), hex.join(" "));
    let indent = "  ".repeat(line.depth);
    let name = format!("{:<1$}", line.name, NAME_CHARS - indent.len());
    let (name, value) = match line.wrong {
        true => (style.red(&name), style.red(&line.value)),
        false => (style.bold(&name), line.value.clone()),
    };
    format!("{offset}  {hex:<26}  {indent}{name}  {value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_as_people_write_it() {
        for text in ["01 00:00\n0000", "0x0100000000", "  0100000000\r\n"] {
            assert_eq!(from_hex(text.as_bytes()).unwrap(), [1, 0, 0, 0, 0], "{text}");
        }
        assert_eq!(from_hex(b"010"), None);
        assert_eq!(raw(vec![1, 0]), [1, 0]);
        assert_eq!(raw(b"0100\n".to_vec()), [1, 0]);
    }

    #[test]
    fn a_line_has_its_offset_its_bytes_and_its_meaning() {
        let bytes = [1, 0, 0, 0, 0];
        let explanation = explain::stream(&bytes);
        let line = show(&explanation.lines[0], &bytes, Style::plain());
        assert_eq!(
            line,
            "00000000  01 00 00 00 00              data frame       empty: a confirm or a probe"
        );
    }
}
