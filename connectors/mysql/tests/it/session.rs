//! What is sent when, what is parked, and what is sent again.

use openact_connector::{
    Failure, HostError,
    testing::{FakeHost, Script},
};
use serde_json::json;

use crate::{
    IDLE, MORE, OPEN, READ_ONLY, answer, bigint, call, call_on, command, connection, done, error, execute,
    new, ok, one_row, packet, parked, prepared, reset, reset_answer, rows, select, sql,
};

/// A repeated call: everything in one flight.
fn repeated(id: u32) -> Vec<u8> {
    [command(22, b"SELECT ?"), execute(id), reset()].concat()
}

#[test]
fn a_repeated_call_is_one_flight_at_every_split() {
    let script = Script::new()
        .resumed(parked())
        .expect(repeated(2))
        .answer([prepared(2), rows(), reset_answer()].concat());
    script.at_every_split(|host| {
        assert_eq!(select(&host), Ok(one_row()));
        assert_eq!(host.left(), "");
        assert_eq!(host.parked().len(), 1);
    });
}

#[test]
fn another_number_than_was_thought_costs_a_flight_and_nothing_else() {
    let unknown = answer(&[error(1243, "Unknown prepared statement handler")]);
    let script = Script::new()
        .resumed(parked())
        .expect(repeated(2))
        .answer([prepared(9), unknown, reset_answer()].concat())
        .expect(command(22, b"SELECT ?"))
        .answer(prepared(10))
        .expect([execute(10), reset()].concat())
        .answer([rows(), reset_answer()].concat());
    let host = FakeHost::new().socket(script);
    assert_eq!(select(&host), Ok(one_row()));
    assert_eq!(host.left(), "");
    assert_eq!(host.parked().len(), 1);
}

#[test]
fn an_error_of_the_statements_own_is_no_reason_to_run_it_again() {
    // A procedure that has inserted a row, and then runs what was not prepared, or says so of itself.
    for (number, mariadb) in [(1243, false), (1210, false), (1835, false), (1243, true)] {
        let state = if mariadb { parked_at_mariadb() } else { parked() };
        let failed = answer(&[error(number, "own")]);
        let script = Script::new()
            .resumed(state)
            .expect(repeated(if mariadb { u32::MAX } else { 2 }))
            .answer([prepared(2), failed, reset_answer()].concat());
        let host = FakeHost::new().socket(script);
        let code = number.to_string();
        assert!(matches!(select(&host), Err(Failure::Upstream(error)) if error.code == Some(code)));
        assert_eq!((host.left().as_str(), host.parked().len()), ("", 1));
    }
}

/// As [`parked`], of a MariaDB, which the flags say.
fn parked_at_mariadb() -> Vec<u8> {
    let mut state = parked();
    state[1] |= 1;
    state
}

#[test]
fn other_values_than_were_thought_cost_a_flight() {
    let none = answer(&[[&[0, 2, 0, 0, 0, 1, 0][..], &[0; 5]].concat(), bigint("x")]);
    let script = Script::new()
        .resumed(parked_at_mariadb())
        .expect(repeated(u32::MAX))
        .answer([none.clone(), answer(&[error(1210, "Incorrect arguments")]), reset_answer()].concat())
        .expect(command(22, b"SELECT ?"))
        .answer(none)
        .expect(reset())
        .answer(reset_answer());
    let host = FakeHost::new().socket(script);
    assert!(matches!(select(&host), Err(Failure::InvalidInput(text)) if text.contains("0 values")));
    assert_eq!((host.left().as_str(), host.parked().len()), ("", 1));
}

