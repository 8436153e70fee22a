//! The typed values that lightningd runs with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wire::{BlockDelta, BlockHeight, FeeratePerKw, MilliSatoshi, Satoshi};

use crate::address::{Address, Host, Purpose};
use crate::collect::Collected;
use crate::environment::Environment;
use crate::error::OptionError;
use crate::log::{LevelArgument, LogFilter, LogLevel, LogOptions, LogTarget};
use crate::network::Network;
use crate::setting::{Setting, Value, read};
use crate::table::{Fallback, Row};

/// Everything that was set, and the defaults of everything that was not.
pub struct Options {
    pub network: Network,
    /// Absolute.
    pub lightning_dir: PathBuf,
    /// The network's folder below it.
    pub network_dir: PathBuf,
    /// The file that `--conf` names, absolute.
    pub conf: Option<PathBuf>,
    /// Absolute.
    pub rpc_file: PathBuf,
    pub rpc_file_mode: u32,
    /// Absolute.
    pub pid_file: PathBuf,
    pub daemon: bool,
    /// Only look whether what the node has goes together.
    pub check: Option<CheckOutput>,
    /// The database is an older copy, which the owner is going to confirm.
    pub await_recovery: bool,
    /// None: all of the sandbox where the host gives all of it.
    pub sandbox: Option<Sandbox>,
    pub allow_deprecated_apis: bool,
    pub log: LogOptions,
    pub bitcoind: Bitcoind,
    pub rescan: Rescan,
    pub connections: Connections,
    /// At most 32 bytes. None until lightningd has made one from the node id and put it here.
    pub alias: Option<String>,
    /// None until lightningd has taken it from the node id and put it here.
    pub color: Option<[u8; 3]>,
    pub channels: Channels,
    /// Some with `--developer`.
    pub developer: Option<Developer>,
    /// What a user should know and need not change. To be logged at start.
    pub warnings: Vec<String>,
    pub(crate) settings: Vec<Setting>,
}

/// How `--check` says what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckOutput {
    Text,
    Json,
}

/// How much of the subdaemons' sandbox must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    Required,
    BestEffort,
}

impl Sandbox {
    pub const ALL: [Sandbox; 2] = [Sandbox::Required, Sandbox::BestEffort];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Sandbox::Required => "required",
            Sandbox::BestEffort => "best-effort",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Sandbox> {
        Sandbox::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// How to reach bitcoind.
pub struct Bitcoind {
    /// Absolute; bitcoind's own default where it was not set.
    pub datadir: PathBuf,
    pub connect: String,
    pub port: u16,
    /// Without one, the cookie in [`Bitcoind::cookie_file`].
    pub user: Option<String>,
    pub password: Option<Password>,
    /// For one request.
    pub request_timeout: Duration,
    /// For bitcoind to come back before the node stops.
    pub retry_timeout: Duration,
    /// Between two looks for new blocks.
    pub poll: Duration,
}

impl Bitcoind {
    /// Where bitcoind leaves a user and password for us.
    #[must_use]
    pub fn cookie_file(&self, network: Network) -> PathBuf {
        self.datadir.join(network.bitcoind_folder()).join(".cookie")
    }
}

/// Cannot be printed by accident.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// For the request to bitcoind alone.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Where to start reading the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rescan {
    /// So many blocks before where we stopped.
    Blocks(u32),
    From(BlockHeight),
}

/// How peers find us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connections {
    /// As given, none twice.
    pub addresses: Vec<Address>,
    pub autolisten: bool,
    pub offline: bool,
    default_port: u16,
}

impl Connections {
    /// Where to listen. Without any address given, every interface on the network's usual port, unless
    /// autolisten is off; nowhere when offline.
    #[must_use]
    pub fn listen_on(&self) -> Vec<Address> {
        if self.offline {
            Vec::new()
        } else if self.addresses.is_empty() && self.autolisten {
            vec![Address {
                host: Host::Any,
                port: self.default_port,
                purpose: Purpose::Both,
            }]
        } else {
            self.addresses
                .iter()
                .filter(|a| a.purpose.listens())
                .cloned()
                .collect()
        }
    }

