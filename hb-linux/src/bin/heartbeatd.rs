use std::io;
use std::process::ExitCode;

use hb_linux::resources;

fn main() -> ExitCode {
    if resources::is_helper() {
        return resources::helper_main(&mut |ip| {
            Err(io::Error::other(format!("net::release({ip}) is not wired up yet")))
        });
    }
    ExitCode::SUCCESS
}
