-- What the doors keep: API tokens, the outcome of runs for who comes back for it, and idempotency keys.

-- Of a token's secret there is the SHA-256 alone. One that is revoked is gone; the audit log remembers it.
CREATE TABLE api_tokens (
    id            TEXT NOT NULL PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    secret_digest TEXT NOT NULL,
    scope_json    TEXT NOT NULL CHECK (json_valid(scope_json)),
    created_at    TEXT NOT NULL,
    expires_at    TEXT,
    last_used_at  TEXT
) STRICT;

-- A run that somebody comes back for: one that was started without waiting for it, or with an idempotency key. `owner` is
-- the process that has it; one that is gone leaves runs that nobody will finish.
CREATE TABLE kept_runs (
    tenant     TEXT NOT NULL,
    run_id     TEXT NOT NULL,
    action_trn TEXT NOT NULL,
    owner      TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'interrupted')),
    started_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    PRIMARY KEY (tenant, run_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX kept_runs_by_expiry ON kept_runs (expires_at);

-- How it ended: the result or the error, sealed as `secrets` are. `bytes` is what that takes.
CREATE TABLE run_results (
    tenant             TEXT NOT NULL,
    run_id             TEXT NOT NULL,
    bytes              INTEGER NOT NULL,
    outcome_encrypted  TEXT NOT NULL,
    outcome_nonce      TEXT NOT NULL,
    data_key_encrypted TEXT NOT NULL,
    data_key_nonce     TEXT NOT NULL,
    key_version        INTEGER NOT NULL,
    PRIMARY KEY (tenant, run_id),
    FOREIGN KEY (tenant, run_id) REFERENCES kept_runs (tenant, run_id) ON DELETE CASCADE
) STRICT;

-- A key that a caller gave a run, so that asking again does not do it again. `action` has no version: a retry is one, whatever
-- was changed meanwhile. `request` is a keyed hash of what was asked.
CREATE TABLE idempotency_keys (
    tenant  TEXT NOT NULL,
    action  TEXT NOT NULL,
    key     TEXT NOT NULL,
    request TEXT NOT NULL,
    run_id  TEXT NOT NULL,
    PRIMARY KEY (tenant, action, key),
    FOREIGN KEY (tenant, run_id) REFERENCES kept_runs (tenant, run_id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_run ON idempotency_keys (tenant, run_id);
