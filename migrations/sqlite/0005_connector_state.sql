-- What connectors keep between calls (`state` of the contract), sealed as `secrets` are. One connection version and one
-- component never see another's, and a connection that is deleted takes its state along.
CREATE TABLE connector_state (
    connection_trn     TEXT NOT NULL REFERENCES connections (trn) ON DELETE CASCADE,
    connector_digest   TEXT NOT NULL,
    key                TEXT NOT NULL,
    revision           INTEGER NOT NULL CHECK (revision >= 1),
    value_encrypted    TEXT NOT NULL,
    value_nonce        TEXT NOT NULL,
    data_key_encrypted TEXT NOT NULL,
    data_key_nonce     TEXT NOT NULL,
    key_version        INTEGER NOT NULL,
    updated_at         TEXT NOT NULL,
    PRIMARY KEY (connection_trn, connector_digest, key)
) STRICT;
