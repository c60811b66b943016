//! The programs of a machine: the daemon's lives, the helper, its scripts, and who feeds the watchdog.

use hb_proto::action::{TicketId, Verb};
use hb_proto::id::BootId;
use hb_proto::node::Node;

use super::daemon::Daemon;
use super::fault::Who;
use super::machine::{Machine, Power, What};
use super::plant::Plant;
use super::record::Did;
use super::wire::Port;
use super::world::{Happening, World};

impl World {
    pub(super) fn start_daemon(&mut self, who: Who) {
        let machine = &mut self.machines[who];
        if machine.power != Power::On || machine.daemon.is_some() {
            return;
        }
        self.settle_lines();
        let machine = &mut self.machines[who];
        (machine.left, machine.restarts) = (false, false);
        // Stored and synced before its first use (R9).
        machine.stored_boot += 1;
        let boot = BootId::new(machine.stored_boot).expect("far from the end of the numbers");
        let now = machine.clock.local(self.now);
        let helper = machine.spawn_helper();
        let node = Node::new(self.configs[who].clone(), self.keys.clone(), boot, now);
        let mut node = node.expect("the knobs make configurations that pass the check");
        #[cfg(feature = "mutants")]
        node.break_rule(self.knobs.broken);
        // Stored and synced before its first frame, too (R8).
        let full = self.configs[who].timing.full();
        machine.longest_promise = machine.longest_promise.max(full);
        node.remember_longest_promise(now, machine.longest_promise);
        let ports = self.knobs.links.iter().map(|&kind| Port::open(kind)).collect();
        machine.daemon = Some(Box::new(Daemon::new(node, ports, helper)));
        if machine.crashes_left > 0 {
            machine.crashes_left -= 1;
            let epoch = machine.epoch;
            let at = self.now + self.rng.between(1_000, 400_000);
            self.queue.plan(at, Happening::Crash(who, epoch));
        }
        self.note_life(who, boot);
        self.plan_turn(who);
    }

    pub(super) fn respawn(&mut self, who: Who) {
        let machine = &self.machines[who];
        if machine.daemon.is_some() || machine.left || machine.power != Power::On {
            return;
        }
        if self.knobs.respawn_waits && machine.helpers.iter().any(|helper| helper.orphan) {
            self.queue.plan(self.now + 20_000, Happening::Respawn(who, machine.epoch));
            return;
        }
        self.start_daemon(who);
    }

    pub(super) fn feed(&mut self, who: Who) {
        let Some(timeout_s) = self.knobs.watchdog_s else { return };
        let machine = &mut self.machines[who];
        machine.watchdog.fed_at = self.now;
        machine.watchdog.feedings += 1;
        let (epoch, feedings) = (machine.epoch, machine.watchdog.feedings);
        let at = self.now + u64::from(timeout_s) * 1_000_000;
        self.queue.plan(at, Happening::Bites(who, epoch, feedings));
    }

    pub(super) fn watchdog_bites(&mut self, who: Who, epoch: u32, feedings: u64) {
        let machine = &self.machines[who];
        let fresh = machine.epoch == epoch && machine.watchdog.feedings == feedings;
        if !fresh || !machine.watchdog.armed {
            return;
        }
        if machine.frozen && self.knobs.clock_freezes {
            // It stands still with its machine.
            self.queue.plan(self.now + 100_000, Happening::Bites(who, epoch, feedings));
            return;
        }
        self.counts.watchdog_resets += 1;
        self.tell(who, || "is reset by its watchdog".into());
        self.reset(who);
    }

    pub(super) fn kill_daemon(&mut self, who: Who) {
        self.settle_lines();
        let machine = &mut self.machines[who];
        let Some(daemon) = machine.daemon.take() else { return };
        let epoch = machine.epoch;
        self.port_closes(who);
        let machine = &mut self.machines[who];
        if let Some(helper) = machine.helpers.iter_mut().find(|one| one.id == daemon.helper) {
            helper.orphan = true;
            let at = self.now + self.rng.between(1, self.knobs.helper_us);
            self.queue.plan(at, Happening::DeadMan(who, epoch, daemon.helper));
        }
        if self.machines[who].watchdog.armed && daemon.has_watchdog_open() {
            // Closed unasked: the kernel feeds once, and it stays armed (protocol.md R10). A life that was
            // not clean yet had not opened it (R9).
            self.feed(who);
        }
        if let Some(after) = self.knobs.respawn_us {
            self.queue.plan(self.now + after.max(1), Happening::Respawn(who, epoch));
        }
    }

