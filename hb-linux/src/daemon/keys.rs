//! authkeys: at the start, and again on SIGHUP or `hb reload`.

use hb_proto::id::Voter;
use hb_proto::node::KeysRefused;
use hb_proto::wire::auth::{Key, KeyRing};
use tracing::{error, info};

use super::Daemon;
use super::effects::Unread;
use crate::config::{AuthKey, AuthKeys, Method, Settings};
use crate::control::Reply;
use crate::control::server::Ticket;

/// What is not read while heartbeatd runs.
const RESTART: &str = "ha.cf and haresources take effect at a restart";

/// The keys of authkeys. Its reader has checked numbers and signing key.
pub(crate) fn key_ring(keys: &[AuthKey], signing_key: u8) -> KeyRing {
    let keys = keys.iter().map(|key| match key.method {
        Method::Crc => Key::crc(key.id),
        Method::Hmac => Key::hmac(key.id, &key.secret),
    });
    let keys = keys.map(|key| key.expect("authkeys numbers keys 0 to 15")).collect();
    KeyRing::new(keys, signing_key).expect("authkeys lists the key that signs")
}

impl Daemon {
    /// Has authkeys read, by the helper. `asker` waits for what comes of it; the log hears of it anyway.
    pub(super) fn reload(&mut self, asker: Option<Ticket>) {
        if let Some(ticket) = self.reloader.take() {
            self.server.reply(ticket, &Reply::refused("another reload came in between"));
        }
        self.reloader = asker;
        self.effects.ask_for_keys();
        self.take_keys();
    }

    /// What the helper found, if it was asked and has answered.
    pub(super) fn take_keys(&mut self) {
        let Some(read) = self.effects.take_keys() else { return };
        let outcome = match read {
            Ok(keys) => self.adopt(keys),
            Err(Unread::Errors(errors)) => Err(format!(
                "authkeys can't be used: {errors} error(s), which the log names and `hb check` shows; the old keys \
                 stay"
            )),
            Err(Unread::NoHelper) => Err(
                "authkeys is not read again: the helper process, which reads files, is gone; another is being \
                 started. The old keys stay; try again in a second"
                    .to_owned(),
            ),
        };
        self.end_reload(outcome);
    }

    fn adopt(&mut self, read: AuthKeys) -> Result<String, String> {
        let AuthKeys { signing_key, keys } = read;
        if keys == self.settings.keys && signing_key == self.settings.signing_key {
            return Ok(format!("authkeys is read again: nothing has changed. {RESTART}"));
        }
        self.node
            .request_keys(key_ring(&keys, signing_key))
            .map_err(|refused| format!("{}; the old keys stay", why(&refused, &self.settings)))?;
        let mut numbers: Vec<u8> = keys.iter().map(|key| key.id).collect();
        numbers.sort_unstable();
        let numbers: Vec<String> = numbers.iter().map(u8::to_string).collect();
        self.settings.keys = keys;
        self.settings.signing_key = signing_key;
        Ok(format!(
            "authkeys is read again: key {signing_key} signs, accepted: {}. {RESTART}",
            numbers.join(", ")
        ))
    }

    fn end_reload(&mut self, outcome: Result<String, String>) {
        let reply = match outcome {
            Ok(message) => {
                info!("{message}");
                Reply::accepted(message)
            }
            Err(message) => {
                error!("{message}");
                Reply::refused(message)
            }
        };
        if let Some(ticket) = self.reloader.take() {
            self.server.reply(ticket, &reply);
        }
    }
}

/// R14, and what to do.
fn why(refused: &KeysRefused, settings: &Settings) -> String {
    match refused {
        KeysRefused::SignsAtOnce { id } => format!(
            "authkeys: key {id} would sign, and was not accepted here until now, so perhaps not by {} either. First \
             list it on every voter and reload, with the old key in `auth`; then point `auth` to it and reload again",
            settings.peer
        ),
        KeysRefused::InUse { id, by } => {
            let who = if *by == Voter::Arbiter { "the arbiter" } else { &settings.peer };
            format!(
                "authkeys: key {id} is gone or has another secret, and {who} signs with it or was not heard. Keep its \
                 line until `hb status` says that nobody needs it; a restart takes authkeys as it is"
            )
        }
    }
}
