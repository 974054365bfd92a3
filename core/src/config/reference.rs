//! The reference page of all settings, generated from the options themselves.
//!
//! `docs/reference/config.md` holds its output; a check compares the two. Lives on any thread.

use super::load::ENVIRONMENT_PREFIX;
use super::option::AnyOption;
use super::options::ALL;

/// The page in Markdown: how settings are given, then one table row for each option.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = format!(
        "# Settings\n\n\
         Settings come from a YAML file (flat or nested keys), from environment variables and from \
         `-D key=value` arguments; later ones win. In an environment variable the key follows \
         `{ENVIRONMENT_PREFIX}`, with `__` for each dot and `_` for each hyphen, in any case: \
         `{ENVIRONMENT_PREFIX}PARALLELISM__DEFAULT=4`. An unknown key is an error that names the \
         nearest one.\n\n\
         Sizes take binary units (`512b`, `64kb`, `256mb`, `1gb`), durations `ns`, `us`, `ms`, `s`, \
         `min`, `h` or `d`.\n\n\
         | key | default | type | meaning |\n\
         |---|---|---|---|\n"
    );
    for option in ALL {
        page.push_str(&row(*option));
    }
    page
}

fn row(option: &dyn AnyOption) -> String {
    let mut default = format!("`{}`", option.default_text());
    if let Some(low_latency) = option.low_latency_text() {
        default.push_str(&format!(" (profile `low-latency`: `{low_latency}`)"));
    }
    let kind = option.bounds().map_or_else(|| option.kind(), str::to_owned);
    format!(
        "| `{}` | {default} | {kind} | {} |\n",
        option.key(),
        option.doc()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_one_row_of_four_cells() {
        let page = reference_markdown();
        for option in ALL {
            let start = format!("| `{}` |", option.key());
            let rows: Vec<&str> = page
                .lines()
                .filter(|line| line.starts_with(&start))
                .collect();
            assert_eq!(rows.len(), 1, "{}", option.key());
            let cells = rows[0].replace("\\|", "").matches('|').count();
            assert_eq!(cells, 5, "{}", rows[0]);
            assert!(rows[0].contains(option.doc()));
        }
        assert!(page.contains("| `thalweg.shard.spin` | `0` (profile `low-latency`: `50us`) |"));
    }
}
