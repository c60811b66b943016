//! A machine's hardware watchdog: a fake, and named as such. Its timer is this thread of the rig; what it does
//! when it runs out is real, it resets the machine.
//!
//! The daemon's end is [`crate::watchdog::Remote`]. As with the kernel's own: armed when it is opened, disarmed
//! by a close after `V`, fed once more by any other close.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outlet::Outlet;
use super::{Doing, RigError};

/// The machine's name for it.
pub const DEVICE: &str = "/run/rig-watchdog";
/// The timer is looked at this often.
const TICK: Duration = Duration::from_millis(10);

/// Where the rig finds the device of a machine whose /run is `run`.
pub(super) fn device(run: &Path) -> PathBuf {
    run.join("rig-watchdog")
}

/// Makes the device of a machine. Its thread ends with the machine's `power_on`th life.
pub(super) fn start(
    path: &Path,
    timeout_s: u32,
    outlet: Arc<Outlet>,
    power_on: u64,
) -> Result<(), RigError> {
    let listener = UnixListener::bind(path).doing(|| format!("making {}", path.display()))?;
    listener.set_nonblocking(true).doing(|| format!("making {}", path.display()))?;
    std::thread::Builder::new()
        .name("watchdog".into())
        .spawn(move || watch(&listener, timeout_s, &outlet, power_on))
        .doing(|| "starting a thread".into())?;
    Ok(())
}

fn watch(listener: &UnixListener, timeout_s: u32, outlet: &Outlet, power_on: u64) {
    let timeout = Duration::from_secs(timeout_s.into());
    let mut user: Option<UnixStream> = None;
    let mut bites_at: Option<Instant> = None;
    let mut last = None;
    while outlet.is_in(power_on) {
        if user.is_none()
            && let Ok((mut stream, _)) = listener.accept()
        {
            // Who opens it learns its time-out, and has it armed.
            let told = stream.write_all(format!("{timeout_s}\n").as_bytes());
            if told.and_then(|()| stream.set_nonblocking(true)).is_ok() {
                (user, bites_at) = (Some(stream), Some(Instant::now() + timeout));
                last = None;
            }
        }
        if let Some(stream) = &mut user {
            match feedings(stream, &mut last) {
                Feedings::None => {}
                Feedings::Fed => bites_at = Some(Instant::now() + timeout),
                Feedings::Disarmed => (user, bites_at) = (None, None),
                Feedings::LetGo => (user, bites_at) = (None, Some(Instant::now() + timeout)),
            }
        }
        if bites_at.is_some_and(|at| Instant::now() >= at) {
            return outlet.watchdog_bites(power_on);
        }
        std::thread::sleep(TICK);
    }
}

enum Feedings {
    None,
    Fed,
    Disarmed,
    LetGo,
}

/// What its user wrote since it was last looked at; `last` is the newest byte of all.
fn feedings(stream: &mut UnixStream, last: &mut Option<u8>) -> Feedings {
    let (mut bytes, mut fed) = ([0; 64], Feedings::None);
    loop {
        match stream.read(&mut bytes) {
            Ok(0) if *last == Some(b'V') => return Feedings::Disarmed,
            Ok(0) => return Feedings::LetGo,
            Ok(count) => (fed, *last) = (Feedings::Fed, Some(bytes[count - 1])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return fed,
            Err(_) => return Feedings::LetGo,
        }
    }
}
