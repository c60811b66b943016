//! `hb rig-enter` and `hb rig-run`: running a program in the rig's or in a machine's namespaces.

use std::os::fd::AsFd;
use std::process::{Command, ExitCode, ExitStatus};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, set_parent_process_death_signal};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::{Doing, RigError, host};

/// `hb rig-enter PROGRAM [ARGUMENT…]`: enters a rig's namespaces and becomes the program.
///
/// A test runner has threads, and a user namespace is entered without: it starts itself again
/// through this.
#[must_use]
pub fn enter_main(arguments: &[String]) -> ExitCode {
    use std::os::unix::process::CommandExt;

    let Some((program, rest)) = arguments.split_first() else {
        eprintln!("hb rig-enter: for the rig only: hb rig-enter PROGRAM [ARGUMENT...]");
        return ExitCode::from(2);
    };
    if let Err(error) = host::enter() {
        eprintln!("{error}");
        return ExitCode::from(2);
    }
    let error = Command::new(program).args(rest).exec();
    eprintln!("{program}: {error}");
    ExitCode::from(2)
}

/// `hb rig-run PID PROGRAM [ARGUMENT…]`: runs a program in the machine whose init is PID.
#[must_use]
pub fn main(arguments: &[String]) -> ExitCode {
    let [pid, program, rest @ ..] = arguments else {
        eprintln!("hb rig-run: for the rig only: hb rig-run PID PROGRAM [ARGUMENT...]");
        return ExitCode::from(2);
    };
    match run(pid, program, rest) {
        // A signal's exit has no code; 128 is what a shell adds to it.
        Ok(status) => status.code().map_or(ExitCode::from(128), |code| {
            ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
        }),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(127)
        }
    }
}

fn run(pid: &str, program: &str, arguments: &[String]) -> Result<ExitStatus, RigError> {
    let init = pid
        .parse()
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(std::io::Error::from(std::io::ErrorKind::InvalidInput))
        .doing(|| format!("{pid}: expected the PID of a machine's init"))?;
    set_parent_process_death_signal(Some(Signal::KILL)).doing(|| "asking to die with it".into())?;
    let machine =
        pidfd_open(init, PidfdFlags::empty()).doing(|| format!("finding the process {pid}"))?;
    move_into_thread_name_spaces(
        machine.as_fd(),
        ThreadNameSpaceType::MOUNT
            | ThreadNameSpaceType::NETWORK
            | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
            | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
            | ThreadNameSpaceType::PROCESS_ID,
    )
    .doing(|| "entering the machine".into())?;
    Command::new(program)
        .args(arguments)
        .current_dir("/")
        .status()
        .doing(|| format!("running {program}"))
}
