//! `{{name}}` in the strings of headers, query, cookies and body, as [`openact_connector::template`] has it; in a body
//! a string that is one template becomes the value with its type, elsewhere a scalar or a list of scalars.
//!
//! Invariant: only what the configuration says is expanded. The host has merged the input's `headers`, `query`,
//! `cookies` and `body` into the action before, so an entry that the input has too came from the caller and stays as
//! it is; and what a variable holds is never expanded again.

use openact_connector::{
    Failure,
    template::{Filled, expand_json, expand_text, has_template},
};
use serde::de::IgnoredAny;

use crate::{
    config::Action,
    json::Members,
    pairs::{Pairs, Values},
    variables::Variables,
};

/// Expands `action` in place. The parts in which there was something to expand.
pub(crate) fn expand(action: &mut Action, variables: &Variables<'_>) -> Result<Vec<&'static str>, Failure> {
    let mut filled = Vec::new();
    for (place, pairs) in
        [("headers", &mut action.headers), ("query", &mut action.query), ("cookies", &mut action.cookies)]
    {
        if pairs.0.iter().flat_map(|(_, values)| values).any(|value| has_template(value)) {
            expand_pairs(pairs, place, variables)?;
            filled.push(place);
        }
    }
    if let Some(body) = action.body.as_ref().filter(|body| has_template(body.as_str()))
        && variables.top("body")?.is_none()
    {
        action.body = expand_json(body, "body", variables)?;
        filled.push("body");
    }
    Ok(filled)
}

fn expand_pairs(pairs: &mut Pairs, place: &str, variables: &Variables<'_>) -> Result<(), Failure> {
    let callers = match variables.top(place)?.map(serde_json::from_str::<Members<IgnoredAny>>) {
        Some(Ok(Members(members))) => members,
        // The host puts whatever else it is in place of the action's.
        Some(Err(_)) => return Ok(()),
        None => Vec::new(),
    };
    // As the host merges: header names without regard to case.
    let from_caller = |name: &str| {
        callers
            .iter()
            .any(|(other, _)| other == name || place == "headers" && other.eq_ignore_ascii_case(name))
    };
    let mut expanded = Vec::with_capacity(pairs.0.len());
    for (name, values) in std::mem::take(&mut pairs.0) {
        if from_caller(&name) || !values.iter().any(|value| has_template(value)) {
            expanded.push((name, values));
            continue;
        }
        let place = format!("{place}/{name}");
        let mut all = Vec::with_capacity(values.len());
        let mut left_out = true;
        for value in values {
            if let Some(values) = expand_value(&value, &place, variables)? {
                all.extend(values);
                left_out = false;
            }
        }
        if !left_out {
            expanded.push((name, all));
        }
    }
    pairs.0 = expanded;
    Ok(())
}

/// The values that one string stands for; none if it is left out.
fn expand_value(text: &str, place: &str, variables: &Variables<'_>) -> Result<Option<Vec<String>>, Failure> {
    match expand_text(text, place, variables)? {
        Filled::Text(text) => Ok(Some(vec![text])),
        Filled::Nothing => Ok(None),
        Filled::Value { name, json } => match serde_json::from_str(json) {
            Ok(Values(values)) => Ok(Some(values)),
            Err(_) => Err(Failure::InvalidInput(format!(
                "'{name}' must be text, a number, a boolean or a list of them to be in {place}"
            ))),
        },
    }
}
