//! What happens to machines and links: power, freezes, signals, cuts, operators, and the mend of it all.

use super::clock::Clock;
use super::dongle::LINE;
use super::dongle::faults::DongleFault;
use super::fault::{Command, Fault, Files, Mood, Weather, Who};
use super::machine::Power;
use super::world::{Happening, World};

impl World {
    pub(super) fn power_on(&mut self, who: Who) {
        let (from, to) = self.knobs.boot_us;
        let takes = self.rng.between(from, to);
        let (now, ppm) = (self.now, self.knobs.drift_ppm[who]);
        let machine = &mut self.machines[who];
        if machine.power != Power::Off {
            return;
        }
        machine.power = Power::Booting;
        // Each power-up has its own epoch of time, near zero or anywhere.
        machine.clock = Clock::new(now, 1 + self.rng.between(0, 1 << 40), ppm);
        self.queue.plan(now + takes, Happening::Booted(who, machine.epoch));
    }

    pub(super) fn power_off(&mut self, who: Who) {
        self.settle_lines();
        for link in 0..self.wires[who].len() {
            self.wires[who][link].go_dead(self.now);
        }
        let was_off = self.machines[who].power == Power::Off;
        self.machines[who].lose_everything();
        self.machines[who].power = Power::Off;
        self.checks.false_evidence[who] = false;
        if !was_off {
            self.sense_falls(who);
        }
        self.check_holders();
    }

    pub(super) fn reset(&mut self, who: Who) {
        self.power_off(who);
        self.power_on(who);
    }

    fn freeze(&mut self, who: Who, freeze: bool) {
        self.settle_lines();
        let (now, stands) = (self.now, self.knobs.clock_freezes);
        let machine = &mut self.machines[who];
        if machine.power != Power::On || machine.frozen == freeze {
            return;
        }
        machine.frozen = freeze;
        match (freeze, stands) {
            (true, true) => {
                machine.clock.stop(now);
                machine.clock_stood = true;
            }
            (false, true) => machine.clock.go_on(now),
            _ => {}
        }
        if !freeze {
            self.machines[who].woken_at = now;
            self.plan_turn(who);
        }
    }

    fn panic_kernel(&mut self, who: Who) {
        if !self.machines[who].is_running() {
            return;
        }
        self.settle_lines();
        for link in 0..self.wires[who].len() {
            self.wires[who][link].go_dead(self.now);
        }
        self.machines[who].lose_programs();
        self.machines[who].power = Power::Panicked;
    }

    /// The files change at once; what runs goes on with the old ones until it has left in order.
    fn reload(&mut self, who: Who, files: Files) {
        let config = self.knobs.config_with(who, files);
        self.checks.longest_deadtime = self.checks.longest_deadtime.max(config.timing.deadtime);
        self.configs[who] = config;
        if self.machines[who].daemon.is_some() {
            self.machines[who].restarts = true;
            self.command(who, Command::Leave);
        }
    }

    fn stop(&mut self, who: Who, stop: bool) {
        if let Some(daemon) = self.machines[who].daemon.as_deref_mut() {
            daemon.stopped = stop;
        }
        if !stop {
            self.machines[who].woken_at = self.now;
            self.plan_turn(who);
        }
    }

