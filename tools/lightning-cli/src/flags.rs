//! The command line, CLN's flag for flag.

use clap::{CommandFactory, Parser, ValueEnum};
use lightningd_options::{LogLevel, Overrides};

/// Which notifications to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Notifications {
    Io,
    Trace,
    Debug,
    Info,
    Unusual,
    Broken,
    None,
}

impl Notifications {
    /// Whether a message of this level is to be shown.
    pub fn shows(self, level: LogLevel) -> bool {
        let least = match self {
            Notifications::Io => LogLevel::Io,
            Notifications::Trace => LogLevel::Trace,
            Notifications::Debug => LogLevel::Debug,
            Notifications::Info => LogLevel::Info,
            Notifications::Unusual => LogLevel::Unusual,
            Notifications::Broken => LogLevel::Broken,
            Notifications::None => return false,
        };
        level >= least
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// How to show a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON, or text where the reply says that it is simple.
    Default,
    Json,
    Raw,
    Human,
    Flat,
}

const AFTER_HELP: &str = "\
Parameters are given in order, or as name=value (where the first one has a =, or with -k).
Numbers, true, false, null, {..}, [..] and \"..\" are taken as JSON, anything else as a string.

  lightning-cli help                       lists the commands
  lightning-cli help invoice               explains one
  lightning-cli invoice 10000 label text   in order
  lightning-cli invoice amount_msat=any label=l description='a b'

Exit codes: 0 done, 1 lightningd refused, 2 lightningd cannot be reached, 3 wrong usage.";

/// Sends a command to a running lightningd and shows the reply.
#[derive(Debug, Parser)]
#[command(name = "lightning-cli", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
#[command(args_override_self = true, max_term_width = 100)]
pub struct Flags {
    /// The command; without one, the commands are listed
    #[arg(index = 1)]
    pub command: Option<String>,

    /// The command's parameters
    #[arg(index = 2, allow_negative_numbers = true)]
    pub params: Vec<String>,

    /// Parameters are name=value
    #[arg(short, long, overrides_with = "order", help_heading = "Parameters")]
    pub keywords: bool,

    /// Parameters are in order, even if they contain =
    #[arg(short, long, overrides_with = "keywords", help_heading = "Parameters")]
    pub order: bool,

    /// Show only these parts of the result, e.g. '{"peers":[{"id":true}]}'
    #[arg(short = 'l', long, value_name = "JSON", help_heading = "Parameters")]
    pub filter: Option<String>,

    /// Text for people
    #[arg(short = 'H', long, overrides_with_all = ["flat", "json", "raw"], help_heading = "Output")]
    pub human_readable: bool,

    /// One line for each value: path=value
    #[arg(short = 'F', long, overrides_with_all = ["human_readable", "json", "raw"], help_heading = "Output")]
    pub flat: bool,

    /// Indented JSON, also for help
    #[arg(short = 'J', long, overrides_with_all = ["human_readable", "flat", "raw"], help_heading = "Output")]
    pub json: bool,

    /// JSON as lightningd sent it
    #[arg(short = 'R', long, overrides_with_all = ["human_readable", "flat", "json"], help_heading = "Output")]
    pub raw: bool,

