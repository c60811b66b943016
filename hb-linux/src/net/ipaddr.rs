//! `resource.d/IPaddr ADDRESS ACTION`: a service address as a resource script, for whoever calls it
//! by hand or from another script. The daemon itself moves addresses without it.

use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use hb_proto::time::Instant;

use super::addresses::{Addresses, Held};
use super::announce::{Announcement, Announcer};
use super::packet::PacketSocket;
use super::route::netmask;
use crate::config::AddressSpec;

const USAGE: &str = "\
usage: IPaddr ADDRESS start|stop|status|monitor
       IPaddr usage

ADDRESS is IP[/PREFIX[/INTERFACE[:LABEL]][/BROADCAST]], for example
  192.168.85.3                   interface and netmask as the routing table says
  192.168.85.3/27                netmask 255.255.255.224
  192.168.85.3/24/eth0           interface eth0, whatever the routing table says
  192.168.85.3/24/192.168.85.16  broadcast address 192.168.85.16
start and stop succeed when there is nothing left to do.
Exit status: 0 done, or running; 1 failed; 2 wrong usage; stopped: 3 (status), 7 (monitor).
";

/// Failed (LSB: generic error).
const FAILED: u8 = 1;
/// Called wrongly (LSB: invalid arguments).
const MISUSED: u8 = 2;
/// `status` of what isn't running (LSB).
const STATUS_STOPPED: u8 = 3;
/// `monitor` of what isn't running (OCF_NOT_RUNNING).
const MONITOR_STOPPED: u8 = 7;

/// Does what the script does. `args`: what follows the program's name.
#[must_use]
pub fn main(args: &[String]) -> ExitCode {
    match run(args, &mut io::stdout()) {
        Ok(status) => ExitCode::from(status),
        Err(Failure { status, text }) => {
            // Nobody is left to tell when stderr is closed.
            let _ = writeln!(io::stderr(), "IPaddr: {text}");
            ExitCode::from(status)
        }
    }
}

/// Exit status and what to say on stderr.
#[derive(PartialEq, Eq, Debug)]
struct Failure {
    status: u8,
    text: String,
}

impl Failure {
    fn misuse(what: &str) -> Self {
        Self { status: MISUSED, text: format!("{what}\n{USAGE}") }
    }

    fn of(error: impl std::fmt::Display) -> Self {
        Self { status: FAILED, text: error.to_string() }
    }
}

fn run(args: &[String], out: &mut impl Write) -> Result<u8, Failure> {
    let (written, action) = match args {
        [action] if matches!(action.as_str(), "usage" | "help" | "-h" | "--help") => {
            return out.write_all(USAGE.as_bytes()).map(|()| 0).map_err(Failure::of);
        }
        [address, action] => (address, action.as_str()),
        _ => return Err(Failure::misuse("expected ADDRESS and an action")),
    };
    let (spec, warning) = AddressSpec::parse(written).map_err(|why| Failure::misuse(&why))?;
    match action {
        "start" => {
            if let Some(warning) = warning {
                tracing::warn!("{written}: {warning}");
            }
            start(&spec, written).map(|()| 0)
        }
        "stop" => stop(spec.ip).map(|()| 0),
        "status" => status(spec.ip, STATUS_STOPPED, out),
        "monitor" => status(spec.ip, MONITOR_STOPPED, out),
        "usage" => out.write_all(USAGE.as_bytes()).map(|()| 0).map_err(Failure::of),
        // Not in the usage: `start` calls it in the background.
        "announce" => announce_later(spec.ip).map(|()| 0),
        other => Err(Failure::misuse(&format!("unknown action {other}"))),
    }
}

fn start(spec: &AddressSpec, written: &str) -> Result<(), Failure> {
    let mut addresses = Addresses::open().map_err(Failure::of)?;
    let held = addresses.acquire(spec).map_err(Failure::of)?;
    tracing::info!("{}", acquired_line(&held));
    // The address answers already; a LAN that isn't told learns it later, which is no reason to
    // give it up.
    if let Err(why) = announce_now(&held, written) {
        tracing::warn!("{why}");
    }
    Ok(())
}

fn announce_now(held: &Held, written: &str) -> Result<(), String> {
    tracing::info!("{}", announcing_line(held));
    let mut announcer =
        Announcer::open().map_err(|error| format!("{} is not announced: {error}", held.ip))?;
    announcer.announce(held, Instant::ZERO).map_err(|error| error.to_string())?;
    if let Some(error) = announcer.take_last_failure() {
        tracing::warn!("{}: {} announcements lost: {error}", held.ip, announcer.failures());
    }
    repeat_in_background(written)
        .map_err(|error| format!("{}: announced once, not again: {error}", held.ip))
}

