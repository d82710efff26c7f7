//! What a child does, and how the parent runs it.
//!
//! ```text
//! report --child rates NAME free|pinned MILLISECONDS    "size BYTES RATE MICROSECONDS"..., "trips P50 P99"
//! report --child idle NAME COUNT                        "idle BYTES RATE"
//! report --child dial NAME ADDRESS COUNT                "dialled"; stays until its input ends
//! report --child once NAME BYTES MESSAGES               nothing
//! ```

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use kitfox_benches::peers::Fault;

use crate::{idle, peers, rounds};

/// Before what a child is asked for.
pub(crate) const CHILD: &str = "--child";

/// Does what the arguments ask for.
pub(crate) fn run(arguments: &[String]) -> Result<(), Fault> {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let peer = |name| peers::find(name).ok_or("no peer has that name");
    match arguments[..] {
        ["rates", name, pinned, time] => {
            rounds::child(peer(name)?, pinned == "pinned", Duration::from_millis(time.parse()?))
        }
        ["idle", name, count] => idle::child(peer(name)?, count.parse()?),
        ["dial", name, address, count] => {
            let dial = peer(name)?.idle.ok_or("it does not idle")?.dial;
            let _open = dial(address, count.parse()?)?;
            println!("dialled");
            io::stdout().flush()?;
            io::stdin().read_to_end(&mut Vec::new())?;
            Ok(())
        }
        ["once", name, bytes, messages] => {
            (peer(name)?.open)()?.send(bytes.parse()?, messages.parse()?).map(drop)
        }
        _ => Err("a child was asked for nothing it knows".into()),
    }
}

/// What a child printed, and how it failed if it did.
pub(crate) struct Printed {
    pub(crate) lines: Vec<String>,
    pub(crate) fault: Option<String>,
}

/// Runs a child for so long at most.
pub(crate) fn start(program: &Path, arguments: &[&str], limit: Duration) -> Printed {
    let mut command = Command::new(program);
    command.arg(CHILD).args(arguments);
    bounded(command, limit)
}

/// Runs a command for so long at most.
pub(crate) fn bounded(mut command: Command, limit: Duration) -> Printed {
    let failed = |fault: String| Printed { lines: Vec::new(), fault: Some(fault) };
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return failed(error.to_string()),
    };
    let drain = |pipe: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut text = Vec::new();
            // What came until then is what there is.
            pipe.map(|mut pipe| pipe.read_to_end(&mut text));
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let out = drain(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let err = drain(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let start = Instant::now();
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => break None,
            Ok(Some(status)) => break Some(status.to_string()),
            Ok(None) if start.elapsed() < limit => thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let killed = child.kill().and_then(|()| child.wait());
                break Some(match killed {
                    Ok(_) => format!("it took longer than {} s", limit.as_secs()),
                    Err(error) => error.to_string(),
                });
            }
            Err(error) => break Some(error.to_string()),
        }
    };
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    // The last words are the error; what libraries log stands before them.
    let fault = ended.map(|ended| err.lines().last().map_or(ended, str::to_owned));
    Printed { lines: out.lines().map(str::to_owned).collect(), fault }
}
