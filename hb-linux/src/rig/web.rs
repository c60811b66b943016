//! The demo's web service: one page that says who serves it.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// A visitor who says nothing for this long is not waited for.
const PATIENCE: Duration = Duration::from_millis(100);
/// Visitors waiting to be let in; the probe keeps at most 40 under way.
const BACKLOG: i32 = 128;

/// `hb rig-web ADDRESS:PORT`: the arguments behind `rig-web`. Serves until it is killed.
#[must_use]
pub fn main(arguments: &[String]) -> ExitCode {
    let [address] = arguments else {
        eprintln!("hb rig-web: for the demo only: hb rig-web ADDRESS:PORT");
        return ExitCode::from(2);
    };
    let Ok(address) = address.parse::<SocketAddrV4>() else {
        eprintln!("hb rig-web: {address}: expected ADDRESS:PORT, such as 192.168.85.3:80");
        return ExitCode::from(2);
    };
    let listener = match listen(address) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("hb rig-web: {address}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for visitor in listener.incoming().flatten() {
        // A visitor who went away is no reason to stop serving.
        let _ = answer(visitor, &name);
    }
    ExitCode::SUCCESS
}

fn listen(address: SocketAddrV4) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // The service may be started before its address is there, and outlive it (ip(7)).
    socket.set_freebind_v4(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn answer(mut visitor: TcpStream, name: &str) -> std::io::Result<()> {
    visitor.set_read_timeout(Some(PATIENCE))?;
    visitor.set_nodelay(true)?;
    // One read: the request of the demo's client fits one segment, and its words don't matter.
    if visitor.read(&mut [0; 1024])? == 0 {
        return Ok(());
    }
    let length = name.len() + 1;
    // One write, one segment.
    let page = format!("HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n{name}\n");
    visitor.write_all(page.as_bytes())
}
