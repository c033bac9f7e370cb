//! Whether arguments fit a tool's schema (JSON Schema), as far as that is certain.
//!
//! It finds the mistakes that people and models make: a missing argument, one that does not exist, a wrong type. What it does
//! not know it lets pass, since the server checks in any case. Invariant: no message quotes a value.

use serde_json::{Map, Value};

/// Schemas within schemas.
const DEPTH_MAX: usize = 32;

/// The first reason why `value` does not fit, if there is one.
pub fn misfit(schema: &Value, value: &Value) -> Option<String> {
    Checker { root: schema }.misfit(schema, value, "", 0)
}

struct Checker<'s> {
    root: &'s Value,
}

impl Checker<'_> {
    fn misfit(&self, schema: &Value, value: &Value, place: &str, depth: usize) -> Option<String> {
        let object = match schema {
            Value::Bool(false) => return Some(format!("{} must not be there", named(place))),
            Value::Object(object) if depth < DEPTH_MAX => object,
            _ => return None,
        };
        let own = || {
            wrong_type(object, value)
                .or_else(|| wrong_choice(object, value))
                .or_else(|| wrong_size(object, value))
                .map(|wanted| format!("{} must be {wanted}", named(place)))
        };
        self.referred(object)
            .and_then(|schema| self.misfit(schema, value, place, depth + 1))
            .or_else(own)
            .or_else(|| self.members(object, value, place, depth))
            .or_else(|| self.items(object, value, place, depth))
            .or_else(|| self.combined(object, value, place, depth))
    }

    fn referred(&self, schema: &Map<String, Value>) -> Option<&Value> {
        self.root.pointer(schema.get("$ref")?.as_str()?.strip_prefix('#')?)
    }

    fn members(
        &self,
        schema: &Map<String, Value>,
        value: &Value,
        place: &str,
        depth: usize,
    ) -> Option<String> {
        let members = value.as_object()?;
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            if !members.contains_key(name) {
                return Some(format!("{} is missing", named(&format!("{place}/{name}"))));
            }
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|_| !schema.contains_key("patternProperties"));
        members.iter().find_map(|(name, value)| {
            let inner = format!("{place}/{name}");
            match properties.and_then(|properties| properties.get(name)) {
                Some(schema) => self.misfit(schema, value, &inner, depth + 1),
                None if others == Some(&Value::Bool(false)) => {
                    let known: Vec<&str> =
                        properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                    Some(format!("{} does not exist; there are: {}", named(&inner), known.join(", ")))
                }
                None => self.misfit(others?, value, &inner, depth + 1),
            }
        })
    }

    fn items(&self, schema: &Map<String, Value>, value: &Value, place: &str, depth: usize) -> Option<String> {
        let (items, schema) = (value.as_array()?, schema.get("items")?);
        // Beside those of a tuple, which are none of ours.
        if schema.is_array() {
            return None;
        }
        let misfit = |(index, item)| self.misfit(schema, item, &format!("{place}/{index}"), depth + 1);
        items.iter().enumerate().find_map(misfit)
    }

    fn combined(
        &self,
        schema: &Map<String, Value>,
        value: &Value,
        place: &str,
        depth: usize,
    ) -> Option<String> {
        let all = schema.get("allOf").and_then(Value::as_array).into_iter().flatten();
        if let Some(misfit) = all.into_iter().find_map(|schema| self.misfit(schema, value, place, depth + 1))
        {
            return Some(misfit);
        }
        ["anyOf", "oneOf"].iter().find_map(|of| {
            let choices = schema.get(*of)?.as_array()?;
            let misfits: Option<Vec<String>> =
                choices.iter().map(|schema| self.misfit(schema, value, place, depth + 1)).collect();
            misfits?.into_iter().next()
        })
    }
}

fn named(place: &str) -> String {
    match place.strip_prefix('/') {
        Some(place) => format!("argument '{}'", place.escape_debug()),
        None => "the arguments".into(),
    }
}

fn wrong_type(schema: &Map<String, Value>, value: &Value) -> Option<String> {
    let kinds: Vec<&str> = match schema.get("type")? {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    let is = |kind: &&str| match *kind {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        // A type that is none of JSON's.
        _ => true,
    };
    (!kinds.is_empty() && !kinds.iter().any(is)).then(|| format!("of type {}", kinds.join(" or ")))
}

fn wrong_choice(schema: &Map<String, Value>, value: &Value) -> Option<String> {
    let same =
        |choice: &Value| choice == value || choice.as_f64().is_some_and(|one| value.as_f64() == Some(one));
    if let Some(constant) = schema.get("const").filter(|constant| !same(constant)) {
        return Some(constant.to_string());
    }
    let choices = schema.get("enum")?.as_array()?;
    if choices.iter().any(same) {
        return None;
    }
    let choices: Vec<String> = choices.iter().take(20).map(Value::to_string).collect();
    Some(format!("one of {}", choices.join(", ")))
}

fn wrong_size(schema: &Map<String, Value>, value: &Value) -> Option<String> {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let (size, least, most, of) = match value {
        Value::Number(number) => {
            let number = number.as_f64()?;
            if let Some(bound) = bound("exclusiveMinimum").filter(|bound| number <= *bound) {
                return Some(format!("more than {bound}"));
            }
            if let Some(bound) = bound("exclusiveMaximum").filter(|bound| number >= *bound) {
                return Some(format!("less than {bound}"));
            }
            (number, "minimum", "maximum", "")
        }
        Value::String(text) => (text.chars().count() as f64, "minLength", "maxLength", " characters"),
        Value::Array(items) => (items.len() as f64, "minItems", "maxItems", " items"),
        Value::Object(members) => (members.len() as f64, "minProperties", "maxProperties", " members"),
        Value::Null | Value::Bool(_) => return None,
    };
    let too_few = bound(least).filter(|bound| size < *bound).map(|bound| format!("at least {bound}{of}"));
    too_few.or_else(|| bound(most).filter(|bound| size > *bound).map(|bound| format!("at most {bound}{of}")))
}
