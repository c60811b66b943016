//! Goal: Pacemaker fences through the dongle, and goes on only when it is told that the other machine went down.
//! Method: Debian's corosync and Pacemaker on both machines of the namespace rig, beside heartbeatd without groups; the
//! dongle is the rig's. What they need of a file system is made inside the machines: the host's is not touched.
//!
//! Packages corosync, pacemaker and pacemaker-cli-utils, and root, as Pacemaker gives up its rights; else a skip.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration as StdDuration, Instant};

use hb_linux::rig::bench::Node;
use hb_linux::rig::init;
use hb_linux::rig::outlet::Cause;
use hb_proto::time::Duration;
use hil_tests::inside::{inside, programs};
use hil_tests::netns::rig::Namespaces;
use hil_tests::netns::watch::Watch;
use hil_tests::scenario::verb::Verb;
use hil_tests::scenario::{Cluster, Dongle, Machine, ResetWire, Rig};

const A: Machine = Machine::A;
const B: Machine = Machine::B;

/// What must lie in /usr/sbin.
const NEEDED: [&str; 5] = ["corosync", "pacemakerd", "stonith_admin", "cibadmin", "crm_resource"];
/// Starting a cluster, electing a coordinator, fencing, with a busy host.
const PATIENCE: StdDuration = StdDuration::from_secs(90);

/// Both machines' corosync.conf: one network, and the shorter times that suit it.
const COROSYNC: &str = "
totem {
    version: 2
    cluster_name: rig
    transport: knet
    crypto_cipher: none
    crypto_hash: none
    token: 2000
}
nodelist {
    node {
        name: linuxha1
        nodeid: 1
        ring0_addr: 10.0.0.1
    }
    node {
        name: linuxha2
        nodeid: 2
        ring0_addr: 10.0.0.2
    }
}
quorum {
    provider: corosync_votequorum
    two_node: 1
}
logging {
    to_stderr: no
    to_syslog: no
    to_logfile: yes
    logfile: /var/log/corosync.log
}
";

/// A machine's /usr/sbin, with the agent in it; /etc/corosync and /var/lib/pacemaker of its own. Links of the machine's
/// root are replaced, nothing of the host's.
const PREPARE: &str = r#"set -e
host=/.host
PATH=$host/usr/sbin:$host/usr/bin
rm /usr
mkdir -p /usr
for entry in $host/usr/*; do [ $entry = $host/usr/sbin ] || ln -s $entry /usr/; done
mkdir /usr/sbin
for entry in $host/usr/sbin/*; do
    name=${entry##*/}
    [ $name = fence_heartbeat_dongle ] || ln -s $entry /usr/sbin/
done
ln -s "$1" /usr/sbin/fence_heartbeat_dongle
rm -f /etc/corosync
mkdir -p /etc/corosync /var/lib/corosync /var/log/pacemaker
cat >/etc/corosync/corosync.conf
for name in cib blackbox cores pengine; do mkdir -p /var/lib/pacemaker/$name; done
mkdir -p /run/crm
chown -R hacluster:haclient /var/lib/pacemaker /var/log/pacemaker /run/crm
chmod 0775 /run/crm
mkdir -p /run/resource-agents
chmod 1777 /dev/shm
"#;

/// The dongle as Pacemaker's fencing device, and a service of Pacemaker's own that prefers linuxha2.
const CIB: &str = r#"set -e
cibadmin --create --scope resources --xml-text '<primitive id="dongle" class="stonith" type="fence_heartbeat_dongle">
  <instance_attributes id="dongle-params">
    <nvpair id="dongle-check" name="pcmk_host_check" value="dynamic-list"/>
    <nvpair id="dongle-wait" name="power_timeout" value="60"/>
    <nvpair id="dongle-reboot" name="pcmk_reboot_timeout" value="80"/>
  </instance_attributes>
  <operations><op id="dongle-monitor" name="monitor" interval="10s" timeout="20s"/></operations>
</primitive>'
cibadmin --create --scope resources --xml-text '<primitive id="service" class="ocf" provider="pacemaker" type="Dummy"/>'
cibadmin --create --scope constraints --xml-text '<rsc_location id="prefers" rsc="service" node="linuxha2" score="50"/>'
"#;

