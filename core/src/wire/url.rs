//! Peer URLs: the text a Kitsune2 peer is known by, checked but never changed.
//!
//! A URL is accepted only if it is already in canonical form: `scheme://host:port`, then nothing or
//! `/` and the path. Two spellings of one endpoint are two different peers, so nothing is normalised.
//!
//! The rule is what `kitsune2_api::Url` does with crate `url` 2.5.8: parse by the WHATWG URL Standard,
//! print the canonical text, refuse the input if it is not that text. This module reaches the same
//! verdict by a check of the text alone, without allocation and without printing. An accepted URL is
//! always printable ASCII.
//!
//! # Host names with `xn--` labels
//!
//! The verdict agrees with the oracle for every input whose host has no label that begins with `xn--`.
//! For such labels the oracle consults Unicode tables of some hundred kilobytes:
//!
//! * with the cargo feature `idna` the same crate (`idna`) decides here, and the verdict agrees too, as
//!   far as both were built with the same Unicode version;
//! * without it the Punycode must decode, and the decoded text must be free of the larger ranges which
//!   IDNA refuses or rewrites. No label that the oracle accepts is refused, but some that it refuses are
//!   accepted: rarer capitals, unassigned code points, text that is not in NFC, marks at the start of a
//!   label, joiners without their context, mixed writing directions.

use core::{fmt, str};

/// Which paths a peer URL may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum PathRule {
    /// No path or exactly one segment: `kitsune2_api` 0.5.0-dev.1.
    SingleSegment,
    /// No path or any number of non-empty segments, the last of which is the peer id: `kitsune2_api`
    /// 0.6.0-dev.3.
    #[default]
    MultiSegment,
}

/// What a peer URL may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct UrlRules {
    /// Which paths are accepted.
    pub path: PathRule,
    /// The longest accepted text, in bytes. This limit is kitfox's own, the oracle has none.
    pub max_bytes: usize,
}

impl UrlRules {
    /// Any number of path segments, and the default length: [`UrlRules::default`] as a constant.
    pub const MULTI_SEGMENT: Self = Self { path: PathRule::MultiSegment, max_bytes: Self::DEFAULT_MAX_BYTES };

    /// At most one path segment, as 0.5.0-dev.1 has it, and the default length.
    pub const SINGLE_SEGMENT: Self = Self { path: PathRule::SingleSegment, ..Self::MULTI_SEGMENT };

    /// The default of [`max_bytes`](Self::max_bytes): 2048 bytes.
    pub const DEFAULT_MAX_BYTES: usize = 2048;
}

impl Default for UrlRules {
    /// [`PathRule::MultiSegment`] and [`Self::DEFAULT_MAX_BYTES`].
    fn default() -> Self {
        Self::MULTI_SEGMENT
    }
}

/// The scheme of a peer URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Scheme {
    /// `ws`
    Ws,
    /// `wss`
    Wss,
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// The scheme as it stands in a URL, without `://`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Why a text is not a peer URL.
///
/// The value names the first part, from the left, that is wrong. It is for logs: the oracle words its
/// refusals differently, only the fact of a refusal is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum UrlError {
    /// The text is longer than [`UrlRules::max_bytes`].
    TooLong,
    /// The bytes are not UTF-8.
    NotUtf8,
    /// The text does not begin with `ws://`, `wss://`, `http://` or `https://` in lower case.
    Scheme,
    /// There is an `@` before the path.
    UserInfo,
    /// The host is empty, or is not a name, IPv4 or IPv6 address in canonical form.
    Host,
    /// The port is missing, above 65535, not decimal, or has a leading zero.
    Port,
    /// The path ends in a slash, has an empty or a dot segment, more segments than allowed, or a
    /// character that would have to be percent-encoded.
    Path,
    /// There is a query or a fragment, be it an empty one.
    Query,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "peer URL is too long",
            Self::NotUtf8 => "peer URL is not UTF-8",
            Self::Scheme => "peer URL scheme is not ws, wss, http or https",
            Self::UserInfo => "peer URL has user information",
            Self::Host => "peer URL host is not canonical",
            Self::Port => "peer URL port is missing or not canonical",
            Self::Path => "peer URL path is not canonical",
            Self::Query => "peer URL has a query or fragment",
        })
    }
}

