//! A watchdog of the test rig: a fake whose timer lives in the rig, which resets the machine for real.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{Closed, OpenError, Watchdog};

/// The rig answers at once; it is opened once in a life.
const PATIENCE: Duration = Duration::from_secs(1);

/// Stands in for [`super::Device`] on a machine of the namespace rig; ha.cf can't name it.
#[derive(Debug)]
pub struct Remote {
    stream: UnixStream,
    timeout_s: u32,
}

impl Remote {
    /// Opens and so arms it. Its time-out is fixed, as some drivers' are; it tells which.
    ///
    /// # Errors
    /// [`OpenError::Io`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let failed =
            |step| move |source: io::Error| OpenError::Io { device: path.into(), step, source };
        let stream = UnixStream::connect(path).map_err(failed("opening it"))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed("opening it"))?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).map_err(failed("reading its time-out"))?;
        let timeout_s = line
            .trim()
            .parse()
            .map_err(|_| failed("reading its time-out")(io::ErrorKind::InvalidData.into()))?;
        stream.set_nonblocking(true).map_err(failed("opening it"))?;
        Ok(Self { stream, timeout_s })
    }
}

impl Watchdog for Remote {
    fn feed(&mut self) -> io::Result<()> {
        self.stream.write_all(b"\0")
    }

    fn timeout_s(&self) -> u32 {
        self.timeout_s
    }

    fn identity(&self) -> &'static str {
        "of the test rig (a fake)"
    }

    fn nowayout(&self) -> Option<bool> {
        Some(false)
    }

    fn close_orderly(mut self: Box<Self>) -> io::Result<Closed> {
        self.stream.write_all(b"V")?;
        Ok(Closed::Disarmed)
    }
}
