//! What kitfox costs on a microcontroller: flash, memory and stack of images, beside those of the same firmware with
//! embassy-net alone.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SectionKind, elf};

use super::{BOARDS, Board, Host, Image, Machine, PATIENCE, Wire, host::ECHO, host::SPACE, within};

/// More than so many percent over the committed figure is a failure.
pub const TOLERANCE_PERCENT: u64 = 8;

/// The board whose memory is the measure.
pub const BOARD: &Board = &BOARDS[0];

/// A figure with its name, in bytes.
pub type Figure = (String, u64);

/// What is measured: images with one and with four sockets, without anything but what they need to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Variant {
    /// The first part of the names of its figures.
    name: &'static str,
    program: &'static str,
    /// Whether it is a node, and what it is compared with.
    baseline: Option<&'static str>,
    wire: Wire,
}

/// Another kind of node is another line.
const VARIANTS: [Variant; 3] = [
    Variant { name: "net", program: "echo", baseline: None, wire: Wire::Plain },
    Variant { name: "plain", program: "smallest", baseline: Some("net"), wire: Wire::Plain },
    Variant { name: "secured", program: "smallest", baseline: Some("net"), wire: Wire::Secured },
];

/// Sockets, and the features that make them as many.
const SOCKETS: [(u64, &str); 2] = [(1, "one,"), (4, "")];

/// Goals, by the name of a figure or of a difference: the budget, and the goal beyond it. In bytes.
const BUDGETS: [(&str, u64, Option<u64>); 8] = [
    ("plain/1/flash added", 18 << 10, Some(13 << 10)),
    ("plain/1/ram added", 3277, Some(2662)),
    ("plain/each further/flash added", 205, None),
    ("plain/each further/ram added", 2458, None),
    ("secured/1/flash added", 50 << 10, Some(34 << 10)),
    ("secured/1/ram added", 5632, None),
    ("secured/1/stack", 12 << 10, None),
    ("secured/4/stack", 12 << 10, None),
];

/// Flash and static memory of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Footprint {
    /// Code, constants and the first values of variables.
    flash: u64,
    /// Variables.
    ram: u64,
}

fn footprint(elf: &[u8]) -> Footprint {
    let file = object::File::parse(elf).expect("an ELF file");
    let mut sum = Footprint { flash: 0, ram: 0 };
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
        if sh_flags.0 & elf::SHF_ALLOC.0 == 0 {
            continue;
        }
        let in_ram = (BOARD.ram..BOARD.ram + BOARD.ram_bytes).contains(&section.address());
        let is_loaded = section.kind() != SectionKind::UninitializedData;
        sum.ram += if in_ram { section.size() } else { 0 };
        sum.flash += if is_loaded { section.size() } else { 0 };
    }
    sum
}

/// The bounds of the stack in an image.
fn stack_of(elf: &[u8]) -> (u64, u64) {
    let file = object::File::parse(elf).expect("an ELF file");
    let symbol = |name: &str| file.symbol_by_name(name).expect("the linker defines it").address();
    (symbol("_stack_end"), symbol("_stack_start"))
}

/// Bytes of the stack that were ever written, since the start-up code painted it.
fn high_water(machine: &mut Machine, (end, top): (u64, u64)) -> u64 {
    let paint = 0xcccc_cccc_u32.to_le_bytes();
    let stack = machine.memory(end, top);
    let untouched = stack.chunks_exact(4).take_while(|word| **word == paint).count() as u64 * 4;
    assert!(untouched > 0, "the stack has overflowed");
    top - end - untouched
}

