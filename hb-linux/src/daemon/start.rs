//! From the files to a running loop: everything that may block, fail or allocate happens here.

use std::io;
use std::path::PathBuf;

use clap::Parser;
use hb_proto::id::BootId;
use hb_proto::node::Node;
use tracing::{info, warn};

use super::boot_id::{self, BootIdError};
use super::clock::Clock;
use super::effects::Effects;
use super::keys::key_ring;
use super::link::Link;
use super::watch::Watch;
use super::words::{Words, tell_built_in};
use super::{Daemon, privileges, realtime};
use crate::config::check::is_guest;
use crate::config::ppp::{self, PPPD};
use crate::config::{Diagnostic, Settings, Severity};
use crate::control::server::Server;
use crate::log::Sink;
use crate::net::{self, Addresses, Announcer};
use crate::resources::{self, Helper, Setup};

/// heartbeatd: keeps a pair of nodes and their resource groups
#[derive(Parser, Clone, Debug)]
#[command(name = "heartbeatd", version, max_term_width = 100)]
pub struct Options {
    /// Directory of ha.cf, haresources, authkeys and resource.d
    #[arg(long, value_name = "DIR", default_value = "/etc/ha.d")]
    pub config_dir: PathBuf,
    /// Directory of what must outlive a power cut
    #[arg(long, value_name = "DIR", default_value = "/var/lib/heartbeat")]
    pub state_dir: PathBuf,
    /// Directory of the sockets
    #[arg(long, value_name = "DIR", default_value = "/run/heartbeat")]
    pub run_dir: PathBuf,
    /// This node's name in ha.cf; without it, `uname -n`
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Another pppd than Debian's, for tests
    #[arg(long, value_name = "PROGRAM", default_value = PPPD, hide = true)]
    pub pppd: String,
    /// The test rig's watchdog, in place of ha.cf's
    #[arg(long, value_name = "SOCKET", hide = true)]
    pub rig_watchdog: Option<PathBuf>,
}

/// Why the daemon did not start. Nothing was started then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The files; each line names file and line.
    #[error("{}", lines(.0))]
    Configuration(Vec<Diagnostic>),
    /// Something that holds without a file and line.
    #[error("{0}")]
    Rule(hb_proto::config::ConfigError),
    /// Another one runs, or the sockets can't be had.
    #[error(transparent)]
    Control(#[from] crate::control::BindError),
    /// No life number.
    #[error(transparent)]
    BootId(#[from] BootIdError),
    /// The helper doesn't take its configuration.
    #[error(transparent)]
    Helper(#[from] resources::ConfigureError),
    /// The kernel refused something that nothing works without.
    #[error("{what}: {source}")]
    Io { what: &'static str, source: io::Error },
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    let lines: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn io(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::Io { what, source }
}

/// Starts everything; `helper` was started before anything else.
///
/// # Errors
/// See [`StartError`].
pub fn start(
    options: &Options,
    mut helper: Helper,
    sink: Sink,
    floor: Option<BootId>,
) -> Result<Daemon, StartError> {
    let interfaces = net::interfaces().map_err(io("the network interfaces can't be listed"))?;
    let loaded = Settings::load(&options.config_dir, options.node.as_deref(), &interfaces);
    let loaded = loaded.map_err(StartError::Configuration)?;
    if let Some(refusal) = loaded.refusal_on_guest().filter(|_| is_guest()) {
        return Err(StartError::Configuration(vec![refusal.clone()]));
    }
    let settings = loaded.settings;
    let server = Server::bind(&options.run_dir)?;
    configure_helper(&mut helper, &settings, options)?;
    sink.divert(Some(helper.log_socket().map_err(io("the log can't be handed to the helper"))?));
    info!("heartbeat starting.");
    for remark in &loaded.diagnostics {
        match remark.severity {
            Severity::Note => info!("{remark}"),
            Severity::Warning | Severity::Error => warn!("{remark}"),
        }
    }
    tell_built_in(&settings);
    let boot = boot_id::next(&options.state_dir, floor)?;
    let longest = boot_id::longest_promise(&options.state_dir, settings.proto.timing.full())?;
    let keys = key_ring(&settings.keys, settings.signing_key);
    let links: Vec<Link> = settings.media.iter().map(Link::open).collect();
    for link in &links {
        match link.port().failure() {
            None => info!("{}", link.port().description()),
            Some(failure) => {
                warn!("{}: {failure}; going on without it and trying again", link.port().name());
            }
        }
    }
    let addresses = Addresses::open().map_err(io("no netlink socket for addresses"))?;
    let announcer = Announcer::open().map_err(io("no packet socket for gratuitous ARP"))?;
    let mut clock = Clock::new();
    let now = clock.now();
    let mut node = Node::new(settings.proto.clone(), keys, boot, now).map_err(StartError::Rule)?;
    node.remember_longest_promise(now, longest);
    let watch = match &options.rig_watchdog {
        None => Watch::new(settings.watchdog.clone(), settings.proto.timing.deadtime),
        Some(socket) => Watch::of_rig(socket.clone(), settings.proto.timing.deadtime),
    };
    let effects = Effects::new(helper, sink, addresses, announcer);
    let daemon =
        Daemon::new(node, settings, clock, links, server, effects, watch).map_err(io("epoll"))?;
    for refusal in realtime::engage().refusals() {
        warn!("{refusal}");
    }
    if let Err(errno) = privileges::drop_unneeded() {
        warn!("root's other rights could not be given up: {errno}");
    }
    info!("node {} is in life {boot}; its peer is {}", daemon.settings.node, daemon.settings.peer);
    Ok(daemon)
}

fn configure_helper(
    helper: &mut Helper,
    settings: &Settings,
    options: &Options,
) -> Result<(), StartError> {
    let config_dir = options.config_dir.as_path();
    let lines: Vec<_> = settings
        .media
        .iter()
        .filter_map(|medium| {
            let name = format!("pppd on {}", medium.name());
            ppp::arguments(medium, config_dir).map(|args| (name, args))
        })
        .collect();
    let companions = lines.iter().map(|(name, args)| resources::Companion {
        name,
        program: &options.pppd,
        args: args.iter().map(String::as_str).collect(),
    });
    let script_dirs = resources::script_dirs(config_dir);
    let stop_timeout = settings.proto.patience.stop.millis();
    let setup = Setup {
        node: &settings.node,
        config_dir,
        script_dirs: script_dirs.iter().map(PathBuf::as_path).collect(),
        logfile: &settings.logfile,
        debugfile: settings.debugfile.as_deref(),
        stop_timeout_ms: u32::try_from(stop_timeout).unwrap_or(u32::MAX),
        companions: companions.collect(),
        alert: settings.alert.as_deref(),
        peer: &settings.peer,
    };
    Ok(helper.configure(&setup, &settings.groups)?)
}

impl Words {
    /// Words for this daemon.
    pub(super) fn of(settings: &Settings) -> Self {
        Self::new(settings)
    }
}
