//! Peer URLs against the vectors of Kitsune2 and, input by input, against crate `url` 2.5.8.

use kitfox_core::PeerId;
use kitfox_core::wire::{PathRule, PeerUrl, Scheme, UrlError, UrlRules};
use proptest::prelude::*;
use serde_json::Value;

const SINGLE: UrlRules = UrlRules { max_bytes: usize::MAX, ..UrlRules::SINGLE_SEGMENT };
const MULTI: UrlRules = UrlRules { max_bytes: usize::MAX, ..UrlRules::MULTI_SEGMENT };

/// Section 3.1 (and 3.9) of the specification, in terms of crate `url`.
fn oracle(text: &str, path_rule: PathRule) -> bool {
    let Ok(url) = url::Url::parse(text) else { return false };
    if !["ws", "wss", "http", "https"].contains(&url.scheme()) {
        return false;
    }
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return false };
    let segments: Vec<_> = url.path().split('/').skip(1).collect();
    let mut canonical = format!("{}://{host}:{port}", url.scheme());
    if url.path() != "/" {
        let path_ok = match path_rule {
            PathRule::SingleSegment => segments.len() == 1,
            _ => segments.iter().all(|segment| !segment.is_empty()),
        };
        if !path_ok {
            return false;
        }
        canonical.push_str(url.path());
    }
    canonical == text
}

/// Labels that begin with `xn--` are exact only with the feature.
fn is_exact(text: &str) -> bool {
    cfg!(feature = "idna") || !text.contains("xn--")
}

fn compare(text: &str) -> Result<(), String> {
    for rules in [SINGLE, MULTI] {
        let expected = oracle(text, rules.path);
        let got = PeerUrl::parse(text, &rules);
        let agrees = if is_exact(text) { got.is_ok() == expected } else { got.is_ok() || !expected };
        if !agrees {
            return Err(format!("{:?} {text:?}: oracle accepts: {expected}, got {got:?}", rules.path));
        }
        if let Ok(url) = got.filter_oracle(expected) {
            let parsed = url::Url::parse(text).map_err(|e| e.to_string())?;
            let peer_id = parsed.path().rsplit('/').next().filter(|id| !id.is_empty());
            if url.as_str() != text
                || Some(url.host()) != parsed.host_str()
                || Some(url.port()) != parsed.port_or_known_default()
                || url.addr() != format!("{}:{}", url.host(), url.port())
                || url.scheme().as_str() != parsed.scheme()
                || url.uses_tls() != matches!(parsed.scheme(), "wss" | "https")
                || url.peer_id() != peer_id
                || url.is_peer() != peer_id.is_some()
            {
                return Err(format!("parts of {text:?}: {url:?}"));
            }
        }
    }
    Ok(())
}

/// Only what the oracle accepts has parts to compare.
trait FilterOracle {
    fn filter_oracle(self, expected: bool) -> Self;
}

impl FilterOracle for Result<PeerUrl<'_>, UrlError> {
    fn filter_oracle(self, expected: bool) -> Self {
        self.and_then(|url| if expected { Ok(url) } else { Err(UrlError::Host) })
    }
}

#[track_caller]
fn agree(text: &str) {
    if let Err(difference) = compare(text) {
        panic!("{difference}");
    }
}

fn parse(text: &str) -> Result<PeerUrl<'_>, UrlError> {
    PeerUrl::parse(text, &UrlRules::default())
}

#[track_caller]
fn accepts(texts: &[&str]) {
    for text in texts {
        agree(text);
        assert_eq!(parse(text).map(|url| url.as_str()), Ok(*text));
    }
}

#[track_caller]
fn refuses(error: UrlError, texts: &[&str]) {
    for text in texts {
        agree(text);
        assert_eq!(parse(text), Err(error), "{text:?}");
    }
}

