//! What `--help` says.

pub(crate) const COMMANDS: &str = "\
kitfox: a peer-to-peer transport that speaks Kitsune2's wire

Usage: kitfox COMMAND [OPTIONS]

Commands:
  demo      three nodes on this machine talk to each other, and check what they hear
  listen    listen, and tell what is heard
  send      send messages to a peer
  decode    explain bytes of the wire
  bench     measure this machine: throughput and round trips over loopback

Options:
  -h, --help       this text; after a command, that of the command
  -V, --version    the version

Examples:
  kitfox demo
  kitfox listen --plain --listen 127.0.0.1:0 --space garden
  kitfox send ws://127.0.0.1:4711/ID --plain --space garden --data \"it rains\"
  kitfox decode 01 00000000

Exit codes: 0 done, 1 the peer refused or was lost, 2 wrong usage.
";

pub(crate) const DEMO: &str = "\
Three nodes on this machine talk to each other, and check what they hear.

Usage: kitfox demo

Example:
  kitfox demo
";

pub(crate) const LISTEN: &str = "\
Listens, and tells what it hears, until Ctrl-C or SIGTERM.

Usage: kitfox listen --plain --listen ADDR... --space NAME... [OPTIONS]

Who it is:
  --plain                 plain connections: where the network is trusted
  --id HEX                the node's id; without it, a random one

Where it listens:
  --listen ADDR           IP:PORT, [IPv6]:PORT or NAME:PORT; port 0 takes a free one
                          May be repeated, as all options that take a NAME or a URL
  --advertise URL         what peers are told as its URL; once, or once for each --listen

What it hears:
  --space NAME            a space
  --module NAME           a module, in each of the spaces
  --block PEER_URL        drop what this peer sends, in all spaces
  --echo                  send every message back to its sender

Limits:
  --max-frame-bytes N     the longest frame, header included (104857600)
  --max-connections N     connections at a time (65536)

Output:
  --json                  one JSON object a line, for programs: see docs/command.md
  -h, --help              this text

NAME is text, or hex: and hex digits.

Examples:
  kitfox listen --plain --listen 127.0.0.1:0 --space garden
  kitfox listen --plain --listen 127.0.0.1:4711 --listen [::1]:4711 --space garden --echo
  kitfox listen --plain --listen 127.0.0.1:0 --space hex:00ff --json
";

pub(crate) const SEND: &str = "\
Sends messages to a peer, and waits until they are written.

Usage: kitfox send PEER_URL --plain --space NAME [OPTIONS]

  --plain                 a plain connection: where the network is trusted
  --space NAME            the space
  --module NAME           a module of the space; without it, the message is a notify
  --data TEXT             the message
  --file FILE             the message, from a file; without --data and --file, from standard input
  --count N               send it N times (1)
  --wait-replies N        then wait for N messages from the peer in this space (0)
  --json                  one JSON object a line, for programs: see docs/command.md
  -h, --help              this text

NAME is text, or hex: and hex digits.

Examples:
  kitfox send ws://127.0.0.1:4711/ID --plain --space garden --data \"it rains\"
  kitfox send ws://127.0.0.1:4711/ID --plain --space garden --module photos --file cat.jpg
  date | kitfox send ws://127.0.0.1:4711/ID --plain --space garden --wait-replies 1
";

pub(crate) const DECODE: &str = "\
Explains bytes of the wire: one frame, or all that one side said on a plain connection.

Usage: kitfox decode [HEX... | --file FILE]

  HEX                     hex digits, with or without spaces; without it and --file, standard input
  --file FILE             bytes, or hex digits
  -h, --help              this text

Each line has an offset, the bytes there, and what they mean or what is wrong with them; if anything
is, the exit code is 1. Colours on a terminal, unless NO_COLOR is set.

Examples:
  kitfox decode 01 00000000
  kitfox decode --file stream.bin
  xxd -p frame.bin | kitfox decode
";

pub(crate) const BENCH: &str = "\
Measures this machine: throughput by the size of messages, and round trips, of two nodes in one
process over loopback.

Usage: kitfox bench [OPTIONS]

  --milliseconds N        how long each measurement takes (1000)
  -h, --help              this text

Examples:
  kitfox bench
  kitfox bench --milliseconds 5000
";