fn node(machine: Machine) -> Node {
    Node::BOTH[machine.index()]
}

/// Why Pacemaker can't be tried here.
fn missing() -> Option<String> {
    let lacks = NEEDED.iter().find(|name| !Path::new("/usr/sbin").join(name).exists());
    if let Some(name) = lacks {
        return Some(format!("no {name}: apt-get install corosync pacemaker pacemaker-cli-utils"));
    }
    let root = fs::metadata("/proc/self").is_ok_and(|of| {
        use std::os::unix::fs::MetadataExt;
        of.uid() == 0
    });
    (!root).then(|| "Pacemaker runs as several users: only root has them".to_owned())
}

/// Time passes, and machines that were reset boot, until the child has ended: its exit code, and what it said.
fn ended(watch: &mut Watch, mut child: Child) -> (Option<i32>, String) {
    let end = Instant::now() + PATIENCE;
    while child.try_wait().expect("ours").is_none() {
        if Instant::now() >= end {
            let _ = child.kill();
        }
        watch.run_for(Duration::from_millis(50));
    }
    let output = child.wait_with_output().expect("ours");
    let text = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    (output.status.code(), text)
}

/// A shell's script on a machine.
fn shell(
    watch: &mut Watch,
    machine: Machine,
    script: &str,
    argument: &str,
    input: &str,
) -> (Option<i32>, String) {
    let place = watch.bench().machine(node(machine));
    let mut command =
        place.command("/.host/usr/bin/sh", &["-c", script, "sh", argument]).expect("has power");
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, input.as_bytes()).expect("it reads");
    drop(stdin);
    ended(watch, child)
}

#[track_caller]
fn done(watch: &mut Watch, machine: Machine, script: &str) -> String {
    let (code, text) = shell(watch, machine, script, "", "");
    assert_eq!(code, Some(0), "{machine}: {script}: {text}");
    text
}

/// corosync and Pacemaker on a machine that has just booted; they end with it.
fn start(watch: &mut Watch, machine: Machine) -> [Child; 2] {
    let hb = init::inside(&programs().hb).display().to_string();
    let (code, text) = shell(watch, machine, PREPARE, &hb, COROSYNC);
    assert_eq!(code, Some(0), "{text}");
    let mut spawn = |program: &str| {
        let place = watch.bench().machine(node(machine));
        let log = fs::File::create(place.log_file(&format!("{program}.out"))).expect("a log");
        let arguments: &[&str] = if program == "corosync" { &["-f"] } else { &[] };
        let path = format!("/usr/sbin/{program}");
        let mut command = place.command(&path, arguments).expect("has power");
        command.env("PCMK_logfile", "/var/log/pacemaker/pacemaker.log");
        let errors = log.try_clone().expect("a log");
        let child = command.stdout(log).stderr(errors).spawn().expect("it starts");
        watch.run_for(Duration::from_millis(1500));
        child
    };
    ["corosync", "pacemakerd"].map(&mut spawn)
}

