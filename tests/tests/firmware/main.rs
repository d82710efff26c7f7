//! Firmware in QEMU, end to end against a kitfox-smol node and raw sockets on the loopback interface.
//!
//! Without QEMU or a target nothing is run, and a line says so; with `KITFOX_QEMU=1` that is a failure.
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)] // std throughout

mod bench;
mod messages;
mod peers;
mod strangers;

/// Each of these tests, on each of the boards, over connections of this kind.
macro_rules! on_each_board {
    ($wire:ident: $($module:ident::$claim:ident),* $(,)?) => {
        mod lm3s6965evb {
            $(#[test] fn $claim() {
                crate::bench::on(0, kitfox_tests::firmware::Wire::$wire, crate::$module::$claim);
            })*
        }
        mod mps2_an386 {
            $(#[test] fn $claim() {
                crate::bench::on(1, kitfox_tests::firmware::Wire::$wire, crate::$module::$claim);
            })*
        }
    };
}

mod secured {
    on_each_board! {
        Secured:
        strangers::embassy_net_alone_sends_back_what_it_receives,
        strangers::garbage_of_strangers_costs_nobody_else_anything,
        strangers::strangers_who_say_nothing_leave_room_to_dial,
        messages::firmware_dials_and_answers_notifies_and_modules,
        messages::a_message_over_many_segments_is_put_together,
        messages::a_thousand_messages_come_back_byte_for_byte,
        messages::a_message_that_firmware_does_not_take_is_refused_and_the_connection_stays,
        messages::what_firmware_does_is_in_its_log,
        peers::a_host_that_restarts_is_found_again,
        peers::firmware_that_restarts_is_welcome_again,
        peers::firmware_dials_whom_it_is_told_to,
        peers::a_blocked_peer_is_not_heard_until_it_is_unblocked,
    }
}

mod plain {
    on_each_board! {
        Plain:
        strangers::garbage_of_strangers_costs_nobody_else_anything,
        messages::firmware_dials_and_answers_notifies_and_modules,
        messages::a_thousand_messages_come_back_byte_for_byte,
        messages::an_oversize_message_closes_its_connection_and_the_next_one_works,
        peers::a_host_that_restarts_is_found_again,
    }
}
