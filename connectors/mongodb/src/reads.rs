//! The operations that change nothing: `find`, `aggregate`, `count`, `distinct`, `list-collections`.
//!
//! Invariant: what is sent here may be sent twice.

use openact_connector::{
    Call, Failure, Host, Input, Json,
    items::{Items, Limits, TooMany},
    pool::Work,
    variables::Variables,
    write::push_int,
};

use crate::{
    actions::{Aggregate, Answer, CountDocuments, Distinct, Find, ListCollections},
    bson::{Builder, Value, kind},
    client::Client,
    commands::{Clock, Maker, collection, only_reads},
    config::Connection,
    cursor::{self, Reading},
    described,
    from_json::Rules,
    session::Command,
    to_json::push_value,
};

pub(crate) fn find(call: Call<Connection, Find, Input>, host: &dyn Host) -> Result<Json, Failure> {
    let Call { connection, action, input: Input(input), deadline, dry_run, .. } = call;
    let clock = Clock::of(deadline, action.max_time_ms);
    let variables = Variables::of(&input);
    let maker = Maker::of(&connection, &variables, action.allow_operators, action.database.as_deref())?;
    let rules = Rules::filter(action.allow_operators);
    let mut command = Builder::new().text("find", collection(&action.collection)?);
    command = maker.add(command, "filter", action.filter.as_ref(), rules)?;
    command = maker.add(
        command,
        "projection",
        action.projection.as_ref(),
        Rules::expression(action.allow_operators),
    )?;
    command = maker.add(command, "sort", action.sort.as_ref(), rules)?;
    command = maker.add(command, "collation", action.collation.as_ref(), rules)?;
    command = maker.hint(command, action.hint.as_ref())?;
    if let Some(skip) = maker.number(action.skip.as_ref(), "skip")? {
        command = command.integer("skip", skip);
    }
    let answer = action.answer();
    let mut batch = answer.batch;
    // One more than is taken: to learn whether there are more.
    let most = i64::try_from(answer.documents.saturating_add(1)).unwrap_or(i64::MAX);
    let asked = maker.number(action.limit.as_ref(), "limit")?.filter(|limit| *limit > 0);
    if let Some(limit) = asked.into_iter().chain((most < i64::MAX).then_some(most)).min() {
        command = command.integer("limit", limit);
        // With a batch of just the limit, the cursor would stay open.
        batch = u32::try_from(limit.saturating_add(1)).unwrap_or(u32::MAX).min(batch.saturating_add(1));
    }
    command = command.integer("batchSize", batch.into());
    if dry_run {
        return described(command, maker.database, None);
    }
    documents(&maker, command, clock, &Answer { batch, ..answer }, host)
}

pub(crate) fn aggregate(call: Call<Connection, Aggregate, Input>, host: &dyn Host) -> Result<Json, Failure> {
    let Call { connection, action, input: Input(input), deadline, dry_run, .. } = call;
    let clock = Clock::of(deadline, action.max_time_ms);
    let variables = Variables::of(&input);
    let maker = Maker::of(&connection, &variables, action.allow_operators, action.database.as_deref())?;
    let pipeline = maker.pipeline(&action.pipeline)?;
    only_reads(&pipeline)?;
    let answer = action.answer();
    let command = match &action.collection {
        Some(name) => Builder::new().text("aggregate", collection(name)?),
        None => Builder::new().integer("aggregate", 1),
    };
    let batch = Builder::new().integer("batchSize", answer.batch.into()).finish();
    let mut command = command.raw("pipeline", kind::ARRAY, &pipeline).document("cursor", &batch);
    command =
        maker.add(command, "collation", action.collation.as_ref(), Rules::filter(action.allow_operators))?;
    command = maker.hint(command, action.hint.as_ref())?;
    if dry_run {
        return described(command, maker.database, None);
    }
    documents(&maker, command, clock, &answer, host)
}

pub(crate) fn list_collections(
    call: Call<Connection, ListCollections, Input>,
    host: &dyn Host,
) -> Result<Json, Failure> {
    let Call { connection, action, input: Input(input), deadline, dry_run, .. } = call;
    let clock = Clock::of(deadline, action.max_time_ms);
    let variables = Variables::of(&input);
    let maker = Maker::of(&connection, &variables, false, action.database.as_deref())?;
    let answer = action.answer();
    let command = Builder::new().integer("listCollections", 1);
    let command = maker.add(command, "filter", action.filter.as_ref(), Rules::filter(false))?;
    let batch = Builder::new().integer("batchSize", answer.batch.into()).finish();
    // A user who may not list them all is told of those they may read.
    let command = command
        .boolean("nameOnly", action.name_only)
        .boolean("authorizedCollections", action.name_only)
        .document("cursor", &batch);
    if dry_run {
        return described(command, maker.database, None);
    }
    documents(&maker, command, clock, &answer, host)
}

