//! `openact key`: which master key the records are sealed with, and changing it.

use openact::{KeyOrigin, KeyRotation, KeyState, KeyStatus, KeyVersion, Result, settings};
use serde_json::{Value, json};

use crate::{app::App, args::Key, output::Output};

pub(crate) async fn key(app: &App, command: Key) -> Result<Output> {
    let openact = app.openact().await?;
    match command {
        Key::Status => Ok(shown(&openact.key_status().await?)),
        Key::Rotate => {
            let rotation = openact.rotate_key().await?;
            Ok(rotated(&rotation, &openact.key_status().await?))
        }
        Key::DropOld => {
            let dropped = openact.drop_old_keys().await?;
            let line = match &*dropped {
                [] => "nothing to remove: the key file has no older key\n".to_owned(),
                _ => format!("removed from the key file: {}\n", versions(&dropped)),
            };
            Ok(Output::Lines(line, json!({ "removed": dropped })))
        }
    }
}

fn shown(status: &KeyStatus) -> Output {
    let mut lines = format!("keys from {}\n", origin(&status.origin));
    for key in &status.versions {
        lines.push_str(&line(key));
    }
    if status.versions.is_empty() {
        lines.push_str("no key yet: one is made with the first secret\n");
    }
    if status.versions.iter().any(|key| key.state == KeyState::Rotating) {
        lines.push_str("a rotation was begun and is not finished: openact key rotate\n");
    }
    let (origin, file) = match &status.origin {
        KeyOrigin::Given => ("given", None),
        KeyOrigin::Environment => ("environment", None),
        KeyOrigin::File(path) => ("file", Some(path)),
    };
    let versions: Vec<Value> = status.versions.iter().map(to_json).collect();
    Output::Lines(lines, json!({ "origin": origin, "file": file, "versions": versions }))
}

fn origin(origin: &KeyOrigin) -> String {
    match origin {
        KeyOrigin::Given => "the program".into(),
        KeyOrigin::Environment => format!("the environment ({})", settings::OPENACT_MASTER_KEY),
        KeyOrigin::File(path) => format!("key file {}", path.display()),
    }
}

fn line(key: &KeyVersion) -> String {
    let name = key.version.map_or("a key".into(), |version| format!("version {version}"));
    if key.state == KeyState::Unused {
        return format!("{name}: not used by this database\n");
    }
    let state = if key.state == KeyState::Current { "in use" } else { "being rotated away" };
    let missing = if key.available { "" } else { "; this process does not have it" };
    format!(
        "{name}: {state}; seals {} secrets, {} credentials, {} changes of credentials, {} values of connectors, {} outcomes \
         of runs{missing}\n",
        key.secrets, key.credentials, key.history, key.state_values, key.outcomes
    )
}

fn to_json(key: &KeyVersion) -> Value {
    json!({
        "version": key.version,
        "id": key.id,
        "state": match key.state {
            KeyState::Current => "current",
            KeyState::Rotating => "rotating",
            KeyState::Unused => "unused",
        },
        "available": key.available,
        "records": {
            "secrets": key.secrets,
            "credentials": key.credentials,
            "history": key.history,
            "state_values": key.state_values,
            "outcomes": key.outcomes,
        },
    })
}

fn rotated(rotation: &KeyRotation, status: &KeyStatus) -> Output {
    let KeyRotation { version, records, resumed } = rotation;
    let resumed_text = if *resumed { " (an earlier rotation is finished)" } else { "" };
    let next = match status.origin {
        KeyOrigin::File(_) => {
            "the old key is still in the key file; when no other database needs it: openact key drop-old"
                .to_owned()
        }
        _ => format!("{} is not needed any more", settings::OPENACT_MASTER_KEY_PREVIOUS),
    };
    let lines =
        format!("{records} records sealed anew with version {version} of the key{resumed_text}\n{next}\n");
    Output::Lines(lines, json!({ "version": version, "records": records, "resumed": resumed }))
}

fn versions(numbers: &[i64]) -> String {
    numbers.iter().map(|number| format!("version {number}")).collect::<Vec<_>>().join(", ")
}
