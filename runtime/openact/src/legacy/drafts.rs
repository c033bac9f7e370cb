//! Earlier rows as a configuration file, read by the reader of files.
//!
//! ```text
//! a row ─► fields, each on a line of its own ─► openact_config ─► drafts
//!                       └── a mistake's line says which column it was
//! ```
//!
//! The reader knows references to secrets; an earlier row knew none. A text that begins as one is marked while it is
//! read, and is the same text afterwards; an object that looks like one is not carried.
//!
//! Invariant: one bad row costs no other row. What does not read as a whole is halved until the bad one stands alone.
//! No draft refers to anything outside of its row.

use std::collections::HashMap;

use openact_config::{ActionDraft, ConnectionDraft, Context, Document, Format, read_text};
use openact_core::{ConnectorName, Error};
use serde_json::Value;

use super::{
    literals::{self, Mark},
    report::{About, Effect, Finding},
};

/// Fields of a configuration entry, and the columns they come from.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its name in the file that is put together: unique in the whole database.
    pub(super) handle: String,
    pub(super) about: About,
    pub(super) fields: Vec<Field>,
}

/// One field.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) column: String,
    pub(super) key: String,
    pub(super) value: Value,
}

/// A connection and the actions over it.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) connector: ConnectorName,
    pub(super) connection: Entry,
    pub(super) actions: Vec<Entry>,
}

/// What was read, by handle, and what was not.
#[derive(Default)]
pub(super) struct Drafts {
    pub(super) connections: HashMap<String, ConnectionDraft>,
    pub(super) actions: HashMap<String, ActionDraft>,
    pub(super) findings: Vec<Finding>,
}

/// Columns without which a row still asks the same of the same host: left out rather than losing the row.
const SPARED: &[&str] = &["timeout_config_json", "retry_policy_json", "response_policy_json"];

/// Groups that are read as one file.
const BATCH: usize = 64;

impl Entry {
    pub(super) fn set(&mut self, column: &str, key: &str, value: impl Into<Value>) {
        self.fields.push(Field { column: column.to_owned(), key: key.to_owned(), value: value.into() });
    }
}

/// Reads all of them.
pub(super) fn read(groups: Vec<Group>, context: &Context<'_>) -> Drafts {
    let mut reader = Reader { context, mark: Mark::default(), drafts: Drafts::default() };
    let groups = reader.without_references(groups);
    for batch in groups.chunks(BATCH) {
        reader.groups(batch);
    }
    reader.refuse_references_made(&groups);
    let Reader { mark, mut drafts, .. } = reader;
    mark.unmark(&mut drafts);
    drafts
}

struct Reader<'a> {
    context: &'a Context<'a>,
    mark: Mark,
    drafts: Drafts,
}