/// `{"documents": […]}` of a command that has a cursor.
fn documents(
    maker: &Maker<'_>,
    command: Builder,
    clock: Clock,
    answer: &Answer,
    host: &dyn Host,
) -> Result<Json, Failure> {
    let client = Client { connection: maker.connection, host };
    let limits = Limits { items: answer.documents, bytes: answer.bytes, too_many: TooMany::LeaveOut };
    let reading = Reading { database: maker.database, batch: answer.batch, form: answer.form };
    let items = client.run(Work::Reads, |session| {
        let command = maker.finish(command.clone(), clock, Some(client.nearby(Work::Reads)));
        let mut items = Items::new(host, answer.stream, limits);
        cursor::read(session, &command, reading, &mut items)?;
        Ok(items)
    })?;
    let mut out = String::from("{");
    items.finish("documents", &mut out);
    out.push('}');
    Ok(Json::from_text(out))
}

pub(crate) fn count(call: Call<Connection, CountDocuments, Input>, host: &dyn Host) -> Result<Json, Failure> {
    let Call { connection, action, input: Input(input), deadline, dry_run, .. } = call;
    let clock = Clock::of(deadline, action.max_time_ms);
    let variables = Variables::of(&input);
    let maker = Maker::of(&connection, &variables, action.allow_operators, action.database.as_deref())?;
    // The command `count` may be wrong (unclean shutdowns, shards); a pipeline is not.
    let filter = match &action.filter {
        Some(filter) => maker.filter(filter, true)?,
        None => Builder::new().finish(),
    };
    let mut stages = vec![Builder::new().document("$match", &filter).finish()];
    for (name, json) in [("skip", &action.skip), ("limit", &action.limit)] {
        if let Some(number) = maker.number(json.as_ref(), name)?.filter(|number| *number > 0) {
            stages.push(Builder::new().integer(&format!("${name}"), number).finish());
        }
    }
    let sum = Builder::new().document("n", &Builder::new().integer("$sum", 1).finish());
    let group = Builder::new().integer("_id", 1).members(&sum.finish());
    stages.push(Builder::new().document("$group", &group.finish()).finish());
    let stages: Vec<&[u8]> = stages.iter().map(Vec::as_slice).collect();
    let mut command = Builder::new()
        .text("aggregate", collection(&action.collection)?)
        .documents("pipeline", &stages)
        .document("cursor", &Builder::new().finish());
    command =
        maker.add(command, "collation", action.collation.as_ref(), Rules::filter(action.allow_operators))?;
    command = maker.hint(command, action.hint.as_ref())?;
    if dry_run {
        return described(command, maker.database, None);
    }
    let client = Client { connection: &connection, host };
    let count = client.run(Work::Reads, |session| {
        let command = maker.finish(command.clone(), clock, Some(client.nearby(Work::Reads)));
        session.run(Command::reading(&command), |reply| {
            let cursor = reply.get("cursor")?.and_then(Value::as_document);
            let batch = cursor.map(|cursor| cursor.get("firstBatch")).transpose()?.flatten();
            let batch = batch.and_then(Value::as_array).ok_or_else(|| misfit("count"))?;
            match batch.members().next().transpose()? {
                None => Ok(0),
                Some((_, group)) => {
                    let count = group.as_document().map(|group| group.get("n")).transpose()?.flatten();
                    count.and_then(Value::as_integer).ok_or_else(|| misfit("count"))
                }
            }
        })
    })?;
    let mut out = String::from("{\"count\":");
    push_int(&mut out, count);
    out.push('}');
    Ok(Json::from_text(out))
}

pub(crate) fn distinct(call: Call<Connection, Distinct, Input>, host: &dyn Host) -> Result<Json, Failure> {
    let Call { connection, action, input: Input(input), deadline, dry_run, .. } = call;
    let clock = Clock::of(deadline, action.max_time_ms);
    let variables = Variables::of(&input);
    let maker = Maker::of(&connection, &variables, action.allow_operators, action.database.as_deref())?;
    let rules = Rules::filter(action.allow_operators);
    let mut command =
        Builder::new().text("distinct", collection(&action.collection)?).text("key", &action.field);
    command = maker.add(command, "query", action.filter.as_ref(), rules)?;
    command = maker.add(command, "collation", action.collation.as_ref(), rules)?;
    if dry_run {
        return described(command, maker.database, None);
    }
    let client = Client { connection: &connection, host };
    client.run(Work::Reads, |session| {
        let command = maker.finish(command.clone(), clock, Some(client.nearby(Work::Reads)));
        session.run(Command::reading(&command), |reply| {
            let mut out = String::from("{\"values\":");
            let values = reply.get("values")?.filter(|values| values.as_array().is_some());
            push_value(&mut out, values.ok_or_else(|| misfit("distinct"))?, action.format.into())?;
            out.push('}');
            Ok(Json::from_text(out))
        })
    })
}

fn misfit(what: &str) -> Failure {
    Failure::Protocol(format!("the server sent a reply to {what} that is none"))
}