#[test]
fn the_answer_to_a_command_of_several_packets_goes_on_with_their_number() {
    let text = "x".repeat(crate::wire::PACKET_BYTES_MAX);
    let sent = {
        let head = [&2_u32.to_le_bytes()[..], &[0, 1, 0, 0, 0, 0, 1, 253, 0]].concat();
        let mut body = head;
        crate::wire::put_counted(&mut body, text.as_bytes());
        command(23, &body)
    };
    assert_eq!(sent[..4], [0xff, 0xff, 0xff, 0]);
    let row = [&[0, 0][..], &7_u64.to_le_bytes()].concat();
    let bodies = [vec![1], bigint("x"), row, done(0xfe, IDLE)];
    let rows: Vec<u8> = bodies.iter().zip(2_u8..).flat_map(|(body, at)| packet(at, body)).collect();
    let script = Script::new()
        .resumed(parked())
        .expect([command(22, b"SELECT ?"), sent, reset()].concat())
        .answer([prepared(2), rows, reset_answer()].concat());
    let host = FakeHost::new().socket(script);
    assert_eq!(call(json!({"statement": "SELECT ?"}), json!([text]), &host), Ok(one_row()));
    assert_eq!((host.left().as_str(), host.parked().len()), ("", 1));
}

#[test]
fn the_rest_of_an_answer_is_passed_by_if_it_is_there_and_else_stopped() {
    let action = json!({"statement": "SELECT ?", "read_only": true, "max_rows": 1});
    let row = [&[0, 0][..], &7_u64.to_le_bytes()].concat();
    let whole = answer(&[vec![1], bigint("x"), row.clone(), row.clone(), row, done(0xfe, IDLE)]);
    let ahead = [answer(&[ok(IDLE)]), answer(&[ok(READ_ONLY)]), prepared(2)].concat();
    let back = answer(&[ok(IDLE)]).repeat(5);
    let truncated = || {
        let mut result = one_row();
        result["truncated"] = true.into();
        result
    };
    let script = || Script::new().resumed(parked()).expect_anything();
    let host = FakeHost::new().socket(script().answer([ahead.clone(), whole.clone(), back].concat()));
    assert_eq!(call(action.clone(), json!([7]), &host), Ok(truncated()));
    assert_eq!(host.parked().len(), 1);
    // Nothing of the last row is there yet, or not all of it.
    for missing in [11 + 14, 11 + 14 - 5] {
        let part = whole[..whole.len() - missing].to_vec();
        let script = script().answer([ahead.clone(), part].concat());
        let killer = Script::new()
            .answer(crate::greeting("8.4.0", "caching_sha2_password", crate::PLAIN))
            .login("caching_sha2_password", &[(crate::NONCE, b"scramble")])
            .expect_anything()
            .answer(packet(2, &ok(IDLE)))
            .expect(sql("KILL QUERY 42"))
            .answer(packet(1, &ok(IDLE)));
        let host = FakeHost::new().socket(script).socket(killer);
        assert_eq!(call(action.clone(), json!([7]), &host), Ok(truncated()));
        assert_eq!((host.left().as_str(), host.parked().len()), ("", 0));
    }
}

#[test]
fn c7_without_a_database_none_may_be_selected_in_a_parked_session() {
    let mut connection = connection();
    connection.as_object_mut().unwrap().remove("database");
    let none = sql("SET @openact = IF(DATABASE() IS NULL, NULL, (SELECT 1 UNION SELECT 2))");
    let back = [command(31, b""), sql(&crate::settings("10001")), sql("SET ROLE NONE"), none].concat();
    for (last, count) in [(ok(IDLE), 1), (error(1242, "Subquery returns more than 1 row"), 0)] {
        let answers = [prepared(2), rows(), answer(&[ok(IDLE)]).repeat(3), answer(&[last])].concat();
        let script = Script::new()
            .resumed(parked())
            .expect([command(22, b"SELECT ?"), execute(2), back.clone()].concat())
            .answer(answers);
        let host = FakeHost::new().socket(script);
        let action = json!({"statement": "SELECT ?"});
        assert_eq!(call_on(connection.clone(), "query", action, json!([7]), &host), Ok(one_row()));
        assert_eq!((host.left().as_str(), host.parked().len()), ("", count));
    }
}

