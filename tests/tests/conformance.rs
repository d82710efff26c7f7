//! The recorded vectors hold, and the runner that says so can fail.

extern crate alloc;

use alloc::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kitfox_tests::conformance::{Kind, LoadError, Mismatch, Report, Vectors, judge};
use serde_json::{Value, json};

const FILES: [(&str, Kind, usize); 6] = [
    ("frames.dev.json", Kind::Frame, 150),
    ("lifecycle.dev.json", Kind::Scenario, 59),
    ("proto.dev.json", Kind::K2Proto, 601),
    ("recv.dev.json", Kind::Scenario, 311),
    ("send.dev.json", Kind::Scenario, 111),
    ("urls.dev.json", Kind::Url, 253),
];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name)
}

fn json_of(name: &str) -> Value {
    serde_json::from_slice(&fs::read(path(name)).unwrap()).unwrap()
}

#[test]
fn every_recorded_case_holds() {
    for (name, kind, cases) in FILES {
        let vectors = Vectors::read(&path(name)).unwrap();
        assert_eq!((vectors.kind(), vectors.len()), (kind, cases), "{name}");
        let report = vectors.run();
        let failures: Vec<_> = report.failures.iter().map(ToString::to_string).collect();
        assert_eq!(failures, Vec::<String>::new(), "{name}");
        assert_eq!(report.passed, cases, "{name}");
    }
}

