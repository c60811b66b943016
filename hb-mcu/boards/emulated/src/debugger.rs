//! QEMU's debugging socket, as far as a program is to be made to hang (GDB manual, "Remote Serial Protocol").

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::monitor::connect;

/// Number of the program counter among a Cortex-M's registers.
const PC: u8 = 15;

/// A debugger. The processor stands while it is attached.
pub(crate) struct Debugger(UnixStream);

impl Debugger {
    pub(crate) fn attach(socket: &Path) -> Self {
        let stream = connect(socket);
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket has time-outs");
        let mut debugger = Self(stream);
        // Why it stands: since a debugger came.
        let said = debugger.ask("?");
        assert!(said.starts_with(['T', 'S']), "QEMU's debugging socket: {said:?}");
        debugger
    }

    /// The processor goes on, from there.
    pub(crate) fn jump(mut self, to: u32) {
        let bytes: String = to.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        for order in [format!("P{PC:x}={bytes}"), "D".to_owned()] {
            let said = self.ask(&order);
            assert_eq!(said, "OK", "QEMU refuses {order}");
        }
    }

    /// Sends a packet; the answer to it.
    fn ask(&mut self, order: &str) -> String {
        let sum = order.bytes().fold(0_u8, u8::wrapping_add);
        self.0.write_all(format!("${order}#{sum:02x}").as_bytes()).expect("QEMU listens");
        let (mut said, mut byte) = (String::new(), [0]);
        // An acknowledgement, the answer, and a checksum, which a socket doesn't need.
        while !said.ends_with('#') {
            self.0.read_exact(&mut byte).expect("QEMU answers");
            said.push(byte[0].into());
        }
        let mut sum = [0; 2];
        self.0.read_exact(&mut sum).expect("QEMU answers");
        self.0.write_all(b"+").expect("QEMU listens");
        said.trim_start_matches('+').trim_start_matches('$').trim_end_matches('#').to_owned()
    }
}
