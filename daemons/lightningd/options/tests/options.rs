//! Options from command line and files to typed values, and back out through `listconfigs`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lightningd_options::{
    Address, Developer, Environment, Host, LogFilter, LogLevel, LogTarget, Network, OptionError,
    Options, Overrides, Purpose, Rescan, Start, locate, parse,
};
use serde_json::{Value, json};
use wire::{BlockDelta, BlockHeight, MilliSatoshi, Satoshi};

struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Home {
        Home {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn environment(&self) -> Environment {
        Environment::at(self.dir.path())
    }

    /// Writes a file below the home and returns its path.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn start(&self, arguments: &[&str]) -> Result<Start, OptionError> {
        parse(
            arguments.iter().map(OsString::from),
            &self.environment(),
            "v1.2.3",
        )
    }

    fn options(&self, arguments: &[&str]) -> Options {
        match self.start(arguments) {
            Ok(Start::Run(options)) => *options,
            Ok(Start::Print(text)) => panic!("printed {text}"),
            Err(e) => panic!("{e}"),
        }
    }

    fn refusal(&self, arguments: &[&str]) -> String {
        match self.start(arguments) {
            Ok(_) => panic!("{arguments:?} is accepted"),
            Err(e) => e.to_string(),
        }
    }
}

fn config(options: &Options, name: &str) -> Value {
    options.listconfigs(None).unwrap()["configs"][name].clone()
}

#[test]
fn without_anything_set_the_node_has_clns_defaults() {
    let home = Home::new();
    let options = home.options(&[]);
    assert_eq!(options.network, Network::Bitcoin);
    assert_eq!(options.network_dir, home.path(".lightning/bitcoin"));
    assert_eq!(
        options.rpc_file,
        home.path(".lightning/bitcoin/lightning-rpc")
    );
    assert_eq!(options.rpc_file_mode, 0o600);
    assert_eq!(
        options.pid_file,
        home.path(".lightning/lightningd-bitcoin.pid")
    );
    assert_eq!(
        (options.channels.cltv_delta, options.channels.cltv_final),
        (BlockDelta(34), BlockDelta(18))
    );
    assert_eq!(options.channels.fee_base, MilliSatoshi(1000));
    assert_eq!(options.channels.htlc_maximum, MilliSatoshi(u64::MAX));
    assert_eq!(options.channels.min_emergency, Satoshi(25_000));
    assert_eq!(options.rescan, Rescan::Blocks(15));
    assert_eq!(
        (options.log.level, options.log.targets.clone()),
        (LogLevel::Info, vec![LogTarget::Stdout])
    );
    assert!(
        options.developer.is_none()
            && options.allow_deprecated_apis
            && !options.channels.ignore_fee_limits
    );
    assert_eq!(
        (options.bitcoind.port, options.bitcoind.connect.as_str()),
        (8332, "127.0.0.1")
    );
    assert_eq!(
        options.bitcoind.cookie_file(Network::Bitcoin),
        home.path(".bitcoin/.cookie")
    );
    assert!(options.warnings.is_empty());
}

#[test]
fn test_networks_have_laxer_defaults() {
    let options = Home::new().options(&["--regtest"]);
    assert_eq!(options.network, Network::Regtest);
    assert_eq!(options.channels.funding_confirms, BlockDelta(1));
    assert_eq!(options.channels.max_concurrent_htlcs, 483);
    assert!(options.channels.ignore_fee_limits);
    assert_eq!(options.bitcoind.port, 18443);
    assert!(
        options
            .bitcoind
            .cookie_file(Network::Regtest)
            .ends_with(".bitcoin/regtest/.cookie")
    );
}