#[test]
fn a_statement_that_was_refused_is_the_reason() {
    let refused =
        [answer(&[error(1146, "no table")]), answer(&[error(1243, "unknown")]), reset_answer()].concat();
    let script = Script::new().resumed(parked()).expect(repeated(2)).answer(refused);
    let host = FakeHost::new().socket(script);
    assert!(matches!(select(&host), Err(Failure::Upstream(error)) if error.code.as_deref() == Some("1146")));
    assert_eq!(host.parked().len(), 1);
}

#[test]
fn c7_a_session_is_parked_only_if_every_part_of_its_resetting_was_done() {
    let parts = 4;
    for broken in 0..=parts {
        let answers: Vec<u8> = (0..parts)
            .flat_map(|part| answer(&[if part == broken { error(1049, "no") } else { ok(IDLE) }]))
            .collect();
        let script = Script::new()
            .resumed(parked())
            .expect(repeated(2))
            .answer([prepared(2), rows(), answers].concat());
        let host = FakeHost::new().socket(script);
        assert_eq!(select(&host), Ok(one_row()), "the call has its answer");
        assert_eq!(host.parked().len(), usize::from(broken == parts), "{broken}");
    }
    // The server goes away behind the answer.
    let script =
        Script::new().resumed(parked()).expect(repeated(2)).answer([prepared(2), rows()].concat()).end();
    let host = FakeHost::new().socket(script);
    assert_eq!(select(&host), Ok(one_row()));
    assert!(host.parked().is_empty());
    // Or says that a transaction is still open.
    let answers = [answer(&[ok(IDLE)]).repeat(3), answer(&[ok(OPEN)])].concat();
    let script =
        Script::new().resumed(parked()).expect(repeated(2)).answer([prepared(2), rows(), answers].concat());
    let host = FakeHost::new().socket(script);
    assert_eq!(select(&host), Ok(one_row()));
    assert!(host.parked().is_empty());
}

#[test]
fn what_cannot_be_read_of_a_parked_session_is_opened_anew() {
    for state in [&b""[..], b"\x02", b"\x01\0\0", &parked()[..20]] {
        let script = new().expect([execute(1), reset()].concat()).answer([rows(), reset_answer()].concat());
        let host = FakeHost::new().socket(Script::new().resumed(state)).socket(script);
        assert_eq!(select(&host), Ok(one_row()));
    }
}

#[test]
fn nothing_that_may_write_is_sent_twice() {
    let gone =
        Script::new().resumed(parked()).expect(repeated(2)).fail_read(HostError::Network("gone".into()));
    let host = FakeHost::new().socket(gone);
    assert_eq!(select(&host), Err(Failure::Network("gone".into())));
    assert_eq!(host.opened().len(), 1);
    // What only prepares is.
    let gone = Script::new()
        .resumed(parked())
        .expect(command(22, b"SELECT 1 + ?"))
        .fail_read(HostError::Network("gone".into()));
    let host = FakeHost::new().socket(gone).fail_open(HostError::Network("still gone".into()));
    let failure = call(json!({"statement": "SELECT 1 + ?"}), json!([7]), &host);
    assert_eq!(failure, Err(Failure::Network("still gone".into())));
    assert_eq!(host.opened().len(), 2);
}

#[test]
fn who_waits_too_long_stops_the_statement() {
    let late =
        Script::new().resumed(parked()).expect(repeated(2)).fail_read(HostError::Timeout("late".into()));
    let killer = Script::new()
        .answer(crate::greeting("8.4.0", "caching_sha2_password", crate::PLAIN))
        .login("caching_sha2_password", &[(crate::NONCE, b"scramble")])
        .expect_anything()
        .answer(packet(2, &ok(IDLE)))
        .expect(sql("KILL QUERY 42"))
        .answer(packet(1, &ok(IDLE)));
    let host = FakeHost::new().socket(late).socket(killer);
    assert_eq!(select(&host), Err(Failure::Timeout("late".into())));
    assert_eq!(host.left(), "");
    assert!(host.parked().is_empty());
    // A limit of the server's own has stopped it already.
    let interrupted =
        [prepared(2), answer(&[error(3024, "maximum statement execution time")]), reset_answer()].concat();
    let host =
        FakeHost::new().socket(Script::new().resumed(parked()).expect(repeated(2)).answer(interrupted));
    assert!(matches!(select(&host), Err(Failure::Timeout(_))));
    assert_eq!(host.opened().len(), 1);
}

