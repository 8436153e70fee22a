//! What a person can do about a refusal: said on stderr, so that the reply stays what lightningd sent.

use lightningd_rpc::Code;
use lightningd_rpc::code;
use lightningd_rpc::commands::{self, Command};
use serde_json::Value;

/// How alike a name has to be for it to be meant.
const ALIKE: f64 = 0.8;

/// `error`: JSON text of why lightningd refused `method`.
pub fn about(error: &str, method: &str) -> Option<String> {
    let error: Value = serde_json::from_str(error).ok()?;
    let code = Code(i32::try_from(error["code"].as_i64()?).ok()?);
    if code == code::JSONRPC2_METHOD_NOT_FOUND {
        return Some(match nearest(method) {
            Some(name) => format!("Did you mean {name}? lightning-cli help lists the commands."),
            None => "lightning-cli help lists the commands.".to_owned(),
        });
    }
    let command = commands::ALL.iter().find(|c| c.name == method)?;
    (code == code::JSONRPC2_INVALID_PARAMS).then(|| usage(command))
}

fn nearest(method: &str) -> Option<&'static str> {
    let scored = commands::ALL.iter().map(|command| {
        // Its family's name is not what is mistyped.
        let short = command.name.trim_start_matches("bkpr-");
        let alike = |name| strsim::jaro_winkler(method, name);
        (alike(command.name).max(alike(short)), command.name)
    });
    let near = scored.filter(|(score, _)| *score >= ALIKE);
    let best = near.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.map(|(_, name)| name)
}

fn usage(command: &Command) -> String {
    let Command { name, .. } = command;
    let parameters = command.usage();
    let parameters = match parameters.as_str() {
        "" => "(no parameters)",
        some => some,
    };
    format!("Usage: {name} {parameters}\nlightning-cli help {name} explains them.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: i32) -> String {
        format!(r#"{{"code":{code},"message":"no"}}"#)
    }

    #[test]
    fn a_mistyped_command_is_guessed() {
        for (typed, meant) in [
            ("listpeerchanels", "listpeerchannels"),
            ("get-info", "getinfo"),
            ("listincome", "bkpr-listincome"),
        ] {
            let said = about(&error(-32601), typed).unwrap();
            assert!(said.contains(&format!("mean {meant}?")), "{said}");
        }
        let said = about(&error(-32601), "xyzzy").unwrap();
        assert!(said.starts_with("lightning-cli help"), "{said}");
    }

    #[test]
    fn wrong_parameters_are_answered_with_the_right_ones() {
        let said = about(&error(-32602), "invoice").unwrap();
        assert!(
            said.starts_with("Usage: invoice amount_msat label"),
            "{said}"
        );
        let said = about(&error(-32602), "getinfo").unwrap();
        assert!(said.contains("no parameters"), "{said}");
    }

    #[test]
    fn where_the_reply_says_it_all_nothing_is_added() {
        assert_eq!(about(&error(205), "pay"), None);
        assert_eq!(about(&error(-32602), "a-plugins-command"), None);
        assert_eq!(about("no JSON", "pay"), None);
    }
}
