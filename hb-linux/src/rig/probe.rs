//! The client: asks the service address every few milliseconds, and writes down when it was
//! answered, and by which hardware address.
//!
//! Everything the rig claims of a takeover is read from this record; no daemon is asked.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::thread::UnshareFlags;

use super::switch::{ETH_P_ALL, Switch};
use super::{Doing, Mac, RigError, links, sys};
use crate::net::packet::PacketSocket;

mod ask;
mod frames;
mod record;

pub use record::{Answer, Outage, Outcome, Overlap, Record, Sighting};

/// A new connection this often.
pub const ASK_EVERY: Duration = Duration::from_millis(5);
/// An answer that takes longer is none.
pub const GIVE_UP: Duration = Duration::from_millis(200);
/// The whole network is asked this often who has the address (ARP).
pub const WHO_HAS_EVERY: Duration = Duration::from_millis(50);
/// The first client's hardware address.
pub const CLIENT_MAC: Mac = [2, 0, 0, 0, 0x64, 1];

const THEIRS: &str = "eth0";

/// The client with its thread, in a network namespace of its own. Dropping it ends the thread.
#[derive(Debug)]
pub struct Probe {
    record: Arc<Mutex<Record>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Probe {
    /// Plugs client `number` into `switch`, with the address `own`, and starts asking
    /// `http://SERVICE/`, every [`ASK_EVERY`].
    ///
    /// # Errors
    /// The namespace, the interface or the thread can't be made.
    pub fn start(
        switch: &Switch,
        number: u8,
        own: Ipv4Addr,
        prefix: u8,
        service: Ipv4Addr,
    ) -> Result<Self, RigError> {
        Self::start_every(switch, number, own, prefix, service, ASK_EVERY)
    }

    /// The same for machines that can't answer so often: emulated ones.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_every(
        switch: &Switch,
        number: u8,
        own: Ipv4Addr,
        prefix: u8,
        service: Ipv4Addr,
        every: Duration,
    ) -> Result<Self, RigError> {
        let mut mac = CLIENT_MAC;
        mac[5] += number;
        let ours = format!("client{number}");
        let record = Arc::new(Mutex::new(Record::default()));
        let end = Arc::new(AtomicBool::new(false));
        let (network, its_network) = mpsc::channel();
        let (plugged, its_plug) = mpsc::channel::<()>();
        let (ready, its_state) = mpsc::channel();
        let (its_record, its_end) = (record.clone(), end.clone());
        let thread = std::thread::Builder::new()
            .name("client".into())
            .spawn(move || {
                let _ = network.send(own_network());
                if its_plug.recv().is_err() {
                    return;
                }
                match configure(own, mac, prefix) {
                    Ok(capture) => {
                        let _ = ready.send(Ok(()));
                        ask::run(own, service, every, &capture, &its_record, &its_end);
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error));
                    }
                }
            })
            .doing(|| "starting the client".into())?;
        let probe = Self { record, end, thread: Some(thread) };
        let gone = || RigError::io("starting the client", io::ErrorKind::BrokenPipe);
        let namespace = its_network
            .recv()
            .map_err(|_| gone())?
            .doing(|| "making the client's network namespace".into())?;
        let _ = links::delete(&ours);
        links::veth(&ours, THEIRS, mac, namespace.as_fd())
            .doing(|| "making the client's interface".into())?;
        switch.plug(&ours)?;
        plugged.send(()).map_err(|_| gone())?;
        its_state.recv().map_err(|_| gone())??;
        Ok(probe)
    }

    /// Asks from an interface of this machine, by its own address: for machines that are really elsewhere. Captures
    /// frames, so as root.
    ///
    /// # Errors
    /// The interface can't be listened on, or the thread can't be made.
    pub fn start_on(
        interface: &str,
        own: Ipv4Addr,
        service: Ipv4Addr,
        every: Duration,
    ) -> Result<Self, RigError> {
        let doing = || format!("listening on {interface}");
        let index = links::index(interface).doing(doing)?;
        let mac = links::mac(interface).doing(doing)?;
        let socket = PacketSocket::listen(index, ETH_P_ALL).doing(doing)?;
        let capture = Capture { mac, index, socket };
        let record = Arc::new(Mutex::new(Record::default()));
        let end = Arc::new(AtomicBool::new(false));
        let (its_record, its_end) = (record.clone(), end.clone());
        let thread = std::thread::Builder::new()
            .name("client".into())
            .spawn(move || ask::run(own, service, every, &capture, &its_record, &its_end))
            .doing(|| "starting the client".into())?;
        Ok(Self { record, end, thread: Some(thread) })
    }

    /// Reads the record; the client waits meanwhile, so be quick.
    pub fn read<T>(&self, read: impl FnOnce(&Record) -> T) -> T {
        read(&lock(&self.record))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Network namespaces belong to threads (setns(2)): this one leaves alone.
fn own_network() -> io::Result<File> {
    sys::unshare(UnshareFlags::NEWNET)?;
    File::open("/proc/thread-self/ns/net")
}

/// All that comes in at the client's interface, and a way to send whole frames.
struct Capture {
    mac: Mac,
    index: u32,
    socket: PacketSocket,
}

fn configure(own: Ipv4Addr, mac: Mac, prefix: u8) -> Result<Capture, RigError> {
    let doing = || "configuring the client's interface".to_owned();
    links::up("lo").doing(doing)?;
    sys::checksums_in_software(THEIRS).doing(doing)?;
    links::add_address(THEIRS, own, prefix).doing(doing)?;
    links::up(THEIRS).doing(doing)?;
    let index = links::index(THEIRS).doing(doing)?;
    let socket = PacketSocket::listen(index, ETH_P_ALL).doing(doing)?;
    Ok(Capture { mac, index, socket })
}
