//! What a dongle with keys answers to an operator's tool ([`hb_proto::wire::service`]).

use embedded_hal::digital::{InputPin, OutputPin};
use hb_proto::arbiter::Port as Side;
use hb_proto::id::Voter;
use hb_proto::time::Instant;
use hb_proto::wire::auth::Key;
use hb_proto::wire::service::{
    Answer, Ask, Challenge, Identity, Note, Refusal, Request, SelfTest, Settings, TestShown,
    TestState,
};

use super::{Dongle, watchdog_of};
use crate::board::{Area, Clock, Port, Store, Watchdog};
use crate::desk::{FIRMWARE, change_stored, reply};
use crate::line_test::TestRefused;
use crate::record::{LONGEST_RECORD, Record};

impl<P1, P2, O, I, C, S, W> Dongle<'_, P1, P2, O, I, C, S, W>
where
    P1: Port,
    P2: Port,
    O: OutputPin,
    I: InputPin,
    C: Clock,
    S: Store,
    W: Watchdog,
{
    /// Serves the request that waits, if one does.
    #[inline(never)]
    pub(super) fn serve(&mut self, now: Instant) {
        let asked = self.desk.next(now, Some(self.arbiter.keys()));
        let Some((side, request, signed)) = asked else { return };
        let answer = self.answer(now, side, &request, signed);
        let keys = Some(self.arbiter.keys()).filter(|_| signed);
        reply(&mut self.one, &mut self.two, side, &answer, keys);
    }

    fn answer(&mut self, now: Instant, side: Side, request: &Request, signed: bool) -> Answer {
        match request.ask {
            Ask::Identify => return Answer::Identity(self.identity(now, side)),
            Ask::Trace { after } => return self.trace.answer(after),
            _ => {}
        }
        let done = if !signed {
            Err(Refusal::NotSigned)
        } else if request.ask == Ask::SelfTest {
            return Answer::SelfTest(self.look_at_oneself());
        } else if request.challenge != self.challenge() {
            Err(Refusal::OldChallenge)
        } else {
            self.carry_out(now, &request.ask)
        };
        match done {
            Ok(()) => {
                self.trace.note(now, Note::Served, self.desk.token);
                Answer::Done { token: self.desk.served() }
            }
            Err(why) => {
                self.trace.note_refusal(now, why);
                Answer::Refused { token: self.desk.token, why }
            }
        }
    }

    fn carry_out(&mut self, now: Instant, ask: &Ask) -> Result<(), Refusal> {
        if let Ask::TestLine { node } = *ask {
            return self.request_line_test(node).map_err(|refused| match refused {
                TestRefused::NotANode => Refusal::NotANode,
                TestRefused::UnderWay => Refusal::UnderWay,
                TestRefused::NotHeard => Refusal::NotHeard,
                TestRefused::InUse => Refusal::InUse,
            });
        }
        change_stored(&mut self.store, ask)?;
        if let Ask::Settings(settings) = *ask {
            self.keep(settings);
        } else {
            self.desk.end(now);
        }
        Ok(())
    }

    /// Times that are stored: from now on.
    pub(super) fn keep(&mut self, settings: Settings) {
        self.settings = settings;
        self.arbiter.set_external_watchdog(watchdog_of(&settings));
    }

    fn challenge(&self) -> Challenge {
        let (id, boot) = (self.arbiter.config().id, self.arbiter.boot().value());
        Challenge { id, boot, token: self.desk.token }
    }

    fn identity(&self, now: Instant, side: Side) -> Identity {
        let keys = self.arbiter.keys();
        let nodes = &self.arbiter.memory().nodes;
        Identity {
            challenge: self.challenge(),
            firmware: FIRMWARE,
            board: self.board,
            port: side as u8,
            keys: (0..16).filter(|&id| keys.accepts(id)).fold(0, |set, id| set | 1 << id),
            signing: Some(keys.signing_id()),
            reset: self.arbiter.reset_reason(),
            uptime_s: now.since(self.trace.began()).whole_secs(),
            feeds: [self.harness[0].feeds, self.harness[1].feeds],
            lines: [nodes[0].line, nodes[1].line],
            test: self.desk.test,
            settings: Some(self.settings),
        }
    }

    fn look_at_oneself(&mut self) -> SelfTest {
        let mut bytes = [0; LONGEST_RECORD];
        let read = self.store.read(Area::Flash, &mut bytes);
        let record = read.ok().and_then(|len| Record::decode(bytes.get(..len)?));
        let [a, b] = &mut self.harness;
        self.desk.told_longest = true;
        SelfTest {
            store: record.is_some_and(|record| record.boot == self.arbiter.boot()),
            crypto: known_answer(),
            outputs_at_rest: [a.at_rest(), b.at_rest()],
            line_high: [a.line_high(), b.line_high()],
            sense_high: [a.sense_high(), b.sense_high()],
            longest_turn_us: u32::try_from(self.desk.longest_turn.micros()).unwrap_or(u32::MAX),
            port_failures: self.one.failures.wrapping_add(self.two.failures),
        }
    }

    /// How a line's test stands, for [`Identity`].
    pub(super) fn note_test(&mut self, now: Instant, node: Voter, state: TestState) {
        self.desk.test = Some(TestShown { node, state });
        if state != TestState::UnderWay {
            let proved = u32::from(state == TestState::Proved);
            self.trace.note(now, Note::Tested, node as u32 | proved << 8);
        }
    }
}

/// RFC 4231 §4.3: key "Jefe", data "what do ya want for nothing?".
fn known_answer() -> bool {
    const DATA: &[u8] = b"what do ya want for nothing?";
    const TAG: [u8; 8] = [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e];
    let mut buf = [0; DATA.len() + TAG.len()];
    buf[..DATA.len()].copy_from_slice(DATA);
    let sealed = Key::hmac(0, b"Jefe").and_then(|key| key.seal(&mut buf, DATA.len()));
    sealed.is_some() && buf.ends_with(&TAG)
}
