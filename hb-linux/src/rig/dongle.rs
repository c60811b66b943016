//! The dongle of a rig, seen from outside: what it is plugged into, and what can happen to it.
//!
//! Its brain is a process of its own ([`process`]) that runs [`hb_mcu::Dongle`] between the two halves of the
//! null-modem line; killing it is a reset. Its reset outputs end here, and reset the machines that they are
//! wired to; nothing else of this rig does but the machines' own watchdogs and their plugs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hb_mcu::Record;
use hb_proto::arbiter::Memory;
use hb_proto::id::BootId;
use hb_proto::wire::message::arbiter::LineShown;
use rustix::process::{Pid, Signal, kill_process};

use super::line::{Line, Port, Side};
use super::node::Node;
use super::outlet::Outlet;
use super::{Doing, RigError};

mod build;
mod parts;
pub mod process;
mod wires;

pub use build::{Build, Evidence, ResetWire, Supply};
pub use process::Spec;

/// Its own watchdog resets it when it was not fed for so long.
const WATCHDOG: Duration = Duration::from_millis(1500);
/// A whole chip's process says that it lives more often than that, however busy the host is.
const EMULATOR: Duration = Duration::from_secs(20);
/// The first dongle's number; spares have the next ones.
const FIRST_ID: u32 = 7;
/// Its process is looked at this often.
const LOOK: Duration = Duration::from_millis(20);

/// Events kept: a flood of bad frames makes one for each.
const EVENTS: usize = 20_000;

/// A change of a reset output's level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pulled {
    /// When.
    pub at: Instant,
    /// Whose output.
    pub output: Node,
    /// The machine that it reset; `None` when it ends nowhere, or nothing ran there.
    pub hit: Option<Node>,
}

/// Its process.
#[derive(Debug)]
struct Running {
    child: Child,
    input: ChildStdin,
    /// It is a whole chip: with a reset button, a program that can hang, and a watchdog of its own ([`process`]).
    is_chip: bool,
}

/// What it is plugged into, and its state.
#[derive(Debug)]
struct State {
    build: Build,
    /// `hb`.
    program: PathBuf,
    /// Each dongle has a directory in it.
    directory: PathBuf,
    /// The first machine's, from which it is provisioned, and that machine's name.
    config_dir: PathBuf,
    node: String,
    outlets: [Arc<Outlet>; 2],
    halves: [Arc<Line>; 2],
    /// How many dongles were put in before this one.
    unit: u32,
    inserted: bool,
    ports: [PathBuf; 2],
    running: Option<Running>,
    /// Counts processes: what a former one still says counts for nothing.
    generation: u64,
    fed_at: Instant,
    mains: [bool; 2],
    feed_cut: [bool; 2],
    half_cut: [bool; 2],
    wired: [ResetWire; 2],
    /// Levels of the outputs, as its process set them, and which machine each pulls now.
    pulls: [Option<Node>; 2],
    high: [bool; 2],
    told: [[Option<bool>; 2]; 3],
    lives: u32,
    pulled: Vec<Pulled>,
    events: Vec<(Instant, String)>,
    tested: Option<(usize, String)>,
    broken: Vec<String>,
}