/// Waits until a script answers so on a machine.
#[track_caller]
fn until(watch: &mut Watch, machine: Machine, script: &str, says: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let (_, text) = shell(watch, machine, script, "", "");
        if says(&text) {
            return text;
        }
        if Instant::now() >= end {
            let log = watch.bench().machine(node(machine)).log_file("pacemaker/pacemaker.log");
            let log = fs::read_to_string(log).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            panic!(
                "{machine}: {script}: {text}\n{}",
                tail.into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
        watch.run_for(Duration::from_millis(200));
    }
}

/// Where Pacemaker has its service, by its own word.
const WHERE: &str = "crm_resource --resource service --locate 2>&1";

fn resets(watch: &Watch, of: Machine) -> Vec<Cause> {
    watch.bench().resets_of(node(of)).into_iter().map(|reset| reset.cause).collect()
}

fn cluster() -> Watch {
    // No watchdogs: what the dongle's pulse doesn't reset stays as it is. No groups: the services are Pacemaker's.
    let cluster = Cluster::two_nodes().dongle(Dongle::default());
    let mut watch = Watch { rig: Namespaces::new(programs().clone()), cluster };
    watch.rig.build(&watch.cluster).expect("a rig");
    Machine::BOTH.into_iter().for_each(|machine| watch.act(Verb::PowerOn(machine)));
    let heard = |status: &serde_json::Value| {
        status["peer"]["state"] == "alive"
            && status["arbiter"]["reset_lines"]["linuxha2"] == "tested"
    };
    Machine::BOTH.into_iter().for_each(|machine| _ = watch.until(machine, "in peace", heard));
    watch
}

/// Everything of a machine but its kernel stands still.
const FREEZE: &str = "kill -STOP $(pidof corosync pacemakerd pacemaker-based pacemaker-fenced pacemaker-execd \
                      pacemaker-attrd pacemaker-schedulerd pacemaker-controld)";

#[test]
fn pacemaker_fences_through_the_dongle_and_waits_for_evidence() {
    if let Some(why) = missing() {
        println!("SKIP: pacemaker_fences_through_the_dongle_and_waits_for_evidence: {why}");
        return;
    }
    inside("pacemaker_fences_through_the_dongle_and_waits_for_evidence", || {
        let mut watch = cluster();
        let mut running = Vec::new();
        for machine in Machine::BOTH {
            running.extend(start(&mut watch, machine));
        }
        let both = |text: &str| text.contains("Online: [ linuxha1 linuxha2 ]");
        until(&mut watch, A, "crm_mon --one-shot 2>&1", both);
        done(&mut watch, A, CIB);
        until(&mut watch, A, WHERE, |text| text.contains("running on: linuxha2"));
        let version = done(&mut watch, A, "pacemakerd --version | head -1; corosync -v | head -1");
        println!("{version}");
        let list = "stonith_admin --list linuxha2 2>&1";
        let text = until(&mut watch, A, list, |text| text.contains("1 fence device found"));
        assert!(text.contains("dongle"), "{text}");

        // An operator fences it by hand while it is heard; Pacemaker's daemons are gone with their machine.
        assert_eq!(resets(&watch, B), []);
        done(&mut watch, A, "stonith_admin --reboot linuxha2 --timeout 80 --verbose 2>&1");
        assert_eq!(resets(&watch, B), [Cause::Dongle]);
        until(&mut watch, A, WHERE, |text| text.contains("running on: linuxha1"));
        watch.until(A, "B is back", |a| {
            a["peer"]["state"] == "alive" && a["arbiter"]["reset_lines"]["linuxha2"] == "tested"
        });
        running.extend(start(&mut watch, B));
        until(&mut watch, A, WHERE, |text| text.contains("running on: linuxha2"));

        // It freezes, heartbeatd too: the other one has it reset, and then takes its service.
        done(&mut watch, B, FREEZE);
        watch.act(Verb::StopDaemon(B));
        until(&mut watch, A, WHERE, |text| text.contains("running on: linuxha1"));
        assert_eq!(resets(&watch, B), [Cause::Dongle; 2]);
        let told = "grep 'terminated (reboot).*on behalf of pacemaker-controld' /var/log/pacemaker/pacemaker.log";
        until(&mut watch, A, told, |text| text.contains("Peer linuxha2 was terminated"));
        watch.until(A, "B is back", |a| {
            a["peer"]["state"] == "alive" && a["arbiter"]["reset_lines"]["linuxha2"] == "tested"
        });
        running.extend(start(&mut watch, B));
        until(&mut watch, A, WHERE, |text| text.contains("running on: linuxha2"));

        // The same with a wire that broke since its test: no evidence, so the service stays where it may still run.
        watch.act(Verb::WireReset(B, ResetWire::Broken));
        done(&mut watch, B, FREEZE);
        watch.act(Verb::StopDaemon(B));
        until(&mut watch, A, told, |text| text.contains("Peer linuxha2 was not terminated"));
        let (_, text) = shell(&mut watch, A, WHERE, "", "");
        assert!(!text.contains("running on: linuxha1"), "{text}");
        assert_eq!(resets(&watch, B), [Cause::Dongle; 2]);

        watch.act(Verb::PowerOff(A));
        watch.act(Verb::PowerOff(B));
        for mut child in running {
            let _ = child.kill();
            let _ = child.wait();
        }
    });
}
