//! `hb dongle provision`: the cluster's keys go into the dongle, and nothing comes back.

use std::thread;
use std::time::Duration;

use hb_proto::wire::service::{Answer, Ask, Challenge, Identity, MAX_SECRET, Refusal};
use sha2::{Digest, Sha256};

use super::line::Line;
use super::tell::{refused, say};
use crate::config::{AuthKey, Method};

/// Keys that a dongle has room for.
const ROOM: usize = 3;
/// It begins a new life with each key; a board with flash takes some hundreds of milliseconds.
const NEW_LIFE: Duration = Duration::from_millis(300);
const LIVES: u32 = 20;
/// A request that nothing answers is made so many times more.
const AGAIN: u32 = 3;

/// Gives it the keys of authkeys, the one that signs first, and takes away those that authkeys no longer lists.
///
/// # Errors
/// What is wrong and what to do.
pub fn provision(line: &mut Line) -> Result<bool, String> {
    let keys = line.settings.keys.clone();
    let signing = line.settings.signing_key;
    if keys.len() > ROOM {
        return Err(format!(
            "authkeys lists {} keys, and a dongle has room for {ROOM}: remove what nobody needs (`hb status`)",
            keys.len()
        ));
    }
    let mut identity = line.identify(false)?;
    if identity.signing.is_none() {
        let key =
            keys.iter().find(|key| key.id == signing).ok_or("authkeys lacks its signing key")?;
        say(&format!("the dongle in {} has no key yet: it gets key {signing}", line.device));
        identity = set(line, &identity, key, true, number()?, false)?;
    } else if line.identify(true).is_err() {
        return Err(format!(
            "the dongle in {} has keys of another cluster, or older ones than authkeys lists: nothing that we sign counts \
             there. List the old key in authkeys as well and try again, or erase its keys (button or jumper, `hb dongle \
             pinout`)",
            line.device
        ));
    }
    for key in &keys {
        if identity.keys >> key.id & 1 == 1 {
            continue;
        }
        say(&format!("it gets key {}", key.id));
        identity = set(line, &identity, key, key.id == signing, 0, true)?;
    }
    if identity.signing != Some(signing) {
        let key =
            keys.iter().find(|key| key.id == signing).ok_or("authkeys lacks its signing key")?;
        say(&format!("key {signing} signs from now on"));
        identity = set(line, &identity, key, true, 0, true)?;
    }
    let listed = keys.iter().fold(0_u16, |set, key| set | 1 << key.id);
    for id in 0..16 {
        if identity.keys >> id & 1 == 0 || listed >> id & 1 == 1 {
            continue;
        }
        say(&format!("it forgets key {id}"));
        identity = change(line, &identity, &Ask::DropKey { key: id }, true)?;
    }
    let identity =
        line.identify(true).map_err(|error| format!("it does not answer our key: {error}"))?;
    set_times(line, &identity)?;
    let (id, numbers) = (identity.challenge.id, super::tell::numbers(identity.keys));
    say(&format!("provisioned: dongle number {id}, keys {numbers}, {signing} signs"));
    Ok(true)
}

/// Pulse and watchdog time of ha.cf, if the dongle has others.
fn set_times(line: &mut Line, identity: &Identity) -> Result<(), String> {
    let deadtime = line.settings.proto.timing.deadtime;
    let Some(wanted) = line.settings.dongle else { return Ok(()) };
    if wanted.are_kept_by(identity.settings, deadtime) {
        return Ok(());
    }
    let settings = wanted.on_the_wire();
    let silence = wanted
        .watchdog
        .map_or_else(String::new, |silence| format!(", its watchdog waits for {silence}"));
    say(&format!("its pulse is {}{silence}", wanted.pulse));
    match line.ask(&Ask::Settings(settings))? {
        Answer::Done { .. } => Ok(()),
        Answer::Refused { why: Refusal::Unknown, .. } => Err(format!(
            "its program knows no other pulse than {} and no other watchdog time than deadtime: flash a newer one, or \
             write these into ha.cf",
            hb_mcu::PULSE
        )),
        Answer::Refused { why, .. } => Err(refused(why)),
        other => Err(format!("the dongle answered something else: {other:?}")),
    }
}

fn set(
    line: &mut Line,
    identity: &Identity,
    key: &AuthKey,
    signs: bool,
    number: u32,
    signed: bool,
) -> Result<Identity, String> {
    let mut secret = heapless::Vec::new();
    // RFC 2104 §2: a longer key counts by its hash.
    let sent = if key.secret.len() > MAX_SECRET {
        Sha256::digest(&key.secret).to_vec()
    } else {
        key.secret.clone()
    };
    secret.extend_from_slice(&sent).map_err(|_| "a secret is too long")?;
    let crc = key.method == Method::Crc;
    let ask = Ask::SetKey { key: key.id, signs, crc, number, secret };
    change(line, identity, &ask, signed)
}

/// Asks for a change of keys, and waits for the life that has it.
fn change(
    line: &mut Line,
    identity: &Identity,
    ask: &Ask,
    signed: bool,
) -> Result<Identity, String> {
    let Challenge { boot, .. } = identity.challenge;
    let mut answered = line.exchange(signed, identity.challenge, ask);
    for _ in 0..AGAIN {
        // Lost on its way, or done and its answer lost: then it is in another life by now.
        if answered.is_ok() || line.identify(false).is_ok_and(|now| now.challenge.boot != boot) {
            break;
        }
        answered = line.exchange(signed, identity.challenge, ask);
    }
    match answered {
        Ok((Answer::Done { .. }, _)) | Err(_) => {}
        Ok((Answer::Refused { why: Refusal::NotSigned, .. }, _)) => {
            return Err("it has got a key meanwhile; try again".to_owned());
        }
        Ok((Answer::Refused { why, .. }, _)) => return Err(refused(why)),
        Ok((other, _)) => return Err(format!("the dongle answered something else: {other:?}")),
    }
    for _ in 0..LIVES {
        thread::sleep(NEW_LIFE);
        if let Ok(identity) = line.identify(false)
            && identity.challenge.boot != boot
        {
            return Ok(identity);
        }
    }
    Err("it does not begin the life that follows a change: look at its power, and try again"
        .to_owned())
}

/// A dongle's own number: any but 0, by chance, so that no two are alike.
fn number() -> Result<u32, String> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| format!("no random number: {errno}"))?;
    Ok(u32::from_le_bytes(bytes).max(1))
}
