//! What an action says, with its templates filled in from the input, written straight as BSON.
//!
//! | in the action | becomes |
//! |---|---|
//! | a whole number | int32, or int64 if it needs to be; beyond that it is refused |
//! | a number with a point or an exponent | double |
//! | an object of extended JSON | the type it names (`extended`) |
//! | a string that is `{{name}}` | the input's value, with its type |
//! | a string with `{{name}}` in it | text |
//!
//! What comes from the input is a value and nothing else:
//!
//! | from the input | unless the action says `allow_operators` |
//! |---|---|
//! | `{"$gt": 1}`, or any name that begins with `$` and is not extended JSON | refused |
//! | a regular expression, where it would be a pattern | refused |
//! | text that begins with `$`, where it would be the name of a field | refused |
//!
//! Code (`$where`, `$function`, `$accumulator`) from the input is refused in any case. Invariant: templates are looked for
//! in the action's own strings only; what a variable holds is never expanded, and never the name of a member.

use openact_connector::{
    Failure, Json,
    template::{Filled, expand_text, has_template},
    variables::Variables,
};

use crate::{
    bson::{DEPTH_MAX, begin, end, kind, push_text},
    extended,
    text::{NotJson, Text},
};

/// What runs as a program at the server.
const CODE: &[&str] = &["$where", "$function", "$accumulator"];

/// What text means where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// Itself: filters and documents.
    Value,
    /// A field's value, if it begins with `$`: pipelines and projections.
    Expression,
    /// Itself, within an expression.
    Literal,
}

impl Context {
    fn within(self, name: &str) -> Self {
        match name {
            "$expr" => Self::Expression,
            "$match" => Self::Value,
            "$literal" => Self::Literal,
            _ => self,
        }
    }
}

/// What is taken from the input.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What text means.
    pub context: Context,
    /// Operators, patterns and names of fields, too.
    pub operators: bool,
    /// Regular expressions, as nothing is looked for by them here.
    pub patterns: bool,
    /// A member may be left out, with `{{name?}}`.
    pub optional: bool,
}

impl Rules {
    /// For what is looked for.
    pub fn filter(operators: bool) -> Self {
        Self { context: Context::Value, operators, patterns: false, optional: true }
    }

    /// For a pipeline, a projection, or a command.
    pub fn expression(operators: bool) -> Self {
        Self { context: Context::Expression, operators, patterns: false, optional: true }
    }
}

/// A value as BSON: its kind and its bytes. None if it is an optional variable that is missing.
pub fn encode(
    json: &Json,
    place: &str,
    rules: Rules,
    variables: &Variables<'_>,
) -> Result<Option<(u8, Vec<u8>)>, Failure> {
    let mut out = Vec::with_capacity(json.as_str().len() + 64);
    let mut encoder = Encoder { out: &mut out, place: place.to_owned(), rules, variables, input: None };
    let mut text = Text::of(json.as_str());
    let kind = encoder.value(&mut text, rules.context, 0)?;
    if text.peek().is_some() {
        return Err(encoder.not_json());
    }
    Ok(kind.map(|kind| (kind, out)))
}

pub(crate) struct Encoder<'e, 'a> {
    pub(crate) out: &'e mut Vec<u8>,
    /// Where in the action this is, for messages.
    pub(crate) place: String,
    pub(crate) rules: Rules,
    pub(crate) variables: &'e Variables<'a>,
    /// The variable whose value this is.
    pub(crate) input: Option<String>,
}

impl Encoder<'_, '_> {
    /// Writes one value; its kind, or none if it is left out.
    pub(crate) fn value(
        &mut self,
        text: &mut Text<'_>,
        context: Context,
        depth: usize,
    ) -> Result<Option<u8>, Failure> {
        if depth > DEPTH_MAX {
            return Err(self.wrong(&format!("is deeper than {DEPTH_MAX} levels")));
        }
        match text.peek() {
            Some(b'{') => self.object(text, context, depth),
            Some(b'[') => self.list(text, context, depth).map(Some),
            Some(b'"') => {
                let string = text.string().map_err(|NotJson| self.not_json())?;
                self.string(&string, context, depth)
            }
            _ => self.scalar(text.word()).map(Some),
        }
    }

    fn object(&mut self, text: &mut Text<'_>, context: Context, depth: usize) -> Result<Option<u8>, Failure> {
        let mut inside = *text;
        inside.take(b'{');
        if let Ok(first) = inside.string()
            && extended::NAMES.contains(&&*first)
        {
            let raw = text.raw().map_err(|NotJson| self.not_json())?;
            return extended::write(self, raw, depth);
        }
        text.take(b'{');
        let start = begin(self.out);
        let mut more = !text.take(b'}');
        while more {
            let name = text.string().map_err(|NotJson| self.not_json())?;
            text.expect(b':').map_err(|NotJson| self.not_json())?;
            self.name(&name)?;
            self.member(text, &name, context.within(&name), depth)?;
            more = text.goes_on(b'}').map_err(|NotJson| self.not_json())?;
        }
        end(self.out, start);
        Ok(Some(kind::DOCUMENT))
    }

