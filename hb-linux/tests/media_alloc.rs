//! The steady state of a port allocates nothing, on either kind of medium.
//!
//! The UDP half needs a network namespace and the `ip` tool; says so and passes otherwise.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::process::Command;

use hb_linux::config::Medium;
use hb_linux::media::{MAX_FRAME, Port, Receive, Transmit};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::thread::{UnshareFlags, unshare_unsafe};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: hands everything to the system's allocator; counting touches no heap.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations_of(|| drop(std::hint::black_box(vec![1_u8]))), 1);
}

#[test]
fn a_serial_port_sends_and_receives_without_allocating() {
    let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&far).unwrap();
    unlockpt(&far).unwrap();
    let device = ptsname(&far, Vec::new()).unwrap().into_string().unwrap();
    let locks = std::env::temp_dir().join(format!("hb-alloc-{}", std::process::id()));
    std::fs::create_dir_all(&locks).unwrap();
    let medium = Medium::Serial { device: device.into(), baud: 115_200 };
    let mut port = Port::open_locking_in(&medium, locks.clone());
    assert_eq!(port.failure(), None);
    let mut buf = [0; MAX_FRAME];
    let used = allocations_of(|| {
        for i in 0..100 {
            assert_eq!(port.transmit(&[i; 32]), Transmit::Sent);
            assert_eq!(port.receive(&mut buf), Receive::Empty);
        }
    });
    assert_eq!(used, 0);
    let used = allocations_of(|| while port.transmit(&[7; 32]) != Transmit::Busy {});
    assert_eq!(used, 0, "of a line that fills up");
    drop(port);
    std::fs::remove_dir_all(&locks).unwrap();
}

#[test]
fn a_udp_port_sends_and_receives_without_allocating() {
    let run = || {
        // SAFETY: a new network namespace changes nothing that other threads' memory depends on.
        if let Err(errno) = unsafe { unshare_unsafe(UnshareFlags::NEWNET) } {
            eprintln!("SKIPPED: network namespaces are not allowed here: {errno}");
            return;
        }
        let medium = Medium::Unicast {
            interface: "lo".into(),
            peer: "127.0.0.1".parse().unwrap(),
            port: 694,
        };
        let mut port = Port::open(&medium);
        assert_eq!(port.failure(), None);
        // The namespace's lo is down: what a cable that is out looks like.
        let used = allocations_of(|| assert_eq!(port.transmit(&[0; 32]), Transmit::Busy));
        assert_eq!((used, port.counters().unreachable), (0, 1));
        match Command::new("ip").args(["link", "set", "lo", "up"]).status() {
            Ok(status) => assert!(status.success()),
            Err(_) => {
                eprintln!("SKIPPED: the `ip` tool (iproute2) is not installed");
                return;
            }
        }
        let mut buf = [0; MAX_FRAME];
        let used = allocations_of(|| {
            for i in 0..100 {
                assert_eq!(port.transmit(&[i; 32]), Transmit::Sent);
                assert_eq!(port.receive(&mut buf), Receive::Received(32));
                assert_eq!(port.receive(&mut buf), Receive::Empty);
            }
        });
        assert_eq!(used, 0);
    };
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}