/// Builds, runs and measures everything.
///
/// # Panics
/// If something does not build or does not run.
pub fn measure() -> Vec<Figure> {
    let mut figures = Vec::new();
    for variant in VARIANTS {
        for (sockets, features) in SOCKETS {
            let name = format!("{}/{sockets}", variant.name);
            let features = format!("{features}{}", variant.wire.features());
            let image = |features| Image { program: variant.program, features };
            let elf = image(features.clone()).build(BOARD);
            let size = footprint(&std::fs::read(elf).expect("just built"));
            figures.push((format!("{name}/flash"), size.flash));
            figures.push((format!("{name}/ram"), size.ram));
            let elf = image(features + "semihosting").build(BOARD);
            let mut machine = match variant.baseline {
                None => exercise_echo(&elf),
                Some(_) => async_io::block_on(within(exercise_node(&elf, sockets, variant.wire))),
            };
            let bounds = stack_of(&std::fs::read(&elf).expect("just built"));
            figures.push((format!("{name}/stack"), high_water(&mut machine, bounds)));
        }
    }
    figures
}

fn exercise_echo(elf: &Path) -> Machine {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    let machine = Machine::start(BOARD, elf, |_| vec![format!("peer={port}")]);
    let mut ready = [0; 5];
    let (mut stream, _) = listener.accept().expect("the firmware dials");
    stream.read_exact(&mut ready).expect("it says that it is ready");
    drop(stream);
    // The only socket listens when it has done with the host; a connection that comes earlier is reset.
    let tries = (0..1000).find(|_| exchange(machine.port()).is_ok());
    assert!(tries.is_some(), "the firmware does not listen");
    machine
}

fn exchange(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut bytes = [7; 1000];
    for _ in 0..100 {
        stream.write_all(&bytes)?;
        stream.read_exact(&mut bytes)?;
    }
    Ok(())
}

/// Everything that goes deep: gates, whole and broken messages, goodbyes, strangers, and as many peers as it has sockets.
async fn exercise_node(elf: &Path, sockets: u64, wire: Wire) -> Machine {
    let host = Host::new("host", wire).await;
    let machine = Machine::start(BOARD, elf, |_| vec![format!("peer={}", host.url)]);
    let url = format!("{}://127.0.0.1:{}/{}", wire.scheme(), machine.port(), wire.firmware_id());
    host.up().await;
    assert_eq!(host.notified().await, b"ready");
    let mut hosts = vec![host];
    while hosts.len() < sockets as usize {
        hosts.push(Host::new(&format!("host-{}", hosts.len()), wire).await);
    }
    for len in [0, 1, 100, 900] {
        // One after the other: the outbox of so small a node has room for one long answer.
        for host in &hosts {
            host.node.module(&url, SPACE, ECHO, &vec![1; len]).expect("room");
        }
        for host in &hosts {
            assert_eq!(host.echoed().await.len(), len);
            host.node.notify(&url, SPACE, &vec![1; len]).expect("room");
        }
        for host in &hosts {
            assert_eq!(host.notified().await.len(), len);
        }
    }
    // One leaves politely; another one, or the only one, says something that is too long.
    if let Some(leaving) = hosts.pop_if(|_| sockets > 1) {
        leaving.node.shutdown().await;
        let mut stranger = TcpStream::connect(("127.0.0.1", machine.port())).expect("the firmware listens");
        stranger.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // It may have closed by now.
        _ = stranger.write_all(&[0xee; 100]);
        _ = stranger.read_to_end(&mut Vec::new());
    }
    // On a secured connection the host knows what is too long, and does not say it.
    if wire == Wire::Plain {
        let host = &hosts[0];
        host.node.notify(&url, SPACE, &[1; 5000]).expect("room");
        while !matches!(host.told().await, super::Told::Down(..)) {}
    }
    machine
}