impl core::error::Error for UrlError {}

/// A peer URL: borrowed text that is known to be canonical.
///
/// Equality, order and hash are those of the text, byte by byte. The value is as large as a `&str`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerUrl<'a> {
    text: &'a str,
}

impl<'a> PeerUrl<'a> {
    /// Checks a text.
    ///
    /// # Errors
    ///
    /// [`UrlError`] names the part that is not canonical. [`UrlError::NotUtf8`] is not among the results.
    pub fn parse(text: &'a str, rules: &UrlRules) -> Result<Self, UrlError> {
        check(text.as_bytes(), rules)?;
        Ok(Self { text })
    }

    /// Checks bytes as they came from the wire.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), and [`UrlError::NotUtf8`]. The length is checked first.
    pub fn parse_bytes(bytes: &'a [u8], rules: &UrlRules) -> Result<Self, UrlError> {
        if bytes.len() > rules.max_bytes {
            return Err(UrlError::TooLong);
        }
        let text = str::from_utf8(bytes).map_err(|_| UrlError::NotUtf8)?;
        Self::parse(text, rules)
    }

    /// The whole URL, exactly the text it was made from.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.text
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        // Four letters tell the four schemes apart: `ws:`, `wss`, `http:`, `https`.
        match self.text.as_bytes() {
            [b'w', _, b's', ..] => Scheme::Wss,
            [b'w', ..] => Scheme::Ws,
            [_, _, _, _, b's', ..] => Scheme::Https,
            _ => Scheme::Http,
        }
    }

    /// True for `wss` and `https`.
    #[must_use]
    pub fn uses_tls(&self) -> bool {
        matches!(self.scheme(), Scheme::Wss | Scheme::Https)
    }

    /// Host and port as `host:port`, an IPv6 address with its brackets.
    #[must_use]
    pub fn addr(&self) -> &'a str {
        let rest = self.after_scheme();
        let end = rest.bytes().position(|byte| byte == b'/');
        end.and_then(|end| rest.get(..end)).unwrap_or(rest)
    }

    /// The host, an IPv6 address with its brackets.
    #[must_use]
    pub fn host(&self) -> &'a str {
        let addr = self.addr();
        let end = addr.bytes().rposition(|byte| byte == b':');
        end.and_then(|end| addr.get(..end)).unwrap_or(addr)
    }

    /// The port, 0 to 65535. Port 0 is accepted by the oracle and so by this type.
    #[must_use]
    pub fn port(&self) -> u16 {
        let addr = self.addr();
        let digits = addr.bytes().rposition(|byte| byte == b':').and_then(|at| addr.get(at + 1..));
        parse_port(digits.unwrap_or_default().as_bytes()).unwrap_or_default()
    }

    /// The peer id: the last path segment, as it stands (percent-encoding is kept). `None` if there is no
    /// path.
    #[must_use]
    pub fn peer_id(&self) -> Option<&'a str> {
        self.after_scheme().rsplit_once('/').map(|(_, id)| id)
    }

    /// True if there is a [`peer_id`](Self::peer_id), that is if this is the URL of a peer and not of a
    /// server.
    #[must_use]
    pub fn is_peer(&self) -> bool {
        self.peer_id().is_some()
    }

    fn after_scheme(&self) -> &'a str {
        self.text.get(self.scheme().as_str().len() + "://".len()..).unwrap_or_default()
    }
}

impl fmt::Display for PeerUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl AsRef<str> for PeerUrl<'_> {
    fn as_ref(&self) -> &str {
        self.text
    }
}