    /// What to put into node_announcement.
    pub fn announced(&self) -> impl Iterator<Item = &Address> {
        self.addresses.iter().filter(|a| a.purpose.announces())
    }
}

/// What we want of channels and ask for forwarding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channels {
    pub cltv_delta: BlockDelta,
    pub cltv_final: BlockDelta,
    /// to_self_delay that we ask of peers (BOLT 2).
    pub watchtime: BlockDelta,
    /// minimum_depth of channels that a peer funds.
    pub funding_confirms: BlockDelta,
    /// max_accepted_htlcs, 1 to 483.
    pub max_concurrent_htlcs: u16,
    pub max_dust_htlc_exposure: MilliSatoshi,
    pub min_capacity: Satoshi,
    /// Kept in the wallet as long as there are channels.
    pub min_emergency: Satoshi,
    pub fee_base: MilliSatoshi,
    /// In millionths of the amount.
    pub fee_proportional_millionths: u32,
    pub htlc_minimum: MilliSatoshi,
    pub htlc_maximum: MilliSatoshi,
    pub ignore_fee_limits: bool,
    pub commit_fee_percent: u64,
    pub commit_feerate_offset: FeeratePerKw,
}

/// For tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Developer {
    pub fast_reconnect: bool,
    pub no_reconnect: bool,
    pub allow_localhost: bool,
}

/// Looks values up, the last setting winning, the default where there is none.
struct Values<'a> {
    settings: &'a [Setting],
    network: Network,
}