#[test]
fn a_transaction_waits_for_each_statement() {
    let statement = |text: &str| command(22, text.as_bytes());
    let no_values = |id: u32| answer(&[[&[0][..], &id.to_le_bytes(), &[0; 7]].concat()]);
    let run = |id: u32| command(23, &[&id.to_le_bytes()[..], &[0, 1, 0, 0, 0]].concat());
    let begun = || {
        Script::new()
            .resumed(parked())
            .expect(
                [
                    sql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
                    sql("START TRANSACTION"),
                    sql("SAVEPOINT openact"),
                ]
                .concat(),
            )
            .answer([answer(&[ok(IDLE)]), answer(&[ok(OPEN)]), answer(&[ok(OPEN)])].concat())
            .expect(statement("DELETE FROM a"))
            .answer(no_values(2))
            .expect(run(2))
    };
    let action = json!({"statements": ["DELETE FROM a", "DELETE FROM b"], "isolation": "serializable"});
    let whole = begun()
        .answer(answer(&[ok(OPEN)]))
        .expect(statement("DELETE FROM b"))
        .answer(no_values(3))
        .expect(run(3))
        .answer(answer(&[ok(OPEN)]))
        .expect(sql("RELEASE SAVEPOINT openact"))
        .answer(answer(&[ok(OPEN)]))
        .expect([sql("COMMIT"), reset()].concat())
        .answer([answer(&[ok(IDLE)]), reset_answer()].concat());
    whole.at_every_split(|host| {
        let result = call_on(connection(), "transaction", action.clone(), json!({}), &host).unwrap();
        assert_eq!(result["results"].as_array().unwrap().len(), 2);
        assert_eq!((host.left().as_str(), host.parked().len()), ("", 1));
    });
    // The first one ends it.
    let ended = begun().answer(answer(&[ok(IDLE)])).expect(reset()).answer(reset_answer());
    let host = FakeHost::new().socket(ended);
    let failure = call_on(connection(), "transaction", action.clone(), json!({}), &host);
    assert!(matches!(failure, Err(Failure::InvalidConfig(text)) if text.contains("statement 1 ends")));
    // One commits it and begins another, which the server's status does not tell.
    let chained = begun()
        .answer(answer(&[ok(OPEN)]))
        .expect(statement("DELETE FROM b"))
        .answer(no_values(3))
        .expect(run(3))
        .answer(answer(&[ok(OPEN)]))
        .expect(sql("RELEASE SAVEPOINT openact"))
        .answer(answer(&[error(1305, "SAVEPOINT openact does not exist")]))
        .expect(reset())
        .answer(reset_answer());
    let host = FakeHost::new().socket(chained);
    let failure = call_on(connection(), "transaction", action.clone(), json!({}), &host);
    assert!(matches!(failure, Err(Failure::InvalidConfig(text)) if text.contains("begins another")));
    assert_eq!((host.left().as_str(), host.parked().len()), ("", 1));
    // One fails: what was done is taken back with the reset.
    let failed = begun().answer(answer(&[error(1213, "deadlock")])).expect(reset()).answer(reset_answer());
    let host = FakeHost::new().socket(failed);
    let failure = call_on(connection(), "transaction", action, json!({}), &host);
    assert!(
        matches!(failure, Err(Failure::Upstream(error)) if error.message == "statement 1: deadlock" && error.retryable)
    );
    assert_eq!((host.left().as_str(), host.parked().len()), ("", 1));
}