impl Reader<'_> {
    /// `groups` without what holds a reference, and with every text marked that would be read as one.
    fn without_references(&mut self, groups: Vec<Group>) -> Vec<Group> {
        let mut kept = Vec::with_capacity(groups.len());
        for mut group in groups {
            if self.holds_reference(&group.connection) {
                self.refuse_actions(&group.actions);
                continue;
            }
            group.actions.retain(|action| !self.holds_reference(action));
            for entry in std::iter::once(&mut group.connection).chain(&mut group.actions) {
                entry.fields.iter_mut().for_each(|field| self.mark.mark(&mut field.value));
            }
            kept.push(group);
        }
        kept
    }

    fn holds_reference(&mut self, entry: &Entry) -> bool {
        let found = entry.fields.iter().find(|field| literals::has_reference(field));
        self.drafts.findings.extend(found.map(|field| reference(entry, Some(&field.column))));
        found.is_some()
    }

    /// What became a reference only as it was read, such as the password within the URL of a proxy.
    fn refuse_references_made(&mut self, groups: &[Group]) {
        for group in groups {
            let handle = &group.connection.handle;
            if self.drafts.connections.get(handle).is_some_and(|draft| literals::refers(&draft.config)) {
                self.drafts.connections.remove(handle);
                self.drafts.findings.push(reference(&group.connection, None));
                let mut lost = |action: &&Entry| self.drafts.actions.remove(&action.handle).is_some();
                let lost: Vec<Entry> = group.actions.iter().filter(&mut lost).cloned().collect();
                self.refuse_actions(&lost);
            }
            for action in &group.actions {
                if self
                    .drafts
                    .actions
                    .get(&action.handle)
                    .is_some_and(|draft| literals::refers(&draft.config))
                {
                    self.drafts.actions.remove(&action.handle);
                    self.drafts.findings.push(reference(action, None));
                }
            }
        }
    }

    fn groups(&mut self, groups: &[Group]) {
        let all: Vec<(&Group, &[Entry])> = groups.iter().map(|group| (group, &group.actions[..])).collect();
        match (self.document(&all), groups) {
            (Ok(document), _) => self.keep(document),
            (Err(_), [group]) => self.group(group),
            (Err(_), _) => {
                let (left, right) = groups.split_at(groups.len() / 2);
                self.groups(left);
                self.groups(right);
            }
        }
    }

    /// A group in which something is wrong.
    fn group(&mut self, group: &Group) {
        let mut group = group.clone();
        while let Err(problems) = self.document(&[(&group, &[])]) {
            let problems = attributed(&group.connection, problems);
            if !self.spare(&mut group.connection, &problems) {
                self.refuse(&group.connection, problems);
                self.refuse_actions(&group.actions);
                return;
            }
        }
        let actions = std::mem::take(&mut group.actions);
        self.actions(&group, &actions);
        if !self.drafts.connections.contains_key(&group.connection.handle)
            && let Ok(document) = self.document(&[(&group, &[])])
        {
            self.keep(document);
        }
    }

    fn actions(&mut self, group: &Group, actions: &[Entry]) {
        match (self.document(&[(group, actions)]), actions) {
            (Ok(document), _) => self.keep(document),
            (Err(_), []) => {}
            (Err(problems), [action]) => {
                let mut action = action.clone();
                let problems = attributed(&action, problems);
                if self.spare(&mut action, &problems) {
                    self.actions(group, &[action]);
                } else {
                    self.refuse(&action, problems);
                }
            }
            (Err(_), _) => {
                let (left, right) = actions.split_at(actions.len() / 2);
                self.actions(group, left);
                self.actions(group, right);
            }
        }
    }

    fn keep(&mut self, document: Document) {
        let named = |draft: ConnectionDraft| (draft.name.to_string(), draft);
        self.drafts.connections.extend(document.connections.into_iter().map(named));
        let named = |draft: ActionDraft| (draft.name.to_string(), draft);
        self.drafts.actions.extend(document.actions.into_iter().map(named));
    }

    /// Leaves out what is wrong, if that is nothing but columns that can be spared.
    fn spare(&mut self, entry: &mut Entry, problems: &[Problem]) -> bool {
        let is_spared =
            |problem: &Problem| problem.column.as_deref().is_some_and(|column| SPARED.contains(&column));
        if problems.is_empty() || !problems.iter().all(is_spared) {
            return false;
        }
        for problem in problems {
            let column = problem.column.as_deref();
            let before = entry.fields.len();
            entry.fields.retain(|field| Some(field.column.as_str()) != column);
            if entry.fields.len() == before {
                continue;
            }
            let advice = format!("without it the default holds; {}", problem.hint);
            let finding = entry.about.finding(column, Effect::FieldNotCarried, &problem.message, advice);
            self.drafts.findings.push(finding);
        }
        true
    }

    fn refuse_actions(&mut self, actions: &[Entry]) {
        for action in actions {
            let advice = "mend the connection and import both from a file";
            self.drafts.findings.push(action.about.row("its connection is not carried", advice));
        }
    }

    fn refuse(&mut self, entry: &Entry, problems: Vec<Problem>) {
        for problem in problems {
            let advice = format!("{}; import it from a file, mended", problem.hint);
            let (column, effect) = (problem.column.as_deref(), Effect::RowNotCarried);
            self.drafts.findings.push(entry.about.finding(column, effect, problem.message, advice));
        }
    }

    fn document(&self, groups: &[(&Group, &[Entry])]) -> Result<Document, Vec<Problem>> {
        let file = File::of(groups);
        read_text("earlier database", &file.text, Format::Json, self.context)
            .map_err(|error| file.problems(&error))
    }
}