    /// Something happens.
    pub fn apply(&mut self, fault: Fault) {
        if let Some(kind) = fault.kind() {
            self.counts.faults[kind] += 1;
        }
        self.note_disturbance(&fault);
        self.tell_all(|| format!("*** {fault}"));
        self.trace.number(self.now);
        match fault {
            Fault::PowerOff(who) => {
                self.machines[who].in_reset = false;
                self.power_off(who);
                self.look_at_feeds();
            }
            Fault::PowerOn(who) => {
                self.power_on(who);
                self.look_at_feeds();
            }
            Fault::Reset(who) => {
                if self.machines[who].power != Power::Off {
                    self.reset(who);
                }
            }
            Fault::Freeze(who) => self.freeze(who, true),
            Fault::Thaw(who) => self.freeze(who, false),
            Fault::PanicKernel(who) => self.panic_kernel(who),
            Fault::Stop(who) => self.stop(who, true),
            Fault::Continue(who) => self.stop(who, false),
            Fault::Stall(who, point, span) => {
                if let Some(daemon) = self.machines[who].daemon.as_deref_mut() {
                    daemon.stall = Some((point, span));
                }
            }
            Fault::KillDaemon(who) => self.kill_daemon(who),
            Fault::KillHelper(who) => self.kill_helper(who),
            Fault::KillBoth(who) => {
                self.kill_helper(who);
                self.kill_daemon(who);
            }
            Fault::CrashLoop(who, times) => {
                self.machines[who].crashes_left = times;
                self.kill_daemon(who);
            }
            Fault::Cut { from, link } => self.cut(from, link, true),
            Fault::Mend { from, link } => self.cut(from, link, false),
            Fault::CutAll => self.cut_all(true),
            Fault::MendAll => self.cut_all(false),
            Fault::Weather { from, link, weather } => {
                self.settle_lines();
                self.wires[from][link].weather = weather;
                if link == LINE {
                    self.weather_at_dongle(from, weather);
                }
            }
            Fault::Scripts(who, mood) => self.machines[who].mood = mood,
            Fault::Operator(who, command) => self.command(who, command),
            Fault::Reload(who, files) => self.reload(who, files),
            Fault::WallStep(who, ms) => self.machines[who].clock.wall_offset_ms += ms,
            Fault::PeerIsOff(who) => self.command(who, Command::PeerIsOff),
            Fault::Break { from, link, us } => self.hold_break(from, link, us),
            Fault::Speed { who, link, baud } => self.set_speed(who, link, baud),
            Fault::Dongle(fault) => self.apply_to_dongle(fault),
        }
        self.check_holders();
    }

    fn cut(&mut self, from: Who, link: usize, cut: bool) {
        self.settle_lines();
        if link == LINE && self.dongle.is_some() {
            self.cut_at_dongle(from, cut);
        } else {
            self.wires[from][link].cut = cut;
        }
    }

    fn cut_all(&mut self, cut: bool) {
        for from in 0..2 {
            for link in 0..self.wires[from].len() {
                self.cut(from, link, cut);
            }
            if self.dongle.is_some() {
                // Both directions of its half of the line.
                self.apply_to_dongle(DongleFault::Half(from, cut));
            }
        }
    }

    fn command(&mut self, who: Who, command: Command) {
        if command == Command::Start {
            self.machines[who].left = false;
            self.respawn(who);
        } else if let Some(daemon) = self.machines[who].daemon.as_deref_mut() {
            daemon.commands.push_back(command);
        }
        self.plan_turn(who);
    }

    /// Faults stop for good: everything is mended, switched on, continued and started.
    pub fn mend_everything(&mut self) {
        self.tell_all(|| "*** everything is mended, for good".into());
        self.mended = true;
        self.apply(Fault::MendAll);
        self.mend_dongle();
        for who in 0..2 {
            if self.machines[who].lied_to || self.machines[who].power == Power::Panicked {
                // Only a person can find what a script lied about, or press the button.
                self.apply(Fault::Thaw(who));
                self.reset(who);
            }
            for link in 0..self.wires[who].len() {
                self.apply(Fault::Weather { from: who, link, weather: Weather::default() });
                self.set_speed(who, link, None);
            }
            self.machines[who].crashes_left = 0;
            self.apply(Fault::Scripts(who, Mood::Healthy));
            self.apply(Fault::Thaw(who));
            self.apply(Fault::Continue(who));
            self.apply(Fault::PowerOn(who));
            if self.configs[who] != self.knobs.config(who) {
                self.apply(Fault::Reload(who, Files::Same));
            }
            self.apply(Fault::Operator(who, Command::Start));
        }
    }
}