#[test]
fn a_reader_is_one_from_its_beginning() {
    let action = json!({"statement": "SELECT ?", "read_only": true});
    let back = [
        command(31, b""),
        sql(&crate::settings("10001")),
        sql("SET SESSION TRANSACTION READ ONLY"),
        sql("SET ROLE NONE"),
        command(2, b"app"),
    ]
    .concat();
    let script = |columns: u8| {
        let prepared = [&[0, 1, 0, 0, 0, columns, 0, 1, 0, 0, 0, 0][..]].concat();
        let mut bodies = vec![prepared, bigint("?")];
        bodies.extend((0..columns).map(|_| bigint("x")));
        let ahead =
            [crate::setup(), sql("SET SESSION TRANSACTION READ ONLY"), sql("START TRANSACTION READ ONLY")]
                .concat();
        Script::new()
            .answer(crate::greeting("8.4.0", "caching_sha2_password", crate::PLAIN))
            .login("caching_sha2_password", &[(crate::NONCE, b"scramble")])
            .expect_anything()
            .answer(packet(2, &ok(IDLE)))
            .expect([ahead, command(22, b"SELECT ?")].concat())
            .answer(
                [crate::setup_answer(), answer(&[ok(IDLE)]), answer(&[ok(READ_ONLY)]), answer(&bodies)]
                    .concat(),
            )
    };
    let reads = script(1)
        .expect([execute(1), back.clone()].concat())
        .answer([rows(), answer(&[ok(IDLE)]).repeat(5)].concat());
    let host = FakeHost::new().socket(reads);
    assert_eq!(call(action.clone(), json!([7]), &host), Ok(one_row()));
    assert_eq!(host.parked()[0].0, "read");
    let state = host.parked().remove(0).1;
    // Later on in one flight.
    let flight =
        [sql("START TRANSACTION READ ONLY"), command(22, b"SELECT ?"), execute(2), back.clone()].concat();
    let again = Script::new()
        .resumed(state)
        .expect(flight)
        .answer([answer(&[ok(READ_ONLY)]), prepared(2), rows(), answer(&[ok(IDLE)]).repeat(5)].concat());
    let host = FakeHost::new().socket(again);
    assert_eq!(call(action.clone(), json!([7]), &host), Ok(one_row()));
    assert_eq!((host.left().as_str(), host.parked().len()), ("", 1));
    // What gives no rows, such as CALL, could end the transaction: it is not run.
    let host = FakeHost::new().socket(script(0).expect(back).answer(answer(&[ok(IDLE)]).repeat(5)));
    assert!(
        matches!(call(action, json!([7]), &host), Err(Failure::InvalidConfig(text)) if text.contains("not run"))
    );
    assert_eq!(host.left(), "");
}

#[test]
fn a_file_is_never_given_away() {
    let asked = [prepared(2), packet(1, b"\xfb/etc/passwd")].concat();
    let script = Script::new().resumed(parked()).expect(repeated(2)).answer(asked).expect(packet(2, b""));
    let killer = HostError::Network("not now".into());
    let host = FakeHost::new().socket(script).fail_open(killer);
    assert!(matches!(select(&host), Err(Failure::Unsupported(text)) if text.contains("LOAD DATA LOCAL")));
    assert!(host.parked().is_empty());
    assert_eq!(host.left(), "");
}

#[test]
fn several_results_of_one_call() {
    let result = |number: u8, value: u64, status: u16| -> Vec<u8> {
        let bodies = [vec![1], bigint("x"), [&[0, 0][..], &value.to_le_bytes()].concat(), done(0xfe, status)];
        bodies.iter().zip(0_u8..).flat_map(|(body, at)| packet(number.wrapping_add(at), body)).collect()
    };
    let answers =
        [prepared(2), result(1, 1, MORE), result(5, 2, MORE), packet(9, &ok(IDLE)), reset_answer()].concat();
    let host = FakeHost::new().socket(Script::new().resumed(parked()).expect(repeated(2)).answer(answers));
    let columns = json!([{"name": "x", "type": "bigint"}]);
    let expected = json!({"columns": columns, "rows": [{"x": 1}], "more_results": [{"columns": columns, "rows": [{"x": 2}]}]});
    assert_eq!(select(&host), Ok(expected));
    // Without end they are too many.
    let endless: Vec<u8> =
        (0..100_u8).flat_map(|at| result(at.wrapping_mul(4).wrapping_add(1), 1, MORE)).collect();
    let script = Script::new().resumed(parked()).expect(repeated(2)).answer([prepared(2), endless].concat());
    let host = FakeHost::new().socket(script).fail_open(HostError::Network("not now".into()));
    assert!(matches!(select(&host), Err(Failure::LimitExceeded(_))));
}