impl Values<'_> {
    fn set(&self, name: &str) -> Option<&Setting> {
        self.settings.iter().rev().find(|s| s.row.name == name)
    }

    fn flag(&self, name: &str) -> bool {
        self.set(name).is_some()
    }

    /// None: neither set nor with a default of fixed text.
    fn value(&self, name: &str) -> Option<Value> {
        self.set(name)
            .map(|s| s.value.clone())
            .or_else(|| default_value(Row::find(name)?, self.network))
    }

    fn text(&self, name: &str) -> Option<String> {
        match self.value(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn path(&self, name: &str, base: &Path) -> Option<PathBuf> {
        self.text(name).map(|text| base.join(text))
    }

    fn bool(&self, name: &str) -> Option<bool> {
        match self.value(name) {
            Some(Value::Bool(b)) => Some(b),
            _ => None,
        }
    }

    /// The table's ranges see to it that the value fits.
    fn number<T: TryFrom<u64> + std::default::Default>(&self, name: &str) -> T {
        match self.value(name) {
            Some(Value::Unsigned(n)) => T::try_from(n).unwrap_or_default(),
            Some(Value::Msat(amount)) => T::try_from(amount.0).unwrap_or_default(),
            _ => T::default(),
        }
    }
}

/// The value that a row stands for on a network when nobody sets it.
pub(crate) fn default_value(row: &Row, network: Network) -> Option<Value> {
    let text = match row.default {
        Fallback::Is(text) => text,
        Fallback::ByNetwork { bitcoin, test } => {
            if network.is_test() {
                test
            } else {
                bitcoin
            }
        }
        Fallback::Unset | Fallback::Computed(_) => return None,
    };
    read(row.kind, text).ok()
}

impl Options {
    pub(crate) fn build(
        collected: Collected,
        environment: &Environment,
    ) -> Result<Options, OptionError> {
        let Collected {
            settings,
            network,
            lightning_dir,
            conf,
            warnings,
        } = collected;
        let values = Values {
            settings: &settings,
            network,
        };
        let network_dir = lightning_dir.join(network.name());
        let log = log_options(&values, &network_dir)?;
        let is_developer = values.flag("developer");
        if let Some(s) = settings
            .iter()
            .find(|s| s.row.developer)
            .filter(|_| !is_developer)
        {
            return Err(s.refuse("requires --developer"));
        }
        if let Some(s) = settings.iter().find(|s| is_short_delta(s)) {
            return Err(s.refuse(format!("must be at least {MIN_CLTV_DELTA}")));
        }
        if values.flag("json") && !values.flag("check") {
            return Err(OptionError::Combination("--json needs --check"));
        }
        if values.flag("check") && values.flag("daemon") {
            return Err(OptionError::Combination(
                "--check runs in the foreground: leave --daemon out",
            ));
        }
        if values.flag("daemon") && values.set("log-file").is_none() {
            return Err(OptionError::Combination("--daemon needs --log-file"));
        }
        if values.set("bitcoin-rpcpassword").is_some() && values.set("bitcoin-rpcuser").is_none() {
            return Err(OptionError::Combination(
                "--bitcoin-rpcpassword needs --bitcoin-rpcuser",
            ));
        }
        Ok(Options {
            network,
            rpc_file: network_dir.join(values.text("rpc-file").unwrap_or_default()),
            rpc_file_mode: match values.value("rpc-file-mode") {
                Some(Value::Mode(mode)) => mode,
                _ => 0o600,
            },
            pid_file: values
                .path("pid-file", &network_dir)
                .unwrap_or_else(|| lightning_dir.join(format!("lightningd-{network}.pid"))),
            daemon: values.flag("daemon"),
            check: values.flag("check").then(|| match values.flag("json") {
                true => CheckOutput::Json,
                false => CheckOutput::Text,
            }),
            await_recovery: values.flag("await-recovery"),
            sandbox: values
                .text("sandbox")
                .and_then(|name| Sandbox::from_name(&name)),
            allow_deprecated_apis: values
                .bool("allow-deprecated-apis")
                .unwrap_or(!is_developer),
            log,
            bitcoind: bitcoind(&values, environment),
            rescan: rescan(&values),
            connections: connections(&values)?,
            alias: values.text("alias"),
            color: match values.value("rgb") {
                Some(Value::Color(color)) => Some(color),
                _ => None,
            },
            channels: channels(&values),
            developer: is_developer.then(|| Developer {
                fast_reconnect: values.flag("dev-fast-reconnect"),
                no_reconnect: values.flag("dev-no-reconnect"),
                allow_localhost: values.flag("dev-allow-localhost"),
            }),
            warnings: with_own_warnings(warnings, &settings),
            network_dir,
            lightning_dir,
            conf,
            settings,
        })
    }
}

fn with_own_warnings(mut warnings: Vec<String>, settings: &[Setting]) -> Vec<String> {
    let exposed = |s: &&Setting| s.row.conceal && s.raw.source == crate::error::Source::CommandLine;
    warnings.extend(settings.iter().filter(exposed).map(|s| {
        format!("{}: other users of this machine can read it on the command line; a configuration file is safer", s.raw.place())
    }));
    warnings
}

fn bitcoind(values: &Values<'_>, environment: &Environment) -> Bitcoind {
    Bitcoind {
        datadir: values
            .path("bitcoin-datadir", &environment.current_dir)
            .unwrap_or_else(|| environment.default_bitcoin_datadir()),
        connect: values
            .text("bitcoin-rpcconnect")
            .unwrap_or_else(|| "127.0.0.1".to_owned()),
        port: match values.number("bitcoin-rpcport") {
            0 => values.network.bitcoind_port(),
            port => port,
        },
        user: values.text("bitcoin-rpcuser"),
        password: values.text("bitcoin-rpcpassword").map(Password),
        request_timeout: Duration::from_secs(values.number("bitcoin-rpcclienttimeout")),
        retry_timeout: Duration::from_secs(values.number("bitcoin-retry-timeout")),
        poll: Duration::from_secs(values.number("dev-bitcoind-poll")),
    }
}

fn rescan(values: &Values<'_>) -> Rescan {
    match values.value("rescan") {
        Some(Value::Signed(n)) if n < 0 => Rescan::From(BlockHeight(n.unsigned_abs())),
        Some(Value::Signed(n)) => Rescan::Blocks(n.unsigned_abs()),
        _ => Rescan::Blocks(0),
    }
}

fn connections(values: &Values<'_>) -> Result<Connections, OptionError> {
    let mut addresses: Vec<Address> = Vec::new();
    for setting in values.settings {
        let purpose = match setting.row.name {
            "addr" => Purpose::Both,
            "bind-addr" => Purpose::Listen,
            "announce-addr" => Purpose::Announce,
            _ => continue,
        };
        let Value::Text(text) = &setting.value else {
            continue;
        };
        let address = Address::parse(text, purpose, values.network.port())
            .map_err(|e| setting.refuse(e.to_string()))?;
        let same_use = |a: &Address| {
            (a.purpose.listens() && purpose.listens())
                || (a.purpose.announces() && purpose.announces())
        };
        if addresses
            .iter()
            .any(|a| a.host == address.host && a.port == address.port && same_use(a))
        {
            return Err(setting.refuse("is given already"));
        }
        let is_dns = |a: &Address| matches!(a.host, Host::Dns(_));
        // BOLT 7, node_announcement: at most one DNS hostname.
        if is_dns(&address) && addresses.iter().any(is_dns) {
            return Err(setting.refuse("only one dns: name can be announced"));
        }
        addresses.push(address);
    }
    Ok(Connections {
        addresses,
        autolisten: values.bool("autolisten").unwrap_or(true),
        offline: values.flag("offline"),
        default_port: values.network.port(),
    })
}

/// hsmd's own bound (rule H1): it lets no forward out with less.
const MIN_CLTV_DELTA: u64 = 3;

fn is_short_delta(setting: &Setting) -> bool {
    setting.row.name == "cltv-delta"
        && matches!(setting.value, Value::Unsigned(blocks) if blocks < MIN_CLTV_DELTA)
}

fn channels(values: &Values<'_>) -> Channels {
    let msat = |name| MilliSatoshi(values.number(name));
    Channels {
        cltv_delta: BlockDelta(values.number("cltv-delta")),
        cltv_final: BlockDelta(values.number("cltv-final")),
        watchtime: BlockDelta(values.number("watchtime-blocks")),
        funding_confirms: BlockDelta(values.number("funding-confirms")),
        max_concurrent_htlcs: values.number("max-concurrent-htlcs"),
        max_dust_htlc_exposure: msat("max-dust-htlc-exposure-msat"),
        min_capacity: Satoshi(values.number("min-capacity-sat")),
        min_emergency: msat("min-emergency-msat").to_sat_floor(),
        fee_base: msat("fee-base"),
        fee_proportional_millionths: values.number("fee-per-satoshi"),
        htlc_minimum: msat("htlc-minimum-msat"),
        htlc_maximum: msat("htlc-maximum-msat"),
        ignore_fee_limits: values.bool("ignore-fee-limits").unwrap_or(false),
        commit_fee_percent: values.number("commit-fee"),
        commit_feerate_offset: FeeratePerKw(values.number("commit-feerate-offset")),
    }
}

fn log_options(values: &Values<'_>, network_dir: &Path) -> Result<LogOptions, OptionError> {
    let target = |text: &str| {
        if text == "-" {
            LogTarget::Stdout
        } else {
            LogTarget::File(network_dir.join(text))
        }
    };
    let mut targets: Vec<LogTarget> = Vec::new();
    for setting in values.settings.iter().filter(|s| s.row.name == "log-file") {
        if let Value::Text(text) = &setting.value {
            targets.push(target(text));
        }
    }
    if targets.is_empty() {
        targets.push(LogTarget::Stdout);
    }
    let (mut level, mut filters) = (LogLevel::Info, Vec::new());
    for setting in values.settings.iter().filter(|s| s.row.name == "log-level") {
        let Value::Text(text) = &setting.value else {
            continue;
        };
        let argument = LevelArgument::parse(text).map_err(|why| setting.refuse(why))?;
        let Some(subsystem) = argument.subsystem else {
            level = argument.level;
            continue;
        };
        let only = argument.file.map(target);
        if only.as_ref().is_some_and(|only| !targets.contains(only)) {
            return Err(setting
                .refuse("names a file that is not one of the log files: add it with --log-file"));
        }
        filters.push(LogFilter {
            level: argument.level,
            subsystem: subsystem.to_owned(),
            target: only,
        });
    }
    Ok(LogOptions {
        level,
        filters,
        targets,
        prefix: values.text("log-prefix").unwrap_or_default(),
        timestamps: values.bool("log-timestamps").unwrap_or(true),
    })
}