/// The whole check. Works on bytes: everything beyond ASCII is refused on the way.
fn check(text: &[u8], rules: &UrlRules) -> Result<(), UrlError> {
    if text.len() > rules.max_bytes {
        return Err(UrlError::TooLong);
    }
    let rest = strip_scheme(text).ok_or(UrlError::Scheme)?;
    let end = rest.iter().position(|b| matches!(b, b'/' | b'\\' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains(&b'@') {
        return Err(UrlError::UserInfo);
    }
    let host_end = match authority.first() {
        Some(b'[') => authority.iter().position(|&b| b == b']').map(|at| at + 1),
        _ => authority.iter().position(|&b| b == b':'),
    };
    let (host, port) = authority.split_at(host_end.unwrap_or(authority.len()));
    if !host_is_canonical(host) {
        return Err(UrlError::Host);
    }
    let port = port.strip_prefix(b":").ok_or(UrlError::Port)?;
    parse_port(port).ok_or(UrlError::Port)?;
    check_path(path, rules.path)
}

fn strip_scheme(text: &[u8]) -> Option<&[u8]> {
    let rest = text.strip_prefix(b"ws").or_else(|| text.strip_prefix(b"http"))?;
    rest.strip_prefix(b"s").unwrap_or(rest).strip_prefix(b"://")
}

/// One to five digits without a leading zero, at most 65535. `None` for anything else.
fn parse_port(digits: &[u8]) -> Option<u16> {
    decimal(digits, 5).and_then(|value| u16::try_from(value).ok())
}

/// A decimal number without a leading zero, of at most `max_digits` (up to 9) digits.
fn decimal(digits: &[u8], max_digits: usize) -> Option<u32> {
    if digits.is_empty() || digits.len() > max_digits || (digits.len() > 1 && digits.starts_with(b"0")) {
        return None;
    }
    let mut value = 0;
    for &b in digits {
        if !b.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u32::from(b - b'0');
    }
    Some(value)
}

/// Nothing, or `/` and non-empty segments that the URL parser leaves as they are.
fn check_path(path: &[u8], rule: PathRule) -> Result<(), UrlError> {
    let Some((&first, segments)) = path.split_first() else { return Ok(()) };
    if matches!(first, b'?' | b'#') {
        return Err(UrlError::Query);
    }
    if first != b'/' || (rule == PathRule::SingleSegment && segments.contains(&b'/')) {
        return Err(UrlError::Path);
    }
    for segment in segments.split(|&b| b == b'/') {
        for b in segment {
            match b {
                b'?' | b'#' => return Err(UrlError::Query),
                // The path percent-encode set of crate `url` 2.5.8, and the backslash, which counts as a
                // slash. `^` and `|` are not in that set.
                ..=b' ' | b'"' | b'<' | b'>' | b'\\' | b'`' | b'{' | b'}' | 0x7f.. => {
                    return Err(UrlError::Path);
                }
                _ => {}
            }
        }
        if segment.is_empty() || is_dot_segment(segment) {
            return Err(UrlError::Path);
        }
    }
    Ok(())
}

/// `.` or `..`, where each dot may be spelt `%2e` or `%2E`.
fn is_dot_segment(mut segment: &[u8]) -> bool {
    for _ in 0..2 {
        segment = match segment {
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return false,
        };
        if segment.is_empty() {
            return true;
        }
    }
    false
}

fn host_is_canonical(host: &[u8]) -> bool {
    if let [b'[', address @ .., b']'] = host {
        return is_canonical_ipv6(address);
    }
    // What is left of ASCII after the forbidden domain code points and the capitals, which would be
    // lowered. A percent sign would be decoded first: what it stands for is then in the canonical text,
    // and the sign is not.
    let plain = |b: &u8| {
        !matches!(
            b,
            0..=b' ' | b'A'..=b'Z' | 0x7f..=0xff
            | b'#' | b'%' | b'/' | b':' | b'<' | b'>' | b'?' | b'@' | b'[' | b'\\' | b']' | b'^' | b'|'
        )
    };
    if host.is_empty() || !host.iter().all(plain) {
        return false;
    }
    if ends_in_number(host) {
        return is_canonical_ipv4(host);
    }
    xn_labels_are_valid(host)
}

/// The "ends in a number" check of the URL Standard: such a host is an IPv4 address or an error. `host` has
/// no capitals.
fn ends_in_number(host: &[u8]) -> bool {
    // One trailing dot does not count.
    let host = host.strip_suffix(b".").unwrap_or(host);
    let last = host.rsplit(|&b| b == b'.').next().unwrap_or_default();
    match last.strip_prefix(b"0x") {
        Some(hex) => hex.iter().all(u8::is_ascii_hexdigit),
        None => !last.is_empty() && last.iter().all(u8::is_ascii_digit),
    }
}

/// Four decimal numbers up to 255 without leading zeros.
fn is_canonical_ipv4(host: &[u8]) -> bool {
    let mut count = 0;
    for part in host.split(|&b| b == b'.') {
        count += 1;
        if decimal(part, 3).is_none_or(|value| value > 255) {
            return false;
        }
    }
    count == 4
}

/// Eight groups of lower-case hex digits without leading zeros, of which the first longest run of two or more
/// zero groups, and nothing else, is written `::`. Takes the text between the brackets.
///
/// A dotted IPv4 tail is not canonical in a URL, also where [`core::net::Ipv6Addr`] would print one.
fn is_canonical_ipv6(mut rest: &[u8]) -> bool {
    const GROUPS: u32 = 8;
    let mut written = 0; // Groups seen.
    let mut zeros = 0u16; // Bit n: group n is 0.
    let mut gap = None; // How many stood before the `::`.
    if let Some(after) = rest.strip_prefix(b"::") {
        gap = Some(0);
        rest = after;
    }
    // `::` alone is an address, the empty text is not.
    while !rest.is_empty() || gap.is_none() {
        let digits = rest.iter().take_while(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).count();
        let (group, after) = rest.split_at(digits);
        let starts_with_zero = group.starts_with(b"0");
        if !(1..=4).contains(&digits) || (starts_with_zero && digits > 1) || written == GROUPS {
            return false;
        }
        zeros |= u16::from(starts_with_zero) << written;
        written += 1;
        rest = match after {
            [] => break,
            [b':', b':', after @ ..] if gap.is_none() => {
                gap = Some(written);
                if after.is_empty() {
                    break;
                }
                after
            }
            // A colon at the end or a second `::` leaves a group without digits.
            [b':', after @ ..] if !after.is_empty() => after,
            _ => return false,
        };
    }
    // Move the groups after the `::` to their places and fill it with zeros.
    let missing = GROUPS - written;
    if let Some(at) = gap {
        let before = (1 << at) - 1;
        zeros = (zeros & before) | (((1 << missing) - 1) << at) | ((zeros & !before) << missing);
    } else if missing != 0 {
        return false;
    }
    let (mut best_at, mut best, mut run) = (0, 0, 0);
    for at in 0..GROUPS {
        run = if zeros & (1 << at) != 0 { run + 1 } else { 0 };
        if run > best {
            (best_at, best) = (at + 1 - run, run);
        }
    }
    match gap {
        Some(at) => missing >= 2 && (best_at, best) == (at, missing),
        None => best < 2,
    }
}

const XN: &[u8] = b"xn--";

/// Whether the host, in lower case and free of forbidden characters, passes IDNA unchanged.
#[cfg(feature = "idna")]
fn xn_labels_are_valid(host: &[u8]) -> bool {
    if !host.split(|&b| b == b'.').any(|label| label.starts_with(XN)) {
        return true;
    }
    idna::domain_to_ascii_cow(host, idna::AsciiDenyList::URL).is_ok_and(|text| text.as_bytes() == host)
}

/// Whether every `xn--` label of the host, in lower case and free of forbidden characters, decodes to text that
/// may pass IDNA.
#[cfg(not(feature = "idna"))]
fn xn_labels_are_valid(host: &[u8]) -> bool {
    host.split(|&b| b == b'.').filter_map(|label| label.strip_prefix(XN)).all(punycode::may_be_valid)
}

#[cfg(not(feature = "idna"))]
mod punycode {
    //! Punycode (RFC 3492) without a buffer: only the code points and the first place are looked at.

    /// Longest label, after `xn--`, that crate `idna` 1.1.0 decodes, in bytes.
    const MAX_ENCODED: usize = 2000;
    /// Longest decoded label that crate `idna` 1.1.0 accepts, in code points.
    const MAX_DECODED: u32 = 1000;

    const BASE: u32 = 36;
    const T_MIN: u32 = 1;
    const T_MAX: u32 = 26;
    const SKEW: u32 = 38;
    const DAMP: u32 = 700;

    /// Ranges of the basic plane, ends included, in which no code point is valid in a label: controls, capitals,
    /// spaces and format characters, enclosed and compatibility forms, surrogates, private use. Long and stable
    /// ranges only; each is checked against the oracle by a test.
    const REFUSED: [(u16, u16); 21] = [
        (0x0080, 0x00a0),
        (0x00c0, 0x00d6),
        (0x00d8, 0x00de),
        (0x0391, 0x03ab),
        (0x0400, 0x042f),
        (0x0531, 0x0556),
        (0x10a0, 0x10c5),
        (0x2000, 0x200b),
        (0x200e, 0x200f),
        (0x2028, 0x202f),
        (0x205f, 0x208e),
        (0x2150, 0x217f),
        (0x2460, 0x24ea),
        (0x2c00, 0x2c2f),
        (0x2f00, 0x2fd5),
        (0x3131, 0x318e),
        (0x3280, 0x33ff),
        (0xd800, 0xfa0d),
        (0xfb50, 0xfbb1),
        (0xfbd3, 0xfd3d),
        (0xfe74, 0xffff),
    ];

    fn is_refused(code_point: u32) -> bool {
        match u16::try_from(code_point) {
            Ok(c) => REFUSED.iter().any(|(first, last)| (first..=last).contains(&&c)),
            // Capitals of Deseret; letters for mathematics; compatibility ideographs; everything from plane 4 on,
            // which is unassigned, invisible or private.
            Err(_) => {
                matches!(code_point, 0x10400..=0x10427 | 0x1d400..=0x1d7ff | 0x2f800..=0x2fa1f | 0x40000..)
            }
        }
    }

    fn adapt(delta: u32, points: u32, first: bool) -> u32 {
        let mut delta = delta / if first { DAMP } else { 2 };
        delta += delta / points;
        let mut k = 0;
        while delta > ((BASE - T_MIN) * T_MAX) / 2 {
            delta /= BASE - T_MIN;
            k += BASE;
        }
        k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
    }

    /// Takes a label without its `xn--`. False only for labels that crate `idna` 1.1.0 refuses.
    ///
    /// That the label encodes what it decodes to, and in the one shortest way, needs no check: each text has only
    /// one Punycode form.
    pub(super) fn may_be_valid(label: &[u8]) -> bool {
        if label.len() > MAX_ENCODED {
            return false;
        }
        // A hyphen at the very start is no delimiter, and no digit either.
        let (basic, digits) = match label.iter().rposition(|&b| b == b'-') {
            Some(at) if at > 0 => (at, &label[at + 1..]),
            _ => (0, label),
        };
        // Nothing behind the delimiter, or nothing at all: the text is ASCII and needs no encoding.
        !digits.is_empty() && decode(basic, digits).is_some()
    }

    /// Inserts code points into `basic` ASCII ones. `None` if the digits are malformed or a code point is refused.
    fn decode(basic: usize, digits: &[u8]) -> Option<()> {
        let mut length = u32::try_from(basic).ok()?;
        let (mut code_point, mut bias, mut i) = (0x80u32, 72, 0u32);
        let mut first_in_label = None;
        let mut digits = digits.iter();
        while !digits.as_slice().is_empty() {
            let before = i;
            let (mut weight, mut k) = (1u32, BASE);
            loop {
                let digit = match *digits.next()? {
                    b @ b'a'..=b'z' => b - b'a',
                    b @ b'0'..=b'9' => b - b'0' + 26,
                    _ => return None,
                };
                let digit = u32::from(digit);
                i = i.checked_add(digit.checked_mul(weight)?)?;
                let t = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
                if digit < t {
                    break;
                }
                weight = weight.checked_mul(BASE - t)?;
                k += BASE;
            }
            length += 1;
            bias = adapt(i - before, length, before == 0);
            code_point = code_point.checked_add(i / length)?;
            i %= length;
            if is_refused(code_point) {
                return None;
            }
            if i == 0 {
                first_in_label = Some(code_point);
            }
            i += 1;
        }
        // Combining diacritics and the joiners need something before them.
        let bad_start = matches!(first_in_label, Some(0x300..=0x36f | 0x200c | 0x200d));
        (length <= MAX_DECODED && !bad_start).then_some(())
    }
}