    /// Show progress from this level on, as lines that begin with #: io, trace, debug, info, unusual, broken, none
    #[arg(
        short = 'N',
        long,
        value_name = "LEVEL",
        default_value = "info",
        hide_possible_values = true,
        help_heading = "Output"
    )]
    pub notifications: Notifications,

    /// lightningd's folder [default: ~/.lightning]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath, help_heading = "Which lightningd")]
    pub lightning_dir: Option<String>,

    /// The chain: bitcoin, testnet, testnet4, signet or regtest [default: as the configuration says]
    #[arg(long, value_name = "NETWORK", overrides_with_all = ["mainnet", "testnet", "testnet4", "signet", "regtest"], help_heading = "Which lightningd")]
    pub network: Option<String>,

    /// The same as --network=bitcoin
    #[arg(long, overrides_with_all = ["network", "testnet", "testnet4", "signet", "regtest"], help_heading = "Which lightningd")]
    pub mainnet: bool,

    /// The same as --network=testnet
    #[arg(long, overrides_with_all = ["network", "mainnet", "testnet4", "signet", "regtest"], help_heading = "Which lightningd")]
    pub testnet: bool,

    /// The same as --network=testnet4
    #[arg(long, overrides_with_all = ["network", "mainnet", "testnet", "signet", "regtest"], help_heading = "Which lightningd")]
    pub testnet4: bool,

    /// The same as --network=signet
    #[arg(long, overrides_with_all = ["network", "mainnet", "testnet", "testnet4", "regtest"], help_heading = "Which lightningd")]
    pub signet: bool,

    /// The same as --network=regtest
    #[arg(long, overrides_with_all = ["network", "mainnet", "testnet", "testnet4", "signet"], help_heading = "Which lightningd")]
    pub regtest: bool,

    /// lightningd's socket, relative to the network's folder [default: lightning-rpc]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, help_heading = "Which lightningd")]
    pub rpc_file: Option<String>,

    /// lightningd's configuration file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, help_heading = "Which lightningd")]
    pub conf: Option<String>,

    /// Print completions for a shell and exit
    #[arg(long, value_name = "SHELL", hide = true)]
    pub completion: Option<Shell>,
}

impl Flags {
    pub fn format(&self) -> Format {
        match (self.human_readable, self.flat, self.json, self.raw) {
            (true, ..) => Format::Human,
            (_, true, ..) => Format::Flat,
            (_, _, true, _) => Format::Json,
            (_, _, _, true) => Format::Raw,
            (false, false, false, false) => Format::Default,
        }
    }

    pub fn overrides(&self) -> Overrides {
        let flags = [
            (self.mainnet, "bitcoin"),
            (self.testnet, "testnet"),
            (self.testnet4, "testnet4"),
            (self.signet, "signet"),
            (self.regtest, "regtest"),
        ];
        let flag = flags
            .into_iter()
            .find(|(set, _)| *set)
            .map(|(_, name)| name.to_owned());
        Overrides {
            conf: self.conf.clone(),
            lightning_dir: self.lightning_dir.clone(),
            network: self.network.clone().or(flag),
            rpc_file: self.rpc_file.clone(),
        }
    }
}

/// One line.
pub fn usage() -> String {
    Flags::command().render_usage().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(arguments: &[&str]) -> Flags {
        Flags::try_parse_from(["lightning-cli"].iter().chain(arguments)).unwrap()
    }

    #[test]
    fn the_flags_are_consistent() {
        Flags::command().debug_assert();
    }

    #[test]
    fn flags_may_stand_anywhere_and_the_last_of_a_kind_counts() {
        let f = flags(&[
            "-J",
            "--regtest",
            "listpeers",
            "-H",
            "x",
            "--signet",
            "-1",
            "--",
            "-k",
        ]);
        assert_eq!(
            (f.format(), f.overrides().network.as_deref()),
            (Format::Human, Some("signet"))
        );
        assert_eq!(
            (f.command.as_deref(), f.params),
            (
                Some("listpeers"),
                vec!["x".into(), "-1".into(), "-k".into()]
            )
        );
        assert_eq!(
            flags(&["--network=regtest", "--mainnet"])
                .overrides()
                .network
                .as_deref(),
            Some("bitcoin")
        );
        assert_eq!(
            flags(&["--lightning-dir", "a", "--lightning-dir=b"])
                .lightning_dir
                .as_deref(),
            Some("b")
        );
    }

    #[test]
    fn notifications_are_shown_from_a_level_on() {
        assert!(
            Notifications::Info.shows(LogLevel::Broken)
                && !Notifications::Info.shows(LogLevel::Debug)
        );
        assert!(!Notifications::None.shows(LogLevel::Broken));
    }
}
