//! Tells systemd how far the daemon is (sd_notify(3)); nothing happens under another init.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Files are read, links are open: other units may start.
///
/// # Errors
/// What the kernel said when systemd's socket, named in the environment, didn't take the datagram.
pub fn ready() -> io::Result<()> {
    notify("READY=1")
}

/// An orderly leave has begun.
///
/// # Errors
/// As [`ready`].
pub fn stopping() -> io::Result<()> {
    notify("STOPPING=1")
}

fn notify(state: &str) -> io::Result<()> {
    std::env::var_os("NOTIFY_SOCKET").map_or(Ok(()), |name| send(&name, state))
}

fn send(name: &OsStr, state: &str) -> io::Result<()> {
    let address = match name.as_bytes() {
        // A name outside the file system is written with @ (unix(7): abstract).
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that doesn't read must not hold the daemon.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_socket_names_are_reached() {
        let id = std::process::id();
        let path = std::env::temp_dir().join(format!("hb-notify-{id}"));
        let _ = std::fs::remove_file(&path);
        let hidden = format!("hb-notify-{id}");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let address = SocketAddr::from_abstract_name(&hidden).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        for (socket, name) in
            [(by_path, path.clone().into_os_string()), (by_name, format!("@{hidden}").into())]
        {
            send(&name, "READY=1").unwrap();
            let mut buffer = [0; 16];
            let len = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..len], b"READY=1");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(send(path.as_os_str(), "READY=1").is_err(), "nobody listens any more");
    }
}
