-- The tables of OpenAct. Names and columns of connections, actions, run_checkpoints, auth_connections and
-- auth_connection_history are those of the earlier schema; what differs is said where it differs.
-- Times are RFC 3339 text in UTC with nine decimals, so that they sort as text.

-- "OACT": how a database of ours is told from a foreign one.
PRAGMA application_id = 0x4F414354;

CREATE TABLE settings (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- config_generation counts changes of configuration. master_key_id.N is the id of the master key that records of
-- key_version N are sealed with; there are two such rows while it is rotated, and none before the first secret.
INSERT INTO settings (key, value) VALUES ('config_generation', '0');

-- The earlier unique index on (connector, name) made versions impossible.
CREATE TABLE connections (
    trn         TEXT NOT NULL PRIMARY KEY,
    tenant      TEXT NOT NULL,
    connector   TEXT NOT NULL,
    name        TEXT NOT NULL,
    config_json TEXT NOT NULL CHECK (json_valid(config_json)),
    created_at  TEXT NOT NULL,
    updated_at  TEXT NOT NULL,
    version     INTEGER NOT NULL DEFAULT 1 CHECK (version >= 1),
    UNIQUE (tenant, connector, name, version),
    CHECK (trn = 'trn:openact:' || tenant || ':connection/' || connector || '/' || name || '@v' || version)
) STRICT;

-- A name alone is looked up too; with all of the order there, nothing else is cheaper to the planner.
CREATE INDEX connections_by_name ON connections (tenant, name, connector, version);
CREATE INDEX connections_by_connector ON connections (connector);

CREATE TABLE actions (
    trn                TEXT NOT NULL PRIMARY KEY,
    tenant             TEXT NOT NULL,
    connector          TEXT NOT NULL,
    name               TEXT NOT NULL,
    connection_trn     TEXT NOT NULL REFERENCES connections (trn),
    config_json        TEXT NOT NULL CHECK (json_valid(config_json)),
    mcp_enabled        INTEGER NOT NULL DEFAULT 0 CHECK (mcp_enabled IN (0, 1)),
    mcp_overrides_json TEXT CHECK (mcp_overrides_json IS NULL OR json_valid(mcp_overrides_json)),
    created_at         TEXT NOT NULL,
    updated_at         TEXT NOT NULL,
    version            INTEGER NOT NULL DEFAULT 1 CHECK (version >= 1),
    UNIQUE (tenant, connector, name, version),
    CHECK (trn = 'trn:openact:' || tenant || ':action/' || connector || '/' || name || '@v' || version)
) STRICT;

CREATE INDEX actions_by_name ON actions (tenant, name, connector, version);
CREATE INDEX actions_by_connection ON actions (connection_trn);
CREATE INDEX actions_mcp ON actions (tenant) WHERE mcp_enabled = 1;

-- A missing connection is left to the foreign key.
CREATE TRIGGER actions_match_their_connection_insert BEFORE INSERT ON actions
WHEN EXISTS (
    SELECT 1 FROM connections c
    WHERE c.trn = NEW.connection_trn AND (c.connector <> NEW.connector OR c.tenant <> NEW.tenant)
)
BEGIN
    SELECT RAISE(ABORT, 'openact: an action must have the tenant and connector of its connection');
END;

CREATE TRIGGER actions_match_their_connection_update BEFORE UPDATE ON actions
WHEN EXISTS (
    SELECT 1 FROM connections c
    WHERE c.trn = NEW.connection_trn AND (c.connector <> NEW.connector OR c.tenant <> NEW.tenant)
)
BEGIN
    SELECT RAISE(ABORT, 'openact: an action must have the tenant and connector of its connection');
END;

CREATE TRIGGER connections_match_their_actions_update BEFORE UPDATE OF trn, tenant, connector ON connections
WHEN EXISTS (
    SELECT 1 FROM actions a
    WHERE a.connection_trn = OLD.trn AND (a.connector <> NEW.connector OR a.tenant <> NEW.tenant)
)
BEGIN
    SELECT RAISE(ABORT, 'openact: an action must have the tenant and connector of its connection');
END;

CREATE TABLE connectors (
    name         TEXT NOT NULL PRIMARY KEY,
    version      TEXT NOT NULL,
    digest       TEXT NOT NULL,
    manifest     TEXT NOT NULL CHECK (json_valid(manifest)),
    grants       TEXT NOT NULL CHECK (json_valid(grants)),
    signer       TEXT,
    installed_at TEXT NOT NULL,
    -- Last, so that reading the others does not walk through a component's pages.
    bytes        BLOB NOT NULL
) STRICT;

-- The *_encrypted columns and their nonces are base64; the data key is the record's own, wrapped by the master key.
CREATE TABLE secrets (
    tenant             TEXT NOT NULL,
    name               TEXT NOT NULL,
    value_encrypted    TEXT NOT NULL,
    value_nonce        TEXT NOT NULL,
    data_key_encrypted TEXT NOT NULL,
    data_key_nonce     TEXT NOT NULL,
    fingerprint        TEXT NOT NULL,
    key_version        INTEGER NOT NULL DEFAULT 1,
    created_at         TEXT NOT NULL,
    updated_at         TEXT NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT;

-- No foreign keys: what ran is remembered after its action is gone. Ids are UUIDs of version 7 and so sort by time: one
-- tree holds the rows in the order in which they are written and listed.
CREATE TABLE runs (
    tenant           TEXT NOT NULL,
    id               TEXT NOT NULL,
    action_trn       TEXT NOT NULL,
    connection_trn   TEXT NOT NULL,
    connector_digest TEXT NOT NULL,
    door             TEXT NOT NULL,
    dry_run          INTEGER NOT NULL CHECK (dry_run IN (0, 1)),
    started_at       TEXT NOT NULL,
    duration_us      INTEGER NOT NULL,
    status           TEXT NOT NULL CHECK (status IN ('ok', 'failed')),
    error_code       TEXT,
    error_message    TEXT,
    host_calls_json  TEXT NOT NULL,
    usage_json       TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE run_checkpoints (
    run_id          TEXT NOT NULL PRIMARY KEY,
    paused_state    TEXT NOT NULL,
    context_json    TEXT NOT NULL CHECK (json_valid(context_json)),
    await_meta_json TEXT CHECK (await_meta_json IS NULL OR json_valid(await_meta_json)),
    created_at      TEXT NOT NULL,
    updated_at      TEXT NOT NULL,
    expires_at      TEXT
) STRICT;

CREATE INDEX run_checkpoints_by_expiry ON run_checkpoints (expires_at);

-- Columns of the earlier schema, and the wrapped data key.
CREATE TABLE auth_connections (
    trn                     TEXT NOT NULL PRIMARY KEY,
    tenant                  TEXT NOT NULL,
    provider                TEXT NOT NULL,
    user_id                 TEXT NOT NULL,
    access_token_encrypted  TEXT NOT NULL,
    access_token_nonce      TEXT NOT NULL,
    refresh_token_encrypted TEXT,
    refresh_token_nonce     TEXT,
    expires_at              TEXT,
    token_type              TEXT NOT NULL DEFAULT 'Bearer',
    scope                   TEXT,
    extra_data_encrypted    TEXT,
    extra_data_nonce        TEXT,
    data_key_encrypted      TEXT NOT NULL,
    data_key_nonce          TEXT NOT NULL,
    key_version             INTEGER NOT NULL DEFAULT 1,
    created_at              TEXT NOT NULL,
    updated_at              TEXT NOT NULL,
    version                 INTEGER NOT NULL DEFAULT 1 CHECK (version >= 1)
) STRICT;

CREATE INDEX auth_connections_by_provider ON auth_connections (tenant, provider);
CREATE INDEX auth_connections_by_expiry ON auth_connections (expires_at);

-- The earlier cascading foreign key erased the history together with its record; there is none.
CREATE TABLE auth_connection_history (
    id                 TEXT NOT NULL PRIMARY KEY,
    trn                TEXT NOT NULL,
    operation          TEXT NOT NULL CHECK (operation IN ('create', 'update', 'delete')),
    old_data_encrypted TEXT,
    old_data_nonce     TEXT,
    new_data_encrypted TEXT,
    new_data_nonce     TEXT,
    data_key_encrypted TEXT NOT NULL,
    data_key_nonce     TEXT NOT NULL,
    key_version        INTEGER NOT NULL DEFAULT 1,
    created_at         TEXT NOT NULL,
    reason             TEXT
) STRICT;

CREATE INDEX auth_connection_history_by_trn ON auth_connection_history (trn);