#[test]
fn the_command_line_wins_over_the_networks_file_and_that_over_the_common_one() {
    let home = Home::new();
    let base = home.file(
        ".lightning/config",
        "# common\nnetwork=regtest\nfee-base=1\ncltv-delta=11\nfee-per-satoshi=21\n",
    );
    let own = home.file(".lightning/regtest/config", "\nfee-base=2\ncltv-delta=12\n");
    let options = home.options(&["--fee-base=3"]);
    assert_eq!(options.network, Network::Regtest);
    assert_eq!(options.channels.fee_base, MilliSatoshi(3));
    assert_eq!(options.channels.cltv_delta, BlockDelta(12));
    assert_eq!(options.channels.fee_proportional_millionths, 21);
    assert_eq!(
        config(&options, "fee-base"),
        json!({"value_int": 3, "source": "cmdline"})
    );
    assert_eq!(
        config(&options, "cltv-delta"),
        json!({"value_int": 12, "source": format!("{}:3", own.display())})
    );
    assert_eq!(
        config(&options, "fee-per-satoshi"),
        json!({"value_int": 21, "source": format!("{}:5", base.display())})
    );
    assert_eq!(
        config(&options, "cltv-final"),
        json!({"value_int": 10, "source": "default"})
    );
}

#[test]
fn the_command_lines_network_chooses_the_file() {
    let home = Home::new();
    home.file(".lightning/config", "regtest\n");
    home.file(".lightning/signet/config", "alias=signetnode\n");
    home.file(".lightning/regtest/config", "alias=regtestnode\n");
    assert_eq!(
        home.options(&["--signet"]).alias.as_deref(),
        Some("signetnode")
    );
    assert_eq!(
        home.options(&["--network", "signet"]).alias.as_deref(),
        Some("signetnode")
    );
    assert_eq!(home.options(&[]).alias.as_deref(), Some("regtestnode"));
    assert_eq!(
        home.options(&["--signet", "--regtest"]).alias.as_deref(),
        Some("regtestnode")
    );
}

#[test]
fn an_explicit_file_stands_in_for_both() {
    let home = Home::new();
    home.file(".lightning/config", "fee-base=1\n");
    home.file("my.conf", "lightning-dir=elsewhere\nsignet\ncltv-delta=9\n");
    let options = home.options(&["--conf=my.conf"]);
    assert_eq!(options.conf, Some(home.path("my.conf")));
    assert_eq!(options.network_dir, home.path("elsewhere/signet"));
    assert_eq!(options.channels.cltv_delta, BlockDelta(9));
    assert_eq!(options.channels.fee_base, MilliSatoshi(1)); // signet's default
    assert!(home.refusal(&["--conf=nonesuch"]).contains("nonesuch"));
}

