//! Completions for shells: the flags, and the commands that we know.

use clap::CommandFactory;
use clap::builder::PossibleValuesParser;
use clap_complete::{generate, shells};
use lightningd_options::Network;
use lightningd_rpc::commands;

use crate::flags::{Flags, Shell};

pub fn script(shell: Shell) -> Vec<u8> {
    let names = commands::ALL
        .iter()
        .map(|c| clap::builder::PossibleValue::new(c.name).help(c.summary));
    let mut command = Flags::command()
        .mut_arg("command", |a| {
            a.value_parser(PossibleValuesParser::new(names))
        })
        .mut_arg("network", |a| {
            a.value_parser(PossibleValuesParser::new(Network::ALL.map(Network::name)))
        });
    let mut out = Vec::new();
    match shell {
        Shell::Bash => generate(shells::Bash, &mut command, "lightning-cli", &mut out),
        Shell::Zsh => generate(shells::Zsh, &mut command, "lightning-cli", &mut out),
        Shell::Fish => {
            generate(shells::Fish, &mut command, "lightning-cli", &mut out);
            out.extend(fish_commands().into_bytes());
        }
    }
    out
}

/// clap_complete leaves positional words out for fish.
fn fish_commands() -> String {
    let line = |c: &&commands::Command| {
        format!(
            "complete -c lightning-cli -n __fish_use_subcommand -f -a {} -d '{}'\n",
            c.name,
            c.summary.replace('\'', "")
        )
    };
    commands::ALL.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_learns_flags_and_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(script(shell)).unwrap();
            for word in ["human-readable", "listpeerchannels", "regtest"] {
                assert!(script.contains(word), "{shell:?} lacks {word}");
            }
        }
    }
}