#[test]
fn every_vector_of_kitsune2_is_reproduced() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/urls.dev.json");
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len() as u64, vectors["count"].as_u64().unwrap());
    for case in cases {
        let hex = case["input_hex"].as_str().unwrap();
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let Some(input) = case["input"].as_str() else {
            assert_eq!(PeerUrl::parse_bytes(&bytes, &MULTI), Err(UrlError::NotUtf8), "{case}");
            assert_eq!(case["accept"], false);
            continue;
        };
        assert_eq!(input.as_bytes(), bytes);
        for (rules, expected) in [(SINGLE, case), (MULTI, &case["v0_6_0_dev_3"])] {
            let accept = expected["accept"].as_bool().unwrap();
            assert_eq!(oracle(input, rules.path), accept, "oracle {:?} {case}", rules.path);
            let got = PeerUrl::parse(input, &rules);
            assert_eq!(PeerUrl::parse_bytes(&bytes, &rules), got);
            assert_eq!(got.is_ok(), accept, "{:?} {case}", rules.path);
            let Ok(url) = got else { continue };
            assert_eq!(url.peer_id(), expected["peer_id"].as_str(), "{case}");
            assert_eq!(url.addr(), expected["addr"].as_str().unwrap(), "{case}");
            if case["accept"] == true {
                assert_eq!(url.as_str(), case["as_str"], "{case}");
                assert_eq!(url.uses_tls(), case["uses_tls"], "{case}");
                assert_eq!(url.is_peer(), case["is_peer"], "{case}");
            }
        }
    }
}

const BASES: [&str; 10] = [
    "ws://a.b:80",
    "wss://a.b:443/foo",
    "http://127.0.0.1:34567/ab0",
    "https://[::1]:8080/p3",
    "http://[2001:db8::8:800:200c:417a]:0/x/y",
    "https://relay.example.com:443/relay/ae58ff88",
    "ws://1.2.3.4a:65535/..a/%2e%2e.",
    "ws://0x.a.:1/a%20b",
    "http://[1:0:0:2::3]:65536/%2e./x",
    "ws://xn--n3h.xn--mnchen-3ya:7/x",
];

#[test]
fn every_ascii_byte_inserted_replaced_or_removed_anywhere_gets_the_verdict_of_the_oracle() {
    let mut text = String::new();
    for base in BASES {
        agree(base);
        for at in 0..=base.len() {
            let (head, tail) = base.split_at(at);
            for b in (0..128u8).map(char::from).chain(['\u{80}', '\u{ad}', 'é', '。', '．', '０', '\u{feff}'])
            {
                text.clear();
                text.extend([head, b.encode_utf8(&mut [0; 4]), tail]);
                agree(&text);
                if let Some(tail) = tail.get(1..) {
                    text.clear();
                    text.extend([head, b.encode_utf8(&mut [0; 4]), tail]);
                    agree(&text);
                }
            }
            if let Some(tail) = tail.get(1..) {
                agree(&format!("{head}{tail}"));
            }
            agree(head);
            agree(tail);
        }
    }
}

#[test]
fn every_ipv6_address_of_zero_and_nonzero_groups_is_compressed_in_one_way_only() {
    // All 256 patterns, each written with every possible place and length of `::`.
    let mut accepted = 0;
    for pattern in 0..256u32 {
        let groups: Vec<_> = (0..8).map(|n| if pattern & (1 << n) == 0 { "0" } else { "1f" }).collect();
        agree(&format!("ws://[{}]:1", groups.join(":")));
        accepted += u32::from(parse(&format!("ws://[{}]:1", groups.join(":"))).is_ok());
        for from in 0..=8 {
            for to in from..=8 {
                let text = format!("ws://[{}::{}]:1", groups[..from].join(":"), groups[to..].join(":"));
                agree(&text);
                // Skipping groups that are not zero gives another address of the same patterns.
                let same = groups[from..to].iter().all(|group| *group == "0");
                accepted += u32::from(same && parse(&text).is_ok());
            }
        }
    }
    assert_eq!(accepted, 256);
}

#[test]
fn every_short_last_label_of_digits_dots_and_hex_gets_the_verdict_of_the_oracle() {
    const ALPHABET: &[u8] = b"019xaf.-g";
    for length in 1..=4u32 {
        for n in 0..(ALPHABET.len() as u32).pow(length) {
            let host: String = (0..length)
                .map(|k| char::from(ALPHABET[(n as usize / ALPHABET.len().pow(k)) % ALPHABET.len()]))
                .collect();
            agree(&format!("ws://{host}:1"));
            agree(&format!("ws://1.2.3.{host}:1"));
        }
    }
}

