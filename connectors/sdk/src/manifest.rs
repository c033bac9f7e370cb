//! What a connector says about itself, built from its types, and the choice of a handler by operation name.
//!
//! Invariant: building a [`Manifest`] derives no schema, so that dispatching a call costs one small allocation;
//! schemas are derived only when the host asks for the description.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;

use crate::{
    Call, Capability, Effect, Failure, Host, Json,
    bindings::{Invocation, openact::connector::types},
    connector::parse_call,
};

/// A connector's description and its operations, over connections of type `C`.
pub struct Manifest<C> {
    name: &'static str,
    version: &'static str,
    summary: &'static str,
    needs: &'static [Capability],
    operations: Vec<Operation<C>>,
}

impl<C: DeserializeOwned + JsonSchema + 'static> Manifest<C> {
    /// A connector called `name` (`[a-z0-9][a-z0-9-]{0,62}`), with its semantic version and one line about it.
    pub fn new(name: &'static str, version: &'static str, summary: &'static str) -> Self {
        Self { name, version, summary, needs: &[], operations: Vec::new() }
    }

    /// Host functions the connector uses. Any other answers `denied`.
    #[must_use]
    pub fn needs(mut self, needs: &'static [Capability]) -> Self {
        self.needs = needs;
        self
    }

    /// Adds an operation; the first is the default, for an action that names none.
    #[must_use]
    pub fn operation(mut self, operation: Operation<C>) -> Self {
        self.operations.push(operation);
        self
    }

    pub(crate) fn run(self, invocation: Invocation, host: &dyn Host) -> Result<Json, Failure> {
        match self.operations.iter().find(|operation| operation.name == invocation.operation) {
            Some(operation) => (operation.run)(invocation, host),
            None => Err(Failure::Unsupported(format!(
                "'{}' has no operation '{}'",
                self.name, invocation.operation
            ))),
        }
    }

    pub(crate) fn describe(self) -> types::Manifest {
        types::Manifest {
            name: self.name.into(),
            version: self.version.into(),
            summary: self.summary.into(),
            connection_schema: schema_of::<C>(),
            default_operation: self
                .operations
                .first()
                .map(|operation| operation.name.into())
                .unwrap_or_default(),
            operations: self.operations.iter().map(Operation::describe).collect(),
            needs: self.needs.to_vec(),
        }
    }
}

type Handler = Box<dyn Fn(Invocation, &dyn Host) -> Result<Json, Failure>>;

/// One thing a connector can do, over connections of type `C`.
pub struct Operation<C> {
    name: &'static str,
    summary: &'static str,
    effect: Effect,
    idempotent: bool,
    overridable: &'static [&'static str],
    action_schema: fn() -> String,
    input_schema: fn() -> String,
    output_schema: Option<fn() -> String>,
    run: Handler,
    connection: std::marker::PhantomData<fn(C)>,
}

impl<C: DeserializeOwned + 'static> Operation<C> {
    /// An operation called `name`. What an action may configure (`A`) and what a caller sends (`I`) follow from the
    /// handler's types. Its effect is `write` and it is not idempotent, unless said otherwise.
    pub fn new<A, I>(
        name: &'static str,
        summary: &'static str,
        handler: impl Fn(Call<C, A, I>, &dyn Host) -> Result<Json, Failure> + 'static,
    ) -> Self
    where
        A: DeserializeOwned + JsonSchema,
        I: DeserializeOwned + JsonSchema,
    {
        Self {
            name,
            summary,
            effect: Effect::Write,
            idempotent: false,
            overridable: &[],
            action_schema: schema_of::<A>,
            input_schema: schema_of::<I>,
            output_schema: None,
            run: Box::new(move |invocation, host| handler(parse_call(invocation)?, host)),
            connection: std::marker::PhantomData,
        }
    }

    /// What it does to the other system.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// Running it twice is the same as running it once.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Keys of the action that a caller may set through the input.
    #[must_use]
    pub fn overridable(mut self, keys: &'static [&'static str]) -> Self {
        self.overridable = keys;
        self
    }

    /// The type of the result, where it is known.
    #[must_use]
    pub fn output<O: JsonSchema>(mut self) -> Self {
        self.output_schema = Some(schema_of::<O>);
        self
    }

    fn describe(&self) -> types::Operation {
        types::Operation {
            name: self.name.into(),
            summary: self.summary.into(),
            action_schema: (self.action_schema)(),
            input_schema: (self.input_schema)(),
            output_schema: self.output_schema.map(|schema| schema()),
            overridable: self.overridable.iter().map(|key| (*key).to_owned()).collect(),
            effect: self.effect,
            idempotent: self.idempotent,
        }
    }
}

/// The schema of `T` as one object without references: what a person reads and a host extends.
fn schema_of<T: JsonSchema>() -> String {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    // The name of a Rust type means nothing to the reader of a schema.
    schema.remove("title");
    if schema.as_bool() == Some(true) { "{}".into() } else { schema.as_value().to_string() }
}
