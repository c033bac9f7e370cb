-- Who changed what: a chain in which each entry is authenticated together with the one before it.

CREATE TABLE audit_log (
    -- 1, 2, 3, without a gap.
    id          INTEGER NOT NULL PRIMARY KEY CHECK (id >= 1),
    at          TEXT NOT NULL,
    -- None for what belongs to no tenant: connectors, the master key.
    tenant      TEXT,
    actor       TEXT NOT NULL,
    door        TEXT NOT NULL,
    operation   TEXT NOT NULL,
    object      TEXT NOT NULL,
    before_json TEXT CHECK (before_json IS NULL OR json_valid(before_json)),
    after_json  TEXT CHECK (after_json IS NULL OR json_valid(after_json)),
    -- HMAC-SHA256, base64, over the mac before and every column above.
    mac         TEXT NOT NULL
) STRICT;

-- The key of the chain, sealed like a secret. One row, made with the first entry.
CREATE TABLE audit_keys (
    id                 INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    mac_key_encrypted  TEXT NOT NULL,
    mac_key_nonce      TEXT NOT NULL,
    data_key_encrypted TEXT NOT NULL,
    data_key_nonce     TEXT NOT NULL,
    key_version        INTEGER NOT NULL,
    created_at         TEXT NOT NULL
) STRICT;

-- audit_since is the configuration's generation when the log began. audit_head, made with the first entry, says how many
-- entries there are and the mac of the last, authenticated too, so that a log that was cut short is noticed.
INSERT INTO settings (key, value)
SELECT 'audit_since', value FROM settings WHERE key = 'config_generation';
