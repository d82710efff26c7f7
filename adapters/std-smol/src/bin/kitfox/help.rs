//! What `--help` says.

pub(crate) const COMMANDS: &str = "\
kitfox: a peer-to-peer transport that speaks Kitsune2's wire

Usage: kitfox COMMAND [OPTIONS]

Commands:
  demo      three nodes on this machine talk to each other, and check what they hear
  listen    listen, and tell what is heard
  send      send messages to a peer
  keygen    make a key, in a file that only its owner can read
  provision write a key's bytes for a microcontroller
  decode    explain bytes of the wire
  replay    make the calls of a recording again, and compare what comes out
  bench     measure this machine: throughput and round trips over loopback

Options:
  -h, --help       this text; after a command, that of the command
  -V, --version    the version

Examples:
  kitfox demo
  kitfox keygen node.key
  kitfox listen --key node.key --listen 127.0.0.1:0 --space garden
  kitfox send wss://127.0.0.1:4711/ID --space garden --data \"it rains\"
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

Usage: kitfox listen [--key FILE | --plain [--id HEX]] --listen ADDR... --space NAME... [OPTIONS]

Who it is:
  --key FILE              its key, as \"kitfox keygen FILE\" makes it; without it, one for this run
  --network NAME          only peers of the same network are understood (the one without a name)
  --plain                 plain connections instead of secured ones: where the network is trusted
  --id HEX                the id of a plain node; without it, a random one

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

Faults:
  --record FILE           record all that it is told, for \"kitfox replay\"; keep FILE like the key
  --record-max-bytes N    then the recording ends, and the node goes on (1073741824)

Output:
  --json                  one JSON object a line, for programs: see docs/command.md
  -h, --help              this text

NAME is text, or hex: and hex digits.

Examples:
  kitfox listen --listen 127.0.0.1:0 --space garden
  kitfox listen --key node.key --listen 0.0.0.0:4711 --listen [::]:4711 --space garden --echo
  kitfox listen --plain --listen 127.0.0.1:0 --space hex:00ff --json
";

pub(crate) const SEND: &str = "\
Sends messages to a peer, and waits until they are written.

Usage: kitfox send PEER_URL [--key FILE | --plain] --space NAME [OPTIONS]

  --key FILE              our key, as \"kitfox keygen FILE\" makes it; without it, one for this run
  --network NAME          the network that the peer is on (the one without a name)
  --plain                 a plain connection, to a ws:// URL: where the network is trusted
  --space NAME            the space
  --module NAME           a module of the space; without it, the message is a notify
  --data TEXT             the message
  --file FILE             the message, from a file; without --data and --file, from standard input
  --count N               send it N times (1)
  --wait-replies N        then wait for N messages from the peer in this space (0)
  --record FILE           record all that it is told, for \"kitfox replay\"; keep FILE like the key
  --record-max-bytes N    then the recording ends, and the node goes on (1073741824)
  --json                  one JSON object a line, for programs: see docs/command.md
  -h, --help              this text

NAME is text, or hex: and hex digits.

Examples:
  kitfox send wss://127.0.0.1:4711/ID --space garden --data \"it rains\"
  kitfox send wss://127.0.0.1:4711/ID --key node.key --space garden --module photos --file cat.jpg
  date | kitfox send ws://127.0.0.1:4711/ID --plain --space garden --wait-replies 1
";

pub(crate) const KEYGEN: &str = "\
Makes a key, in a new file that only its owner can read, and prints the peer id that it proves.

Usage: kitfox keygen FILE

A file that exists is never overwritten. The secret is never shown.

Example:
  kitfox keygen node.key
";

pub(crate) const PROVISION: &str = "\
Writes what a microcontroller is provisioned with into a new file that only its owner can read: 32
bytes of X25519 secret, and the 32 bytes of the peer id. Prints the peer id.

Usage: kitfox provision --key FILE OUT

  --key FILE              the key, as \"kitfox keygen FILE\" makes it
  -h, --help              this text

A file that exists is never overwritten. The secret is never shown.

Example:
  kitfox provision --key node.key node.bin
";

pub(crate) const DECODE: &str = "\
Explains bytes of the wire: one frame, or all that one side said on a plain or a secured connection.

Usage: kitfox decode [--secured] [HEX... | --file FILE]

  HEX                     hex digits, with or without spaces; without it and --file, standard input
  --file FILE             bytes, or hex digits
  --secured               what the acceptor of a secured connection said; a dialler's is recognised
  -h, --help              this text

Each line has an offset, the bytes there, and what they mean or what is wrong with them; if anything
is, the exit code is 1. What is sealed stays sealed. Colours on a terminal, unless NO_COLOR is set.

Examples:
  kitfox decode 01 00000000
  kitfox decode --file stream.bin
  kitfox decode --secured --file acceptor.bin
  xxd -p frame.bin | kitfox decode
";

pub(crate) const REPLAY: &str = "\
Replays what \"kitfox listen --record FILE\" has recorded: makes every call into the core again, and
compares what comes out. The first difference is told, and the exit code is 1.

Usage: kitfox replay FILE [--key KEYFILE] [--trace]

  --key KEYFILE           the key of the node that was recorded, if it was a secured one
  --trace                 every call, one a line, without messages and secrets
  -h, --help              this text

A recording holds all that was received and sent, and with the key it opens what was recorded: keep
it like the key.

Examples:
  kitfox replay fault.rec --key node.key
  kitfox replay fault.rec --key node.key --trace
";

pub(crate) const BENCH: &str = "\
Measures this machine: throughput by the size of messages, and round trips, of two nodes in one
process over loopback, on a plain and on a secured connection.

Usage: kitfox bench [OPTIONS]

  --milliseconds N        how long each measurement takes (1000)
  -h, --help              this text

Examples:
  kitfox bench
  kitfox bench --milliseconds 5000
";