fn port() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => any::<u16>().prop_map(|port| format!(":{port}")),
        1 => "(:[0-9]{0,6}|:0[0-9]|:6553[0-9]|:[-+ ]?[0-9]|)",
        1 => Just(":80".to_owned()),
    ]
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9]{1,8}(\\.[a-z0-9-]{0,5}){0,3}",
        "[!-~]{1,6}",
        "[a-z.]{0,3}[!-~][a-z.]{0,3}",
        "(0|[1-9][0-9]{0,3}|0x[0-9a-f]{0,3}|[0-9]{1,3})(\\.(0|[1-9][0-9]{0,2}|0[0-7]|0x[0-9a-f]{0,2})){0,4}\\.?",
        "([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-5]{2})(\\.([0-9]|[1-9][0-9]|2[0-5]{2})){3}",
        "[0-9]{8,11}",
        "\\[(0:|[0-9a-f]{1,4}:|:){0,8}(:|[0-9a-fA-F]{1,4})\\]",
        any::<[u16; 8]>().prop_map(|groups| format!("[{}]", core::net::Ipv6Addr::from(groups))),
        proptest::collection::vec(prop_oneof![Just(0u16), any::<u16>(), Just(1)], 8).prop_map(|groups| {
            url::Host::<String>::Ipv6(<[u16; 8]>::try_from(groups).unwrap().into()).to_string()
        }),
        "\\[::(ffff:)?[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\]",
        "\\[[0-9a-f:.%]{0,12}\\]",
        "\\PC{1,4}",
    ]
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zA-Z0-9._~-]{0,8}",
        2 => "[ -~]{0,5}",
        2 => "(\\.|%2[eE]|%2|e|%){0,4}",
        1 => "\\PC{0,3}",
        1 => any::<char>().prop_map(String::from),
    ]
}

