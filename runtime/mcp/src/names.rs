//! What tools are called (M3).
//!
//! | | |
//! |---|---|
//! | an action is called | `mcp.tool_name` of its configuration, else `connector.action` |
//! | a legal name | 1 to 128 of `A-Z a-z 0-9 . _ -` |
//! | a `tool_name` that is not legal, or taken | `connector.action` instead, with a warning |
//! | `connector.action` that is taken, or too long | cut, and `_2`, `_3`, … at its end |
//!
//! Invariant: names are legal and unique, and the same actions have the same names, in whatever order they come.

use std::collections::HashSet;

/// Runs any action that is for MCP clients.
pub(crate) const EXECUTE: &str = "openact.execute";

/// Looks for actions.
pub(crate) const SEARCH: &str = "openact.search";

const LENGTH_MAX: usize = 128;

/// What an action asks to be called.
pub(crate) struct Wanted<'a> {
    pub(crate) connector: &'a str,
    pub(crate) action: &'a str,
    /// `mcp.tool_name`
    pub(crate) tool_name: Option<&'a str>,
}

/// The name of each of `actions`, in their order.
pub(crate) fn assign(actions: &[Wanted<'_>]) -> Vec<String> {
    let mut order: Vec<usize> = (0..actions.len()).collect();
    // Whoever asks for nothing has its own name before another can take it.
    order.sort_by_key(|&at| {
        actions.get(at).map(|wanted| (wanted.tool_name.is_some(), wanted.connector, wanted.action))
    });
    let mut taken: HashSet<String> = [EXECUTE, SEARCH].map(str::to_owned).into();
    let mut names = vec![String::new(); actions.len()];
    for at in order {
        let (Some(wanted), Some(name)) = (actions.get(at), names.get_mut(at)) else { continue };
        *name = choose(wanted, &taken);
        taken.insert(name.clone());
    }
    names
}

fn choose(wanted: &Wanted<'_>, taken: &HashSet<String>) -> String {
    let Wanted { connector, action, tool_name } = wanted;
    let own = free(&format!("{connector}.{action}"), taken);
    match *tool_name {
        None => own,
        Some(name) if is_legal(name) && !taken.contains(name) => name.to_owned(),
        Some(name) if is_legal(name) => {
            tracing::warn!(
                "the tool name '{name}' of {connector}/{action} is another tool's; it is called '{own}': change mcp.tool_name"
            );
            own
        }
        Some(name) => {
            tracing::warn!(
                "'{}', of {connector}/{action}, is no tool name; it is called '{own}': set mcp.tool_name to at most \
                 {LENGTH_MAX} letters, digits, '.', '_' and '-'",
                name.escape_debug()
            );
            own
        }
    }
}

fn is_legal(name: &str) -> bool {
    let is_of_names = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=LENGTH_MAX).contains(&name.len()) && name.bytes().all(is_of_names)
}

/// `name`, or what is closest to it and not taken. What it is made of is ASCII.
fn free(name: &str, taken: &HashSet<String>) -> String {
    let cut = |max: usize| name.get(..max).unwrap_or(name);
    let first = cut(LENGTH_MAX);
    if !taken.contains(first) {
        return first.to_owned();
    }
    let numbered = (2_u64..).map(|number| {
        let end = format!("_{number}");
        format!("{}{end}", cut(LENGTH_MAX.saturating_sub(end.len())))
    });
    numbered.into_iter().find(|name| !taken.contains(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(actions: &[(&'static str, &'static str, Option<&'static str>)]) -> Vec<String> {
        let wanted: Vec<Wanted<'_>> = actions
            .iter()
            .map(|&(connector, action, tool_name)| Wanted { connector, action, tool_name })
            .collect();
        assign(&wanted)
    }

    #[test]
    fn m3_a_tool_is_called_what_its_action_says_or_by_connector_and_action() {
        assert_eq!(names(&[("http", "get", None), ("http", "put", Some("save"))]), ["http.get", "save"]);
    }

    #[test]
    fn m3_illegal_names_are_replaced() {
        let long = "x".repeat(129);
        for name in ["", "get user", "größe", "a,b", "a/b", "a\nb", &long] {
            let wanted = [Wanted { connector: "http", action: "get", tool_name: Some(name) }];
            assert_eq!(assign(&wanted), ["http.get"], "{name:?}");
        }
    }

    #[test]
    fn m3_names_are_unique_and_do_not_depend_on_the_order() {
        let mut actions = [
            ("http", "a", Some("same")),
            ("http", "b", Some("same")),
            // Asks for a name that is another's own.
            ("http", "c", Some("http.d")),
            ("http", "d", None),
            // Whose own name is taken by nobody but itself.
            ("http", "e", Some("http.e")),
            ("openact", "execute", None),
            ("openact", "search", Some("openact.execute")),
        ];
        let expected =
            ["same", "http.b", "http.c", "http.d", "http.e", "openact.execute_2", "openact.search_2"];
        assert_eq!(names(&actions), expected);
        actions.reverse();
        let mut reversed = names(&actions);
        reversed.reverse();
        assert_eq!(reversed, expected);
    }

    #[test]
    fn m3_long_names_are_cut_and_stay_unique() {
        let action: &'static str = "n".repeat(128).leak();
        let other: &'static str = format!("{}m", "n".repeat(127)).leak();
        let found = names(&[("http", action, None), ("http", other, None)]);
        assert!(found.iter().all(|name| is_legal(name)), "{found:?}");
        assert_ne!(found[0], found[1]);
        assert!(found.iter().any(|name| name.ends_with("_2")), "{found:?}");
    }
}
