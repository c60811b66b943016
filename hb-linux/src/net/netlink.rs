//! rtnetlink, as much of it as a service address needs: links, addresses, routes.
//!
//! The kernel answers a request inside the sender's `send` (rtnetlink(7), netlink(7)), so every
//! call here is a handful of system calls and no waiting; the receive timeout is a backstop only.
//! What may delay a call is the kernel's own RTNL mutex, when another program is changing the
//! network at that moment.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::route::{RouteHeader, RouteMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::io::Errno;
use rustix::net::{RecvFlags, sockopt};

use super::messages::{Answer, Request};
use super::tables::{Address, Link, Route, family, read_address, read_route};

/// How long an answer may take before the socket is given up: a kernel that is this late is broken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// What the kernel fills for one read of a dump unless one entry alone is larger
/// (`NLMSG_GOODSIZE`).
const RECEIVE_BYTES: usize = 8 * 1024;
/// The largest single answer accepted; a link with hundreds of virtual functions stays below it.
const RECEIVE_BYTES_MAX: usize = 256 * 1024;
/// Reads of one dump, about 100 entries each. Beyond it (a full Internet routing table) the table
/// can't be scanned inside an event loop, and the interface must be named.
const DUMP_READS_MAX: usize = 256;
/// A table that changes while it is dumped is read again this often.
const DUMP_ATTEMPTS: usize = 4;
/// Answers to earlier, abandoned requests that are skipped while waiting for one's own.
const STALE_ANSWERS_MAX: usize = 64;

/// One rtnetlink socket of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    transmit: Vec<u8>,
    receive: Vec<u8>,
}

