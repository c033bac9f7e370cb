-- What `openact sync` made, and which version numbers are used up.

-- A record that sync created, by the file or folder it was told to read: what --prune may delete.
CREATE TABLE synced (
    tenant    TEXT NOT NULL,
    kind      TEXT NOT NULL CHECK (kind IN ('connection', 'action')),
    connector TEXT NOT NULL,
    name      TEXT NOT NULL,
    source    TEXT NOT NULL,
    synced_at TEXT NOT NULL,
    PRIMARY KEY (tenant, kind, connector, name)
) STRICT, WITHOUT ROWID;

-- The highest version of a record that was deleted. A number that once named one configuration never names another one:
-- run records, caches and what people wrote down refer to it.
CREATE TABLE retired_versions (
    tenant    TEXT NOT NULL,
    kind      TEXT NOT NULL CHECK (kind IN ('connection', 'action')),
    connector TEXT NOT NULL,
    name      TEXT NOT NULL,
    version   INTEGER NOT NULL,
    PRIMARY KEY (tenant, kind, connector, name)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER connections_retire AFTER DELETE ON connections
BEGIN
    INSERT INTO retired_versions (tenant, kind, connector, name, version)
    VALUES (OLD.tenant, 'connection', OLD.connector, OLD.name, OLD.version)
    ON CONFLICT (tenant, kind, connector, name) DO UPDATE SET version = max(version, excluded.version);
    DELETE FROM synced
    WHERE tenant = OLD.tenant AND kind = 'connection' AND connector = OLD.connector AND name = OLD.name
      AND NOT EXISTS (
          SELECT 1 FROM connections c
          WHERE c.tenant = OLD.tenant AND c.connector = OLD.connector AND c.name = OLD.name
      );
END;

CREATE TRIGGER actions_retire AFTER DELETE ON actions
BEGIN
    INSERT INTO retired_versions (tenant, kind, connector, name, version)
    VALUES (OLD.tenant, 'action', OLD.connector, OLD.name, OLD.version)
    ON CONFLICT (tenant, kind, connector, name) DO UPDATE SET version = max(version, excluded.version);
    DELETE FROM synced
    WHERE tenant = OLD.tenant AND kind = 'action' AND connector = OLD.connector AND name = OLD.name
      AND NOT EXISTS (
          SELECT 1 FROM actions a
          WHERE a.tenant = OLD.tenant AND a.connector = OLD.connector AND a.name = OLD.name
      );
END;
