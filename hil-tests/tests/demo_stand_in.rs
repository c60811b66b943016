//! `hb demo` judges by what the client saw: a pair that follows the guide passes, and one that
//! doesn't take over fails.
//!
//! No cluster daemon runs here. A shell script stands in for heartbeatd: it cheats by reading the
//! other machine's files from the host, and needs iproute2. It shows that the demo's machinery and
//! its verdicts work, and nothing about heartbeat.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hb_linux::rig::demo::{Options, Sabotage, play};
use hb_linux::rig::machine::Programs;
use hil_tests::inside::{inside, programs};

const HEARTBEATD: &str = r#"#!/bin/sh
# Stands in for heartbeatd.
me=$(uname -n); case $me in linuxha1) other=linuxha2;; *) other=linuxha1;; esac
run=/run/heartbeat; mkdir -p $run
disk=$(ls -d /.host/tmp/hb-rig.*/$other | head -1); peer=$disk/run/heartbeat
cause=peer-dead
start() { ip addr add 192.168.85.3/24 dev eth0; /etc/ha.d/resource.d/demo-web start; : >$run/holds; }
stop() { /etc/ha.d/resource.d/demo-web stop; ip addr del 192.168.85.3/24 dev eth0; rm -f $run/holds; }
status() {
    up='"state": "up"'
    echo "{\"state\": \"active\", \"peer\": {\"name\": \"$other\", \"state\": \"alive\"},
        \"links\": [{\"name\": \"/dev/ttyS0\", $up}, {\"name\": \"eth1\", $up}],
        \"last_failover\": {\"cause\": \"$cause\", \"budget_ms\": 1500}}" >$run/new
    mv $run/new $run/status.json
}
while :; do
    now=$(date +%s%N); echo "$now" >$run/alive; status
    seen=$(cat $peer/alive 2>/dev/null || echo 0)
    dead=0; [ $(( (now - seen) / 1000000 )) -gt 500 ] && dead=1
    if [ -e $run/standby ]; then
        [ -e $run/holds ] && stop
    elif [ -e $run/holds ]; then
        # Failback: the first node is there again and wants its group.
        [ $me = linuxha2 ] && [ $dead = 0 ] && [ ! -e $peer/standby ] && stop
    elif [ $me = linuxha1 ]; then
        { [ $dead = 1 ] && [ "$seen" = 0 ]; } || [ ! -e $peer/holds ] && start
    elif [ $dead = 1 ] && [ "$seen" != 0 ]; then
        start
    elif [ -e $peer/standby ] && [ ! -e $peer/holds ]; then
        start
    fi
    sleep 0.02
done
"#;

const HB: &str = r#"#!/bin/sh
# Stands in for `hb status` and `hb standby`; everything else is hb itself.
case "$1" in
status) exec cat "$4/status.json" ;;
standby) : >/run/heartbeat/standby ;;
*) exec '@HB@' "$@" ;;
esac
"#;

/// The stand-ins, removed at the end.
struct StandIns {
    directory: PathBuf,
}

impl StandIns {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("hb-stand-in.{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let hb = programs().hb.display().to_string();
        // Also called inside the machines, where the host's root lies elsewhere.
        let inside = HB.replace("'@HB@'", &format!("$([ -e /.host ] && echo /.host){hb}"));
        for (name, text) in [("heartbeatd", HEARTBEATD), ("hb", inside.as_str())] {
            let path = directory.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { directory }
    }

    fn programs(&self) -> Programs {
        let at = |name: &str| Path::new(&self.directory).join(name);
        Programs { hb: at("hb"), heartbeatd: at("heartbeatd") }
    }
}

impl Drop for StandIns {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn demo(sabotage: Option<Sabotage>) -> Option<bool> {
    let stand_ins = StandIns::new();
    play(&Options { sabotage, plain: true, programs: Some(stand_ins.programs()) }).unwrap()
}

#[test]
fn a_pair_that_follows_the_guide_passes() {
    inside("a_pair_that_follows_the_guide_passes", || assert_eq!(demo(None), Some(true)));
}

#[test]
fn a_standby_that_does_not_take_over_fails() {
    inside("a_standby_that_does_not_take_over_fails", || {
        assert_eq!(demo(Some(Sabotage::Takeover)), Some(false));
    });
}