/// What is to be seen beside the figures: what kitfox adds, and what is left.
pub fn differences(figures: &[Figure]) -> Vec<Figure> {
    let figure =
        |name: String| figures.iter().find(|(known, _)| *known == name).map_or(0, |&(_, bytes)| bytes);
    let mut differences = Vec::new();
    for variant in VARIANTS {
        let Some(baseline) = variant.baseline else { continue };
        for kind in ["flash", "ram"] {
            let added = |sockets: u64| {
                let node = figure(format!("{}/{sockets}/{kind}", variant.name));
                node.saturating_sub(figure(format!("{baseline}/{sockets}/{kind}")))
            };
            for (sockets, _) in SOCKETS {
                differences.push((format!("{}/{sockets}/{kind} added", variant.name), added(sockets)));
            }
            let each = added(4).saturating_sub(added(1)) / 3;
            differences.push((format!("{}/each further/{kind} added", variant.name), each));
        }
        let used = figure(format!("{}/4/ram", variant.name)) + figure(format!("{}/4/stack", variant.name));
        for (sockets, _) in SOCKETS {
            let name = format!("{}/{sockets}/stack", variant.name);
            differences.push((name.clone(), figure(name)));
        }
        differences.push((format!("{}/4/ram left", variant.name), BOARD.ram_bytes.saturating_sub(used)));
    }
    differences
}

/// A table of figures, differences and budgets, beside those of the file.
pub fn report(figures: &[Figure], committed: &[Figure]) -> String {
    let mut text = format!(
        "{}, bytes. ram: static. stack: painted high water after gates, messages, refusals and goodbyes.\n{:<34}{:>8}  {:>9}\n",
        BOARD.name, "figure", "now", "committed"
    );
    let text_of = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
    for (name, bytes) in figures {
        let known = committed.iter().find(|(known, _)| known == name);
        let known = text_of(known.map(|&(_, bytes)| bytes));
        _ = writeln!(text, "{name:<34}{bytes:>8}  {known:>9}");
    }
    _ = writeln!(text, "\n{:<34}{:>8}  {:>9}  {:>9}", "", "now", "budget", "moonshot");
    for (name, bytes) in differences(figures) {
        let budget = BUDGETS.iter().find(|(known, ..)| *known == name);
        let (goal, moonshot) = (budget.map(|budget| budget.1), budget.and_then(|budget| budget.2));
        let verdict = if goal.is_some_and(|goal| bytes > goal) { "  over" } else { "" };
        _ = writeln!(text, "{name:<34}{bytes:>8}  {:>9}  {:>9}{verdict}", text_of(goal), text_of(moonshot));
    }
    text
}

/// What is wrong with the figures, in the light of those that are committed.
pub fn complaints(figures: &[Figure], committed: &[Figure]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, bytes) in figures {
        match committed.iter().find(|(known, _)| known == name) {
            None => complaints.push(format!("{name} has no committed figure")),
            Some((_, known)) if bytes * 100 > known * (100 + TOLERANCE_PERCENT) => {
                complaints.push(format!("{name}: {bytes}, committed {known}"));
            }
            Some(_) => {}
        }
    }
    let gone = committed.iter().filter(|(name, _)| figures.iter().all(|(known, _)| known != name));
    complaints.extend(gone.map(|(name, _)| format!("{name} is committed and was not measured")));
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(bytes: &[u64]) -> Vec<Figure> {
        ["net/1/flash", "plain/1/flash"].map(str::to_owned).into_iter().zip(bytes.iter().copied()).collect()
    }

    #[test]
    fn a_figure_may_grow_by_eight_percent_and_no_more() {
        assert!(complaints(&figures(&[1080, 10]), &figures(&[1000, 5000])).is_empty());
        assert_eq!(complaints(&figures(&[1081, 10]), &figures(&[1000, 5000])).len(), 1);
    }

    #[test]
    fn a_figure_without_its_counterpart_is_complained_of() {
        assert_eq!(complaints(&figures(&[1, 2]), &figures(&[1])).len(), 1);
        assert_eq!(complaints(&figures(&[1]), &figures(&[1, 2])).len(), 1);
    }

    #[test]
    fn what_kitfox_adds_is_the_difference_to_embassy_net_alone() {
        let added = differences(&figures(&[1000, 1500]));
        assert!(added.contains(&("plain/1/flash added".to_owned(), 500)), "{added:?}");
    }
}