/// The dongle. Dropping it ends its process.
#[derive(Debug)]
pub struct Dongle {
    state: Arc<Mutex<State>>,
    end: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Dongle {
    /// Built in, without power yet. `program` is `hb`, `directory` gets its memory, `provision` is a machine's
    /// /etc/ha.d and name; `outlets` and `halves` are the machines' ends of its wires.
    ///
    /// # Errors
    /// Its ptys, its files or its process can't be made.
    pub fn new(
        build: Build,
        program: PathBuf,
        directory: PathBuf,
        provision: (PathBuf, String),
        outlets: [Arc<Outlet>; 2],
        halves: [Arc<Line>; 2],
    ) -> Result<Self, RigError> {
        let (config_dir, node) = provision;
        let state = State {
            build,
            program,
            directory,
            config_dir,
            node,
            outlets,
            halves,
            unit: 0,
            inserted: false,
            ports: Default::default(),
            running: None,
            generation: 0,
            fed_at: Instant::now(),
            mains: [false; 2],
            feed_cut: [false; 2],
            half_cut: [false; 2],
            wired: if build.reset_lines { [ResetWire::Sound; 2] } else { [ResetWire::Broken; 2] },
            pulls: [None; 2],
            high: [false; 2],
            told: Default::default(),
            lives: 0,
            pulled: Vec::new(),
            events: Vec::new(),
            tested: None,
            broken: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let end = Arc::new(AtomicBool::new(false));
        let (its_state, its_end) = (state.clone(), end.clone());
        let thread = std::thread::Builder::new()
            .name("dongle".into())
            .spawn(move || {
                while !its_end.load(Ordering::Relaxed) {
                    std::thread::sleep(LOOK);
                    tend(&its_state);
                }
            })
            .doing(|| "starting a thread".into())?;
        let dongle = Self { state, end, thread: Some(thread) };
        dongle.change(|state| {
            if state.build.reset_lines {
                state.commission()?;
            }
            state.plug_in()
        })?;
        Ok(dongle)
    }

    /// Reset; its power stays.
    ///
    /// # Errors
    /// It can't be started again.
    pub fn reset(&self) -> Result<(), RigError> {
        self.change(|state| {
            match &state.running {
                None => return Ok(()),
                Some(running) if running.is_chip => {
                    state.say("reset");
                    return Ok(());
                }
                Some(_) => {}
            }
            state.stop();
            state.start("Pin")
        })
    }

    /// Its program hangs, until its own watchdog resets it.
    pub fn hang(&self) {
        let mut state = lock(&self.state);
        match &state.running {
            None => {}
            Some(running) if running.is_chip => state.say("hang"),
            // Ended meanwhile: it is started again all the same.
            Some(running) => {
                let _ = kill_process(Pid::from_child(&running.child), Signal::STOP);
            }
        }
    }

    /// Taken out: both halves of the line end nowhere, and it has no power.
    pub fn remove(&self) {
        lock(&self.state).unplug();
    }

    /// The same one is put in again, or a spare that has no history and no tested line.
    ///
    /// # Errors
    /// It can't be made.
    pub fn insert(&self, spare: bool) -> Result<(), RigError> {
        self.change(|state| {
            state.unplug();
            state.unit += u32::from(spare);
            state.plug_in()
        })
    }

    /// A machine's cable to it is cut or whole: its modem lines go with it. The bytes are the line's affair.
    pub fn half_cut(&self, node: Node, cut: bool) {
        let mut state = lock(&self.state);
        state.half_cut[node.index()] = cut;
        state.levels();
    }

    /// A machine's mains are switched.
    ///
    /// # Errors
    /// It can't be started again.
    pub fn mains(&self, node: Node, on: bool) -> Result<(), RigError> {
        self.change(|state| {
            state.mains[node.index()] = on;
            state.feed()
        })
    }

    /// Cuts or heals a machine's power feed.
    ///
    /// # Errors
    /// It can't be started again.
    pub fn cut_feed(&self, node: Node, cut: bool) -> Result<(), RigError> {
        self.change(|state| {
            state.feed_cut[node.index()] = cut;
            state.feed()
        })
    }

    /// Something ended or began to run on a machine.
    pub fn machines_changed(&self) {
        lock(&self.state).levels();
    }

    /// Where a machine's reset output ends from now on.
    pub fn wire(&self, output: Node, wire: ResetWire) {
        let mut state = lock(&self.state);
        state.wired[output.index()] = wire;
        state.levels();
    }

    /// Tests a machine's reset line; [`Self::test_outcome`] tells how that went. The machine is reset, and
    /// must be booted meanwhile.
    pub fn test_line(&self, node: Node) {
        let mut state = lock(&self.state);
        state.tested = None;
        state.say(&format!("test {}", node.index()));
    }

    /// `proved`, `failed`, or why the test was refused; `None` while that isn't known.
    #[must_use]
    pub fn test_outcome(&self) -> Option<String> {
        lock(&self.state).tested.clone().map(|(_, how)| how)
    }

    /// Whether its process runs.
    #[must_use]
    pub fn is_on(&self) -> bool {
        lock(&self.state).running.is_some()
    }

    /// Its process, for who gives it the priority of a chip that does nothing else.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        lock(&self.state).running.as_ref().map(|running| running.child.id())
    }

    /// Lives that it began.
    #[must_use]
    pub fn lives(&self) -> u32 {
        lock(&self.state).lives
    }

    /// Every pulse of its outputs so far.
    #[must_use]
    pub fn pulled(&self) -> Vec<Pulled> {
        lock(&self.state).pulled.clone()
    }

    /// What it told, with the time.
    #[must_use]
    pub fn events(&self) -> Vec<(Instant, String)> {
        lock(&self.state).events.clone()
    }

    /// What broke of the rig itself: an emulator's end, say.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        lock(&self.state).broken.clone()
    }

    fn change(
        &self,
        change: impl FnOnce(&mut State) -> Result<(), RigError>,
    ) -> Result<(), RigError> {
        let (before, after) = {
            let mut state = lock(&self.state);
            let before = state.generation;
            change(&mut state)?;
            (before, state.generation)
        };
        if before != after {
            listen(&self.state)?;
        }
        Ok(())
    }
}