    fn list(&mut self, text: &mut Text<'_>, context: Context, depth: usize) -> Result<u8, Failure> {
        text.take(b'[');
        let start = begin(self.out);
        let (mut index, mut more) = (0_usize, !text.take(b']'));
        while more {
            if self.member(text, &index.to_string(), context, depth)? {
                index += 1;
            }
            more = text.goes_on(b']').map_err(|NotJson| self.not_json())?;
        }
        end(self.out, start);
        Ok(kind::ARRAY)
    }

    /// Writes a name and its value, or neither.
    fn member(
        &mut self,
        text: &mut Text<'_>,
        name: &str,
        context: Context,
        depth: usize,
    ) -> Result<bool, Failure> {
        let (before, place) = (self.out.len(), self.place.len());
        self.out.push(0);
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(0);
        self.place.extend(["/", name]);
        let kind = self.value(text, context, depth + 1)?;
        self.place.truncate(place);
        match (kind, self.out.get_mut(before)) {
            (Some(kind), Some(byte)) => *byte = kind,
            _ => self.out.truncate(before),
        }
        Ok(kind.is_some())
    }

    fn name(&self, name: &str) -> Result<(), Failure> {
        if name.contains('\0') {
            return Err(self.wrong("has a name with a zero byte in it"));
        }
        let Some(variable) = self.input.as_ref().filter(|_| name.starts_with('$')) else { return Ok(()) };
        if CODE.contains(&name) {
            return Err(Failure::InvalidInput(format!("'{variable}' has {name}, which would run as code")));
        }
        if !self.rules.operators {
            return Err(Failure::InvalidInput(format!(
                "'{variable}' has an operator ('{}') where a value is expected; the action's allow_operators: true would \
                 take it",
                name.escape_debug()
            )));
        }
        Ok(())
    }

    fn string(&mut self, text: &str, context: Context, depth: usize) -> Result<Option<u8>, Failure> {
        if self.input.is_some() || !has_template(text) {
            return self.text(text, context, self.input.is_some()).map(Some);
        }
        match expand_text(text, &self.place, self.variables)? {
            Filled::Text(filled) => self.text(&filled, context, !text.starts_with('$')).map(Some),
            Filled::Value { name, json } => {
                self.input = Some(name.to_owned());
                let kind = self.value(&mut Text::of(json), context, depth);
                self.input = None;
                kind
            }
            Filled::Nothing => self.nothing(),
        }
    }

    /// An optional variable is missing.
    pub(crate) fn nothing(&self) -> Result<Option<u8>, Failure> {
        if self.rules.optional {
            return Ok(None);
        }
        Err(Failure::InvalidConfig(format!(
            "{} must not be optional: without it, the action would change more than was meant",
            self.place
        )))
    }

    fn text(&mut self, text: &str, context: Context, is_input: bool) -> Result<u8, Failure> {
        let names_a_field = context == Context::Expression && text.starts_with('$');
        if is_input && names_a_field && !self.rules.operators {
            let variable = self.input.as_ref().map_or("the input".into(), |name| format!("'{name}'"));
            return Err(Failure::InvalidInput(format!(
                "{variable} has text that begins with $, which would name a field in {}; the action takes it as text with \
                 {{\"$literal\": …}} around it, and as a name with allow_operators: true",
                self.place
            )));
        }
        push_text(self.out, text);
        Ok(kind::STRING)
    }

    fn scalar(&mut self, word: &str) -> Result<u8, Failure> {
        match word {
            "null" => Ok(kind::NULL),
            "true" | "false" => {
                self.out.push((word == "true").into());
                Ok(kind::BOOLEAN)
            }
            // Rust takes more for a number than JSON does.
            _ if serde_json::from_str::<serde::de::IgnoredAny>(word).is_err() => Err(self.not_json()),
            _ if word.contains(['.', 'e', 'E']) => {
                let number = word.parse::<f64>().ok().filter(|number| number.is_finite());
                let number = number.ok_or_else(|| self.wrong("has a number that no double holds"))?;
                self.out.extend_from_slice(&number.to_le_bytes());
                Ok(kind::DOUBLE)
            }
            _ => {
                let number: i64 = word.parse().map_err(|_| {
                    self.wrong("has a whole number beyond 64 bits; write {\"$numberDecimal\": \"…\"}")
                })?;
                Ok(self.integer(number))
            }
        }
    }

    fn integer(&mut self, number: i64) -> u8 {
        match i32::try_from(number) {
            Ok(number) => {
                self.out.extend_from_slice(&number.to_le_bytes());
                kind::INT32
            }
            Err(_) => {
                self.out.extend_from_slice(&number.to_le_bytes());
                kind::INT64
            }
        }
    }

    pub(crate) fn not_json(&self) -> Failure {
        self.wrong("is not JSON")
    }

    /// The failure of whoever wrote what is wrong.
    pub(crate) fn wrong(&self, what: &str) -> Failure {
        match &self.input {
            Some(variable) => Failure::InvalidInput(format!("'{variable}' {what}")),
            None => Failure::InvalidConfig(format!("the action's {} {what}", self.place)),
        }
    }
}