#[test]
fn some_options_have_their_place() {
    let home = Home::new();
    for (file, line) in [
        (".lightning/config", "conf=x"),
        (".lightning/config", "lightning-dir=/x"),
        (".lightning/bitcoin/config", "network=regtest"),
        (".lightning/bitcoin/config", "regtest"),
        (".lightning/config", "help"),
    ] {
        let path = home.file(file, &format!("{line}\n"));
        let refusal = home.refusal(&[]);
        assert!(
            refusal.contains(&format!("{} line 1: {line}: not permitted", path.display())),
            "{refusal}"
        );
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn files_include_others_relative_to_themselves() {
    let home = Home::new();
    home.file(".lightning/config", "fee-base=1\ninclude more/a.conf\n");
    home.file(
        ".lightning/more/a.conf",
        "cltv-delta=9\ninclude b.conf\nfee-base=2\n",
    );
    let b = home.file(".lightning/more/b.conf", "alias=included\r\n");
    let options = home.options(&[]);
    assert_eq!(options.alias.as_deref(), Some("included"));
    assert_eq!(options.channels.fee_base, MilliSatoshi(2));
    assert_eq!(
        config(&options, "alias")["source"],
        format!("{}:1", b.display())
    );
}

#[test]
fn files_without_end_or_that_multiply_are_refused() {
    let home = Home::new();
    for text in [
        "include /dev/zero\n".to_owned(),
        format!("#{}\n", "x".repeat(1024 * 1024)),
        // Each includes the next one twice.
        "include 0\ninclude 0\n".to_owned(),
    ] {
        home.file(".lightning/config", &text);
        for n in 0..40 {
            let next = n + 1;
            home.file(
                &format!(".lightning/{n}"),
                &format!("include {next}\ninclude {next}\n"),
            );
        }
        home.file(".lightning/40", "fee-base=1\n");
        let error = home.refusal(&[]);
        assert!(error.contains("limited to 1048576 bytes"), "{error}");
    }
}

#[test]
fn an_include_without_end_or_without_a_file_is_refused() {
    let home = Home::new();
    home.file(".lightning/config", "include config\n");
    assert!(matches!(home.start(&[]), Err(OptionError::IncludeLoop(_))));
    home.file(".lightning/config", "include nonesuch\n");
    assert!(home.refusal(&[]).contains("nonesuch"));
}

#[test]
fn trailing_space_is_part_of_names_for_people_only() {
    let home = Home::new();
    home.file(
        ".lightning/config",
        "alias=a b \nfee-base=7 \nlog-prefix=> \n",
    );
    let options = home.options(&[]);
    assert_eq!(options.alias.as_deref(), Some("a b "));
    assert_eq!(options.log.prefix, "> ");
    assert_eq!(options.channels.fee_base, MilliSatoshi(7));
}

#[test]
fn an_unknown_option_is_refused_with_the_nearest_name() {
    let home = Home::new();
    assert_eq!(
        home.refusal(&["--fee-bas=1"]),
        "--fee-bas: unknown option (did you mean fee-base?)"
    );
    let path = home.file(".lightning/config", "fee-base=1\nqqqqqq\n");
    assert_eq!(
        home.refusal(&[]),
        format!(
            "Config file {} line 2: qqqqqq: unknown option",
            path.display()
        )
    );
}

#[test]
fn a_malformed_value_is_refused_with_its_place() {
    let home = Home::new();
    for (argument, why) in [
        ("--cltv-delta=x", "'x' is not a number"),
        ("--cltv-delta=65536", "out of range"),
        ("--cltv-delta=-1", "out of range"),
        ("--cltv-delta=2", "must be at least 3"),
        ("--max-concurrent-htlcs=484", "out of range (from 1 to 483)"),
        ("--funding-confirms=0", "out of range"),
        ("--network=mars", "Unknown network name 'mars'"),
        ("--daemon=true", "doesn't allow an argument"),
        ("--cltv-delta", "requires an argument"),
        ("--autolisten=maybe", "not true or false"),
        ("--rpc-file-mode=600", "not a file mode"),
        ("--rgb=red", "not six hex digits"),
        (
            "--alias=0123456789012345678901234567890123",
            "longer than 32 bytes",
        ),
        ("--log-level=loud", "unknown log level 'loud'"),
        ("--min-emergency-msat=1sat", "dust"),
        ("--htlc-minimum-msat=1.5sat", "not an amount"),
        ("--addr=127.0.0.1:0", "port"),
        ("--addr=x.onion", "Tor"),
        (
            "--log-level=debug:peer:other.log",
            "not one of the log files",
        ),
        ("--dev-fast-reconnect", "requires --developer"),
    ] {
        let refusal = home.refusal(&[argument]);
        assert!(
            refusal.starts_with(&format!("{argument}: ")) && refusal.contains(why),
            "{refusal}"
        );
    }
    assert_eq!(home.refusal(&["--daemon"]), "--daemon needs --log-file");
}

#[test]
fn clns_other_options_warn_or_are_refused() {
    let home = Home::new();
    let path = home.file(
        ".lightning/config",
        "clnrest-port=3010\ndisable-mpp\nexposesecret-passphrase=sesame\n",
    );
    let options = home.options(&["--commit-time", "10"]);
    assert_eq!(options.warnings.len(), 4);
    assert!(options.warnings[0].starts_with("--commit-time is ignored: "));
    let place = format!(
        "Config file {} line 1: clnrest-port is ignored: ",
        path.display()
    );
    assert!(
        options.warnings[1].starts_with(&place),
        "{:?}",
        options.warnings
    );
    assert!(options.warnings.iter().all(|w| !w.contains("sesame")));
    assert!(
        home.refusal(&["--plugin=/x.py"])
            .contains("plugins are not run yet")
    );
    assert!(
        home.refusal(&["--proxy=127.0.0.1:9050"])
            .contains("your address would show")
    );
}

#[test]
fn the_log_may_go_to_several_files_at_several_levels() {
    let home = Home::new();
    let options = home.options(&[
        "--log-level=unusual",
        "--log-level=debug:channeld",
        "--log-level=io:peer:all.log",
        "--log-file=-",
        "--log-file=all.log",
        "--log-timestamps=false",
    ]);
    let file = LogTarget::File(home.path(".lightning/bitcoin/all.log"));
    assert_eq!(options.log.level, LogLevel::Unusual);
    assert_eq!(options.log.targets, [LogTarget::Stdout, file.clone()]);
    assert_eq!(
        options.log.filters,
        [
            LogFilter {
                level: LogLevel::Debug,
                subsystem: "channeld".into(),
                target: None
            },
            LogFilter {
                level: LogLevel::Io,
                subsystem: "peer".into(),
                target: Some(file)
            },
        ]
    );
    assert!(!options.log.timestamps);
    assert_eq!(
        config(&options, "log-level"),
        json!({"value_str": "unusual", "source": "cmdline"})
    );
    assert_eq!(
        config(&options, "log-file"),
        json!({"values_str": ["-", "all.log"], "sources": ["cmdline", "cmdline"]})
    );
}

#[test]
fn addresses_say_where_to_listen_and_what_to_announce() {
    let home = Home::new();
    let listens = |arguments: &[&str]| home.options(arguments).connections.listen_on();
    let any = Address {
        host: Host::Any,
        port: 19846,
        purpose: Purpose::Both,
    };
    assert_eq!(listens(&["--regtest"]), [any]);
    assert_eq!(listens(&["--regtest", "--autolisten=false"]), []);
    assert_eq!(listens(&["--offline", "--addr=127.0.0.1"]), []);
    let options = home.options(&[
        "--bind-addr=127.0.0.1:1",
        "--announce-addr=8.8.8.8:2",
        "--addr=[2001:db8::1]",
    ]);
    assert_eq!(
        options
            .connections
            .listen_on()
            .iter()
            .map(|a| a.port)
            .collect::<Vec<_>>(),
        [1, 9735]
    );
    assert_eq!(
        options
            .connections
            .announced()
            .map(|a| a.port)
            .collect::<Vec<_>>(),
        [2, 9735]
    );
    assert!(
        home.refusal(&["--addr=1.2.3.4", "--announce-addr=1.2.3.4:9735"])
            .contains("given already")
    );
    assert!(
        home.refusal(&["--announce-addr=dns:a.com", "--announce-addr=dns:b.com"])
            .contains("only one")
    );
    home.options(&["--bind-addr=1.2.3.4", "--announce-addr=1.2.3.4"]); // two uses of one address
}

#[test]
fn bitcoinds_password_is_shown_to_nobody() {
    let home = Home::new();
    let arguments = [
        "--bitcoin-rpcuser=u",
        "--bitcoin-rpcpassword=sesame",
        "--bitcoin-rpcport=8000",
        "--bitcoin-rpcclienttimeout=5",
    ];
    let options = home.options(&arguments);
    assert_eq!(
        options.bitcoind.password.as_ref().unwrap().expose(),
        "sesame"
    );
    assert_eq!(
        (options.bitcoind.port, options.bitcoind.request_timeout),
        (8000, Duration::from_secs(5))
    );
    assert!(
        !options
            .listconfigs(None)
            .unwrap()
            .to_string()
            .contains("sesame")
    );
    assert_eq!(
        config(&options, "bitcoin-rpcpassword"),
        json!({"value_str": "...", "source": "cmdline"})
    );
    assert_eq!(options.warnings.len(), 1);
    assert!(!options.warnings[0].contains("sesame"));
    assert!(
        home.refusal(&["--bitcoin-rpcpassword=sesame"])
            .contains("needs --bitcoin-rpcuser")
    );
    home.file(
        ".lightning/config",
        "bitcoin-rpcuser=u\nbitcoin-rpcpassword=sesame\n",
    );
    assert!(home.options(&[]).warnings.is_empty());
}

#[test]
fn a_negative_rescan_is_a_height() {
    let home = Home::new();
    assert_eq!(
        home.options(&["--rescan=-800000"]).rescan,
        Rescan::From(BlockHeight(800_000))
    );
    assert_eq!(home.options(&["--rescan=0"]).rescan, Rescan::Blocks(0));
}

#[test]
fn developer_options_need_developer_and_change_the_default_of_another() {
    let options = Home::new().options(&[
        "--developer",
        "--dev-fast-reconnect",
        "--dev-bitcoind-poll=1",
    ]);
    assert_eq!(
        options.developer,
        Some(Developer {
            fast_reconnect: true,
            no_reconnect: false,
            allow_localhost: false
        })
    );
    assert!(!options.allow_deprecated_apis);
    assert_eq!(options.bitcoind.poll, Duration::from_secs(1));
    assert_eq!(
        config(&options, "dev-bitcoind-poll"),
        json!({"value_int": 1, "source": "cmdline"})
    );
    assert_eq!(config(&options, "dev-no-reconnect"), Value::Null);
    assert_eq!(
        config(&options, "allow-deprecated-apis")["value_bool"],
        false
    );
}

#[test]
fn listconfigs_shows_one_option_or_all() {
    let mut options = Home::new().options(&["--wumbo", "--offline"]);
    let one = |options: &Options, name| {
        options
            .listconfigs(Some(name))
            .map(|c| c["configs"].clone())
    };
    assert_eq!(
        one(&options, "wumbo").unwrap(),
        json!({"large-channels": {"set": true, "source": "cmdline"}})
    );
    assert_eq!(
        one(&options, "dev-no-reconnect").unwrap(),
        json!({"dev-no-reconnect": {"set": false, "source": "default"}})
    );
    assert!(one(&options, "nonesuch").is_err() && one(&options, "help").is_err());
    assert_eq!(
        config(&options, "offline"),
        json!({"set": true, "source": "cmdline"})
    );
    assert_eq!(config(&options, "alias"), Value::Null);
    options.alias = Some("SILENTMONKEY".into());
    options.color = Some([2, 255, 0]);
    assert_eq!(
        config(&options, "alias"),
        json!({"value_str": "SILENTMONKEY", "source": "default"})
    );
    assert_eq!(
        config(&options, "rgb"),
        json!({"value_str": "02ff00", "source": "default"})
    );
}

#[test]
fn listconfigs_conforms_to_clns_interface() {
    let home = Home::new();
    home.file(
        "c.conf",
        "addr=1.2.3.4\nlog-file=x\nrescan=-1\nbitcoin-datadir=/b\n",
    );
    let table = lightningd_rpc::conform::Table::project().unwrap();
    for arguments in [
        &[][..],
        &[
            "--regtest",
            "--daemon",
            "--conf=c.conf",
            "--rgb=010203",
            "--alias=x",
        ],
    ] {
        let shown = home.options(arguments).listconfigs(None).unwrap();
        assert_eq!(table.check("listconfigs", &shown), Vec::<String>::new());
    }
}

fn project(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../..")
        .join(file)
}

fn table(file: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(project(file)).unwrap()).unwrap()
}

#[test]
fn every_default_is_clns_on_bitcoin_and_on_test_networks() {
    let table = table("tests/vectors/cln/options.json");
    let home = Home::new();
    for (at, arguments) in [(0, &[][..]), (1, &["--testnet4"])] {
        let options = home.options(arguments);
        for (name, row) in table["options"].as_object().unwrap() {
            let member = row[0].as_str().unwrap();
            let expected = if row[1].is_array() {
                &row[1][at]
            } else {
                &row[1]
            };
            let shown = &options.listconfigs(Some(name)).unwrap()["configs"][name];
            match (member, expected) {
                (_, Value::String(text)) if text == "computed" => {}
                (m, Value::Null) if m.starts_with("values") => {
                    assert_eq!(shown[m], json!([]), "{name}")
                }
                (_, Value::Null) => assert_eq!(*shown, Value::Null, "{name}"),
                ("value_str", _) if name == "network" => {
                    assert_eq!(shown[member], options.network.name())
                }
                ("values_str", _) => assert_eq!(shown[member], json!([]), "{name}"),
                ("set", _) if name == options.network.name() => assert_eq!(shown[member], true),
                (_, expected) => assert_eq!(shown[member], *expected, "{name}"),
            }
        }
    }
}

#[test]
fn every_option_of_cln_is_known_where_its_table_is_there() {
    if !project("../shared/api/options.json").exists() {
        return;
    }
    let home = Home::new();
    for row in table("../shared/api/options.json")["options"]
        .as_array()
        .unwrap()
    {
        let name = row["name"].as_str().unwrap();
        if row["dev_only"] == true {
            continue;
        }
        let argument = if row["arg"].is_null() {
            format!("--{name}")
        } else {
            format!("--{name}=1")
        };
        if let Err(e @ OptionError::Unknown { .. }) = home.start(&[&argument]) {
            panic!("{e}");
        }
        if row["arg"].is_null() {
            let with_value = home.start(&[&argument, "stray"]);
            assert!(
                matches!(with_value, Err(OptionError::Stray(_)) | Ok(Start::Print(_)))
                    || with_value.is_err(),
                "{name}"
            );
        }
    }
}

#[test]
fn addresses_are_split_as_clns_tests_say() {
    let table = table("tests/vectors/cln/addresses.json");
    for (text, expected) in table["split"].as_object().unwrap() {
        let got = Address::parse(text, Purpose::Listen, 4711);
        if expected.is_null() {
            assert!(got.is_err(), "{text}");
            continue;
        }
        let got = got.unwrap_or_else(|e| panic!("{e}"));
        let port = match expected[1].as_u64().unwrap() {
            0 => 4711,
            port => port,
        };
        let host = match got.host {
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) | Host::Dns(name) => name,
            Host::Any => "any".to_owned(),
        };
        assert_eq!(
            (host.as_str(), u64::from(got.port)),
            (expected[0].as_str().unwrap(), port),
            "{text}"
        );
    }
    for (text, expected) in table["hostnames"].as_object().unwrap() {
        assert_eq!(
            lightningd_options::address::is_hostname(text),
            *expected,
            "{text}"
        );
    }
}

