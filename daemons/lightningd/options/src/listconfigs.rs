//! The options in force as the `listconfigs` command shows them.

use serde_json::{Map, Value as Json, json};

use crate::error::Source;
use crate::options::{Options, default_value};
use crate::setting::Setting;
use crate::table::{Kind, ROWS, Row};

const CONCEALED: &str = "...";

/// There is no option of that name. The text is the complaint for the parameter `config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Unknown config option")]
pub struct UnknownConfig;

impl Options {
    /// The result of `listconfigs`: every option, or the one named. `only` may be an alias.
    pub fn listconfigs(&self, only: Option<&str>) -> Result<Json, UnknownConfig> {
        let only = only
            .map(|name| Row::find(name).filter(|r| !r.exits).ok_or(UnknownConfig))
            .transpose()?;
        let mut configs = Map::new();
        for row in ROWS
            .iter()
            .filter(|r| only.is_none_or(|only| std::ptr::eq(only, *r)))
        {
            if let Some(shown) = self.show(row, only.is_some()) {
                configs.insert(row.name.to_owned(), shown);
            }
        }
        Ok(json!({ "configs": configs }))
    }

    fn show(&self, row: &'static Row, always: bool) -> Option<Json> {
        let set: Vec<&Setting> = self
            .settings
            .iter()
            .filter(|s| std::ptr::eq(s.row, row))
            .collect();
        if row.exits || (set.is_empty() && !always && (row.hidden || row.developer)) {
            return None;
        }
        let last = set.last();
        let source = last.map_or("default".to_owned(), |s| s.raw.source.to_string());
        if row.kind == Kind::Flag {
            return Some(json!({"set": last.is_some(), "source": source}));
        }
        if row.multi {
            let values: Vec<Json> = set.iter().map(|s| s.value.json()).collect();
            let sources: Vec<String> = set
                .iter()
                .map(|s| Source::to_string(&s.raw.source))
                .collect();
            return Some(json!({"values_str": values, "sources": sources}));
        }
        let value = if row.conceal {
            last.map(|_| json!(CONCEALED))?
        } else {
            self.computed(row)
                .or_else(|| last.map(|s| s.value.json()))
                .or_else(|| default_value(row, self.network).map(|v| v.json()))?
        };
        Some(json!({ field(row.kind): value, "source": source }))
    }

    /// Values that are more than the text of their setting.
    fn computed(&self, row: &Row) -> Option<Json> {
        Some(match row.name {
            "network" => json!(self.network.name()),
            "lightning-dir" => json!(self.lightning_dir.to_string_lossy()),
            "conf" => json!(self.conf.as_ref()?.to_string_lossy()),
            "pid-file" => json!(self.pid_file.to_string_lossy()),
            "allow-deprecated-apis" => json!(self.allow_deprecated_apis),
            "log-level" => json!(self.log.level.name()),
            "alias" => json!(self.alias.as_ref()?),
            "rgb" => json!(hex::encode(self.color?)),
            _ => return None,
        })
    }
}

fn field(kind: Kind) -> &'static str {
    match kind {
        Kind::Flag => "set",
        Kind::Bool => "value_bool",
        Kind::Unsigned { .. } | Kind::Signed => "value_int",
        Kind::Msat | Kind::MsatWhole => "value_msat",
        Kind::Text
        | Kind::Path
        | Kind::Network
        | Kind::Mode
        | Kind::Level
        | Kind::Address
        | Kind::Alias
        | Kind::Color
        | Kind::Sandbox => "value_str",
    }
}
