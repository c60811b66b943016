//! What the helper does when the daemon vanishes.

use std::process::ExitCode;
use std::time::Instant;

use super::super::message::{Step, Verb};
use super::super::run::Order;
use super::{Group, Release, Resource, Worker};
use crate::log::Level;

impl Worker<'_> {
    /// The daemon is gone. If it hadn't said so, its service must go too.
    pub(super) fn carry_out_standing_order(&mut self, release: Release<'_>) -> ExitCode {
        // A daemon that never told what it works with refused its files at start-up: nothing runs.
        if self.left_orderly || self.script_dirs.is_empty() {
            return ExitCode::SUCCESS;
        }
        let started = Instant::now();
        let steps = std::mem::take(&mut self.standing);
        let mut stops = Vec::new();
        let mut notes = Vec::new();
        // Addresses go before anything is written: R10, at once.
        for &step in &steps {
            let resources = self.groups.get(usize::from(step.group)).map(|group| &group.resources);
            match resources.and_then(|list| list.get(usize::from(step.resource))) {
                Some(&Resource::Address(ip)) => notes.push((ip, release(ip))),
                Some(Resource::Script { .. }) => stops.push(step),
                None => self.failed = true,
            }
        }
        self.logs.say(
            Level::Crit,
            &format!(
                "heartbeat is gone without a farewell: its {} addresses and {} scripts go too",
                notes.len(),
                stops.len()
            ),
        );
        for (ip, result) in notes {
            match result {
                Ok(()) => self.logs.say(Level::Info, &format!("Released {ip}")),
                Err(error) => {
                    self.failed = true;
                    self.logs.say(Level::Crit, &format!("can't release {ip}: {error}"));
                }
            }
        }
        self.stop_all(&stops, started);
        if self.failed {
            self.logs.say(Level::Crit, "something could not be given up: reboot this node");
            return ExitCode::FAILURE;
        }
        self.logs.say(Level::Info, "all resources are given up");
        ExitCode::SUCCESS
    }

    fn stop_all(&mut self, stops: &[Step], now: Instant) {
        for group in &mut self.groups {
            group.queue.clear();
            if let Some(running) = &mut group.running {
                // A stop may finish, within its time; a start makes no sense any more.
                match running.order.verb {
                    Verb::Stop => running.deadline = Some(now + self.stop_timeout),
                    Verb::Start | Verb::Status => running.abort(now),
                }
            }
        }
        for &step in stops {
            self.enqueue(Order { ticket: None, step, verb: Verb::Stop });
        }
        let busy = |group: &Group| group.running.is_some() || !group.queue.is_empty();
        loop {
            self.look_after_scripts();
            if !self.groups.iter().any(busy) {
                break;
            }
            self.wait();
        }
    }
}