impl Netlink {
    /// Opens the socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn open() -> io::Result<Self> {
        let receive = vec![0; RECEIVE_BYTES];
        Ok(Self { socket: open_socket()?, sequence: 0, transmit: Vec::with_capacity(256), receive })
    }

    /// All links.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        self.dump(&Request::GetLink { index: 0, name: None }, |answer| match answer {
            Answer::Link(link) => Some(link),
            _ => None,
        })
    }

    /// The link with this index, `None` when there is none.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn link(&mut self, index: u32) -> io::Result<Option<Link>> {
        self.one_link(Request::GetLink { index, name: None })
    }

    /// The link with this name, `None` when there is none.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn link_named(&mut self, name: &str) -> io::Result<Option<Link>> {
        // The kernel would refuse the attribute (IFNAMSIZ, 16 with its NUL), not the name.
        if name.is_empty() || name.len() > super::INTERFACE_NAME_MAX {
            return Ok(None);
        }
        self.one_link(Request::GetLink { index: 0, name: Some(name.to_owned()) })
    }

    fn one_link(&mut self, request: Request) -> io::Result<Option<Link>> {
        let sequence = self.send(request, 0)?;
        match self.answer(sequence) {
            Ok(Some(Answer::Link(link))) => Ok(Some(link)),
            Ok(_) => Err(invalid("the answer to RTM_GETLINK is not a link")),
            Err(error) if errno_is(&error, Errno::NODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All addresses, of IPv4 and IPv6.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn addresses(&mut self) -> io::Result<Vec<Address>> {
        let request = Request::GetAddress(AddressMessage::default());
        self.dump(&request, |answer| match answer {
            Answer::Address(address) => read_address(address),
            _ => None,
        })
    }

    /// The main table's unicast routes of `ip`'s family, longest prefixes first; routes of one
    /// prefix in the kernel's order.
    ///
    /// Kernels up to 2.6.38 listed routes in this order in `/proc/net/route`, and heartbeat's
    /// "first route wins a tie" relies on it. Today's kernels list them by address, which puts the
    /// default route first.
    ///
    /// # Errors
    /// What the kernel answered; a table beyond some 25,000 routes is refused as too large to scan.
    pub fn routes(&mut self, ip: IpAddr) -> io::Result<Vec<Route>> {
        let mut request = RouteMessage::default();
        request.header.address_family = family(ip);
        request.header.table = RouteHeader::RT_TABLE_MAIN;
        let routes = self.dump(&Request::GetRoute(request), |answer| match answer {
            Answer::Route(route) => read_route(&route),
            _ => None,
        });
        let mut routes = match routes {
            Ok(routes) => routes,
            // A namespace in which no route was ever set has no table yet.
            Err(error) if errno_is(&error, Errno::NOENT) => Vec::new(),
            Err(error) => return Err(error),
        };
        routes.sort_by_key(|route| std::cmp::Reverse(route.prefix));
        Ok(routes)
    }

    /// Asks for a change and waits for the kernel's acknowledgement. `flags`: `NLM_F_CREATE` and
    /// the like.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn change(&mut self, request: impl NetlinkSerializable, flags: u16) -> io::Result<()> {
        let sequence = self.send(request, NLM_F_ACK | flags)?;
        self.answer(sequence).map(drop)
    }

    /// Asks for a change without an acknowledgement: one system call, done when it returns. Answers
    /// the request's number, under which [`Netlink::refusals`] reports it if the kernel refused.
    pub(super) fn post(&mut self, request: Request, flags: u16) -> io::Result<u32> {
        self.send(request, flags)
    }

    /// What the kernel refused of up to `posted` posted requests, by number. Doesn't wait.
    ///
    /// # Errors
    /// Refusals may have been lost.
    pub(super) fn refusals(&mut self, posted: usize) -> io::Result<Vec<(u32, io::Error)>> {
        let mut refused = Vec::new();
        for _ in 0..posted + STALE_ANSWERS_MAX {
            let length = match self.read(RecvFlags::DONTWAIT) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(refused),
                Err(error) => return Err(error),
            };
            for message in messages(&self.receive[..length]) {
                if let (sequence, _, NetlinkPayload::Error(answer)) = message?
                    && answer.code.is_some()
                {
                    refused.push((sequence, answer.to_io()));
                }
            }
        }
        Err(self.give_up("more answers than requests"))
    }

    fn send(&mut self, request: impl NetlinkSerializable, flags: u16) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message =
            NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(request));
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        self.transmit.clear();
        self.transmit.resize(message.buffer_len(), 0);
        message.serialize(&mut self.transmit);
        while let Err(error) = self.socket.send(&self.transmit, 0) {
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        Ok(self.sequence)
    }

    /// The answer to one request that isn't a dump: a message, or `None` for a bare
    /// acknowledgement.
    fn answer(&mut self, wanted: u32) -> io::Result<Option<Answer>> {
        for _ in 0..STALE_ANSWERS_MAX {
            let length = self.read_or_reopen()?;
            for message in messages(&self.receive[..length]) {
                match message? {
                    (sequence, ..) if sequence != wanted => {}
                    (_, _, NetlinkPayload::InnerMessage(inner)) => return Ok(Some(inner)),
                    (_, _, NetlinkPayload::Error(answer)) => {
                        return if answer.code.is_none() { Ok(None) } else { Err(answer.to_io()) };
                    }
                    _ => {}
                }
            }
        }
        Err(self.give_up("no answer among too many stale ones"))
    }

    fn dump<T>(
        &mut self,
        request: &Request,
        pick: impl Fn(Answer) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(entries) = self.dump_once(request.clone(), &pick)? {
                return Ok(entries);
            }
        }
        Err(io::Error::other("the kernel's table kept changing while it was read"))
    }

    /// One pass over a table; `None` when it changed meanwhile, so that entries may be missing.
    fn dump_once<T>(
        &mut self,
        request: Request,
        pick: impl Fn(Answer) -> Option<T>,
    ) -> io::Result<Option<Vec<T>>> {
        let wanted = self.send(request, NLM_F_DUMP)?;
        let mut entries = Vec::new();
        let mut changed = false;
        for _ in 0..DUMP_READS_MAX {
            let length = self.read_or_reopen()?;
            for message in messages(&self.receive[..length]) {
                let (sequence, flags, payload) = match message {
                    Ok(message) => message,
                    // One entry of a kind that the library can't read must not make a takeover
                    // fail.
                    Err(error) => {
                        tracing::warn!("skipped an entry of the kernel's network tables: {error}");
                        continue;
                    }
                };
                if sequence != wanted {
                    continue;
                }
                changed |= flags & NLM_F_DUMP_INTR != 0;
                match payload {
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(-done.code));
                    }
                    NetlinkPayload::Done(_) => return Ok((!changed).then_some(entries)),
                    NetlinkPayload::Error(answer) if answer.code.is_some() => {
                        return Err(answer.to_io());
                    }
                    NetlinkPayload::InnerMessage(inner) => entries.extend(pick(inner)),
                    _ => {}
                }
            }
        }
        Err(self.give_up("the table is too large to scan; name the interface instead"))
    }

    fn read_or_reopen(&mut self) -> io::Result<usize> {
        self.read(RecvFlags::empty()).map_err(|error| {
            let why = format!("no answer within {} s: {error}", ANSWER_TIMEOUT.as_secs());
            self.give_up(&why)
        })
    }

    /// Reads one datagram; asks for its size first, so that nothing is ever cut off.
    fn read(&mut self, flags: RecvFlags) -> io::Result<usize> {
        let peek = flags | RecvFlags::PEEK | RecvFlags::TRUNC;
        let (_, size) = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.socket, &mut self.receive[..], peek)
        })?;
        if size > self.receive.len() {
            if size > RECEIVE_BYTES_MAX {
                return Err(invalid("an answer beyond 256 KiB"));
            }
            self.receive.resize(size, 0);
        }
        let (length, _) = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.socket, &mut self.receive[..], flags)
        })?;
        Ok(length)
    }

    /// A fresh socket in place of one that still has answers to come: the kernel refuses a second
    /// dump on it.
    fn give_up(&mut self, why: &str) -> io::Error {
        match open_socket() {
            Ok(socket) => self.socket = socket,
            Err(error) => return error,
        }
        io::Error::new(io::ErrorKind::TimedOut, format!("rtnetlink: {why}"))
    }
}

fn open_socket() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    // Connected to the kernel (port 0), so that no other process can answer in its place.
    socket.connect(&SocketAddr::new(0, 0))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(ANSWER_TIMEOUT))?;
    // Lets the kernel filter dumps by table. Kernels before 4.20 don't know it and send everything;
    // what they send is filtered here as well.
    if let Err(error) = socket.set_netlink_get_strict_chk(true) {
        tracing::debug!("rtnetlink without kernel-side filters: {error}");
    }
    Ok(socket)
}

/// Sequence number, flags, payload.
type Numbered = (u32, u16, NetlinkPayload<Answer>);

/// The messages of one datagram. A torn rest ends it with an error.
fn messages(datagram: &[u8]) -> impl Iterator<Item = io::Result<Numbered>> + '_ {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = match NetlinkBuffer::new_checked(&rest) {
            Ok(header) => header.length() as usize,
            Err(error) => {
                rest = &[];
                return Some(Err(invalid(&error.to_string())));
            }
        };
        let (message, after) = rest.split_at(length);
        // Messages start at multiples of four bytes (NLMSG_ALIGN).
        rest = after.get(length.next_multiple_of(4) - length..).unwrap_or(&[]);
        Some(
            NetlinkMessage::<Answer>::deserialize(message)
                .map(|read| (read.header.sequence_number, read.header.flags, read.payload))
                .map_err(|error| invalid(&error.to_string())),
        )
    })
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("rtnetlink: {what}"))
}

pub(super) fn errno_is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
