//! RAM that a reset leaves alone and a loss of power doesn't.

use core::mem::MaybeUninit;
use core::ptr::addr_of_mut;

use hb_mcu::RETAINED;
use hb_proto::wire::message::arbiter::ResetReason;

/// Says that the RAM kept its power. Chance makes it once in 2³² times, and a record has its check sum.
const MAGIC: u32 = 0x4842_4F4B;
/// Left by the program itself before it ends.
const BY_PROGRAM: u32 = 0x5052_4F47;

/// What lies there.
#[repr(C)]
struct Kept {
    magic: u32,
    left: u32,
    retained: [u8; RETAINED],
}

#[unsafe(link_section = ".uninit.REMAINS")]
static mut KEPT: MaybeUninit<Kept> = MaybeUninit::uninit();

/// What a life finds.
#[derive(Debug)]
pub(crate) struct Remains {
    /// Why it began.
    pub(crate) reset: ResetReason,
    /// For [`hb_mcu::Kept`].
    pub(crate) retained: &'static mut [u8; RETAINED],
}

/// Call once, first of all. `told` is what the chip's own register says; one that says nothing of use leaves it
/// to what lies in RAM.
#[must_use]
pub(crate) fn begin(told: Option<ResetReason>) -> Remains {
    // SAFETY: called once, before anything else refers to it; integers have no invalid values, and RAM that
    // was never written has some.
    let kept = unsafe { (*addr_of_mut!(KEPT)).assume_init_mut() };
    let had_power = kept.magic == MAGIC;
    let by_program = had_power && kept.left == BY_PROGRAM;
    if !had_power {
        kept.retained = [0; RETAINED];
    }
    (kept.magic, kept.left) = (MAGIC, 0);
    let reset = match told {
        _ if !had_power => told.filter(|told| !told.kept_power()).unwrap_or(ResetReason::PowerOn),
        Some(told) if !told.kept_power() => told,
        // A panic waits for the watchdog.
        _ if by_program => ResetReason::Software,
        Some(told) => told,
        None => ResetReason::Watchdog,
    };
    Remains { reset, retained: &mut kept.retained }
}

/// The next life learns that this one ended itself.
pub(crate) fn leave() {
    // SAFETY: the program ends; nothing else refers to this word.
    unsafe { (*addr_of_mut!(KEPT)).as_mut_ptr().cast::<u32>().add(1).write_volatile(BY_PROGRAM) };
}