#[test]
fn help_version_and_completion_print_and_do_nothing_else() {
    let home = Home::new();
    let printed = |arguments: &[&str]| match home.start(arguments) {
        Ok(Start::Print(text)) => text,
        Ok(Start::Run(_)) => panic!("{arguments:?} runs"),
        Err(e) => panic!("{e}"),
    };
    assert_eq!(printed(&["--version"]), "v1.2.3\n");
    assert_eq!(printed(&["-V"]), "v1.2.3\n");
    assert!(printed(&["--nonesuch", "--help"]).starts_with("Usage:"));
    assert!(printed(&["--completion", "zsh"]).starts_with("#compdef lightningd"));
    assert!(
        home.refusal(&["--completion=csh"])
            .contains("bash, zsh or fish")
    );
}

#[test]
fn a_client_finds_the_socket_as_the_node_does() {
    let home = Home::new();
    home.file(".lightning/config", "regtest\nnonesuch=1\nplugin=/x\n");
    home.file(".lightning/regtest/config", "rpc-file=sock\n");
    let found = |overrides| locate(overrides, &home.environment()).unwrap();
    assert_eq!(
        found(Overrides::default()).rpc_file,
        home.path(".lightning/regtest/sock")
    );
    let network = Overrides {
        network: Some("signet".into()),
        ..Overrides::default()
    };
    assert_eq!(
        found(network).rpc_file,
        home.path(".lightning/signet/lightning-rpc")
    );
    let file = Overrides {
        rpc_file: Some("/run/rpc".into()),
        ..Overrides::default()
    };
    assert_eq!(found(file).rpc_file, Path::new("/run/rpc"));
    let dir = Overrides {
        lightning_dir: Some("d".into()),
        ..Overrides::default()
    };
    assert_eq!(found(dir).network_dir, home.path("d/bitcoin"));
}
