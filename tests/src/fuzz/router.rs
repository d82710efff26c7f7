//! Lists of what can be done to spaces, modules and blocks, in both tiers: they answer the same.

use kitfox_core::router::{BlockList, Received, Router, Target};
use kitfox_core::storage::{Heap, Storage};
use kitfox_core::wire::{Message, ModuleName};
use kitfox_core::{Peer, PeerId, RouterLimits, fixed};

use super::Choices;

fixed!(
    /// Little room, so that it is full at once.
    pub Shelf { spaces: 3, modules: 4, space_id: 8, module_name: 4, block_rules: 3, url: 64 }
);

const LIMITS: RouterLimits =
    RouterLimits { max_spaces: 3, max_modules: 4, max_blocked_counts: 4, max_block_rules: 3 };

/// A space id that both tiers have room for.
fn space(choices: &mut Choices<'_>) -> Vec<u8> {
    vec![b's'; choices.below(8)]
}

fn name(choices: &mut Choices<'_>) -> &'static str {
    ["", "m", "mm", "mmmm", "\u{1f98a}"][choices.below(5)]
}

fn peer(choices: &mut Choices<'_>) -> PeerId {
    let mut key = [7; 32];
    (key[0], key[31]) = (choices.byte() % 3, choices.byte() & 0x80);
    PeerId::from_key(key)
}

/// Every answer, as text.
fn run<S: Storage>(input: &[u8]) -> Vec<String> {
    let mut choices = Choices(input);
    let mut router = Router::<S, BlockList<S>>::new(&LIMITS, 7, BlockList::new(&LIMITS).seeded(7));
    let mut said = Vec::new();
    while !choices.is_over() {
        let directory = router.directory_mut();
        said.push(match choices.below(10) {
            0 | 1 => format!("{:?}", directory.register_space(&space(&mut choices)).map(drop)),
            2 | 3 => {
                let (space, name) = (space(&mut choices), name(&mut choices));
                format!("{:?}", directory.register_module(&space, name).map(drop))
            }
            4 => format!("{:?}", directory.unregister_space(&space(&mut choices))),
            5 => {
                let (space, name) = (space(&mut choices), name(&mut choices));
                format!("{:?}", directory.unregister_module(&space, name))
            }
            6 => {
                let (peer, space) = (peer(&mut choices), space(&mut choices));
                let all = choices.byte() & 1 == 0;
                let space = (!all).then_some(&space[..]);
                format!("{:?}", directory.policy_mut().block(peer, space))
            }
            7 => {
                let (peer, space) = (peer(&mut choices), space(&mut choices));
                let all = choices.byte() & 1 == 0;
                format!("{:?}", directory.policy_mut().unblock(peer, (!all).then_some(&space[..])))
            }
            8 => {
                let (id, space) = (peer(&mut choices), space(&mut choices));
                let url = format!("ws://a:1/{id}");
                format!("{:?}", directory.permit_send(&Peer::new(&url, Some(&id)), &space))
            }
            _ => {
                let (id, space, name) = (peer(&mut choices), space(&mut choices), name(&mut choices));
                let message = Message {
                    ty: [0, 1, 2, 3, 15, -1][choices.below(6)],
                    data: b"data",
                    space: (choices.byte() & 3 != 0).then_some(&space[..]),
                    module: (choices.byte() & 3 != 0).then(|| ModuleName::new(name)),
                };
                let url = format!("ws://a:1/{id}");
                let mut bytes = vec![0; message.encoded_len()];
                message.encode(&mut bytes).expect("room");
                let received =
                    router.receive(Peer::new(&url, Some(&id)), &bytes).map(|received| match received {
                        Received::Notify { .. } => "to the space".to_owned(),
                        Received::Module { .. } => "to the module".to_owned(),
                        other => format!("{other:?}"),
                    });
                format!("{received:?}")
            }
        });
    }
    let mut listed: Vec<_> = router
        .directory()
        .peer_connect_targets()
        .map(|target| match target {
            Target::Space { space, .. } => format!("space {space:?}"),
            Target::Module { space, module, .. } => format!("module {module} of {space:?}"),
            other => format!("{other:?}"),
        })
        .collect();
    listed.sort();
    said.extend(listed);
    said
}

/// One list at both tiers.
pub fn router(input: &[u8]) {
    assert_eq!(run::<Heap>(input), run::<Shelf>(input));
}