#[test]
fn without_pipelining_each_answer_is_waited_for() {
    let mut connection = connection();
    connection["pipelining"] = false.into();
    let mut script = Script::new()
        .resumed(parked())
        .expect(command(22, b"SELECT ?"))
        .answer(prepared(2))
        .expect(execute(2))
        .answer(rows());
    for part in [command(31, b""), sql(&crate::settings("10001")), sql("SET ROLE NONE"), command(2, b"app")] {
        script = script.expect(part).answer(answer(&[ok(IDLE)]));
    }
    let host = FakeHost::new().socket(script);
    assert_eq!(
        call_on(connection, "query", json!({"statement": "SELECT ?"}), json!([7]), &host),
        Ok(one_row())
    );
    assert_eq!((host.left().as_str(), host.parked().len()), ("", 1));
}

#[test]
fn a_dry_run_opens_nothing() {
    let host = FakeHost::new();
    let dry = openact_connector::testing::Invoke {
        operation: "query",
        connection: connection(),
        action: json!({"statement": "SELECT :a"}),
        input: json!({"a": "'; DROP"}),
        dry_run: true,
    };
    let described = dry.on::<openact_mysql::Mysql>(&host).unwrap();
    assert_eq!(
        described["statements"][0],
        json!({"statement": "SELECT ?", "values": ["'; DROP"], "read_only": false})
    );
    assert!(host.opened().is_empty());
}

#[test]
fn a_server_of_before_roles_and_resets() {
    use crate::wire::capability::DEPRECATE_EOF;
    let eof = vec![0xfe, 0, 0, 2, 0];
    let old = crate::PLAIN & !DEPRECATE_EOF;
    let prepared = answer(&[
        vec![0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0],
        bigint("?"),
        eof.clone(),
        bigint("x"),
        eof.clone(),
    ]);
    let row = [&[0, 0][..], &7_u64.to_le_bytes()].concat();
    let rows = answer(&[vec![1], bigint("x"), eof.clone(), row, eof]);
    let settings = crate::settings("10001");
    let ahead = [sql("SELECT CURRENT_ROLE()"), sql(&settings), command(22, b"SELECT ?")].concat();
    // It knows no roles either, and so there is none to set back.
    let no_roles = answer(&[error(1305, "FUNCTION CURRENT_ROLE does not exist")]);
    let back = [command(31, b""), sql(&settings), command(2, b"app")].concat();
    let script = |reset: Vec<u8>| {
        Script::new()
            .answer(crate::greeting("5.6.51", "mysql_native_password", old))
            .login("mysql_native_password", &[(crate::NONCE, b"scramble")])
            .expect_anything()
            .answer(packet(2, &ok(IDLE)))
            .expect(ahead.clone())
            .answer([no_roles.clone(), answer(&[ok(IDLE)]), prepared.clone()].concat())
            .expect([execute(1), back.clone()].concat())
            .answer([rows.clone(), reset, answer(&[ok(IDLE)]).repeat(2)].concat())
    };
    script(answer(&[ok(IDLE)])).at_every_split(|host| {
        assert_eq!(select(&host), Ok(one_row()));
        assert_eq!((host.left().as_str(), host.parked().len()), ("", 1));
    });
    // Nor can it set a session back: that is closed.
    let host = FakeHost::new().socket(script(answer(&[error(1047, "Unknown command")])));
    assert_eq!(select(&host), Ok(one_row()));
    assert!(host.parked().is_empty());
}
