//! The steps of `hb demo --dongle`: the failures for which two voters are one too few.

use std::time::Instant;

use super::super::super::bench::{Half, Network, Node, SERVICE};
use super::super::super::machine::Verb;
use super::super::Sabotage;
use super::super::report::Step;
use super::super::view::owner;
use super::{Act, PAUSE, Play, RESOLUTION, START_PATIENCE, Stopped, TAKEOVER_PATIENCE, WATCH};

/// The dongle's play.
pub const WITH_DONGLE: &[Act] = &[
    Play::start_with_dongle,
    Play::cut_every_link,
    Play::mend_links,
    Play::pull_dongle,
    Play::replace_dongle,
    Play::cut_power,
    Play::return_of_the_first,
    Play::hang_the_first,
    Play::pull_dongle_and_cut_eth1,
    Play::mend_eth1,
];

impl Play {
    fn start_with_dongle(&mut self, _: Option<Sabotage>) -> Result<Step, Stopped> {
        self.begin("start both machines; the dongle lives on their power");
        let since = Instant::now();
        self.bench.start_client(SERVICE)?;
        for node in Node::BOTH {
            self.bench.power_on(node)?;
        }
        let served = self.answered_by(Node::One, since, START_PATIENCE)?;
        self.settle()?;
        self.pause(PAUSE)?;
        let verdict = if served { self.serving(Node::One, since) } else { Err(self.nobody()) };
        Ok(Step { name: self.step, outage: None, budget: None, verdict })
    }

    /// eth1, and the null-modem line between linuxha1 and the dongle. Two voters would both serve now.
    fn cut_every_link(&mut self, sabotage: Option<Sabotage>) -> Result<Step, Stopped> {
        self.begin("cut every link between the nodes: one holder");
        if sabotage == Some(Sabotage::Votes) {
            self.screen.alarm("sabotage: ha.cf doesn't name the dongle, nobody needs its vote");
        }
        let event = Instant::now();
        self.bench.cut(Network::Private, true);
        self.bench.half(Node::One, Half::Cut, true);
        let step = self.moved(event, Node::Two, TAKEOVER_PATIENCE, self.budget.failover)?;
        // The first one, reset and alone, boots and must stay passive.
        self.pause(WATCH)?;
        let verdict = step.verdict.and_then(|_| self.serving(Node::Two, event));
        Ok(Step { verdict, ..step })
    }

    fn mend_links(&mut self, _: Option<Sabotage>) -> Result<Step, Stopped> {
        self.begin("mend them: linuxha1 takes its group back");
        let event = Instant::now();
        self.bench.cut(Network::Private, false);
        self.bench.half(Node::One, Half::Cut, false);
        let step = self.moved(event, Node::One, START_PATIENCE, self.budget.planned)?;
        self.settle()?;
        Ok(step)
    }

    fn pull_dongle(&mut self, _: Option<Sabotage>) -> Result<Step, Stopped> {
        self.begin("pull the dongle: no takeover");
        let event = Instant::now();
        if let Some(dongle) = self.bench.dongle() {
            dongle.remove();
        }
        self.stayed(event, Node::One)
    }

    fn replace_dongle(&mut self, _: Option<Sabotage>) -> Result<Step, Stopped> {
        self.begin("put it back: no takeover");
        let event = Instant::now();
        if let Some(dongle) = self.bench.dongle() {
            dongle.insert(false)?;
        }
        let step = self.stayed(event, Node::One)?;
        self.settle()?;
        Ok(step)
    }

    /// It would hold the address for ever: the dongle resets its machine.
    fn hang_the_first(&mut self, _: Option<Sabotage>) -> Result<Step, Stopped> {
        self.settle()?;
        self.begin("heartbeatd of linuxha1 hangs (SIGSTOP): reset, then linuxha2");
        let event = Instant::now();
        self.bench.daemon(Node::One, Verb::Stop)?;
        let taken = self.answered_by(Node::Two, event, TAKEOVER_PATIENCE)?;
        // The machine that was reset comes back by itself, and takes its group back.
        let back = self.answered_by(Node::One, Instant::now(), START_PATIENCE)?;
        self.pause(PAUSE)?;
        let (outage, budget) = (self.outage(event), self.budget.failover);
        let verdict = if !taken || !back {
            Err(self.nobody())
        } else if outage.is_none_or(|outage| outage > budget + RESOLUTION) {
            Err("the outage was longer than the budget".into())
        } else {
            self.serving(Node::One, event).map(|_| "linuxha2 answered; linuxha1 is back".into())
        };
        Ok(Step { name: self.step, outage, budget: Some(budget), verdict })
    }

    /// Two failures: nobody can tell any more who lives, and nobody serves.
    fn pull_dongle_and_cut_eth1(&mut self, _: Option<Sabotage>) -> Result<Step, Stopped> {
        self.settle()?;
        self.begin("pull the dongle and cut eth1: nobody serves, never two");
        if let Some(dongle) = self.bench.dongle() {
            dongle.remove();
        }
        self.pause(PAUSE)?;
        self.bench.cut(Network::Private, true);
        self.pause(PAUSE)?;
        let since = Instant::now();
        self.pause(WATCH)?;
        let who = self.client(|record| record.answered_by(since, Instant::now()));
        let names: Vec<_> = who.into_iter().filter_map(owner).collect();
        let verdict = match names.as_slice() {
            [] => self.never_two().map(|()| "nobody: a human decides".to_owned()),
            some => Err(format!("{some:?} still served without any vote")),
        };
        Ok(Step { name: self.step, outage: None, budget: None, verdict })
    }

    fn mend_eth1(&mut self, _: Option<Sabotage>) -> Result<Step, Stopped> {
        self.begin("mend eth1, put the dongle back: linuxha1 serves again");
        let since = Instant::now();
        self.bench.cut(Network::Private, false);
        if let Some(dongle) = self.bench.dongle() {
            dongle.insert(false)?;
        }
        let served = self.answered_by(Node::One, since, START_PATIENCE)?;
        self.settle()?;
        let verdict = if served { self.serving(Node::One, since) } else { Err(self.nobody()) };
        Ok(Step { name: self.step, outage: None, budget: None, verdict })
    }
}