/// The repeats take ten seconds, for which nobody shall wait: another process sends them.
fn repeat_in_background(written: &str) -> io::Result<()> {
    Command::new(std::env::current_exe()?)
        .arg0("IPaddr")
        .args([written, "announce"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(drop)
}

/// Sends the repeats, for as long as this machine has the address.
fn announce_later(ip: IpAddr) -> Result<(), Failure> {
    // Out of the caller's session, so that its end isn't ours; a session leader is out already.
    let _ = rustix::process::setsid();
    let mut addresses = Addresses::open().map_err(Failure::of)?;
    let socket = PacketSocket::open().map_err(Failure::of)?;
    let Some(held) = addresses.find(ip).map_err(Failure::of)? else { return Ok(()) };
    let began = std::time::Instant::now();
    let now = || Instant::ZERO + began.elapsed().into();
    let mut repeats = Announcement::repeats_only(&held, now()).map_err(Failure::of)?;
    while let Some(due) = repeats.poll_timeout() {
        thread::sleep(due.since(now()).into());
        if addresses.find(ip).map_err(Failure::of)?.as_ref() != Some(&held) {
            break;
        }
        while let Some((ethertype, frame)) = repeats.poll_transmit(now()) {
            // Lost frames are what repeats are for.
            let _ = socket.send(held.index, ethertype, frame);
        }
    }
    Ok(())
}

fn stop(ip: IpAddr) -> Result<(), Failure> {
    let was_there = Addresses::open().map_err(Failure::of)?.release(ip).map_err(Failure::of)?;
    let outcome = if was_there { "released" } else { "was not held" };
    tracing::info!("IP Address {ip} {outcome}");
    Ok(())
}

/// Callers judge by the words: "running" is held, anything without it is not.
fn status(ip: IpAddr, stopped: u8, out: &mut impl Write) -> Result<u8, Failure> {
    let held = Addresses::open().map_err(Failure::of)?.is_held(ip).map_err(Failure::of)?;
    let (word, status) = if held { ("running", 0) } else { ("stopped", stopped) };
    writeln!(out, "IPaddr {ip}: {word}").map_err(Failure::of)?;
    Ok(status)
}

/// The guide's line for an address that was taken.
#[must_use]
pub fn acquired_line(held: &Held) -> String {
    let (on, ip) = (held.label_or_interface(), held.ip);
    match (held.ip, held.broadcast) {
        (IpAddr::V4(_), Some(broadcast)) => {
            format!("ifconfig {on} {ip} netmask {} broadcast {broadcast}", netmask(held.prefix))
        }
        (IpAddr::V4(_), None) => format!("ifconfig {on} {ip} netmask {}", netmask(held.prefix)),
        (IpAddr::V6(_), _) => format!("ifconfig {on} {ip}/{}", held.prefix),
    }
}

/// The guide's line for an address that is announced.
#[must_use]
pub fn announcing_line(held: &Held) -> String {
    let (on, interface, ip) = (held.label_or_interface(), &held.interface, held.ip);
    match ip {
        IpAddr::V4(_) => format!("Sending Gratuitous Arp for {ip} on {on} [{interface}]"),
        IpAddr::V6(_) => format!("Sending neighbour advertisements for {ip} on {on}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(args: &[&str]) -> (Result<u8, Failure>, String) {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let mut out = Vec::new();
        let outcome = run(&args, &mut out);
        (outcome, String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_guide_s_log_lines() {
        let mut held = Held {
            ip: "192.168.85.3".parse().unwrap(),
            prefix: 24,
            index: 2,
            interface: "eth0".to_owned(),
            label: Some("eth0:0".to_owned()),
            broadcast: Some("192.168.85.255".parse().unwrap()),
            connected_route: true,
            mac: None,
        };
        assert_eq!(
            acquired_line(&held),
            "ifconfig eth0:0 192.168.85.3 netmask 255.255.255.0 broadcast 192.168.85.255"
        );
        assert_eq!(
            announcing_line(&held),
            "Sending Gratuitous Arp for 192.168.85.3 on eth0:0 [eth0]"
        );
        held.label = None;
        assert!(announcing_line(&held).ends_with(" on eth0 [eth0]"));
    }

    #[test]
    fn wrong_calls_exit_2_with_the_usage() {
        for args in [&[][..], &["192.168.85.3"], &["192.168.85.3", "restart"], &["eth0", "start"]] {
            let Err(failure) = called(args).0 else { panic!("{args:?} was accepted") };
            assert_eq!(failure.status, MISUSED, "{args:?}");
            assert!(failure.text.contains("usage: IPaddr ADDRESS start|stop"), "{args:?}");
        }
        let why = AddressSpec::parse("eth0").unwrap_err();
        assert!(called(&["eth0", "start"]).0.unwrap_err().text.starts_with(&why));
        assert_eq!(called(&["usage"]), (Ok(0), USAGE.to_owned()));
    }

    /// TEST-NET-3 (RFC 5737) is nobody's; reading addresses needs no rights.
    #[test]
    fn what_is_nowhere_is_stopped() {
        let line = "IPaddr 203.0.113.77: stopped\n".to_owned();
        assert_eq!(called(&["203.0.113.77", "status"]), (Ok(STATUS_STOPPED), line.clone()));
        assert_eq!(called(&["203.0.113.77", "monitor"]), (Ok(MONITOR_STOPPED), line));
        let line = "IPaddr 127.0.0.1: running\n".to_owned();
        assert_eq!(called(&["127.0.0.1", "status"]), (Ok(0), line));
    }
}