    pub(super) fn kill_helper(&mut self, who: Who) {
        let machine = &mut self.machines[who];
        let Some(helper) = machine.helpers.last().map(|helper| helper.id) else { return };
        machine.kill_helper(helper);
        if let Some(daemon) = machine.daemon.as_deref_mut().filter(|one| one.helper == helper) {
            daemon.helper_died = true;
            daemon.answers.clear();
        }
        self.plan_turn(who);
    }

    pub(super) fn dead_man(&mut self, who: Who, helper: u32) {
        let now = self.now;
        let machine = &mut self.machines[who];
        let Some(standing) =
            machine.helpers.iter().find(|one| one.id == helper).map(|one| one.standing)
        else {
            return;
        };
        for group in 0..self.knobs.groups.len() {
            for resource in 0..self.knobs.groups[group].resources.len() as u8 {
                let what = What { group: group as u8, resource };
                if standing >> group & 1 == 1 && self.knobs.is_address(what) {
                    machine.hold(what, false);
                }
            }
        }
        let epoch = machine.epoch;
        for (id, at) in machine.begin_standing_order(helper, now, &self.knobs, &mut self.rng) {
            self.queue.plan(at, Happening::JobEnds(who, epoch, id));
        }
        self.tell(who, || format!("dead man's order for groups {standing:b}"));
        self.start_jobs(who);
        self.let_idle_orphans_go(who);
        self.check_holders();
    }

    pub(super) fn start_jobs(&mut self, who: Who) {
        let machine = &mut self.machines[who];
        let epoch = machine.epoch;
        let started = machine.start_jobs(self.now, &self.knobs, &mut self.rng);
        for (id, at) in started {
            self.queue.plan(at, Happening::JobEnds(who, epoch, id));
        }
        self.note_begun(who);
    }

    pub(super) fn abort(&mut self, who: Who, ticket: TicketId) {
        let machine = &mut self.machines[who];
        let epoch = machine.epoch;
        if let Some((id, at)) = machine.abort(ticket, self.now, &mut self.rng) {
            self.queue.plan(at, Happening::JobEnds(who, epoch, id));
        }
    }

    pub(super) fn job_ends(&mut self, who: Who, id: u32) {
        let machine = &mut self.machines[who];
        let Some((job, outcome)) = machine.end(id, self.now, &mut self.rng) else { return };
        if let (Some(ticket), Some(daemon)) = (job.ticket, machine.daemon.as_deref_mut())
            && daemon.helper == job.helper
            && !daemon.helper_died
            && self.knobs.plant != Some(Plant::NeverAnswers)
        {
            daemon.answers.push_back((ticket, outcome));
            self.plan_turn(who);
        }
        let machine = &mut self.machines[who];
        let held = machine.holds(job.what);
        let orphan = !machine.helpers.iter().any(|helper| helper.id == job.helper);
        if orphan && job.verb == Verb::Start {
            // What the node was told is not what came of it.
            machine.lied_to = true;
            self.counts.unheard += 1;
        }
        self.tell(who, || {
            let orphan = if orphan { ", unheard" } else { "" };
            format!("{:?} {}/{} ends{orphan}", job.verb, job.what.group, job.what.resource)
        });
        self.check_holders();
        if job.verb == Verb::Start && !held {
            self.note_deed(who, job.what, Did::FailedToStart);
        }
        self.start_jobs(who);
        self.let_idle_orphans_go(who);
        self.check_holders();
    }

    /// A helper that has carried out its order ends.
    fn let_idle_orphans_go(&mut self, who: Who) {
        let Machine { helpers, jobs, .. } = &mut self.machines[who];
        helpers.retain(|helper| !helper.orphan || jobs.iter().any(|job| job.helper == helper.id));
    }
}