#[test]
fn every_committed_vector_file_is_run() {
    let files =
        fs::read_dir(path("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<_> = files.filter(|name| name.ends_with(".json")).collect();
    files.sort();
    assert_eq!(files, FILES.map(|(name, ..)| name));
}

/// Changes one case and runs the whole file: that case must fail, and no other. Returns what its line says.
#[track_caller]
fn only_it_fails(mut file: Value, case: usize, change: impl FnOnce(&mut Value)) -> String {
    let before = file["cases"][case].clone();
    change(&mut file["cases"][case]);
    assert_ne!(file["cases"][case], before, "the case is changed");
    let cases = file["cases"].as_array().unwrap().len();
    let report = Vectors::from_value(file).unwrap().run();
    let failures: Vec<_> = report.failures.iter().map(|failure| failure.case.as_str()).collect();
    assert_eq!(failures, [before["id"].as_str().unwrap()]);
    assert_eq!(report.passed, cases - 1);
    report.failures[0].to_string()
}

/// The first case for which `is_it` holds.
#[track_caller]
fn find(file: &Value, is_it: impl Fn(&Value) -> bool) -> usize {
    file["cases"].as_array().unwrap().iter().position(is_it).expect("there is such a case")
}

/// The first case that has, in one of its outcomes, what `is_it` looks for, and the number of that step.
#[track_caller]
fn find_step(file: &Value, is_it: impl Fn(&Value) -> bool) -> (usize, usize) {
    let step = |case: &Value| case["expect"].as_array().unwrap().iter().position(&is_it);
    let case = find(file, |case| step(case).is_some());
    (case, step(&file["cases"][case]).unwrap())
}

/// Another value of the same type.
fn other(value: &Value) -> Value {
    match value {
        Value::Bool(flag) => json!(!flag),
        Value::Number(number) => json!(number.as_i64().unwrap() ^ 1),
        Value::String(text) if text.is_empty() => json!("00"),
        Value::String(text) => {
            let (rest, last) = text.split_at(text.len() - 1);
            json!(format!("{rest}{}", if last == "0" { "1" } else { "0" }))
        }
        _ => json!("00"),
    }
}

#[test]
fn each_expected_part_of_a_message_is_compared() {
    let file = json_of("proto.dev.json");
    let full = find(&file, |case| {
        case["ok"] == true && !case["fields"]["space_id"].is_null() && !case["fields"]["module_id"].is_null()
    });
    for part in ["ty_raw", "ty", "data", "space_id", "module_id"] {
        only_it_fails(file.clone(), full, |case| case["fields"][part] = other(&case["fields"][part]));
    }
    for part in ["reencoded", "canonical"] {
        only_it_fails(file.clone(), full, |case| case[part] = other(&case[part]));
    }
    only_it_fails(file.clone(), full, |case| case["ok"] = json!(false));
    only_it_fails(file.clone(), full, |case| case["fields"]["module_id"] = Value::Null);
    let rejected = find(&file, |case| case["ok"] == false);
    only_it_fails(file, rejected, |case| {
        let fields =
            json!({"ty_raw": 0, "ty": "UNSPECIFIED", "data": "", "space_id": null, "module_id": null});
        *case = json!({"id": case["id"], "bytes": case["bytes"], "ok": true, "fields": fields, "reencoded": "", "canonical": false});
    });
}

#[test]
fn each_expected_part_of_a_frame_is_compared() {
    let file = json_of("frames.dev.json");
    let encoded = find(&file, |case| case["result"]["ok"] == true);
    only_it_fails(file.clone(), encoded, |case| case["result"]["bytes"] = other(&case["result"]["bytes"]));
    only_it_fails(file.clone(), encoded, |case| case["result"] = json!({ "ok": false }));
    let refused = find(&file, |case| case["result"]["ok"] == false);
    only_it_fails(file.clone(), refused, |case| {
        case["result"] = json!({ "ok": true, "bytes": "0100000000" });
    });
    for (ty, parts) in [("data", &["data", "consumed"][..]), ("preflight", &["url", "preflight", "consumed"])]
    {
        let decoded = find(&file, |case| case["header"]["type"] == ty && case["body"]["ok"] == true);
        for part in ["type", "len", "ok"] {
            only_it_fails(file.clone(), decoded, |case| case["header"][part] = other(&case["header"][part]));
        }
        for part in parts {
            only_it_fails(file.clone(), decoded, |case| case["body"][part] = other(&case["body"][part]));
        }
        only_it_fails(file.clone(), decoded, |case| case["body"] = json!({ "ok": false }));
        let cut = find(&file, |case| case["header"]["type"] == ty && case["body"]["ok"] == false);
        only_it_fails(file.clone(), cut, |case| case["body"]["ok"] = json!(true));
    }
    let no_header = find(&file, |case| case["header"]["ok"] == false);
    only_it_fails(file, no_header, |case| case["header"] = json!({ "ok": true, "type": "data", "len": 0 }));
}

#[test]
fn each_expected_part_of_a_url_is_compared() {
    let file = json_of("urls.dev.json");
    let accepted = find(&file, |case| case["peer_id"].is_string());
    for part in ["accept", "as_str", "peer_id", "addr", "uses_tls", "is_peer"] {
        only_it_fails(file.clone(), accepted, |case| case[part] = other(&case[part]));
    }
    for part in ["accept", "peer_id", "addr"] {
        only_it_fails(file.clone(), accepted, |case| {
            case["v0_6_0_dev_3"][part] = other(&case["v0_6_0_dev_3"][part]);
        });
    }
    only_it_fails(file.clone(), accepted, |case| case["peer_id"] = Value::Null);
    let refused = find(&file, |case| case["accept"] == false && case["input"].is_null());
    only_it_fails(file.clone(), refused, |case| case["accept"] = json!(true));
    only_it_fails(file, refused, |case| case["v0_6_0_dev_3"]["accept"] = json!(true));
}

#[test]
fn result_and_error_kind_of_a_step_are_compared_and_its_wording_is_not() {
    let file = json_of("send.dev.json");
    let (refused, step) = find_step(&file, |outcome| outcome["result"]["err"]["kind"] == "no_local_agents");
    only_it_fails(file.clone(), refused, |case| {
        case["expect"][step]["result"]["err"]["kind"] = json!("other");
    });
    only_it_fails(file.clone(), refused, |case| case["expect"][step]["result"] = json!({ "ok": null }));
    let (fine, step) = find_step(&file, |outcome| outcome["result"] == json!({ "ok": null }));
    only_it_fails(file.clone(), fine, |case| {
        case["expect"][step]["result"] = json!({ "err": { "kind": "other", "text": "" } });
    });
    let (listed, step) = find_step(&file, |outcome| outcome["result"]["ok"].is_array());
    only_it_fails(file.clone(), listed, |case| case["expect"][step]["result"]["ok"] = json!([]));

    let mut reworded = file;
    reworded["cases"][refused]["expect"][0]["result"]["err"]["text"] = json!("in other words");
    assert_eq!(Vectors::from_value(reworded).unwrap().run().failures.len(), 0);

    let lifecycle = json_of("lifecycle.dev.json");
    let (gathered, step) =
        find_step(&lifecycle, |outcome| outcome["result"]["ok"]["preflight_bytes"].is_string());
    only_it_fails(lifecycle, gathered, |case| {
        let bytes = &mut case["expect"][step]["result"]["ok"]["preflight_bytes"];
        *bytes = other(bytes);
    });
    let recv = json_of("recv.dev.json");
    let (registered, step) =
        find_step(&recv, |outcome| outcome["result"]["ok"].get("returned_url").is_some());
    only_it_fails(recv, registered, |case| {
        case["expect"][step]["result"]["ok"]["returned_url"] = json!("ws://a.b:80/x");
    });
}

#[test]
fn a_wrong_missing_or_unknown_counter_fails_its_case() {
    let file = json_of("recv.dev.json");
    let (case, step) =
        find_step(&file, |outcome| !outcome["blocked_message_counts"].as_array().unwrap().is_empty());
    for part in ["incoming", "outgoing", "peer", "space_id"] {
        only_it_fails(file.clone(), case, |case| {
            let count = &mut case["expect"][step]["blocked_message_counts"][0][part];
            *count = other(count);
        });
    }
    only_it_fails(file.clone(), case, |case| case["expect"][step]["blocked_message_counts"] = json!([]));
    let (quiet, step) =
        find_step(&file, |outcome| outcome["blocked_message_counts"].as_array().unwrap().is_empty());
    only_it_fails(file, quiet, |case| {
        case["expect"][step]["blocked_message_counts"] =
            json!([{ "peer": "ws://peer.one:80/p1", "space_id": "00", "incoming": 1, "outgoing": 0 }]);
    });
}

#[test]
fn every_argument_of_every_event_is_compared() {
    for name in ["recv.dev.json", "send.dev.json", "lifecycle.dev.json"] {
        let file = json_of(name);
        let mut seen = BTreeSet::new();
        for (number, case) in file["cases"].as_array().unwrap().iter().enumerate() {
            for (step, outcome) in case["expect"].as_array().unwrap().iter().enumerate() {
                for (index, event) in outcome["events"].as_array().unwrap().iter().enumerate() {
                    for part in event.as_object().unwrap().keys() {
                        if seen.insert((event["who"].to_string(), event["ev"].to_string(), part.clone())) {
                            let mut one = json!({ "kind": "scenario", "cases": [case] });
                            let argument = &mut one["cases"][0]["expect"][step]["events"][index][part];
                            *argument = other(argument);
                            only_it_fails_alone(one, (name, number, part));
                        }
                    }
                }
            }
        }
        assert!(seen.len() > 10, "{name} has events");
    }
}

#[track_caller]
fn only_it_fails_alone(file: Value, about: impl core::fmt::Debug) {
    let Report { passed, failures, .. } = Vectors::from_value(file).unwrap().run();
    assert_eq!((passed, failures.len()), (0, 1), "{about:?}");
}

#[test]
fn a_missing_or_additional_event_fails_its_case() {
    for name in ["recv.dev.json", "send.dev.json", "lifecycle.dev.json"] {
        let file = json_of(name);
        let (case, step) = find_step(&file, |outcome| !outcome["events"].as_array().unwrap().is_empty());
        only_it_fails(file.clone(), case, |case| {
            case["expect"][step]["events"].as_array_mut().unwrap().pop();
        });
        only_it_fails(file, case, |case| {
            let events = case["expect"][step]["events"].as_array_mut().unwrap();
            events.push(events[0].clone());
        });
    }
}

#[test]
fn order_counts_between_classes_and_not_inside_one() {
    let file = json_of("lifecycle.dev.json");
    let who = |outcome: &Value| -> Vec<_> {
        outcome["events"].as_array().unwrap().iter().map(|event| event["who"].clone()).collect()
    };
    for pair in [["module", "space"], ["space", "handler"], ["handler", "space"]] {
        let is_pair = |at: &[Value]| at == pair;
        let (case, step) = find_step(&file, |outcome| who(outcome).windows(2).any(is_pair));
        only_it_fails(file.clone(), case, |case| {
            let at = who(&case["expect"][step]).windows(2).position(is_pair).unwrap();
            case["expect"][step]["events"].as_array_mut().unwrap().swap(at, at + 1);
        });
    }
    for class in ["module", "space"] {
        let (case, step) = find_step(&file, |outcome| who(outcome).windows(2).any(|at| at == [class, class]));
        let mut swapped = file.clone();
        let at = who(&file["cases"][case]["expect"][step]).windows(2).position(|at| at == [class, class]);
        let at = at.unwrap();
        swapped["cases"][case]["expect"][step]["events"].as_array_mut().unwrap().swap(at, at + 1);
        assert_eq!(Vectors::from_value(swapped).unwrap().run().failures.len(), 0, "{class}");
    }
}

#[test]
fn a_changed_setup_or_operation_fails_its_case() {
    let file = json_of("recv.dev.json");
    let (case, step) = find_step(&file, |outcome| outcome["events"][0]["ev"] == "recv_space_notify");
    only_it_fails(file.clone(), case, |case| case["setup"]["spaces"] = json!([]));
    only_it_fails(file.clone(), case, |case| case["steps"][step]["bytes"] = json!("ff"));
    only_it_fails(file.clone(), case, |case| {
        case["setup"]["spaces"][0]["blocked"] = json!([case["steps"][step]["peer"]]);
    });
    only_it_fails(file, case, |case| case["setup"]["spaces"][0]["recv_space_notify"] = json!("err"));
}

#[test]
fn cases_that_make_no_sense_fail_and_are_not_skipped() {
    for (kind, case) in [
        ("k2proto", json!({})),
        ("k2proto", json!({ "bytes": "0", "ok": false })),
        ("k2proto", json!({ "bytes": "", "ok": true })),
        ("frame", json!({ "dir": "sideways", "max_frame_bytes": 1 })),
        ("frame", json!({ "dir": "decode", "max_frame_bytes": -1, "bytes": "", "header": { "ok": false } })),
        ("url", json!({ "accept": false })),
        ("url", json!({ "input": "a", "input_hex": "62", "accept": false })),
        ("scenario", json!({ "steps": [{ "op": "dance" }], "expect": [{ "result": { "ok": null } }] })),
        ("scenario", json!({ "steps": [{ "op": "get_connected_peers" }], "expect": [] })),
        ("scenario", json!({ "steps": [{ "op": "get_connected_peers" }], "expect": [{}] })),
        ("scenario", json!({ "setup": { "imp": { "send": "maybe" } }, "steps": [], "expect": [] })),
        ("scenario", json!("no object")),
    ] {
        let file = json!({ "kind": kind, "cases": [case] });
        only_it_fails_alone(file.clone(), file);
    }
}

/// Cases of the format that no committed file has.
#[test]
fn other_files_of_the_same_format_work() {
    let space = json!({ "space_id": "41" });
    let module = json!({ "space_id": "41", "module": "m", "peer_connect": "err" });
    let (peer, data) = ("ws://peer.one:80/p1", "0803120101 1a0141 22016d".replace(' ', ""));
    let scenario = json!({
        "id": "modules that come later; a url; what is left out",
        "setup": { "imp": { "url": "wss://own.url:443/me" } },
        "steps": [
            { "op": "register_module_handler", "module": module },
            { "op": "recv_data", "peer": peer, "bytes": data },
            { "op": "register_space_handler", "space": space },
            { "op": "recv_data", "peer": peer, "bytes": data },
            { "op": "peer_connect", "peer": peer },
            { "op": "unregister_space", "space_id": "41" },
            { "op": "peer_connect", "peer": peer },
            { "op": "peer_disconnect", "peer": peer },
            { "op": "test_block", "peer": peer, "space_id": "99" },
        ],
        "expect": [
            { "result": { "ok": null } },
            { "result": { "ok": null } },
            { "result": { "ok": { "returned_url": "wss://own.url:443/me" } } },
            { "result": { "ok": null }, "events": [{
                "who": "module", "ev": "recv_module_msg", "space_id": "41", "module": "m", "arg_space_id": "41",
                "arg_module": "m", "peer": peer, "data": "01",
            }] },
            { "result": { "err": { "kind": "other" } }, "events": [
                { "who": "module", "ev": "peer_connect", "space_id": "41", "module": "m", "peer": peer },
            ] },
            { "result": { "ok": null } },
            { "result": { "ok": { "preflight_bytes": "0801" } }, "events": [
                { "who": "handler", "ev": "peer_connect", "peer": peer },
                { "who": "handler", "ev": "preflight_gather_outgoing", "peer": peer },
            ] },
            { "result": { "ok": null }, "events": [
                { "who": "handler", "ev": "peer_disconnect", "peer": peer, "reason": null },
            ] },
            { "result": { "ok": null } },
        ],
    });
    let frame = |max: Value| {
        json!({ "dir": "decode", "max_frame_bytes": max, "bytes": "01ffffffff",
            "header": { "ok": true, "type": "data", "len": u32::MAX }, "body": { "ok": false } })
    };
    let refused =
        json!({ "dir": "decode", "max_frame_bytes": 4, "bytes": "0100000000", "header": { "ok": false } });
    let url = json!({ "input": "ws://a.b:80", "accept": true });
    for (kind, cases) in [
        ("scenario", vec![scenario, json!({ "steps": [], "expect": [] })]),
        ("frame", vec![frame(json!(u64::MAX)), frame(json!(18_446_744_073_709_551_615_f64)), refused]),
        ("url", vec![url, json!({ "input": null, "input_hex": "ff", "accept": false })]),
        ("k2proto", vec![]),
    ] {
        let vectors = Vectors::parse(&json!({ "kind": kind, "cases": cases }).to_string()).unwrap();
        let report = vectors.run();
        assert!(report.failures.is_empty(), "{}", report.failures[0]);
        assert_eq!(report.passed, cases.len());
    }
}

#[test]
fn a_panic_is_the_failure_of_its_case() {
    let panicked = judge(|| panic!("at the {}", "disco")).unwrap_err();
    assert_eq!(panicked.to_string(), "expected no panic, got panic: at the disco");
    let mismatch = Mismatch { expected: "a\nb".into(), got: "c".into() };
    assert_eq!(mismatch.to_string(), "expected a\\nb, got c", "on one line");
    assert_eq!(judge(|| Err(mismatch.clone())), Err(mismatch));
    assert_eq!(judge(|| Ok(())), Ok(()));
}

#[test]
fn files_that_are_none_are_errors() {
    assert!(matches!(Vectors::read(&path("none.json")), Err(LoadError::Unreadable(_))));
    assert!(matches!(Vectors::parse("{"), Err(LoadError::Json(_))));
    assert!(matches!(Vectors::parse("[]"), Err(LoadError::Missing("kind"))));
    assert!(matches!(Vectors::parse(r#"{"kind":"url"}"#), Err(LoadError::Missing("cases"))));
    assert!(matches!(Vectors::parse(r#"{"kind":"url","cases":{}}"#), Err(LoadError::Missing("cases"))));
    let unknown = Vectors::parse(r#"{"kind":"scenario-quirks","cases":[]}"#).unwrap_err();
    assert!(matches!(&unknown, LoadError::UnknownKind(kind) if kind == "scenario-quirks"));
    assert!(unknown.to_string().contains("scenario-quirks"));
}

fn conformance(files: &[PathBuf]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_conformance")).args(files).output().unwrap()
}

/// A file for the program, which is removed when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn the_program_passes_the_committed_vectors() {
    let output = conformance(&FILES.map(|(name, ..)| path(name)));
    let cases: usize = FILES.iter().map(|(.., cases)| cases).sum();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{cases} passed, 0 failed\n"));
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

#[test]
fn the_program_names_file_and_case_of_a_failure_and_exits_with_1() {
    let mut file = json_of("urls.dev.json");
    file["cases"][1]["accept"] = other(&file["cases"][1]["accept"]);
    let id = file["cases"][1]["id"].as_str().unwrap().to_owned();
    let scratch = Scratch::new("urls.json", &file.to_string());
    let output = conformance(&[path("frames.dev.json"), scratch.0.clone()]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with(&format!("{} {id}: expected ", scratch.0.display())), "{}", lines[0]);
    assert!(lines[0].contains(", got "));
    assert_eq!(lines[1], "402 passed, 1 failed");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_program_exits_with_2_and_a_message_if_it_cannot_run() {
    let unknown = Scratch::new("unknown.json", r#"{"kind":"poetry","cases":[]}"#);
    let broken = Scratch::new("broken.json", r#"{"kind":"url","cases":["#);
    for (files, says) in [
        (vec![], "usage"),
        (vec![path("none.json")], "none.json"),
        (vec![path("frames.dev.json"), unknown.0.clone()], "poetry"),
        (vec![broken.0.clone()], "is not JSON"),
    ] {
        let output = conformance(&files);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(says), "{message}");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{message}");
    }
}