fn reference(entry: &Entry, column: Option<&str>) -> Finding {
    let why = "it looks like a reference to a secret, which no earlier OpenAct read; today it would be sent";
    let advice = "import it from a file, where a reference is meant as one";
    entry.about.finding(column, Effect::RowNotCarried, why, advice)
}

/// Something the reader of files does not accept.
struct Problem {
    column: Option<String>,
    message: String,
    hint: String,
}

/// `problems` of an entry, those that name no line by the section that they name: `network.proxy is …`.
fn attributed(entry: &Entry, mut problems: Vec<Problem>) -> Vec<Problem> {
    for problem in problems.iter_mut().filter(|problem| problem.column.is_none()) {
        let section = problem.message.split('.').next();
        problem.column = entry
            .fields
            .iter()
            .find(|field| Some(field.key.as_str()) == section)
            .map(|field| field.column.clone());
    }
    problems
}

/// A file, and the column that each of its lines is from.
#[derive(Default)]
struct File {
    text: String,
    columns: Vec<Option<String>>,
}

impl File {
    fn of(groups: &[(&Group, &[Entry])]) -> Self {
        let mut file = Self::default();
        let mut connectors: Vec<&ConnectorName> = groups.iter().map(|(group, _)| &group.connector).collect();
        connectors.sort();
        connectors.dedup();
        file.line("{\"connectors\": {", None);
        for (index, connector) in connectors.iter().enumerate() {
            let own = || groups.iter().filter(|(group, _)| group.connector == **connector);
            file.line(&format!("{}\"{connector}\": {{", comma(index)), None);
            file.line("\"connections\": {", None);
            file.entries(own().map(|(group, _)| &group.connection));
            file.line("}, \"actions\": {", None);
            file.entries(own().flat_map(|(_, actions)| actions.iter()));
            file.line("}}", None);
        }
        file.line("}}", None);
        file
    }

    fn entries<'e>(&mut self, entries: impl Iterator<Item = &'e Entry>) {
        for (index, entry) in entries.enumerate() {
            self.line(&format!("{}{}: {{", comma(index), Value::from(entry.handle.as_str())), None);
            for (index, field) in entry.fields.iter().enumerate() {
                let key = Value::from(field.key.as_str());
                self.line(&format!("{}{key}: {}", comma(index), field.value), Some(&field.column));
            }
            self.line("}", None);
        }
    }

    fn line(&mut self, line: &str, column: Option<&str>) {
        self.text.push_str(line);
        self.text.push('\n');
        self.columns.push(column.map(str::to_owned));
    }

    /// What `error` says is wrong, by column.
    fn problems(&self, error: &Error) -> Vec<Problem> {
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let many = error.details.as_ref().and_then(|details| details.get("problems")?.as_array());
        let Some(many) = many else {
            let line = error.place.as_ref().map(|place| place.line);
            return vec![self.problem(line, error.message.clone(), error.hint.clone())];
        };
        let one = |problem: &Value| {
            let place = text(problem, "place").unwrap_or_default();
            let line = place.rsplit(':').nth(1).and_then(|line| line.parse().ok());
            self.problem(line, text(problem, "message").unwrap_or_default(), text(problem, "hint"))
        };
        many.iter().map(one).collect()
    }

    fn problem(&self, line: Option<usize>, message: String, hint: Option<String>) -> Problem {
        let column = line.and_then(|line| self.columns.get(line.checked_sub(1)?)?.clone());
        Problem { column, message, hint: hint.unwrap_or_else(|| "see config/README.md".into()) }
    }
}

fn comma(index: usize) -> &'static str {
    if index == 0 { "" } else { "," }
}