fn url_like() -> impl Strategy<Value = String> {
    let scheme = prop_oneof![
        8 => prop_oneof![Just("ws"), Just("wss"), Just("http"), Just("https")].prop_map(|s| format!("{s}://")),
        1 => "(w|ws|wss|wsss|httpss|Http|ftp|file|wS| ws):?[/\\\\]{0,3}",
    ];
    let user =
        prop_oneof![12 => Just(""), 1 => Just("@"), 1 => Just("u@"), 1 => Just("u:p@"), 1 => Just(":@")];
    let path = proptest::collection::vec(segment(), 0..4)
        .prop_map(|segments| segments.iter().map(|segment| format!("/{segment}")).collect::<String>());
    let end = prop_oneof![12 => Just(""), 1 => Just("?"), 1 => Just("#"), 1 => Just(" "), 1 => Just("/"), 1 => Just("\\")];
    (scheme, user, host(), port(), path, end)
        .prop_map(|(scheme, user, host, port, path, end)| format!("{scheme}{user}{host}{port}{path}{end}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn url_like_texts_get_the_verdict_of_the_oracle(text in url_like()) {
        compare(&text).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn single_edits_of_url_like_texts_get_the_verdict_of_the_oracle(
        text in url_like(), at in any::<prop::sample::Index>(), byte in 0..128u8, insert in any::<bool>(),
    ) {
        let mut chars: Vec<_> = text.chars().collect();
        let at = at.index(chars.len());
        if insert { chars.insert(at, byte.into()) } else { chars[at] = byte.into() }
        compare(&chars.into_iter().collect::<String>()).map_err(TestCaseError::fail)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_gets_the_verdict_of_the_oracle(text in "(ws://)?\\PC{0,12}") {
        compare(&text).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn any_bytes_are_accepted_only_if_they_are_ascii(bytes in proptest::collection::vec(any::<u8>(), 0..8)) {
        let mut text = b"ws://a:1/".to_vec();
        text.extend(bytes);
        if let Ok(url) = PeerUrl::parse_bytes(&text, &MULTI) {
            prop_assert!(url.as_str().is_ascii());
        }
    }
}

/// How often the verdict on `xn--` hosts is that of the oracle.
#[derive(Debug, Default)]
struct Agreement {
    both_accept: u32,
    both_refuse: u32,
    only_kitfox_accepts: u32,
}

impl Agreement {
    fn count(&mut self, host: &str) {
        let text = format!("ws://{host}:1/x");
        agree(&text);
        match (PeerUrl::parse(&text, &MULTI).is_ok(), oracle(&text, PathRule::MultiSegment)) {
            (true, true) => self.both_accept += 1,
            (true, false) => self.only_kitfox_accepts += 1,
            (false, _) => self.both_refuse += 1,
        }
    }
}

/// A small generator of its own, so that the figures are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

fn punycode(text: &str) -> String {
    format!("xn--{}", idna::punycode::encode_str(text).unwrap())
}

#[test]
fn no_xn_label_that_the_oracle_accepts_is_refused() {
    const LDH: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789-";
    const SCRIPTS: [(u32, u32); 10] = [
        (0x61, 0x7a),
        (0xdf, 0x17f),
        (0x370, 0x3ff),
        (0x400, 0x4ff),
        (0x5d0, 0x5ea),
        (0x620, 0x66f),
        (0x904, 0x94f),
        (0x3041, 0x30ff),
        (0x4e00, 0x9fff),
        (0x1f300, 0x1f6ff),
    ];
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut letters, mut words, mut any) =
        (Agreement::default(), Agreement::default(), Agreement::default());
    for _ in 0..8_000 {
        // Random letters and digits.
        let label: String =
            (0..=random.below(10)).map(|_| char::from(LDH[random.below(LDH.len())])).collect();
        letters.count(&format!("xn--{label}"));
        // Words of one script, at times with a Latin neighbour.
        let (first, last) = SCRIPTS[1 + random.below(SCRIPTS.len() - 1)];
        let word: String = (0..=random.below(6))
            .filter_map(|_| char::from_u32(first + random.below((last - first + 1) as usize) as u32))
            .collect();
        if !word.is_ascii() {
            words.count(&punycode(&word));
            words.count(&format!("{}.example", punycode(&format!("a{word}"))));
            agree(&format!("ws://1a.{}:1", punycode(&word)));
        }
        // Any code points.
        let word: String =
            (0..=random.below(3)).filter_map(|_| char::from_u32(random.below(0x11_0000) as u32)).collect();
        if !word.is_ascii() {
            any.count(&punycode(&word));
        }
    }
    println!("random letters {letters:?}\nwords {words:?}\nany code points {any:?}");
    assert!(letters.both_accept > 100 && words.both_accept > 1000 && any.both_accept > 100);
}

#[test]
fn no_range_that_is_refused_without_tables_holds_a_code_point_that_the_oracle_accepts() {
    // Each code point alone, after a letter, between Hebrew letters and after a virama. In the long runs of
    // ideographs, unassigned and private code points only one in 31.
    let dense = [
        0x80..0x3400,
        0xa000..0xac00,
        0xd700..0x1_1000,
        0x1_d300..0x1_e000,
        0x2_f700..0x2_fb00,
        0xe_0000..0xe_0200,
    ];
    let sparse =
        [0x3400..0xa000, 0xac00..0xd700, 0x1_1000..0x1_d300, 0x1_e000..0x2_f700, 0x2_fb00..0x11_0000];
    let code_points =
        dense.into_iter().flatten().chain(sparse.into_iter().flat_map(|range| range.step_by(31)));
    let mut measured = Agreement::default();
    for c in code_points.filter_map(char::from_u32) {
        for (before, after) in [("", ""), ("a", ""), ("\u{5d0}", "\u{5d0}"), ("\u{915}\u{94d}", "")] {
            measured.count(&punycode(&format!("{before}{c}{after}")));
        }
    }
    println!("each code point {measured:?}");
}

#[test]
fn the_longest_xn_label_that_the_oracle_decodes_is_accepted_and_no_longer_one() {
    const LONGEST: usize = 2000;
    let mut random = Random(7);
    // Ideographs far apart take three digits each, so that the label ends before the text is too long.
    let word: Vec<_> =
        (0..800).filter_map(|_| char::from_u32(0x4e00 + random.below(0x5000) as u32)).collect();
    let label = |letters, ideographs| {
        punycode(&("a".repeat(letters) + &String::from_iter(&word[..ideographs])))["xn--".len()..].to_owned()
    };
    let near = (600..word.len()).find(|&ideographs| label(0, ideographs).len() > LONGEST - 10).unwrap();
    let mut lengths = Vec::new();
    for ideographs in near..near + 4 {
        for letters in 0..12 {
            let label = label(letters, ideographs);
            let url = format!("ws://xn--{label}:1");
            agree(&url);
            assert_eq!(PeerUrl::parse(&url, &SINGLE).is_ok(), label.len() <= LONGEST, "{}", label.len());
            lengths.push(label.len());
        }
    }
    assert!(lengths.contains(&LONGEST) && lengths.contains(&(LONGEST + 1)), "{lengths:?}");
}

#[test]
fn every_first_step_of_punycode_leads_to_the_bias_of_the_oracle() {
    // Letters in front and the distance of the ideograph make the step; its second one, one place further, is a single
    // digit to read with that bias. Among these is the step at which one more division begins.
    for letters in 0..12 {
        for c in ('\u{7180}'..'\u{7200}').chain('\u{8f00}'..'\u{8f80}') {
            let label = punycode(&format!("{}{c}a{c}", "a".repeat(letters)));
            accepts(&[&format!("ws://{label}:1")]);
        }
    }
}

#[test]
fn punycode_limits_are_those_of_the_oracle() {
    for text in
        ["ü".repeat(999), "ü".repeat(1000), "ü".repeat(1001), "中".repeat(1000), "a".repeat(1990) + "ü"]
    {
        agree(&format!("ws://{}:1", punycode(&text)));
    }
    for length in 1985..2005 {
        agree(&format!("ws://xn--{}-tda:1", "a".repeat(length)));
        agree(&format!("ws://xn--{}:1", "a".repeat(length)));
        agree(&format!("ws://xn--{}:1", "9".repeat(length)));
    }
    accepts(&["ws://xn--n3h:1", "ws://xn--mnchen-3ya.de:80/x", "ws://a.xn--n3h.:1", "ws://axn--:1"]);
    refuses(
        UrlError::Host,
        &[
            "ws://xn--:1",
            "ws://xn---:1",
            "ws://xn---n3h:1",
            "ws://xn--a-:1",
            "ws://xn--a:1",
            "ws://a.xn--zzzzzz:1",
            "ws://xn--a_b.c:1",
        ],
    );
    // U+00DC, U+0300 at the start, U+2160, U+E000, U+1D400: refused without tables too.
    for text in ["Ü", "\u{300}a", "\u{2160}", "\u{e000}", "\u{1d400}", "\u{200d}"] {
        refuses(UrlError::Host, &[&format!("ws://{}:1", punycode(text))]);
    }
}

#[test]
fn only_the_four_schemes_in_lower_case_are_accepted() {
    accepts(&["ws://a:1", "wss://a:1", "http://a:1", "https://a:1"]);
    for (text, scheme, tls) in [
        ("ws://s:1", Scheme::Ws, false),
        ("wss://s:1", Scheme::Wss, true),
        ("http://s:1", Scheme::Http, false),
        ("https://s:1", Scheme::Https, true),
    ] {
        let url = parse(text).unwrap();
        assert_eq!((url.scheme(), url.uses_tls()), (scheme, tls));
        assert_eq!(url.scheme().as_str(), text.split_once(':').unwrap().0);
    }
    refuses(
        UrlError::Scheme,
        &[
            "",
            "ws",
            "ws:",
            "ws:a:1",
            "ws:/a:1",
            "WS://a:1",
            "ftp://a:1",
            "wsss://a:1",
            "file://a:1",
            " ws://a:1",
        ],
    );
}

#[test]
fn port_is_mandatory() {
    refuses(UrlError::Port, &["ws://a", "http://a", "https://a/x", "ws://a:", "ws://a:/x", "ws://[::1]"]);
}

#[test]
fn port_with_leading_zero_is_refused() {
    accepts(&["ws://a:0", "ws://a:10"]);
    refuses(UrlError::Port, &["ws://a:00", "ws://a:080", "ws://a:000001"]);
}

#[test]
fn port_above_65535_is_refused() {
    accepts(&["ws://a:65535"]);
    refuses(UrlError::Port, &["ws://a:65536", "ws://a:99999", "ws://a:100000", "ws://a:4294967297"]);
    assert_eq!(parse("ws://a:65535/80").unwrap().port(), 65535);
}

#[test]
fn default_port_is_written_out() {
    accepts(&["ws://a:80", "wss://a:443", "http://a:80", "https://a:443", "ws://a:443"]);
}

#[test]
fn user_information_is_refused_even_if_empty() {
    refuses(UrlError::UserInfo, &["ws://@a:1", "ws://u@a:1", "ws://u:p@a:1/x", "ws://:@a:1"]);
    accepts(&["ws://a:1/u@a"]);
}

#[test]
fn query_and_fragment_are_refused_even_if_empty() {
    refuses(
        UrlError::Query,
        &["ws://a:1?", "ws://a:1#", "ws://a:1/x?", "ws://a:1/x#", "ws://a:1/x?y", "ws://a:1/x/y#z"],
    );
}

#[test]
fn host_is_never_changed() {
    refuses(
        UrlError::Host,
        &["ws://:1", "ws:///a:1", "ws://A:1", "ws://%61:1", "ws://a%zz:1", "ws://é:1", "ws://a b:1"],
    );
    refuses(UrlError::Host, &["ws://a^b:1", "ws://a|b:1", "ws://a<b:1", "ws://a\u{7f}:1", "ws://a\t:1"]);
    accepts(&["ws://a_b:1", "ws://-a-:1", "ws://a*b:1", "ws://{a}:1", "ws://\"`:1", "ws://~!$&'()+,;=:1"]);
    accepts(&["ws://.:1", "ws://..:1", "ws://a..b:1", "ws://a.:1", "ws://ab--cd:1"]);
}

#[test]
fn host_that_ends_in_a_number_is_a_dotted_quad_or_refused() {
    accepts(&["ws://1.2.3.4:1", "ws://0.0.0.0:1", "ws://255.255.255.255:1"]);
    accepts(&["ws://1.2.3.4a:1", "ws://1.2.3.a:1", "ws://0xg:1", "ws://1..:1", "ws://0x1.a:1"]);
    refuses(
        UrlError::Host,
        &["ws://a.1:1", "ws://127.1:1", "ws://2130706433:1", "ws://1.2.3.4.:1", "ws://1.2.3.256:1"],
    );
    refuses(
        UrlError::Host,
        &["ws://0x:1", "ws://a.0x:1", "ws://0x7f.1:1", "ws://01.2.3.4:1", "ws://1.2.3.4.5:1", "ws://1:1"],
    );
    refuses(UrlError::Host, &["ws://a.09:1", "ws://a.1.:1", "ws://99999999999:1"]);
}

#[test]
fn ipv6_host_has_the_shortest_lower_case_hexadecimal_form() {
    accepts(&[
        "ws://[::]:1",
        "ws://[::1]:1",
        "ws://[1::]:1",
        "ws://[::ffff:102:304]:1",
        "ws://[1:0:2:3:4:5:6:7]:1",
    ]);
    refuses(
        UrlError::Host,
        &["ws://[]:1", "ws://[:]:1", "ws://[:::]:1", "ws://[::ffff:1.2.3.4]:1", "ws://[::A]:1"],
    );
    refuses(
        UrlError::Host,
        &["ws://[::01]:1", "ws://[1::2::3]:1", "ws://[fe80::1%25eth0]:1", "ws://[::1:1", "ws://::1:1"],
    );
    refuses(
        UrlError::Host,
        &["ws://[1::2:3:4:5:6:7]:1", "ws://[1:2:3:4:5:6:7]:1", "ws://[1:2:3:4:5:6:7:8:9]:1"],
    );
    refuses(UrlError::Port, &["ws://[::1]x:1"]);
    let url = parse("ws://[::1]:80/x").unwrap();
    assert_eq!((url.host(), url.port(), url.addr()), ("[::1]", 80, "[::1]:80"));
}

#[test]
fn trailing_slash_and_empty_segment_are_refused() {
    refuses(
        UrlError::Path,
        &["ws://a:1/", "ws://a:1//", "ws://a:1/x/", "ws://a:1//x", "ws://a:1/x//y", "ws://a:1\\x"],
    );
}

#[test]
fn dot_segment_in_any_spelling_and_place_is_refused() {
    for dot in [".", "..", "%2e", "%2E", "%2e%2E", "%2e.", ".%2E", "%2E%2e", ".%2e", "%2E."] {
        for path in [format!("/{dot}"), format!("/x/{dot}"), format!("/{dot}/x"), format!("/x/{dot}/y")] {
            refuses(UrlError::Path, &[&format!("ws://a:1{path}")]);
        }
    }
    accepts(&[
        "ws://a:1/...",
        "ws://a:1/.a",
        "ws://a:1/a.",
        "ws://a:1/%2e%2e%2e",
        "ws://a:1/%2",
        "ws://a:1/.../..a",
    ]);
}

#[test]
fn characters_that_would_be_percent_encoded_are_refused_in_the_path() {
    for c in [" ", "\"", "<", ">", "`", "{", "}", "\u{7f}", "é", "\\", "\t", "\n", "\0"] {
        refuses(
            UrlError::Path,
            &[&format!("ws://a:1/x{c}y"), &format!("ws://a:1/x{c}"), &format!("ws://a:1/{c}x")],
        );
    }
    accepts(&["ws://a:1/!$&'()*+,-.:;=@[]^_|~", "ws://a:1/%zz%", "ws://a:1/C:", "ws://a:1/C|/x"]);
}

#[test]
fn several_segments_need_the_newer_rule() {
    let text = "wss://r.example:443/relay/id";
    assert_eq!(PeerUrl::parse(text, &SINGLE), Err(UrlError::Path));
    assert_eq!(PeerUrl::parse(text, &MULTI).map(|url| url.peer_id()), Ok(Some("id")));
    assert_eq!(UrlRules::default().path, PathRule::MultiSegment);
}

#[test]
fn peer_id_is_the_last_segment_as_written() {
    assert_eq!(parse("ws://a:1").unwrap().peer_id(), None);
    assert!(!parse("ws://a:1").unwrap().is_peer());
    assert_eq!(parse("ws://a:1/X%2f").unwrap().peer_id(), Some("X%2f"));
    assert_eq!(parse("ws://a:1/b/c/d").unwrap().peer_id(), Some("d"));
    assert_eq!(parse("ws://a:1/ws:").unwrap().addr(), "a:1");
}

#[test]
fn text_of_the_limit_is_accepted_and_one_byte_more_is_refused() {
    let longest = format!("ws://a:1/{}", "x".repeat(UrlRules::DEFAULT_MAX_BYTES - 9));
    assert_eq!(longest.len(), 2048);
    assert!(parse(&longest).is_ok());
    assert_eq!(parse(&format!("{longest}x")), Err(UrlError::TooLong));
    let rules = UrlRules { max_bytes: 2, ..UrlRules::default() };
    assert_eq!(PeerUrl::parse_bytes(&[0xff; 3], &rules), Err(UrlError::TooLong));
    assert_eq!(PeerUrl::parse_bytes(&[0xff; 2], &rules), Err(UrlError::NotUtf8));
}

#[test]
fn equality_is_that_of_the_text_and_the_value_is_one_slice() {
    assert_ne!(parse("ws://a:1/%41"), parse("ws://a:1/A"));
    assert_eq!(parse("ws://a:1/A").unwrap().to_string(), "ws://a:1/A");
    assert_eq!(AsRef::<str>::as_ref(&parse("ws://a:1/A").unwrap()), "ws://a:1/A");
    assert_eq!(size_of::<PeerUrl<'_>>(), size_of::<&str>());
}

#[test]
fn ids_are_ordered_by_their_bytes() {
    let ids = [[1; 32], [2; 32], [3; 32]].map(PeerId::from_key);
    assert!(ids.is_sorted_by(|one, next| one < next) && !ids.is_sorted_by(|one, next| one > next));
    let texts = ["alice", "bob"].map(|text| PeerId::new(text).unwrap());
    assert!(texts[0] < texts[1] && texts[0] <= texts[0]);
}