impl Drop for Dongle {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        lock(&self.state).stop();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Its own watchdog, and what starts a chip again whose program ended.
fn tend(state: &Arc<Mutex<State>>) {
    let restarted = {
        let mut state = lock(state);
        // A machine's own watchdog, say, tells nobody.
        state.levels();
        let Some(running) = &mut state.running else { return };
        let ended = !matches!(running.child.try_wait(), Ok(None));
        let is_chip = running.is_chip;
        let patience = if is_chip { EMULATOR } else { WATCHDOG };
        let unfed = state.fed_at.elapsed() >= patience;
        if !ended && !unfed {
            return;
        }
        state.stop();
        if is_chip {
            // A chip resets itself. This is the rig, broken: nothing is put in its place.
            let how = if ended { "ended" } else { "says nothing any more" };
            state.broken.push(format!("the dongle's emulator {how}"));
            return;
        }
        let reason = if ended { "Software" } else { "Watchdog" };
        state.note(format!("its program ended or hung: {reason}"));
        // Tried again at the next look.
        state.start(reason).is_ok()
    };
    if restarted {
        let _ = listen(state);
    }
}

/// Takes over the words of the process that was just started.
fn listen(state: &Arc<Mutex<State>>) -> Result<(), RigError> {
    let (words, generation) = {
        let mut state = lock(state);
        let generation = state.generation;
        let words = state.running.as_mut().and_then(|running| running.child.stdout.take());
        let Some(words) = words else { return Ok(()) };
        (words, generation)
    };
    let its_state = Arc::clone(state);
    std::thread::Builder::new()
        .name("dongle".into())
        .spawn(move || {
            for line in BufReader::new(words).lines().map_while(Result::ok) {
                let mut state = lock(&its_state);
                if state.generation != generation {
                    break;
                }
                state.heard(&line);
            }
        })
        .doing(|| "starting a thread".into())?;
    Ok(())
}

impl State {
    fn memory(&self) -> PathBuf {
        self.directory.join(format!("dongle-{}", self.unit))
    }

    /// What its flash has after both lines were tested.
    fn commission(&mut self) -> Result<(), RigError> {
        let mut memory = Memory::default();
        for node in &mut memory.nodes {
            node.line = LineShown::Commissioned;
        }
        let boot = BootId::new(1).expect("1 is a number of a life");
        let directory = self.memory();
        fs::create_dir_all(&directory)
            .and_then(|()| fs::write(directory.join("flash"), Record { boot, memory }.encode()))
            .doing(|| format!("writing {}", directory.display()))
    }

    fn plug_in(&mut self) -> Result<(), RigError> {
        for (half, path) in self.halves.iter().zip(&mut self.ports) {
            let port = Port::new().doing(|| "making a pty".into())?;
            path.clone_from(&port.device().to_owned());
            half.attach(Side::B, port);
        }
        self.inserted = true;
        self.feed()
    }

    fn unplug(&mut self) {
        self.inserted = false;
        self.lose_power();
        for half in &self.halves {
            half.detach(Side::B);
        }
    }

    fn is_fed(&self, node: Node) -> bool {
        self.mains[node.index()] && !self.feed_cut[node.index()]
    }

    /// Follows its supply.
    fn feed(&mut self) -> Result<(), RigError> {
        let has = match self.build.supply {
            Supply::Both => Node::BOTH.into_iter().any(|node| self.is_fed(node)),
            Supply::One(node) => self.is_fed(node),
            Supply::External => true,
        };
        if !has || !self.inserted {
            self.lose_power();
        } else if self.running.is_none() {
            self.start("PowerOn")?;
        }
        self.levels();
        Ok(())
    }

    fn lose_power(&mut self) {
        self.stop();
        // RAM keeps nothing without power. There may have been nothing in it yet.
        let _ = fs::remove_file(self.memory().join("ram"));
    }

    fn start(&mut self, reset: &str) -> Result<(), RigError> {
        let memory = self.memory();
        fs::create_dir_all(&memory).doing(|| format!("making {}", memory.display()))?;
        let spec = Spec {
            id: FIRST_ID + self.unit,
            baud: self.build.baud,
            ports: self.ports.clone(),
            memory,
            config_dir: Some(self.config_dir.clone()),
            node: self.node.clone(),
            reset: reset.to_owned(),
            supervised: self.build.evidence == Evidence::Supervised,
            sensed: self.build.evidence == Evidence::Sensed,
        };
        let text = serde_json::to_string(&spec)
            .map_err(|error| RigError::io("describing the dongle", error))?;
        let mut child = Command::new(&self.program)
            .args(["rig-dongle", &text])
            // Ctrl-C at the terminal is for the rig.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .doing(|| format!("starting {}", self.program.display()))?;
        let input = child.stdin.take().expect("it was asked for");
        self.running = Some(Running { child, input, is_chip: false });
        self.generation += 1;
        self.fed_at = Instant::now();
        self.lives += 1;
        self.note(format!("begins a life: {reset}"));
        self.told = Default::default();
        self.levels();
        Ok(())
    }

    /// Ends its process; its outputs fall with it.
    fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
            self.generation += 1;
            self.note("ends".into());
        }
        for output in Node::BOTH {
            self.set_output(output, false);
        }
    }
}
